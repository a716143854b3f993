"""Questions for people: open one, and collect what it blocks. What an answer does is in `hub.answers`."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from django.db import connection
from django.db.models import QuerySet, Sum

from connectors.models import Connection
from hub.models import InboxEvent, ReviewItem, Run

HEALING_LOCK = 0x71E2


def hold_off_healing() -> None:
    """While this transaction lasts, no cause can go away: what it finds missing is asked for before anybody can mend it.

    Taken by every settling (shared with the others) and by `heal` (alone): otherwise a step could find its mapping
    missing, and begin to wait for it after the approval has looked for those who wait.
    """
    _healing_lock("_shared")


def _healing_lock(how: str = "") -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT pg_advisory_xact_lock{how}(%s)", [HEALING_LOCK])


def wait_for_settling() -> None:
    """The other side of `hold_off_healing`: from here on, everything blocked so far is seen."""
    _healing_lock()


def fingerprint(*parts: object) -> str:
    """The identity of a cause: failures with the same parts share one open item."""
    return hashlib.sha256("\x1f".join(map(str, parts)).encode()).hexdigest()


def open_item(
    cause: str, mark: str, title: str, *, group: str = "operator", source: Connection | int | None = None,
    event: InboxEvent | int | None = None, detail: dict[str, Any] | None = None,
) -> ReviewItem:  # fmt: skip
    """Open the item of this fingerprint, or count one more occurrence of the open one. Safe under concurrency."""
    with connection.cursor() as cursor:
        cursor.execute(
            """INSERT INTO hub_reviewitem (cause, fingerprint, title, detail, connection_id, event_id, "group", state,
                                           occurrences, answer, reason, resolved_by)
               VALUES (%s, %s, %s, %s, %s, %s, %s, 'open', 1, '', '', '')
               ON CONFLICT (fingerprint) WHERE state = 'open'
               DO UPDATE SET occurrences = hub_reviewitem.occurrences + 1, last_seen_at = now()
               RETURNING id""",
            [cause, mark, title[:300], json.dumps(detail or {}), _pk(source), _pk(event), group],
        )
        row = cursor.fetchone()
    assert row is not None
    return ReviewItem.objects.get(pk=row[0])


def _pk(value: Any) -> int | None:
    return value if value is None or isinstance(value, int) else value.pk


def blocked_runs(item: ReviewItem) -> QuerySet[Run]:
    """The runs that wait for this item."""
    return Run.objects.filter(steps__waiting_on=item, steps__state="waiting").order_by("id")


def money_blocked(item: ReviewItem) -> dict[str, Any]:
    """Currency → sum of what waits for this item."""
    sums = blocked_runs(item).exclude(currency="").values("currency").annotate(total=Sum("amount")).order_by("currency")
    return {row["currency"]: row["total"] for row in sums}
