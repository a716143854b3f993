"""For cleaning up after a test only: tables whose triggers refuse TRUNCATE, opened for as long as it takes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import connection

GUARDED = """
    SELECT DISTINCT tgrelid::regclass::text FROM pg_trigger
    WHERE tgname IN ('facts_are_never_truncated', 'approved_rules_keep_what_they_say', 'credits_are_never_deleted',
                     'signed_closes_stay', 'approved_policies_keep_their_rules')
"""


@contextmanager
def open_facts() -> Iterator[None]:
    """Let insert-only tables be cleared inside the block."""
    with connection.cursor() as cursor:
        cursor.execute(GUARDED)
        tables = [row[0] for row in cursor.fetchall()]
        for table in tables:
            cursor.execute(f"ALTER TABLE {table} DISABLE TRIGGER USER")
        try:
            yield
        finally:
            for table in tables:
                cursor.execute(f"ALTER TABLE {table} ENABLE TRIGGER USER")


def clear(*tables: str) -> None:
    """Empty tables, facts included."""
    with open_facts(), connection.cursor() as cursor:
        cursor.execute(f"TRUNCATE {', '.join(tables)} CASCADE")
