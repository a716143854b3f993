"""Statements that PostgreSQL parses and plans once a session: for the few that run all day and are long.

Django sends a statement with its values written into the text; for the intake's that costs PostgreSQL more than
executing it does. Wrapped errors, query logs and counters stay Django's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from django.db import connection
from django.db.backends.utils import CursorWrapper


class _Preparing(psycopg.Cursor[Any]):
    def execute(self, query: Any, params: Any = None, **options: Any) -> _Preparing:
        return super().execute(query, params, **{"prepare": True, **options})


@contextmanager
def cursor() -> Iterator[CursorWrapper]:
    """Like `connection.cursor()`, binding values on the server and preparing what it executes.

    The session is not asked beforehand whether it still lives: callers repeat what can be repeated on a new one.
    """
    connection.ensure_connection()
    prepare: Callable[[psycopg.Cursor[Any]], CursorWrapper] = connection._prepare_cursor  # type: ignore[attr-defined]
    with prepare(_Preparing(connection.connection)) as prepared:
        yield prepared
