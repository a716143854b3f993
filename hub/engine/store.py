"""Claim and settle in SQL: set-based, under SKIP LOCKED, leases and fences. Time is PostgreSQL's alone."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from django.conf import settings
from django.db import IntegrityError, connection, transaction
from psycopg.types.json import Jsonb

from connectors.models import Connection
from hub.engine import crash
from hub.models import Run, Step

LOCAL = None
"""The pool of steps that call nobody."""


@dataclass(slots=True)
class Claimed:
    """A step this worker holds. `lost` when an earlier call may have landed."""

    step: Step
    token: uuid.UUID
    lost: bool


@dataclass(slots=True)
class Change:
    """What settling writes to a step row. `wait` is seconds from the database's now."""

    state: str
    wait: float = 0.0
    result: Any = None
    error_code: str = ""
    error: str = ""
    waiting_on: int | None = None
    crashes: int = 0
    lookups: int = 0


@dataclass(slots=True)
class NewStep:
    """A step row to insert."""

    run_id: int
    name: str
    lane: str
    connection_id: int | None = None
    key: str = ""
    request: Any = None
    digest: str = ""
    state: str = "ready"
    waiting_on: int | None = None
    wait: float = 0.0


@dataclass(slots=True)
class Ledger:
    """Rows gathered while a batch settles, written together."""

    changes: dict[int, Change] = field(default_factory=dict)
    runs: dict[int, Run] = field(default_factory=dict)
    """Runs that changed, by id."""
    attempts: list[tuple[Any, ...]] = field(default_factory=list)
    steps: list[NewStep] = field(default_factory=list)


CANDIDATES = """
    SELECT s.id, s.lane FROM hub_step s JOIN hub_run own ON own.id = s.run_id
    WHERE s.state IN ('ready', 'unknown') AND s.due_at <= now() AND {pool}
      AND NOT EXISTS (SELECT 1 FROM hub_run r WHERE r.lane = own.lane AND r.id < s.run_id
                      AND r.state IN ('open', 'compensating', 'parked'))
      AND NOT EXISTS (SELECT 1 FROM hub_step b WHERE b.lane = s.lane AND b.state = 'running')
    ORDER BY s.due_at, s.id LIMIT %s FOR UPDATE OF s SKIP LOCKED
"""

CLAIM = """
    UPDATE hub_step SET state = 'running', attempts = attempts + 1, tries = tries + 1, lease_token = %s, worker = %s,
           lease_until = now() + %s * interval '1 second'
    WHERE id = ANY(%s)
"""

ROOM = """
    SELECT %s - count(*) FROM hub_step WHERE state = 'running' AND connection_id = %s
"""


def pools(overdue: float = 0) -> list[Connection | None]:
    """Where work is due: connections that may be called now, and LOCAL. Cheap: one index probe a pool.

    `overdue` asks only for work that has been due for so many seconds.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT c.id FROM connectors_connection c
               WHERE c.state = 'active' AND (c.not_before IS NULL OR c.not_before <= now())
                 AND EXISTS (SELECT 1 FROM hub_step s WHERE s.connection_id = c.id AND s.state IN ('ready', 'unknown')
                             AND s.due_at <= now() - %s * interval '1 second')
               UNION ALL
               SELECT 0 WHERE EXISTS (SELECT 1 FROM hub_step s WHERE s.connection_id IS NULL
                             AND s.state IN ('ready', 'unknown') AND s.due_at <= now() - %s * interval '1 second')""",
            [overdue, overdue],
        )
        due = [row[0] for row in cursor.fetchall()]
    live = {c.pk: c for c in Connection.objects.filter(pk__in=[pk for pk in due if pk])} if any(due) else {}
    return [live[pk] if pk else LOCAL for pk in due if not pk or pk in live]


def claim(pool: Connection | None, limit: int, worker: str) -> list[Claimed]:
    """Take up to `limit` due steps of a pool, within the connection's room. Commits. Never waits for another worker."""
    for _ in range(3):
        try:
            claimed = _claim(pool, limit, worker)
        except IntegrityError:  # another worker took one of these lanes between our read and our write
            continue
        if claimed:
            crash.point("after_claim")
        return claimed
    return []


def _claim(pool: Connection | None, limit: int, worker: str) -> list[Claimed]:
    with transaction.atomic(), connection.cursor() as cursor:
        if pool is not None:
            # Room is counted and taken by one claimer at a time; whoever comes meanwhile finds other work.
            cursor.execute("SELECT pg_try_advisory_xact_lock(%s, %s)", [ROOM_LOCK, pool.pk])
            if not cursor.fetchone()[0]:
                return []
            cursor.execute(ROOM, [pool.room, pool.pk])
            limit = min(limit, cursor.fetchone()[0])
        if limit <= 0:
            return []
        where = "s.connection_id IS NULL" if pool is None else "s.connection_id = %s"
        cursor.execute(CANDIDATES.format(pool=where), [*([] if pool is None else [pool.pk]), limit])
        lanes: dict[str, int] = {}
        for pk, lane in cursor.fetchall():
            lanes.setdefault(lane, pk)
        if not lanes:
            return []
        steps = list(Step.objects.filter(pk__in=lanes.values()).select_related("run"))
        _attach_sources([step.run for step in steps])
        token = uuid.uuid4()
        claimed = []
        for step in steps:
            lost = step.state == "unknown"
            step.claim()
            step.attempts += 1
            step.tries += 1
            claimed.append(Claimed(step, token, lost))
        cursor.execute(CLAIM, [token, worker, settings.LEASE_SECONDS, [step.pk for step in steps]])
    return claimed


def _attach_sources(runs: Sequence[Run]) -> None:
    """Give runs the connection they came from in one statement; flows ask for it at every step."""
    sources = Connection.objects.select_related("legal_entity").in_bulk({run.connection_id for run in runs if run.connection_id})
    for run in runs:
        if run.connection_id:
            run.connection = sources[run.connection_id]


ROOM_LOCK = 0x71E0
"""First key of the advisory lock under which a connection's room is counted."""


def still_mine(claimed: Sequence[Claimed]) -> set[int]:
    """Lock the rows whose lease is still ours; a worker that woke too late gets none. Inside a transaction."""
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT s.id FROM hub_step s
               JOIN unnest(%s::bigint[], %s::uuid[]) AS mine(id, token) ON mine.id = s.id AND mine.token = s.lease_token
               WHERE s.state = 'running' ORDER BY s.id FOR UPDATE OF s""",
            [[c.step.pk for c in claimed], [c.token for c in claimed]],
        )
        return {row[0] for row in cursor.fetchall()}


def write(ledger: Ledger) -> None:
    """Write a settled batch: four statements whatever its size. Inside a transaction."""
    with connection.cursor() as cursor:
        if ledger.attempts:
            cursor.execute(
                f"""INSERT INTO hub_attempt ({ATTEMPT_COLUMNS}) SELECT a.* FROM unnest(
                    %s::bigint[], %s::bigint[], %s::bigint[], %s::int[], %s::text[], %s::text[],
                    %s::int[], %s::text[], %s::text[], %s::jsonb[]) AS a""",
                [list(column) for column in zip(*ledger.attempts, strict=True)],
            )
        if ledger.changes:
            rows = list(ledger.changes.items())
            cursor.execute(
                SETTLE,
                [
                    [pk for pk, _ in rows],
                    [c.state for _, c in rows],
                    [c.wait for _, c in rows],
                    [None if c.result is None else Jsonb(c.result) for _, c in rows],
                    [c.error_code[:100] for _, c in rows],
                    [c.error[:4000] for _, c in rows],
                    [c.waiting_on for _, c in rows],
                    [c.crashes for _, c in rows],
                    [c.lookups for _, c in rows],
                ],
            )
        if ledger.runs:
            runs = list(ledger.runs.values())
            cursor.execute(
                UPDATE_RUNS,
                [
                    [run.pk for run in runs],
                    [run.state for run in runs],
                    [Jsonb(run.context) for run in runs],
                    [run.object_id for run in runs],
                    [run.amount for run in runs],
                    [run.currency for run in runs],
                    [run.ended_at for run in runs],
                ],
            )
        if ledger.steps:
            new = ledger.steps
            cursor.execute(
                INSERT_STEPS,
                [
                    [s.run_id for s in new],
                    [s.name for s in new],
                    [s.lane for s in new],
                    [s.state for s in new],
                    [s.connection_id for s in new],
                    [s.key for s in new],
                    [None if s.request is None else Jsonb(s.request) for s in new],
                    [s.digest for s in new],
                    [s.waiting_on for s in new],
                    [s.wait for s in new],
                ],
            )


def wake(subject_kind: str, subject_id: str) -> None:
    """What the gates of a subject's runs judge by has changed: let them judge again. Inside the transaction of the change."""
    with connection.cursor() as cursor:
        cursor.execute(
            """UPDATE hub_step s SET state = 'ready', due_at = now() FROM hub_run r
               WHERE r.id = s.run_id AND r.subject_kind = %s AND r.subject_id = %s AND s.connection_id IS NULL
                 AND s.waiting_on_id IS NULL AND s.state IN ('waiting', 'ready')""",
            [subject_kind, subject_id],
        )


ATTEMPT_COLUMNS = "step_id, run_id, connection_id, number, outcome, worker, milliseconds, error_code, error, exchanges"

SETTLE = """
    UPDATE hub_step s SET
        state = v.state, due_at = now() + v.wait * interval '1 second', result = coalesce(v.result, s.result),
        error_code = v.error_code, error = v.error, waiting_on_id = v.waiting_on,
        crashes = s.crashes + v.crashes, lookups = s.lookups + v.lookups,
        lease_token = NULL, lease_until = NULL, ended_at = CASE WHEN v.state IN ('done', 'failed') THEN now() END
    FROM unnest(%s::bigint[], %s::text[], %s::float8[], %s::jsonb[], %s::text[], %s::text[], %s::bigint[], %s::int[],
                %s::int[])
         AS v(id, state, wait, result, error_code, error, waiting_on, crashes, lookups)
    WHERE s.id = v.id
"""

UPDATE_RUNS = """
    UPDATE hub_run r SET state = v.state, context = v.context, object_id = v.object_id, amount = v.amount, currency = v.currency,
           ended_at = v.ended_at
    FROM unnest(%s::bigint[], %s::text[], %s::jsonb[], %s::bigint[], %s::numeric[], %s::text[], %s::timestamptz[])
         AS v(id, state, context, object_id, amount, currency, ended_at)
    WHERE r.id = v.id
"""

INSERT_STEPS = """
    INSERT INTO hub_step (run_id, name, lane, state, connection_id, key, request, request_digest, waiting_on_id, due_at,
                          attempts, tries, crashes, lookups, worker, error_code, error)
    SELECT v.run_id, v.name, v.lane, v.state, v.connection_id, v.key, v.request, v.digest, v.waiting_on,
           now() + v.wait * interval '1 second', 0, 0, 0, 0, '', '', ''
    FROM unnest(%s::bigint[], %s::text[], %s::text[], %s::text[], %s::bigint[], %s::text[], %s::jsonb[], %s::text[],
                %s::bigint[], %s::float8[])
         AS v(run_id, name, lane, state, connection_id, key, request, digest, waiting_on, wait)
"""


def defer_connection(connection_id: int, seconds: float) -> None:
    """Keep the wait a vendor asked for, for the whole connection; never shorten one."""
    with connection.cursor() as cursor:
        cursor.execute(
            """UPDATE connectors_connection SET not_before = greatest(not_before, now() + %s * interval '1 second')
               WHERE id = %s""",
            [seconds, connection_id],
        )


def backlog(limit: int) -> bool:
    """True when at least `limit` steps are due now."""
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT count(*) FROM (SELECT 1 FROM hub_step WHERE state IN ('ready', 'unknown') AND due_at <= now()
               LIMIT %s) AS due""",
            [limit],
        )
        return bool(cursor.fetchone()[0] >= limit)
