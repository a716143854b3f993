"""What came in: events as they were told, what became of them, and replay."""

from __future__ import annotations

from typing import Any

import structlog
from django.contrib import admin
from django.db import transaction
from django.db.models import Prefetch, Q, QuerySet
from django.http import HttpRequest

from canonical.models import Transition
from canonical.models.base import record_transition
from connectors.models import Connection
from connectors.sdk.errors import BadPayload
from hub import inbox
from hub.admin.panels import Panel, facts_of, runs
from hub.admin.references import KINDS
from hub.admin_ui import Choices, Problem, ReadOnlyAdmin, badge, button, is_uuid, link, named, pretty, when
from hub.flows.sweep import diagnosis
from hub.models import InboxEvent, RejectedDelivery, Run

log = structlog.get_logger("hub.admin")

MOST_FOUND = 500
DIAGNOSES = {
    "missed": "Its webhook never came: a sweep found it.",
    "failed": "It came, and its work has not ended well.",
    "fine": "It came, and its work is done.",
}


def wanted_events(term: str, exact: bool = False) -> Q:
    """Events by their own external id, by the id of what they are about, or by correlation id."""
    everywhere = Connection.objects.values("pk")
    wanted = [
        named("external_id", term, exact) & Q(connection__in=everywhere, duplicate_of=None),
        named("subject_id", term, exact) & Q(subject_kind__in=KINDS),
        *([Q(correlation_id=term)] if is_uuid(term) else []),
    ]
    # Three indexes: each is asked by itself, because one condition with OR would use none of them.
    return Q(pk__in=[pk for q in wanted for pk in InboxEvent.objects.filter(q).values_list("pk", flat=True)[:MOST_FOUND]])


@admin.register(InboxEvent)
class InboxEventAdmin(ReadOnlyAdmin):
    """What a system told us, exactly as it did."""

    template = "admin/tieout/event.html"
    list_display = ("external_id", "kind", "subject_id", "connection", "disposition_", "runs_", when("received_at"))
    list_select_related = ("connection",)
    list_filter = (
        Choices.of("disposition", InboxEvent.Disposition.choices, "what became of it"),
        Choices.of("origin", InboxEvent.Origin.choices),
        "connection",
    )
    search_fields = ("external_id",)
    search_help_text = "Event id, or id of what it is about"

    def get_queryset(self, request: HttpRequest) -> QuerySet[InboxEvent]:
        rows = super().get_queryset(request).select_related("connection")
        match = request.resolver_match
        if match is not None and match.url_name and match.url_name.endswith("_changelist"):
            rows = rows.defer("body").prefetch_related(Prefetch("runs", Run.objects.only("id", "event_id", "state", "flow")))
        return rows

    def get_search_results(self, request: HttpRequest, queryset: QuerySet[Any], search_term: str) -> tuple[QuerySet[Any], bool]:
        term = search_term.strip()
        return (queryset.filter(wanted_events(term)), False) if term else (queryset, False)

    @admin.display(description="what became of it")
    def disposition_(self, obj: InboxEvent) -> str:
        return badge(obj.disposition, obj.get_disposition_display())

    @admin.display(description="runs")
    def runs_(self, obj: InboxEvent) -> str:
        newest = max(obj.runs.all(), key=lambda run: run.pk, default=None)
        return badge(newest.state) if newest else ""

    def describe(self, request: HttpRequest, obj: InboxEvent) -> dict[str, Any]:
        facts = facts_of(obj, "connection", "kind", "name", "subject_kind", "subject_id", "occurred_at", "received_at")
        facts += [
            ("Came as", obj.get_origin_display().lower()),
            ("What became of it", badge(obj.disposition, obj.get_disposition_display())),
        ]
        if obj.disposition == InboxEvent.Disposition.RUN:
            facts.append(("Diagnosis", DIAGNOSES[diagnosis(obj)]))
        facts += facts_of(obj, "duplicate_of", "correlation_id", "body_digest")
        return {
            "facts": facts,
            "panels": [
                runs(obj.runs.order_by("-id")[:50], empty="No workflow was started."),
                _replays(obj),
                _duplicates(obj),
            ],
            "texts": [("As it came", pretty(obj.body))],
            "typed": request.POST,
        }

    @button("hub.replay_inboxevent")
    def replay(self, request: HttpRequest, event: InboxEvent) -> str:
        """Work the event again, with a reason that stays on record."""
        reason = request.POST.get("reason", "").strip()
        if len(reason) < 5:
            raise Problem("Say why it is worked again, in a few words.")
        by = request.user.get_username()
        try:
            with transaction.atomic():
                started = inbox.replay(event, by=by)
                for run in started:
                    record_transition(run, "replay", "", by=by, note=reason, run_id=run.pk)
        except BadPayload as error:
            raise Problem(f"It is still not understood: {error}") from None
        if not started:
            raise Problem("No workflow listens to this event.")
        log.info("event_replayed", inbox_event=event.pk, by=by, runs=[run.pk for run in started])
        return f"{len(started)} run{'s' if len(started) > 1 else ''} started. What exists already is found, not repeated."


def _replays(event: InboxEvent) -> Panel:
    rows = Transition.objects.filter(run_id__in=event.runs.values("pk"), name="replay").order_by("-id")[:20]
    shown = [(m.at, m.by, m.note, f"run {m.run_id}") for m in rows]
    return Panel("Replays", ("When", "By", "Why", "Started"), shown, "It was never replayed.")


def _duplicates(event: InboxEvent) -> Panel:
    again = event.duplicates.defer("body").order_by("-id")[:50]
    rows = [
        (link(d, f"#{d.pk}"), d.received_at, badge(d.disposition, d.get_disposition_display()), d.body_digest[:12]) for d in again
    ]
    return Panel("The same id again", ("Delivery", "Received", "Content", "Digest"), rows, "It came once.")


@admin.register(RejectedDelivery)
class RejectedDeliveryAdmin(ReadOnlyAdmin):
    """Deliveries refused at the door: counted by day and reason, and not kept."""

    list_display = ("connection", when("day"), "reason", "count")
    list_select_related = ("connection",)
    list_filter = ("connection",)
    ordering = ("-day", "-id")

    def describe(self, request: HttpRequest, obj: RejectedDelivery) -> dict[str, Any]:
        return {"facts": facts_of(obj, "connection", "day", "reason", "count")}
