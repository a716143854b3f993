"""Scans: the list, what one read, proved and found, and the buttons that start and end them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import Count, QuerySet, Sum
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.shortcuts import redirect
from django.urls import URLPattern, path
from django_fsm import ConcurrentTransition, TransitionNotAllowed

from canonical.models import LegalEntity
from connectors.models import Connection
from hub.admin.panels import Panel, runs, transitions
from hub.admin_ui import Choices, Problem, ReadOnlyAdmin, button, money, pretty, url_of, when
from reconciliation import scanning
from reconciliation.admin import outcomes
from reconciliation.admin.breaks import EntityFilter
from reconciliation.admin.compare import number
from reconciliation.admin.words import FATES, age, mark, pair_title, problem, sums
from reconciliation.models import Break, Certificate, Scan
from reconciliation.scanning.concluding import MATCHING

TOLD_APART = ("breaks", "explained", "carried_forward", "red")
"""Of a scan's counts, what is no pair."""
START = "reconciliation.start_scan"
STATES = ("reading", "matching", "done", "failed")
ORDER = {fate: place for place, fate in enumerate(FATES)}


@admin.register(Scan)
class ScanAdmin(ReadOnlyAdmin):
    """Everything the systems of one entity said as of one time."""

    template = "admin/reconciliation/scan.html"
    change_list_template = "admin/reconciliation/scan_list.html"
    list_display = ("scan_", "legal_entity", "kind_", "state_", when("as_of"), "took_", "breaks_", "started_by")
    list_display_links = ("scan_",)
    list_select_related = ("legal_entity",)
    list_filter = (Choices.of("state", [(state, state) for state in STATES]), EntityFilter)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Scan]:
        rows: QuerySet[Scan] = super().get_queryset(request).select_related("legal_entity", "carried_from__legal_entity")
        return rows

    def get_urls(self) -> list[URLPattern]:
        begin = path("begin/", self.admin_site.admin_view(self.begin), name="reconciliation_scan_begin")
        return [begin, *super().get_urls()]

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        may = request.user.has_perm(START)
        entities = LegalEntity.objects.filter(pk__in=Connection.objects.exclude(state="revoked").values("legal_entity"))
        offered = list(entities.order_by("code")) if may else []
        return super().changelist_view(request, {**(extra_context or {}), "entities": offered})

    def begin(self, request: HttpRequest) -> HttpResponse:
        """Start a scan of an entity, full or incremental."""
        if not request.user.has_perm(START):
            raise PermissionDenied
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        code, depth = request.POST.get("entity", "")[:50], request.POST.get("depth", "")
        entity = LegalEntity.objects.filter(code=code).first()
        if entity is None or depth not in ("full", "incremental"):
            messages.error(request, "Choose a legal entity, and how much to read.")
            return redirect("admin:reconciliation_scan_changelist")
        try:
            scan = scanning.begin(entity, full=depth == "full", by=request.user.get_username())
        except scanning.AlreadyRunning as running:
            messages.warning(request, f"A scan of {entity} is going on already: it is this one.")
            return redirect(url_of(running.scan))
        except LookupError as error:
            messages.error(request, str(problem(error)))
            return redirect("admin:reconciliation_scan_changelist")
        messages.success(request, f"The scan of {entity} has begun.")
        return redirect(url_of(scan))

    @admin.display(description="scan")
    def scan_(self, obj: Scan) -> str:
        return f"#{obj.pk}"

    @admin.display(description="read")
    def kind_(self, obj: Scan) -> str:
        return "all" if obj.since is None else "changes"

    @admin.display(description="state")
    def state_(self, obj: Scan) -> str:
        return mark(obj.state)

    @admin.display(description="took")
    def took_(self, obj: Scan) -> str:
        return took(obj)

    @admin.display(description="breaks found")
    def breaks_(self, obj: Scan) -> str:
        found = obj.counts.get("breaks", {})
        return f"{found.get('new', 0) + found.get('reopened', 0)} new, {found.get('known', 0)} known" if found else ""

    def describe(self, request: HttpRequest, obj: Scan) -> dict[str, Any]:
        certificates = list(obj.certificates.select_related("connection").order_by("connection__slug", "kind"))
        counted = {f"{each.connection.slug}/{each.kind}" for each in certificates if not each.is_complete}
        found = obj.counts.get("breaks", {})
        document = request.GET.get("document", "").strip()[:255]
        return {
            "document": document,
            "documents": outcomes.of(obj, document) if document and obj.state == "done" else [],
            "state": mark(obj.state),
            "took": took(obj),
            "sources": sources(obj),
            "certificates": [proved(each) for each in certificates],
            "red": sorted(counted),
            "rows": list(tally(obj.counts)),
            "panels": [breaks(obj), transitions("scan", obj.pk), reading(obj)],
            "found": [(name, found.get(name, 0)) for name in ("new", "known", "reopened", "closed")] if found else [],
            "explained": obj.counts.get("explained"),
            "is_going": obj.state in scanning.GOING,
            "texts": [("Parameters used", pretty(obj.parameters))],
        }

    @button(START)
    def end(self, request: HttpRequest, obj: Scan) -> str:
        """End one that does not come to an end by itself."""
        reason = request.POST.get("reason", "").strip()[:2000]
        if not reason:
            raise Problem("Say why it is ended.")
        try:
            scanning.fail(obj, by=request.user.get_username(), reason=reason)
        except (TransitionNotAllowed, ConcurrentTransition) as error:
            raise Problem("It has ended already.") from error
        return "The scan is ended. What it read is kept, and the next one may begin."


def took(scan: Scan) -> str:
    """How long it took, or how long it has been going on."""
    if scan.ended_at is None:
        return f"{age(scan.started_at)} so far"
    seconds = max((scan.ended_at - scan.started_at).total_seconds(), 0.0)
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def sources(scan: Scan) -> list[dict[str, Any]]:
    """Progress per source, in the order it was begun."""
    told = [(name, said) for name, said in scan.progress.items() if name != MATCHING and isinstance(said, Mapping)]
    return [
        {
            "name": name, "read": said.get("read", 0), "pages": said.get("pages", 0), "done": bool(said.get("done")),
            "again": said.get("reading", 1) > 1, "counted": said.get("counted", 0),
        }
        for name, said in told
    ]  # fmt: skip


def proved(certificate: Certificate) -> dict[str, Any]:
    """A certificate, currency by currency: what the source says, and what was read."""
    there, here = certificate.at_source or {}, certificate.as_read or {}
    rows = []
    for currency in sorted({*there, *here}):
        said, read = there.get(currency) or {}, here.get(currency) or {}
        rows.append(
            {
                "currency": currency or "none", "agrees": said == read, "there": said.get("count"), "here": read.get("count"),
                "there_amount": sum_of(said, currency), "here_amount": sum_of(read, currency),
            }
        )  # fmt: skip
    return {"certificate": certificate, "rows": rows, "counted": bool(there) or certificate.is_complete}


def sum_of(said: Mapping[str, Any], currency: str) -> str:
    """The sum of a certificate or tally as it is read; nothing for what has no currency."""
    amount = number(said.get("amount"))
    return money(amount, currency) if amount is not None and currency else ""


def tally(counts: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """What became of the readings: a row per pair, side, fate and rule."""
    for pair, sides in counts.items():
        if pair in TOLD_APART:
            continue
        first = True
        for side, fates in sorted(sides.items()):
            for fate, rules in sorted(fates.items(), key=lambda each: ORDER.get(each[0], len(ORDER))):
                for rule, by_currency in sorted(rules.items()):
                    yield {
                        "pair": pair_title(pair) if first else "", "side": SIDES.get(side, side), "fate": fate,
                        "look": FATES.get(fate, "plain"), "rule": str(rule).replace("_", " "),
                        "count": sum(each.get("count", 0) for each in by_currency.values()),
                        "money": sums((currency, amount) for currency, each in by_currency.items()
                                      if currency and (amount := number(each.get("amount")))),
                    }  # fmt: skip
                    first = False


SIDES = {"left": "first system", "right": "second system"}


def breaks(scan: Scan) -> Panel:
    """What it found for the first time or again, and is the last to have looked at, by pair and type. One query."""
    labels = dict(Break.Type.choices)
    found = Break.objects.filter(last_scan=scan).values_list("pair", "type", "currency")
    told = found.annotate(Count("pk"), Sum("exposed")).order_by("pair", "type", "currency")
    rows = [(pair_title(pair), labels.get(kind, kind), count, money(exposed, code)) for pair, kind, code, count, exposed in told]
    return Panel("Breaks it was the last to see", ("Pair", "Type", "How many", "Exposed"), rows, "None.")


def reading(scan: Scan) -> Panel:
    """The engine's work for it, newest first."""
    return runs(scanning.runs_of(scan).select_related("connection").order_by("-id")[:20], "Runs that read for it", "No run.")
