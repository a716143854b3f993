"""Home: the work to do, the health of the connections, and what went through today. A handful of indexed queries."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from typing import Any

from django.core.cache import caches
from django.db.models import Case, Count, Max, Q, Sum, Value, When
from django.http import HttpRequest
from django.utils import timezone

from connectors.models import BREAKER_AFTER, Connection, Cursor
from hub.admin import hooks
from hub.admin.reviews import groups, show_money
from hub.admin.timeline import duration
from hub.credits.models import Credit
from hub.models import InboxEvent, RejectedDelivery, ReviewItem, Run, Step
from hub.models.work import OPEN_STEP

FRESH = 10
"""Seconds the counts of today may be old: they are the only ones that grow with the day."""


def home(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """The context of the home page (unfold's DASHBOARD_CALLBACK)."""
    found = groups()
    steps = _open_steps()
    return {
        **context,
        "groups": found,
        "to_review": sum(group["count"] for group in found),
        "mine": ReviewItem.objects.filter(state="open", assignee=request.user.pk).count(),
        "credits": _credits(),
        "counts": _counts(steps),
        "connections": _connections(steps),
        "cards": hooks.cards(request),
        "today": caches["process"].get_or_set("home:today", _today, FRESH),
        "title": "Home",
    }


def to_review(request: HttpRequest) -> str:
    """How many questions are open (the badge in the navigation)."""
    count = ReviewItem.objects.filter(state="open")[:1000].count()
    return f"{count}" if count < 1000 else "999+"


def _credits() -> list[dict[str, Any]]:
    """Credits that wait for a decision, by how long: count, and money per currency. One query."""
    now = timezone.now()
    ages = [When(due_at__lt=now, then=Value("overdue"))]
    ages += [When(submitted_at__lt=now - timedelta(days=days), then=Value(name)) for name, days in (("week", 7), ("day", 1))]
    found: dict[str, dict[str, Any]] = {}
    rows = Credit.objects.filter(state="pending").annotate(age=Case(*ages, default=Value("today"))).values("age", "currency")
    for row in rows.annotate(count=Count("pk"), total=Sum("total")).order_by():
        one = found.setdefault(row["age"], {"count": 0, "money": {}, "label": AGES[row["age"]][0], "query": AGES[row["age"]][1]})
        one["count"] += row["count"]
        one["money"][row["currency"]] = row["total"]
    return [{**found[age], "money": show_money(found[age]["money"])} for age in AGES if age in found]


AGES = {
    "overdue": ("overdue", "tab=pending"), "week": ("asked for more than a week ago", "tab=pending&older=7"),
    "day": ("asked for more than a day ago", "tab=pending&older=1"), "today": ("asked for since yesterday", "tab=pending"),
}  # fmt: skip
"""How long a credit waits: in words, and the list of the desk."""

Steps = dict[tuple[int | None, str], int]


def _open_steps() -> Steps:
    """(connection, state) → how many steps are open."""
    rows = Step.objects.filter(state__in=OPEN_STEP).values("connection_id", "state").annotate(count=Count("id")).order_by()
    return {(row["connection_id"], row["state"]): row["count"] for row in rows}


def _counts(steps: Steps) -> list[dict[str, Any]]:
    def of(*states: str) -> int:
        return sum(count for (_, state), count in steps.items() if state in states)

    parked = Run.objects.filter(state="parked").count()
    return [
        {"label": "wait for a person", "count": of("waiting"), "query": "at=waiting", "tone": "wait"},
        {"label": "outcome unknown", "count": of("unknown"), "query": "at=unknown", "tone": "wait"},
        {"label": "parked", "count": parked, "query": "state=parked", "tone": "bad"},
        {"label": "under way", "count": of("ready", "running"), "query": "state=open", "tone": "plain"},
    ]


def _connections(steps: Steps) -> list[dict[str, Any]]:
    swept = dict(Cursor.objects.values_list("connection").annotate(last=Max("updated_at")).order_by())
    rows = Connection.objects.exclude(state="revoked").order_by("role", "title")
    return [
        {
            "connection": row,
            "trouble": trouble(row),
            "last_sweep": swept.get(row.pk),
            "open_steps": sum(count for (pk, _), count in steps.items() if pk == row.pk),
        }
        for row in rows
    ]


def trouble(connection: Connection) -> str:
    """What is wrong with a connection, in a few words; '' when nothing is."""
    if connection.state == "paused":
        return f"paused: {connection.pause_reason}" if connection.pause_reason else "paused"
    if connection.failures_in_row >= BREAKER_AFTER:
        return f"{connection.failures_in_row} failures in a row, probed with one call at a time"
    if connection.failures_in_row:
        return f"{connection.failures_in_row} failure{'s' if connection.failures_in_row > 1 else ''} in a row"
    if connection.not_before and connection.not_before > timezone.now():
        return f"asked us to wait {duration((connection.not_before - timezone.now()).total_seconds())}"
    return ""


def _today() -> dict[str, Any]:
    """What came in since midnight UTC, and what became of it. Ids grow with time: today is a range of ids."""
    midnight = datetime.combine(timezone.now().astimezone(UTC).date(), time(), UTC)
    came = InboxEvent.objects.filter(received_at__gte=midnight)
    first = came.order_by("received_at").values_list("pk", flat=True).first()
    kinds = {"duplicates": Q(disposition="duplicate"), "quarantined": Q(disposition="quarantined")}
    events = came.aggregate(total=Count("pk"), **{name: Count("pk", filter=wanted) for name, wanted in kinds.items()})
    states = {}
    if first is not None:
        rows = Run.objects.filter(event_id__gte=first).values_list("state").annotate(count=Count("pk")).order_by()
        states = dict(rows)
    refused = RejectedDelivery.objects.filter(day=midnight.date()).aggregate(total=Sum("count"))["total"] or 0
    done = states.get("done", 0)
    return {
        **events,
        "runs": sum(states.values()),
        "done": done,
        "under_way": sum(states.values()) - done,
        "refused": refused,
    }
