"""Triggers that keep facts facts: UPDATE, DELETE and TRUNCATE raise, whoever asks. Used by migrations."""

from __future__ import annotations

from django.db import migrations

REFUSE = """
    CREATE OR REPLACE FUNCTION tieout_refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        RAISE EXCEPTION '% is insert-only: % refused', TG_TABLE_NAME, TG_OP USING ERRCODE = 'integrity_constraint_violation';
    END $$
"""


def refuse_function() -> migrations.RunSQL:
    """The function all insert-only tables share."""
    return migrations.RunSQL(REFUSE, "DROP FUNCTION IF EXISTS tieout_refuse_change()")


def insert_only(table: str) -> migrations.RunSQL:
    """Make a table insert-only."""
    return migrations.RunSQL(
        f"""CREATE TRIGGER facts_are_insert_only BEFORE UPDATE OR DELETE ON {table}
            FOR EACH ROW EXECUTE FUNCTION tieout_refuse_change();
            CREATE TRIGGER facts_are_never_truncated BEFORE TRUNCATE ON {table}
            FOR EACH STATEMENT EXECUTE FUNCTION tieout_refuse_change();""",
        f"""DROP TRIGGER facts_are_insert_only ON {table};
            DROP TRIGGER facts_are_never_truncated ON {table};""",
    )


def in_force_is_immutable(table: str) -> migrations.RunSQL:
    """Rules that were approved keep what they say: only their state and last day may change."""
    return migrations.RunSQL(
        f"""CREATE FUNCTION {table}_keep() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN
                IF TG_OP = 'DELETE'
                   OR (to_jsonb(OLD) - 'state' - 'valid_to') IS DISTINCT FROM (to_jsonb(NEW) - 'state' - 'valid_to')
                THEN RAISE EXCEPTION 'a rule that was approved cannot be changed; draft a new version'
                     USING ERRCODE = 'integrity_constraint_violation';
                END IF;
                RETURN NEW;
            END $$;
            CREATE TRIGGER approved_rules_keep_what_they_say BEFORE UPDATE OR DELETE ON {table}
            FOR EACH ROW WHEN (OLD.state <> 'draft') EXECUTE FUNCTION {table}_keep();""",
        f"DROP TRIGGER approved_rules_keep_what_they_say ON {table}; DROP FUNCTION {table}_keep();",
    )


def vacuum_early(table: str) -> migrations.RunSQL:
    """Hot queue tables: dead rows are cleared before they slow the claim."""
    return migrations.RunSQL(
        f"ALTER TABLE {table} SET (autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 500, fillfactor = 80)",
        f"ALTER TABLE {table} RESET (autovacuum_vacuum_scale_factor, autovacuum_vacuum_threshold, fillfactor)",
    )
