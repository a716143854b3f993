"""Breaks: the list by money exposed, and one page per break from evidence to mend."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from typing import Any

from django.contrib import admin
from django.db.models import Count, Q, QuerySet, Sum
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.http import urlencode

from canonical.models import LegalEntity
from hub.admin.panels import Panel, transitions
from hub.admin_ui import Choices, Problem, ReadOnlyAdmin, button, link, money, pretty
from reconciliation import mending
from reconciliation.admin import together
from reconciliation.admin.compare import compare
from reconciliation.admin.words import PAIR_TITLES, age, carried_out, mark, pair_title, proof, sums
from reconciliation.breaking import overdue, working
from reconciliation.mending import credits
from reconciliation.models import Break, Mend
from reconciliation.models.breaks import OPEN_BREAK, WORKABLE
from reconciliation.people import APPROVE, WORK

MOST = 100
"""Rows of history and notes that are shown."""
TILES = 6
"""Types of breaks the head of the list shows, most money first."""


class StateFilter(Choices):
    """By state; what is closed is left out unless asked for."""

    title, parameter_name = "state", "state"
    options = (("open", "open"), ("reopened", "reopened"), ("explained", "explained"), ("repairing", "repairing"),
               ("closed", "closed"), ("every", "closed or not"))  # fmt: skip

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        wanted = self.value()
        if wanted == "every":
            return queryset
        return queryset.filter(state=wanted) if wanted else queryset.filter(state__in=OPEN_BREAK)

    def choices(self, changelist: Any) -> Iterator[Any]:
        for choice in super().choices(changelist):
            yield {**choice, "display": "Not closed"} if choice["display"] == "All" else choice


class EntityFilter(Choices):
    """By legal entity."""

    title, parameter_name = "entity", "legal_entity"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(str(pk), name) for pk, name in LegalEntity.objects.order_by("code").values_list("pk", "name")]

    def narrow(self, queryset: QuerySet[Any], value: str) -> QuerySet[Any]:
        return queryset.filter(legal_entity=int(value)) if value.isdigit() and len(value) < 10 else queryset.none()


class AgeFilter(Choices):
    """By how long it has been known."""

    title, parameter_name = "age", "older"
    options = (
        ("overdue", "overdue"),
        ("1", "older than a day"),
        ("7", "older than a week"),
        ("30", "older than a month"),
        ("90", "older than 90 days"),
    )

    def narrow(self, queryset: QuerySet[Any], value: str) -> QuerySet[Any]:
        known = dict(self.options)
        if value == "overdue":
            return queryset.filter(opened_at__lt=overdue.due())
        return queryset.filter(opened_at__lt=timezone.now() - timedelta(days=int(value))) if value in known else queryset.none()


class OwnerFilter(Choices):
    """By who works it."""

    title, parameter_name = "owner", "owner"
    options = (("me", "me"), ("nobody", "nobody"))

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        wanted = {"me": Q(owner=request.user.pk), "nobody": Q(owner=None)}.get(self.value() or "")
        return queryset.filter(wanted) if wanted is not None else queryset


@admin.register(Break)
class BreakAdmin(ReadOnlyAdmin):
    """One disagreement between systems."""

    template = "admin/reconciliation/break.html"
    change_list_template = "admin/reconciliation/break_list.html"
    list_display = ("title_", "type_", "pair_", "legal_entity", "exposed_", "age_", "owner_", "state_")
    list_display_links = ("title_",)
    list_select_related = ("legal_entity", "owner")
    list_filter = (
        StateFilter, Choices.of("type", Break.Type.choices), Choices.of("pair", list(PAIR_TITLES.items()), "pair of systems"),
        EntityFilter, AgeFilter, OwnerFilter,
    )  # fmt: skip
    ordering = ("-exposed", "-pk")
    sortable_by = ("exposed_", "age_")  # type: ignore[assignment]
    search_fields = ("title",)
    search_help_text = "A document's number or id"

    def get_queryset(self, request: HttpRequest) -> QuerySet[Break]:
        rows: QuerySet[Break] = super().get_queryset(request)
        match = request.resolver_match
        if match is not None and match.url_name and match.url_name.endswith("_changelist"):
            return rows.defer("left", "right", "evidence")
        return rows.select_related("legal_entity", "owner", "first_scan__legal_entity", "last_scan__legal_entity")

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        return super().changelist_view(
            request, {**(extra_context or {}), "tiles": by_type()[:TILES], "clusters": together.listed()}
        )

    @admin.display(description="break")
    def title_(self, obj: Break) -> str:
        return obj.title

    @admin.display(description="type")
    def type_(self, obj: Break) -> str:
        return obj.get_type_display()

    @admin.display(description="pair")
    def pair_(self, obj: Break) -> str:
        return pair_title(obj.pair)

    @admin.display(description="money exposed", ordering="exposed")
    def exposed_(self, obj: Break) -> str:
        return money(obj.exposed, obj.currency)

    @admin.display(description="age", ordering="-opened_at")
    def age_(self, obj: Break) -> str:
        known = age(obj.opened_at).replace(" ", "\N{NO-BREAK SPACE}")
        late = obj.state in OPEN_BREAK and obj.opened_at < overdue.due()
        return format_html('{}\N{NO-BREAK SPACE}<span class="tie-badge tie-bad">overdue</span>', known) if late else known

    @admin.display(description="owner")
    def owner_(self, obj: Break) -> str:
        return obj.owner.get_username() if obj.owner else ""

    @admin.display(description="state")
    def state_(self, obj: Break) -> str:
        return mark(obj.state)

    def describe(self, request: HttpRequest, obj: Break) -> dict[str, Any]:
        mends = list(obj.mends.select_related("asked_by", "approved_by", "run", "rule").order_by("-id")[:MOST])
        waiting = next((mend for mend in mends if mend.state == "proposed"), None)
        is_workable = obj.state in WORKABLE
        return {
            "state": mark(obj.state),
            "type": obj.get_type_display(),
            "pair": pair_title(obj.pair),
            "age": age(obj.opened_at),
            "overdue": obj.state in OPEN_BREAK and obj.opened_at < overdue.due(),
            "exposed": money(obj.exposed, obj.currency),
            "comparison": compare(obj.left, obj.right, names_matter=obj.type == "party"),
            "difference": difference(obj),
            "evidence": proof(obj.evidence),
            "scans": [link(obj.first_scan), link(obj.last_scan)],
            "is_workable": is_workable,
            "is_open": obj.state in OPEN_BREAK,
            "is_mine": obj.owner_id == request.user.pk,
            "plans": [(plan, shown(plan), address(plan, obj)) for plan in mending.plans(obj)]
            if is_workable and waiting is None
            else [],
            "asked_for": credits.asked_for(obj),
            "mends": [told(mend) for mend in mends],
            "waiting": told(waiting) if waiting else None,
            "may_decide": waiting is not None and waiting.asked_by_id != request.user.pk and request.user.has_perm(APPROVE),
            "may_take_back": waiting is not None and waiting.asked_by_id == request.user.pk,
            "notes": list(obj.notes.all()[:MOST]),
            "panels": [across_scans(obj), transitions("break", obj.pk)],
            "as_read": pretty({"first system": obj.left, "second system": obj.right}),
        }

    @button(WORK)
    def take(self, request: HttpRequest, obj: Break) -> str:
        """Make it mine."""
        return carried_out(lambda: working.take(obj, request.user), "It is yours now.")  # type: ignore[arg-type]

    @button(WORK)
    def comment(self, request: HttpRequest, obj: Break) -> str:
        """Say something that stays."""
        return carried_out(lambda: working.comment(obj, request.user, request.POST.get("text", "")), "The note is kept.")  # type: ignore[arg-type]

    @button(WORK)
    def explain(self, request: HttpRequest, obj: Break) -> str:
        """Say why it is there."""
        cause, note = request.POST.get("cause", ""), request.POST.get("note", "")
        return carried_out(lambda: working.explain(obj, request.user, cause, note), "The cause is kept.")  # type: ignore[arg-type]

    @button(WORK)
    def propose(self, request: HttpRequest, obj: Break) -> str:
        """Put a plan before a second person."""
        plan, reason = request.POST.get("plan", ""), request.POST.get("reason", "")
        choice = request.POST.get("choice", "")[:100]
        if plan not in Mend.Plan.values:
            raise Problem("Choose one of the plans.")
        done = "The plan is proposed. Another person approves it."
        return carried_out(lambda: mending.propose(obj, plan, request.user, reason, choice), done)  # type: ignore[arg-type]

    @button(APPROVE)
    def approve(self, request: HttpRequest, obj: Break) -> str:
        """Carry out what another person proposed."""
        return carried_out(lambda: mending.approve(read(request, obj), request.user), "Approved. The mend is carried out.")  # type: ignore[arg-type]

    @button(WORK)
    def refuse(self, request: HttpRequest, obj: Break) -> str:
        """Say no to a plan, or take an own one back."""
        reason = request.POST.get("reason", "").strip()
        if not reason:
            raise Problem("Say why it is refused.")
        return carried_out(lambda: mending.refuse(read(request, obj), request.user, reason), "The plan is refused.")  # type: ignore[arg-type]


def read(request: HttpRequest, obj: Break) -> Mend:
    """The mend that was on the page: no other may be decided by this click."""
    pk = request.POST.get("mend", "")
    found = obj.mends.filter(pk=int(pk)).first() if pk.isdigit() and len(pk) < 19 else None
    if found is None:
        raise Problem("The page did not say which plan was read. Open it again.")
    return found


def by_type() -> list[dict[str, Any]]:
    """Breaks that are not closed, by type: how many, and the money per currency. One query, most money in a currency first."""
    labels, found = dict(Break.Type.choices), dict[str, dict[str, Any]]()
    rows = Break.objects.filter(state__in=OPEN_BREAK).values_list("type", "currency")
    for kind, currency, count, exposed in rows.annotate(Count("pk"), Sum("exposed")).order_by():
        one = found.setdefault(kind, {"type": kind, "title": labels.get(kind, kind), "count": 0, "sums": []})
        one["count"] += count
        one["sums"] += [(currency, exposed)] if exposed else []
    shown = sorted(found.values(), key=lambda one: (-max((amount for _, amount in one["sums"]), default=Decimal()), one["type"]))
    return [{**one, "money": sums(one["sums"])} for one in shown]


def difference(obj: Break) -> str:
    """By how much the second system says more or less than the first; '' when one of them says nothing."""
    if obj.left_amount is None or obj.right_amount is None or obj.left_amount == obj.right_amount:
        return ""
    more = obj.right_amount - obj.left_amount
    return f"{money(abs(more), obj.currency)} {'more' if more > 0 else 'less'} in the second system"


def shown(plan: mending.Plan) -> str:
    """The money of a plan, as it is read."""
    return money(plan.amount, plan.currency) if plan.amount else ""


def address(plan: mending.Plan, obj: Break) -> str:
    """Where a person goes on, '' when there is nothing to open."""
    page = plan.page
    if page is None or page.view.startswith(("https://", "http://")):
        return page.view if page else ""
    if "pk" in page.values:
        return reverse(f"admin:{page.view}", args=[page.values["pk"]])
    # What is asked for because of a break says so in its note, and is found by it again.
    values = page.values | ({"note": f"{credits.mark(obj)}{obj.title}"} if page.view == "desk_new" else {})
    return f"{reverse(f'admin:{page.view}')}?{urlencode(values)}"


def told(mend: Mend) -> dict[str, Any]:
    """A mend with what its page line shows."""
    return {
        "mend": mend,
        "state": mark(mend.state),
        "plan": mend.get_plan_display(),
        "run": link(mend.run, f"run {mend.run_id}") if mend.run else "",
        "asked": f"allowed by {mend.rule.label}" if mend.rule else str(mend.asked_by or ""),
        "effects": mend.effects,
        "money": money(mend.amount, mend.currency) if mend.amount else "",
    }


def across_scans(obj: Break) -> Panel:
    """What it said at each scan or act that changed it."""
    rows = obj.history.select_related("last_scan__legal_entity", "history_user").order_by("-history_date", "-history_id")[
        : MOST + 1
    ]
    cells = [
        (
            row.history_date, link(row.last_scan, f"scan {row.last_scan_id}"), money(row.exposed, row.currency),
            money(row.left_amount, row.currency), money(row.right_amount, row.currency), mark(row.state),
            str(row.history_user or ""),
        )
        for row in rows[:MOST]
    ]  # fmt: skip
    return Panel(
        "Across scans", ("When", "As of", "Exposed", "First system", "Second system", "State", "By"), cells,
        "No scan has changed it since it was found.", len(rows) > MOST,
    )  # fmt: skip
