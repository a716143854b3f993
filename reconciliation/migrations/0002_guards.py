from django.db import migrations

from canonical import triggers

SIGNED = """
    CREATE FUNCTION reconciliation_keep_signed() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF OLD.state = 'signed' AND (TG_OP = 'DELETE' OR NEW.content IS DISTINCT FROM OLD.content OR NEW.hash <> OLD.hash
                                     OR NEW.signed_by_id IS DISTINCT FROM OLD.signed_by_id
                                     OR NEW.prepared_by_id IS DISTINCT FROM OLD.prepared_by_id
                                     OR NEW.state NOT IN ('signed', 'reopened')
                                     OR (NEW.state = 'reopened' AND (NEW.reopened_by_id IS NULL OR NEW.reopening_asked_by_id IS NULL)))
        THEN RAISE EXCEPTION 'period close % is signed: it is reopened by two people, or stays as it is', OLD.id
             USING ERRCODE = 'integrity_constraint_violation';
        END IF;
        RETURN coalesce(NEW, OLD);
    END $$;
    CREATE TRIGGER signed_closes_stay BEFORE UPDATE OR DELETE ON reconciliation_periodclose
    FOR EACH ROW EXECUTE FUNCTION reconciliation_keep_signed();
"""


class Migration(migrations.Migration):
    dependencies = [("reconciliation", "0001_initial"), ("canonical", "0003_facts")]
    operations = [
        triggers.insert_only("reconciliation_certificate"),
        triggers.insert_only("reconciliation_breaknote"),
        migrations.RunSQL(
            SIGNED, "DROP TRIGGER signed_closes_stay ON reconciliation_periodclose; DROP FUNCTION reconciliation_keep_signed();"
        ),
    ]
