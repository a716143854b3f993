from django.db import migrations

from canonical import triggers

CHAIN = """
    CREATE FUNCTION audit_join_the_chain() RETURNS trigger LANGUAGE plpgsql AS $$
    DECLARE last record;
    BEGIN
        PERFORM pg_advisory_xact_lock(29155);  -- 0x71E3: one transaction at a time appends, until it ends
        SELECT seq, hash INTO last FROM audit_auditentry ORDER BY seq DESC LIMIT 1;
        NEW.seq := coalesce(last.seq, 0) + 1;
        NEW.prev_hash := coalesce(last.hash, repeat('0', 64));
        NEW.at := clock_timestamp();
        NEW.hash := encode(sha256(convert_to(NEW.prev_hash || '|' || NEW.seq || '|' || NEW.content, 'UTF8')), 'hex');
        RETURN NEW;
    END $$;
    CREATE TRIGGER entries_join_the_chain BEFORE INSERT ON audit_auditentry
    FOR EACH ROW EXECUTE FUNCTION audit_join_the_chain();
"""


class Migration(migrations.Migration):
    dependencies = [("audit", "0001_initial"), ("canonical", "0003_facts")]
    operations = [
        migrations.RunSQL(CHAIN, "DROP TRIGGER entries_join_the_chain ON audit_auditentry; DROP FUNCTION audit_join_the_chain();"),
        triggers.insert_only("audit_auditentry"),
    ]
