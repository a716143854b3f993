"""The shape of an invariant, and how its SQL is built from what the models declare."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from django.apps import apps
from django.db import models

APPS = ("canonical", "connectors", "hub", "audit", "credits", "reconciliation")


@dataclass(frozen=True, slots=True)
class Invariant:
    """`sql` selects one text column: each row names one violation. A callable reads the models first."""

    name: str
    promise: str
    sql: str | Callable[[], str]

    def violations(self) -> str:
        """The query."""
        return self.sql if isinstance(self.sql, str) else self.sql()


@dataclass(frozen=True, slots=True)
class Finding:
    """What an invariant came to: how many violations there are, and the first of them by name."""

    invariant: Invariant
    count: int
    named: Sequence[str]


def our_models() -> list[type[models.Model]]:
    """Every model of the hub's own, without histories and the tables Django makes for many-to-many."""
    ours = (model for app in APPS for model in apps.get_app_config(app).get_models())
    return [model for model in ours if not model.__name__.startswith("Historical")]


def literal(text: str) -> str:
    """A string of ours as an SQL literal."""
    return "'" + text.replace("'", "''") + "'"


def values(rows: Iterable[Sequence[str]]) -> str:
    """Rows of strings as the body of VALUES."""
    return ", ".join(f"({', '.join(map(literal, row))})" for row in rows)
