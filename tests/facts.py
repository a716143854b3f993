"""For cleaning up after a test only: the database as the migrations leave it, and tables whose triggers refuse to be cleared."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager

from django.db import connection, transaction

GUARDS = [
    "facts_are_never_truncated", "approved_rules_keep_what_they_say", "credits_are_never_deleted", "signed_closes_stay",
    "approved_policies_keep_their_rules",
]  # fmt: skip
LARGE = 4 * 1024**2
"""Bytes. A table of this size is faster truncated than deleted from; and one that has so many dead rows wants to be."""


@contextmanager
def open_facts() -> Iterator[None]:
    """Let insert-only tables be cleared inside the block."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT DISTINCT tgrelid::regclass::text FROM pg_trigger WHERE tgname = ANY(%s)", [GUARDS])
        with _without_triggers([table for (table,) in cursor.fetchall()]):
            yield


def clear(*tables: str) -> None:
    """Empty tables, facts included."""
    with open_facts(), connection.cursor() as cursor:
        cursor.execute(f"TRUNCATE {', '.join(tables)} CASCADE")


def keep_baseline() -> None:
    """Remember what is in the database now, for `restore_baseline`."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("DROP SCHEMA IF EXISTS baseline CASCADE")
        cursor.execute("CREATE SCHEMA baseline")
        for table in _used():
            cursor.execute(f"CREATE TABLE baseline.{table} AS TABLE public.{table}")


def restore_baseline() -> None:
    """Make the database what it was at `keep_baseline`.

    Django's own flush truncates every table and lets every app write its groups, permissions and schedules again, which
    takes a second after each test; most tests write to few tables.
    """
    with transaction.atomic(), connection.cursor() as cursor:
        used = _used()
        cursor.execute("SELECT coalesce(max(pg_relation_size(name::regclass)), 0) FROM unnest(%s::text[]) name", [used])
        large = cursor.fetchone()[0] > LARGE
        cleared = _tables() if large else used
        cursor.execute("SELECT DISTINCT tgrelid::regclass::text FROM pg_trigger WHERE NOT tgisinternal")
        guarded = {table for (table,) in cursor.fetchall()} & set(cleared)
        with _without_triggers(guarded):
            if large:
                cursor.execute(f"TRUNCATE {', '.join(cleared)}")
            else:
                for table in used:
                    cursor.execute(f"DELETE FROM {table}")
            cursor.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'baseline'")
            for (table,) in cursor.fetchall():
                cursor.execute(f"INSERT INTO public.{table} SELECT * FROM baseline.{table}")
            # What is checked at the end of a transaction otherwise keeps the triggers from being changed.
            cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")


@contextmanager
def _without_triggers(tables: Collection[str]) -> Iterator[None]:
    with connection.cursor() as cursor:
        for table in tables:
            cursor.execute(f"ALTER TABLE {table} DISABLE TRIGGER USER")
        try:
            yield
        finally:
            for table in tables:
                cursor.execute(f"ALTER TABLE {table} ENABLE TRIGGER USER")


def _tables() -> list[str]:
    return list(connection.introspection.django_table_names(only_existing=True, include_views=False))


def _used() -> list[str]:
    """The tables with rows."""
    with connection.cursor() as cursor:
        cursor.execute(" UNION ALL ".join(f"SELECT '{table}' WHERE EXISTS (SELECT FROM {table})" for table in _tables()))
        return [table for (table,) in cursor.fetchall()]
