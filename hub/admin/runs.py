"""Runs: the list, and the timeline of one."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import Prefetch, Q, QuerySet
from django.http import HttpRequest

from canonical.models import ExternalRef
from hub import flows
from hub.admin.panels import facts_of, references, runs
from hub.admin.references import KINDS
from hub.admin.timeline import progress, timeline
from hub.admin_ui import Choices, ReadOnlyAdmin, badge, is_uuid, money, named, pretty, when
from hub.models import Run, Step
from hub.models.work import OPEN_STEP
from hub.roles import may_answer

STATES = ("open", "parked", "compensating", "done", "compensated", "closed")


def wanted_runs(term: str, exact: bool = False) -> Q:
    """Runs by the id of their subject, by correlation id, or by an id or number it has elsewhere (exact)."""
    if is_uuid(term):
        return Q(correlation_id=term)
    wanted = named("subject_id", term, exact) & Q(subject_kind__in=KINDS)
    ours = ExternalRef.objects.filter(Q(external_id=term) | Q(number=term)).values_list("object_kind", "object_id")[:20]
    for kind, pk in ours:
        ids = ExternalRef.objects.filter(object_kind=kind, object_id=pk).values_list("external_id", flat=True)
        wanted |= Q(subject_kind=kind, subject_id__in=[i for i in ids if i])
    return wanted


class FlowFilter(Choices):
    """By workflow."""

    title, parameter_name = "workflow", "flow"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(name, flows.current(name).title) for name in flows.names()]


class StandsAtFilter(Choices):
    """By the state of the step a run stands at."""

    title, parameter_name = "current step", "at"
    options = tuple((state, state) for state in OPEN_STEP)

    def narrow(self, queryset: QuerySet[Any], value: str) -> QuerySet[Any]:
        return queryset.filter(pk__in=Step.objects.filter(state=value).values("run"))


@admin.register(Run)
class RunAdmin(ReadOnlyAdmin):
    """One workflow for one event, sweep or command."""

    template = "admin/tieout/run.html"
    list_display = ("run_", "flow_", "subject_", "amount_", "state_", "at_", "connection", when("started_at"))
    list_display_links = ("run_",)
    list_select_related = ("connection",)
    list_filter = (Choices.of("state", [(s, s) for s in STATES]), StandsAtFilter, FlowFilter, "connection")
    search_fields = ("subject_id",)
    search_help_text = "Subject id, ERP number, correlation id"

    def get_queryset(self, request: HttpRequest) -> QuerySet[Run]:
        rows = super().get_queryset(request).select_related("connection", "event__connection")
        match = request.resolver_match
        if match is not None and match.url_name and match.url_name.endswith("_changelist"):
            here = Step.objects.filter(state__in=OPEN_STEP).only("id", "run_id", "name", "state")
            rows = (
                rows.select_related(None)
                .select_related("connection")
                .defer("context")
                .prefetch_related(Prefetch("steps", here, "here"))
            )
        return rows

    def get_search_results(self, request: HttpRequest, queryset: QuerySet[Any], search_term: str) -> tuple[QuerySet[Any], bool]:
        term = search_term.strip()
        return (queryset.filter(wanted_runs(term)), False) if term else (queryset, False)

    @admin.display(description="run")
    def run_(self, obj: Run) -> str:
        return f"#{obj.pk}"

    @admin.display(description="workflow")
    def flow_(self, obj: Run) -> str:
        return obj.flow.replace("_", " ")

    @admin.display(description="about")
    def subject_(self, obj: Run) -> str:
        return f"{obj.subject_kind} {obj.subject_id}".strip()

    @admin.display(description="amount")
    def amount_(self, obj: Run) -> str:
        return money(obj.amount, obj.currency)

    @admin.display(description="state")
    def state_(self, obj: Run) -> str:
        return badge(obj.state)

    @admin.display(description="stands at")
    def at_(self, obj: Run) -> str:
        step = next(iter(obj.here), None)  # type: ignore[attr-defined]
        return badge(step.state, f"{step.name.replace('_', ' ')}: {step.state}") if step else ""

    def describe(self, request: HttpRequest, obj: Run) -> dict[str, Any]:
        waiting = obj.steps.filter(state="waiting").select_related("waiting_on").first()
        item = waiting.waiting_on if waiting else None
        facts = [("Workflow", f"{obj.flow.replace('_', ' ')}, version {obj.version}"), ("State", badge(obj.state))]
        facts += [
            ("About", f"{obj.subject_kind} {obj.subject_id}".strip()),
            ("Amount", money(obj.amount, obj.currency)),
        ]
        facts += facts_of(obj, "connection", "started_at", "ended_at", "started_by", "replay_of", "correlation_id")
        same = Run.objects.filter(subject_kind=obj.subject_kind, subject_id=obj.subject_id).exclude(pk=obj.pk).order_by("-id")
        panels = [references(obj.subject_kind, obj.object_id)] if obj.object_id else []
        panels.append(runs(same[:20] if obj.subject_id else [], "Other runs about the same", "This is the only one."))
        return {
            "facts": [fact for fact in facts if fact[1] != ""],
            "progress": progress(obj),
            "blocking": item,
            "may_answer": item is not None and may_answer(request.user, item.group),
            "timeline": timeline(obj),
            "panels": panels,
            "texts": [("Context of the run", pretty(obj.context))] if obj.context else [],
        }
