"""Why a break is there, judged by what the hub remembers of the object: its deliveries, its runs, its postings.

What disagrees is read from the systems themselves; only the explanation asks the hub's own memory. A cause that is
certain makes the break `explained`; a likely one is written down, and the break stays open. Facts are gathered by one
query for each CHUNK of breaks, and judged by a pure function.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from typing import Any

from django.db import connection as database
from psycopg.types.json import Jsonb

from reconciliation.models import Break, Scan

CHUNK = 5000
SLACK = timedelta(minutes=2)
"""How much later than our own call a document's change may be dated, and still be ours: clocks differ, calls last."""

MISSED, FAILED, OPEN, ENDED, UNKNOWN = "missed webhook", "failed run", "not yet worked", "ended by a person", "unknown"
CHANGED, MADE, GONE, CHANGED_AFTER = "changed in {} by hand", "made in {} by hand", "gone from {}", "changed in {} after posting"
NAMES = {"billing": "billing", "support": "support", "erp": "the ERP"}
OURS_TO_MAKE = ("invoice", "credit_memo", "payment", "party", "product")
"""What the hub makes in the other system, with its reference on it."""
ANNOUNCED = ("invoice", "credit_memo", "payment", "subscription", "party")
"""Kinds that a system with webhooks tells of by itself."""

Evidence = list[dict[str, Any]]
"""[{"text", "kind", "id"}]: what it is judged by; kind and id name an object of ours ('' and None: none)."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of the two sides of one break. Left is what should be carried over, right where it should be."""

    left_id: str = ""
    left_role: str = "billing"
    right_id: str = ""
    right_role: str = "erp"
    right_kind: str = "invoice"
    right_reference: str = ""
    left_changed_at: datetime | None = None
    right_changed_at: datetime | None = None
    left_is_watched: bool = False
    """Its system tells us of such objects by itself."""
    webhook_id: int | None = None
    webhook_at: datetime | None = None
    sweep_id: int | None = None
    sweep_at: datetime | None = None
    run_id: int | None = None
    run_state: str = ""
    item_id: int | None = None
    item_title: str = ""
    left_ref_id: int | None = None
    """Our reference to where the left one went, in the right system."""
    left_ref_to: str = ""
    posted_at: datetime | None = None
    right_ref_id: int | None = None
    """Our reference to the right one."""
    right_posted_at: datetime | None = None


def judge(known: Facts) -> tuple[str, Evidence, bool]:
    """(cause, evidence, whether it is certain)."""
    if known.item_id is not None:
        waits = _about("reviewitem", known.item_id, f"its run waits for a person: {known.item_title}")
        return FAILED, [waits, *_run(known)], True
    if known.run_state == "parked":
        return FAILED, _run(known), True
    if known.run_state in ("open", "compensating"):
        return OPEN, _run(known), True
    if known.right_id:
        return _of_both(known)
    return _of_missing(known)


def _of_missing(known: Facts) -> tuple[str, Evidence, bool]:
    """The left one has no counterpart."""
    if known.left_ref_id is not None:
        was = f"it was posted as {known.left_ref_to} on {_day(known.posted_at)}, and is not there"
        return GONE.format(NAMES[known.right_role]), [_about("externalref", known.left_ref_id, was), *_run(known)], True
    if known.run_state == "closed":
        return ENDED, _run(known), True
    if known.webhook_id is None and known.left_is_watched:
        swept = _about("inboxevent", known.sweep_id, f"a sweep found it on {_day(known.sweep_at)}") if known.sweep_id else None
        never = _about("", None, f"no webhook about {known.left_id} ever came")
        return MISSED, [never, *([swept] if swept else []), *_run(known)], True
    came = [_about("inboxevent", known.webhook_id, f"its webhook came on {_day(known.webhook_at)}")] if known.webhook_id else []
    return UNKNOWN, [*came, *_run(known)], False


def _of_both(known: Facts) -> tuple[str, Evidence, bool]:
    """The right one is there: alone, or another than it should be."""
    if known.right_ref_id is None and not known.right_reference and known.right_kind in OURS_TO_MAKE:
        made = f"{known.right_id} carries no reference of ours, and the hub never posted it"
        return MADE.format(NAMES[known.right_role]), [_about("", None, made)], True
    posted = known.right_posted_at or known.posted_at
    evidence = (
        [_about("externalref", known.right_ref_id, f"posted by us on {_day(posted)}")] if known.right_ref_id and posted else []
    )
    right_later = _later(known.right_changed_at, posted)
    left_later = _later(known.left_changed_at, posted)
    if right_later:
        evidence.append(_about("", None, f"{known.right_id} was changed there on {_day(known.right_changed_at)}"))
    if left_later:
        evidence.append(_about("", None, f"{known.left_id} was changed there on {_day(known.left_changed_at)}"))
    evidence += _run(known)
    if right_later and not left_later:
        return CHANGED.format(NAMES[known.right_role]), evidence, True
    if left_later and not right_later:
        return CHANGED_AFTER.format(NAMES[known.left_role]), evidence, True
    return UNKNOWN, evidence, False


def _later(changed: datetime | None, posted: datetime | None) -> bool:
    return changed is not None and posted is not None and changed > posted + SLACK


def _run(known: Facts) -> Evidence:
    return [] if known.run_id is None else [_about("run", known.run_id, f"run {known.run_id} is {known.run_state}")]


def _about(kind: str, pk: int | None, text: str) -> dict[str, Any]:
    return {"text": text, "kind": kind, "id": pk}


def _day(at: datetime | None) -> str:
    return f"{at:%Y-%m-%d %H:%M}" if at else "an unknown day"


# the scan's breaks ---------------------------------------------------------------------------------------------------


def explain(scan: Scan) -> dict[str, int]:
    """Judge the breaks that this scan found: those without a cause, and those whose cause may have passed since.

    Returns cause → how many. Inside a transaction.
    """
    found: dict[str, int] = {}
    after = 0
    while chunk := list(_facts(scan, after)):
        after = chunk[-1][0]
        judged = [(pk, *judge(known)) for pk, known in chunk]
        for _pk, cause, _evidence, _certain in judged:
            found[cause] = found.get(cause, 0) + 1
        _write(judged)
    return dict(sorted(found.items()))


def _facts(scan: Scan, after: int) -> Iterator[tuple[int, Facts]]:
    """(break, what is known of it), in order of the breaks."""
    with database.cursor() as cursor:
        cursor.execute(
            FACTS, {"scan": scan.pk, "after": after, "chunk": CHUNK, "told": list(ANNOUNCED), "provisional": ["", UNKNOWN, OPEN]}
        )
        names = [column.name for column in cursor.description or ()]
        for row in cursor.fetchall():
            told: Mapping[str, Any] = dict(zip(names, row, strict=True))
            yield told["id"], Facts(**{field.name: told[field.name] for field in fields(Facts)})


def _write(judged: list[tuple[int, str, Evidence, bool]]) -> None:
    with database.cursor() as cursor:
        cursor.execute(
            WRITE,
            [
                [pk for pk, *_ in judged],
                [cause for _, cause, _, _ in judged],
                [Jsonb(evidence) for _, _, evidence, _ in judged],
                [certain for *_, certain in judged],
            ],
        )


FACTS = """
    WITH broken AS (
        SELECT id, coalesce("left" #> '{items,0}', "left") AS "left", coalesce("right" #> '{items,0}', "right") AS "right"
        FROM reconciliation_break
        WHERE last_scan_id = %(scan)s AND cause = ANY(%(provisional)s) AND state IN ('open', 'reopened', 'explained')
          AND id > %(after)s
        ORDER BY id LIMIT %(chunk)s
    ), sides AS (
        SELECT b.id, l.external_id AS left_id, lc.id AS left_connection, lc.role AS left_role, l.updated_at AS left_changed_at,
               CASE WHEN l.kind = 'payment' AND l.about <> '' THEN 'invoice' ELSE l.kind END AS subject_kind,
               CASE WHEN l.kind = 'payment' AND l.about <> '' THEN l.about ELSE l.external_id END AS subject_id,
               l.kind AS left_kind, lc.sealed_webhook_secrets <> '' AND l.kind = ANY(%(told)s) AS left_is_watched,
               r.external_id AS right_id, rc.id AS right_connection, rc.role AS right_role, r.kind AS right_kind,
               r.reference AS right_reference, r.updated_at AS right_changed_at
        FROM broken b
        LEFT JOIN connectors_connection lc ON lc.slug = b."left" ->> 'system'
        LEFT JOIN reconciliation_readingrow l ON (l.scan_id, l.connection_id, l.kind, l.external_id)
                  = (%(scan)s, lc.id, b."left" ->> 'kind', b."left" ->> 'id')
        LEFT JOIN connectors_connection rc ON rc.slug = b."right" ->> 'system'
        LEFT JOIN reconciliation_readingrow r ON (r.scan_id, r.connection_id, r.kind, r.external_id)
                  = (%(scan)s, rc.id, b."right" ->> 'kind', b."right" ->> 'id')
    )
    SELECT s.id, coalesce(s.left_id, '') AS left_id, coalesce(s.left_role, 'billing') AS left_role,
           coalesce(s.right_id, '') AS right_id, coalesce(s.right_role, gone.role, 'erp') AS right_role,
           coalesce(s.right_kind, '') AS right_kind, coalesce(s.right_reference, '') AS right_reference,
           s.left_changed_at, s.right_changed_at, coalesce(s.left_is_watched, false) AS left_is_watched,
           hook.id AS webhook_id, hook.received_at AS webhook_at, swept.id AS sweep_id, swept.received_at AS sweep_at,
           run.id AS run_id, coalesce(run.state, '') AS run_state, run.item_id, coalesce(run.item_title, '') AS item_title,
           gone.id AS left_ref_id, coalesce(gone.name, '') AS left_ref_to, gone.valid_from AS posted_at,
           there.id AS right_ref_id, there.valid_from AS right_posted_at
    FROM sides s
    LEFT JOIN LATERAL (
        SELECT e.id, e.received_at FROM hub_inboxevent e
        WHERE e.subject_kind = s.subject_kind AND e.subject_id = s.subject_id AND e.connection_id = s.left_connection
          AND e.origin = 'webhook' ORDER BY e.id LIMIT 1) AS hook ON true
    LEFT JOIN LATERAL (
        SELECT e.id, e.received_at FROM hub_inboxevent e
        WHERE e.subject_kind = s.subject_kind AND e.subject_id = s.subject_id AND e.connection_id = s.left_connection
          AND e.origin = 'sweep' ORDER BY e.id LIMIT 1) AS swept ON true
    LEFT JOIN LATERAL (
        SELECT r.id, r.state, i.id AS item_id, i.title AS item_title FROM hub_run r
        LEFT JOIN hub_step w ON w.run_id = r.id AND w.state = 'waiting'
        LEFT JOIN hub_reviewitem i ON i.id = w.waiting_on_id
        WHERE r.subject_kind = s.subject_kind AND r.subject_id = s.subject_id AND r.connection_id = s.left_connection
        ORDER BY r.state IN ('open', 'parked', 'compensating') DESC, r.id DESC LIMIT 1) AS run ON true
    LEFT JOIN LATERAL (
        SELECT p.id, p.valid_from, c.role, coalesce(nullif(p.number, ''), p.external_id) AS name
        FROM canonical_externalref o
        JOIN canonical_externalref p ON p.object_kind = o.object_kind AND p.object_id = o.object_id AND p.kind = o.kind
             AND p.connection_id <> o.connection_id AND p.state = 'active'
        JOIN connectors_connection c ON c.id = p.connection_id AND c.role = 'erp'
        WHERE o.connection_id = s.left_connection AND o.kind = s.left_kind AND o.external_id = s.left_id AND o.state = 'active'
          AND s.right_id IS NULL
        ORDER BY p.id LIMIT 1) AS gone ON true
    LEFT JOIN LATERAL (
        SELECT p.id, p.valid_from FROM canonical_externalref p
        WHERE p.connection_id = s.right_connection AND p.external_id = s.right_id AND p.state = 'active'
          AND (p.kind = s.right_kind OR (s.right_kind = 'credit_memo' AND p.kind IN ('reversal', 'credit')))
        ORDER BY p.id LIMIT 1) AS there ON true
    ORDER BY s.id
"""

KEPT = ", ".join(f'"{f.column}"' for f in Break.history.model._meta.concrete_fields if not f.name.startswith("history_"))
"""The columns of a break that its history keeps."""

WRITE = f"""
    WITH judged AS (
        SELECT b.id, b.state AS source, v.cause, v.evidence,
               CASE WHEN v.certain THEN 'explained' WHEN b.state = 'explained' THEN 'reopened' ELSE b.state END AS target
        FROM unnest(%s::bigint[], %s::text[], %s::jsonb[], %s::boolean[]) AS v(id, cause, evidence, certain)
        JOIN reconciliation_break b ON b.id = v.id
        WHERE b.cause <> v.cause OR b.evidence <> v.evidence
        FOR UPDATE OF b
    ), explained AS (
        UPDATE reconciliation_break b SET cause = j.cause, evidence = j.evidence, state = j.target
        FROM judged j WHERE b.id = j.id RETURNING b.*
    ), told AS (
        INSERT INTO canonical_transition (object_kind, object_id, name, source, target, by, note)
        SELECT 'break', id, CASE target WHEN 'explained' THEN 'explain' ELSE 'reopen' END, source, target, 'reconciliation', cause
        FROM judged WHERE source <> target
    )
    INSERT INTO reconciliation_historicalbreak ({KEPT}, history_date, history_type)
    SELECT {KEPT}, statement_timestamp(), '~' FROM explained
"""
"""One statement: causes that are new, the transitions they mean, and the breaks' histories."""
