"""Counting SQL statements as Django sends them. What a transaction itself takes (BEGIN, COMMIT) is not among them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from django.db import connection


class Statements:
    """How many there were."""

    count = 0

    def __call__(self, execute: Callable[..., Any], sql: str, params: Any, many: bool, context: dict[str, Any]) -> Any:
        self.count += 1
        return execute(sql, params, many, context)


@contextmanager
def counted() -> Iterator[Statements]:
    """Count the statements of this thread in the block."""
    statements = Statements()
    with connection.execute_wrapper(statements):
        yield statements
