"""The ID cross-reference, and what each system said about an object."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.urls import NoReverseMatch, reverse
from django.utils.html import format_html

from canonical.models import ExternalRef, Observation
from connectors.models import Connection
from hub.admin.panels import Panel, external, facts_of
from hub.admin_ui import Choices, ReadOnlyAdmin, badge, link, named, pretty, when


def object_link(ref: ExternalRef) -> str:
    """A link to our object that a reference names, its name alone when it has no page."""
    label = f"{ref.object_kind.replace('_', ' ')} {ref.object_id}"
    app = "credits" if ref.object_kind == "credit" else "canonical"
    try:
        url = reverse(f"admin:{app}_{ref.object_kind.replace('_', '')}_change", args=[ref.object_id])
    except NoReverseMatch:
        return label
    return format_html('<a class="tie-link" href="{}">{}</a>', url, label)


def wanted_refs(term: str, exact: bool = False) -> Q:
    """References by external id or number, or by idempotency key (exact). Every part has its index."""
    everywhere = Connection.objects.values("pk")
    by_key = (
        ExternalRef.objects.exclude(state="superseded").filter(connection__in=everywhere, key=term).values_list("pk", flat=True)
    )
    return named("external_id", term, exact) | named("number", term, exact) | Q(pk__in=list(by_key[:20]))


@admin.register(ExternalRef)
class ExternalRefAdmin(ReadOnlyAdmin):
    """Which id an object has in which system. Written by the engine alone."""

    list_display = ("external_", "number", "kind", "connection", "object_", "state_", when("valid_from"))
    list_select_related = ("connection",)
    list_filter = (Choices.of("state", [(s, s) for s in ("active", "reserved", "superseded")]),)
    search_fields = ("external_id",)
    search_help_text = "External id, number or key"

    def get_search_results(self, request: HttpRequest, queryset: QuerySet[Any], search_term: str) -> tuple[QuerySet[Any], bool]:
        term = search_term.strip()
        return (queryset.filter(wanted_refs(term)), False) if term else (queryset, False)

    @admin.display(description="id there")
    def external_(self, obj: ExternalRef) -> str:
        return obj.external_id or "(reserved)"

    @admin.display(description="our object")
    def object_(self, obj: ExternalRef) -> str:
        return object_link(obj)

    @admin.display(description="state")
    def state_(self, obj: ExternalRef) -> str:
        return badge(obj.state)

    def describe(self, request: HttpRequest, obj: ExternalRef) -> dict[str, Any]:
        facts = [("Id there", external(obj)), ("Our object", object_link(obj))]
        facts += facts_of(
            obj, "connection", "kind", "number", "state", "key", "provenance", "valid_from", "valid_to", "superseded_by"
        )
        return {"facts": facts, "panels": [_lineage(obj), _observed(obj)]}


def _lineage(ref: ExternalRef) -> Panel:
    same = ExternalRef.objects.filter(object_kind=ref.object_kind, object_id=ref.object_id, connection_id=ref.connection_id)
    merged = ref.supersedes.all()
    rows = [
        (link(r, r.external_id or "(reserved)"), r.kind, badge(r.state), r.valid_from, r.valid_to or "", r.provenance)
        for r in sorted({*same.exclude(pk=ref.pk)[:50], *merged[:50]}, key=lambda r: r.pk)
    ]
    return Panel("Other ids of it in this system, and ids merged into it", ("Id", "As", "State", "From", "To", "Told by"), rows)


def _observed(ref: ExternalRef) -> Panel:
    said = Observation.objects.filter(connection_id=ref.connection_id, kind=ref.kind, external_id=ref.external_id or "")
    rows = [(link(o, f"#{o.pk}"), o.at, o.source_at or "", o.digest[:12]) for o in said.order_by("-id")[:20]]
    return Panel("What the system said, newest first", ("Observation", "Seen", "Changed there", "Digest"), rows)


@admin.register(Observation)
class ObservationAdmin(ReadOnlyAdmin):
    """What one system said about one object at one instant. A fact: it never changes."""

    list_display = ("external_id", "kind", "connection", when("at"), when("source_at"))
    list_select_related = ("connection",)
    search_fields = ("external_id",)
    search_help_text = "External id"

    def get_queryset(self, request: HttpRequest) -> QuerySet[Observation]:
        return super().get_queryset(request).select_related("connection")

    def get_search_results(self, request: HttpRequest, queryset: QuerySet[Any], search_term: str) -> tuple[QuerySet[Any], bool]:
        term = search_term.strip()
        if not term:
            return queryset, False
        everywhere = Connection.objects.values("pk")
        return queryset.filter(connection__in=everywhere, kind__in=KINDS, external_id__startswith=term), False

    def describe(self, request: HttpRequest, obj: Observation) -> dict[str, Any]:
        before = (
            Observation.objects.filter(connection_id=obj.connection_id, kind=obj.kind, external_id=obj.external_id, pk__lt=obj.pk)
            .order_by("-id")
            .first()
        )
        return {
            "facts": facts_of(obj, "connection", "kind", "external_id", "at", "source_at", "digest"),
            "panels": [_changes(before, obj)] if before else [],
            "texts": [("What it said", pretty(obj.said))],
        }


def _changes(before: Observation, after: Observation) -> Panel:
    old, new = _flat(before.said), _flat(after.said)
    rows = [
        (name, old.get(name, ""), new.get(name, "")) for name in sorted(old.keys() | new.keys()) if old.get(name) != new.get(name)
    ]
    return Panel("What changed since the observation before", ("Field", "Before", "Now"), rows, "Nothing.")


def _flat(said: Any, path: str = "") -> dict[str, Any]:
    if isinstance(said, dict):
        items: Any = said.items()
    elif isinstance(said, list):
        items = enumerate(said)
    else:
        return {path: said}
    flat: dict[str, Any] = {}
    for name, value in items:
        flat |= _flat(value, f"{path}.{name}" if path else str(name))
    return flat


KINDS = (
    "party",
    "product",
    "price",
    "contract",
    "subscription",
    "invoice",
    "credit_memo",
    "payment",
    "support_case",
    "entitlement",
    "usage_record",
    "revenue_schedule",
    "stream",
)
"""Kinds of subjects; naming them lets a search by id alone use the index that begins with the kind."""
