"""What calls tell about their connection: the breaker, the retry budget, and the words on the connection page.

Kept in PostgreSQL, so that every worker sees them, a person can read them, and they survive a restart.
"""

from __future__ import annotations

from collections.abc import Sequence

from django.db import connection

from connectors.models import BREAKER_AFTER
from hub.engine.perform import Outcome

PROBE_EVERY = 30
"""Seconds between probes while a connection keeps failing."""
BUDGET_SHARE, BUDGET_FLOOR, BUDGET_WINDOW = 0.10, 60, 60


def note(outcomes: Sequence[tuple[int | None, Outcome]]) -> None:
    """Count a settled batch. An answer of any kind is health; silence, resets and 5xx are not."""
    well: set[int] = set()
    ill: dict[int, list[str]] = {}
    for connection_id, outcome in outcomes:
        if connection_id is None or not outcome.reached:
            continue
        if outcome.kind in ("busy", "unknown") and not outcome.throttled:
            ill.setdefault(connection_id, []).append(f"{outcome.code}: {outcome.message}")
        elif outcome.kind in ("done", "found", "refused"):
            well.add(connection_id)
    with connection.cursor() as cursor:
        if well - ill.keys():
            cursor.execute(
                """UPDATE connectors_connection SET failures_in_row = 0, last_success_at = now()
                   WHERE id = ANY(%s) AND (failures_in_row > 0 OR last_success_at IS NULL
                                           OR last_success_at < now() - interval '15 seconds')""",
                [sorted(well - ill.keys())],
            )
        for connection_id, messages in sorted(ill.items()):
            if connection_id in well:
                continue
            cursor.execute(
                """UPDATE connectors_connection SET failures_in_row = failures_in_row + %s, last_failure_at = now(),
                          last_failure = %s,
                          not_before = CASE WHEN failures_in_row + %s >= %s
                                            THEN greatest(not_before, now() + %s * interval '1 second') ELSE not_before END
                   WHERE id = %s""",
                [len(messages), messages[-1][:2000], len(messages), BREAKER_AFTER, PROBE_EVERY, connection_id],
            )


def budget_wait(connection_id: int | None) -> float:
    """Extra seconds for a retry when retries exceed a tenth of the connection's calls (and one a second)."""
    if connection_id is None:
        return 0.0
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT count(*) FILTER (WHERE outcome IN ('busy', 'unknown')), count(*) FROM hub_attempt
               WHERE connection_id = %s AND at > now() - %s * interval '1 second'""",
            [connection_id, BUDGET_WINDOW],
        )
        row = cursor.fetchone()
    assert row is not None
    retries, calls = row
    return float(BUDGET_WINDOW) if retries > max(BUDGET_FLOOR, BUDGET_SHARE * calls) else 0.0
