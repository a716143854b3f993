"""What must be true of the database at every instant, each with the SQL that names whatever breaks it.

`manage.py verify` asks all of them of a running hub. Each is one set-based query, so it sees one snapshot, locks nothing
and needs no quiet moment. Constraints and triggers should make most violations impossible; these queries do not trust
that, and find what a person with direct access to the database has changed.
"""

from __future__ import annotations

from collections.abc import Sequence

from django.db import connection

from reconciliation.invariants import audit, facts, identity, mends, money, scans, work
from reconciliation.invariants.base import Finding, Invariant

__all__ = ["INVARIANTS", "Finding", "Invariant", "check"]

INVARIANTS: tuple[Invariant, ...] = (
    *work.INVARIANTS,
    *identity.INVARIANTS,
    *money.INVARIANTS,
    *facts.INVARIANTS,
    *audit.INVARIANTS,
    *scans.INVARIANTS,
    *mends.INVARIANTS,
)

SHOWN = 20
"""Violations of one invariant that are named; all are counted."""


def check(invariants: Sequence[Invariant] = INVARIANTS) -> list[Finding]:
    """Ask each invariant; a finding for every one, with the violations found."""
    return [_ask(invariant) for invariant in invariants]


def _ask(invariant: Invariant) -> Finding:
    named = f"SELECT what, count(*) OVER () FROM ({invariant.violations()}) AS violation(what) ORDER BY what LIMIT {SHOWN}"
    with connection.cursor() as cursor:
        cursor.execute(named)
        rows = cursor.fetchall()
    return Finding(invariant, rows[0][1] if rows else 0, [what for what, _ in rows])
