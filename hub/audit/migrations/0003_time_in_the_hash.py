from django.db import migrations

# Entries before this one keep the hash they have: it covers what they say, not when they were written.
JOIN = """
    CREATE OR REPLACE FUNCTION audit_join_the_chain() RETURNS trigger LANGUAGE plpgsql AS $$
    DECLARE last record;
    BEGIN
        PERFORM pg_advisory_xact_lock(29155);  -- 0x71E3: one transaction at a time appends, until it ends
        SELECT seq, hash INTO last FROM audit_auditentry ORDER BY seq DESC LIMIT 1;
        NEW.seq := coalesce(last.seq, 0) + 1;
        NEW.prev_hash := coalesce(last.hash, repeat('0', 64));
        NEW.at := clock_timestamp();
        NEW.hash := encode(sha256(convert_to({said}, 'UTF8')), 'hex');
        RETURN NEW;
    END $$;
"""
WITHOUT = "NEW.prev_hash || '|' || NEW.seq || '|' || NEW.content"
WITH = """NEW.prev_hash || '|' || NEW.seq || '|' || to_char(NEW.at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"+00:00"')
            || '|' || NEW.content"""


class Migration(migrations.Migration):
    dependencies = [("audit", "0002_chain")]
    operations = [migrations.RunSQL(JOIN.format(said=WITH), JOIN.format(said=WITHOUT))]
