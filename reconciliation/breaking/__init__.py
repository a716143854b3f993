"""Candidates of a match into breaks that live on: one open break per fingerprint, the same across scans. Set-based.

| the scan | and before | becomes |
|---|---|---|
| finds it | nothing, or closed long ago | a new break, `open`; `reopened` when one of that fingerprint was closed before |
| finds it | not closed | the same break with the amounts of now |
| finds it | accepted or written off, with the same amounts | nothing: a person has decided |
| does not find it | not closed | closed: "no longer found" |
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.db import connection as database
from django.db import transaction

from reconciliation.models import Break, Scan
from reconciliation.models.breaks import OPEN_BREAK

BY = "reconciliation"
GONE = "no longer found"
DECIDED = ("accepted", "written off")
"""`closed_how` of breaks that persons closed although they are still there. Found with other amounts they come back."""


@dataclass(frozen=True, slots=True)
class Stored:
    """How many breaks a scan found for the first time, found again, saw come back, and no longer found."""

    new: int
    known: int
    reopened: int
    closed: int


def store(scan: Scan) -> Stored:
    """Make the breaks of the scan's entity what `recon_candidate` of this session says. All or nothing.

    Raises ProgrammingError when `matching.match` was not called in this session before.
    """
    values: dict[str, Any] = {
        "scan": scan.pk,
        "entity": scan.legal_entity_id,
        "open": list(OPEN_BREAK),
        "by": BY,
        "gone": GONE,
        "decided": list(DECIDED),
    }
    with transaction.atomic(), database.cursor() as cursor:
        counts = []
        for statement in (KNOWN, CLOSED, NEW):
            cursor.execute(statement, values)
            counts.append(cursor.fetchone())
    (known,), (closed,), (new, reopened) = counts
    return Stored(new, known, reopened, closed)


COPIED = [field.column for field in Break.history.model._meta.concrete_fields if not field.name.startswith("history_")]
QUOTED = ", ".join(f'"{name}"' for name in COPIED)


def _kept(changed: str, kind: str) -> str:
    """The history row of what a statement changed, as simple-history writes it."""
    return f"""INSERT INTO reconciliation_historicalbreak ({QUOTED}, history_date, history_type)
               SELECT {QUOTED}, statement_timestamp(), '{kind}' FROM {changed}"""


def _moved(changed: str, name: str, source: str, target: str, note: str) -> str:
    return f"""INSERT INTO canonical_transition (object_kind, object_id, name, source, target, by, note)
               SELECT 'break', id, '{name}', {source}, {target}, %(by)s, {note} FROM {changed}"""


FOUND = "(SELECT DISTINCT ON (fingerprint) * FROM recon_candidate ORDER BY fingerprint, pair, type, exposed DESC, title)"
SAYS = ("type", "title", "currency", "left_amount", "right_amount", "exposed", '"left"', '"right"', "period")

KNOWN = f"""
    WITH known AS (
        UPDATE reconciliation_break b SET last_scan_id = %(scan)s, {", ".join(f"{name} = c.{name}" for name in SAYS)}
        FROM {FOUND} c WHERE c.fingerprint = b.fingerprint AND b.legal_entity_id = %(entity)s AND b.state = ANY(%(open)s)
        RETURNING b.*, (SELECT row(o.type, o.left_amount, o.right_amount, o.exposed) FROM reconciliation_break o WHERE o.id = b.id)
                       IS DISTINCT FROM row(b.type, b.left_amount, b.right_amount, b.exposed) AS says_else),
    kept AS ({_kept("known WHERE says_else", "~")})
    SELECT count(*) FROM known"""

CLOSED = f"""
    WITH gone AS (
        SELECT id, state AS before FROM reconciliation_break b
        WHERE legal_entity_id = %(entity)s AND state = ANY(%(open)s) AND last_scan_id < %(scan)s
          AND NOT EXISTS (SELECT FROM recon_candidate c WHERE c.fingerprint = b.fingerprint) FOR UPDATE),
    closed AS (
        UPDATE reconciliation_break b SET state = 'closed', closed_at = statement_timestamp(), closed_how = %(gone)s
        FROM gone WHERE gone.id = b.id RETURNING b.*, gone.before),
    told AS ({_moved("closed", "close", "before", "'closed'", "%(gone)s || ' by scan ' || %(scan)s::text")}),
    kept AS ({_kept("closed", "~")})
    SELECT count(*) FROM closed"""

AGAIN = "'found again by scan ' || %(scan)s::text"
# What was before is looked up once for all: one by one, in a table that grows meanwhile, each would read all of it.
NEW = f"""
    WITH past AS MATERIALIZED (
        SELECT DISTINCT ON (fingerprint) fingerprint, type, currency, left_amount, right_amount, closed_how,
               min(first_scan_id) OVER (PARTITION BY fingerprint) AS first
        FROM reconciliation_break
        WHERE legal_entity_id = %(entity)s AND fingerprint IN (SELECT fingerprint FROM recon_candidate)
        ORDER BY fingerprint, id DESC),
    made AS (
        INSERT INTO reconciliation_break (legal_entity_id, pair, fingerprint, {", ".join(SAYS)}, cause, evidence, state,
            first_scan_id, last_scan_id, closed_how)
        SELECT %(entity)s, c.pair, c.fingerprint, {", ".join(f"c.{name}" for name in SAYS)}, '', '[]',
               CASE WHEN p.fingerprint IS NULL THEN 'open' ELSE 'reopened' END, coalesce(p.first, %(scan)s), %(scan)s, ''
        FROM {FOUND} c LEFT JOIN past p ON p.fingerprint = c.fingerprint
        WHERE (p.closed_how = ANY(%(decided)s) AND p.type = c.type AND p.currency = c.currency
               AND (p.left_amount, p.right_amount) IS NOT DISTINCT FROM (c.left_amount, c.right_amount)) IS NOT TRUE
        ON CONFLICT (fingerprint) WHERE state <> 'closed' DO NOTHING RETURNING *),
    told AS ({_moved("made WHERE state = 'reopened'", "reopen", "'closed'", "'reopened'", AGAIN)}),
    kept AS ({_kept("made", "+")})
    SELECT count(*) FILTER (WHERE state = 'open'), count(*) FILTER (WHERE state = 'reopened') FROM made"""
