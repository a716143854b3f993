"""Many credits at once: approving up to fifty after seeing what they come to, and the list as a file with control totals."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import chain
from typing import Any
from urllib.parse import urlencode

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone

from hub import sheets
from hub.admin.desk_actions import DECIDE
from hub.admin.desk_queue import HEAVY, Wanted, rows_of, waiting_for
from hub.admin.desk_words import sums
from hub.admin_ui import money
from hub.credits import deciding
from hub.credits.models import Credit
from hub.people import stepup

MOST = 50
LONGEST = 100_000
"""Rows a file holds."""
PICK = re.compile(r"(\d{1,18}):(\d{1,9})")


@dataclass(frozen=True, slots=True)
class Picked:
    """A credit, and whether it still is what was picked."""

    credit: Credit
    fresh: bool

    @property
    def total(self) -> str:
        """Its total as people read it."""
        return money(self.credit.total, self.credit.currency)


def picked(said: list[str]) -> list[Picked]:
    """The credits named by `id:revision`, in that order."""
    wanted = {int(found[1]): int(found[2]) for one in said if (found := PICK.fullmatch(one))}
    rows = Credit.objects.filter(pk__in=list(wanted)[: MOST + 1]).select_related("party", "legal_entity", "approval_rule")
    by_pk = {credit.pk: credit for credit in rows}
    return [Picked(by_pk[pk], by_pk[pk].revision == revision) for pk, revision in wanted.items() if pk in by_pk]


def approve(request: HttpRequest) -> HttpResponse:
    """First what it comes to, per currency; then, confirmed, each decided singly and what became of it."""
    if not request.user.has_perm(DECIDE):
        raise PermissionDenied
    said = (request.POST if request.method == "POST" else request.GET).getlist("pick")
    wanted = Wanted.parse((request.POST if request.method == "POST" else request.GET).get("queue", ""))
    chosen = picked(said)
    back = f"{reverse('admin:desk')}?{wanted.query()}"
    if not chosen or len(chosen) > MOST:
        messages.error(request, f"Select one to {MOST} credits." if not chosen else f"At most {MOST} at a time.")
        return redirect(back)
    context: dict[str, Any] = {"chosen": chosen, "queue": wanted.query(), "back": back}
    if request.method != "POST":
        total = sums(totals([one.credit for one in chosen]))
        return _show(request, {**context, "title": f"Approve {len(chosen)} credits?", "total": total, "picks": said})
    confirmed, now = stepup.confirmed_at(request), timezone.now()
    asks = any(one.credit.approval_rule is not None and one.credit.approval_rule.step_up for one in chosen)
    if asks and (confirmed is None or (now - confirmed).total_seconds() > deciding.STEP_UP_SECONDS):
        again = urlencode({"pick": said, "queue": wanted.query()}, doseq=True)
        return stepup.redirect_to_confirm(request, f"{reverse('admin:desk_approve')}?{again}")
    decided = dict(_decide(chosen, request.user, confirmed))
    results = [(one, decided[one.credit.pk]) for one in chosen]
    well = [one.credit for one, why in results if not why]
    title = f"{len(well)} of {len(results)} approved"
    return _show(request, {**context, "title": title, "results": results, "total": sums(totals(well))})


def _decide(chosen: list[Picked], user: Any, confirmed: Any) -> Iterator[tuple[int, str]]:
    for one in chosen:
        if not one.fresh:
            yield one.credit.pk, "it has changed since you picked it"
    fresh = [one.credit for one in chosen if one.fresh]
    for credit, why in deciding.approve_many(fresh, user, confirmed_at=confirmed):
        yield credit.pk, why


def totals(credits: list[Credit]) -> dict[str, Decimal]:
    """Sum of the totals per currency."""
    found: dict[str, Decimal] = defaultdict(Decimal)
    for credit in credits:
        found[credit.currency] += credit.total
    return found


def _show(request: HttpRequest, context: dict[str, Any]) -> HttpResponse:
    return TemplateResponse(request, "admin/desk/approve.html", {**admin.site.each_context(request), **context})


# the file --------------------------------------------------------------------------------------------------------------

COLUMNS = (
    "number", "state", "customer", "legal entity", "reason", "net", "tax", "total", "currency", "in reporting currency",
    "requested by", "submitted", "due", "waiting for", "flags", "revision",
)  # fmt: skip


def export(request: HttpRequest) -> HttpResponseBase:
    """The list as it is now, as CSV or (`format=xlsx`) a workbook: rows, then control totals per currency and the time."""
    wanted, at = Wanted.of(request.GET), timezone.now()
    rows = rows_of(waiting_for(request.user, at), wanted).select_related("party", "legal_entity").defer(*HEAVY)[:LONGEST]
    told = Told(f"{at:%Y-%m-%d %H:%M:%S} UTC", wanted.query())
    kind = "xlsx" if request.GET.get("format") == "xlsx" else "csv"
    answer: HttpResponseBase
    if kind == "xlsx":
        book = sheets.to_xlsx({"credits": told.body(rows), "control totals": told.foot()})
        answer = HttpResponse(book, content_type=sheets.XLSX_TYPE)
    else:
        lines = sheets.csv_lines(chain(told.body(rows), told.foot()))
        answer = StreamingHttpResponse(lines, content_type="text/csv; charset=utf-8")
    answer["Content-Disposition"] = f'attachment; filename="credits-{wanted.tab}-{at:%Y%m%d-%H%M}.{kind}"'
    return answer


@dataclass(slots=True)
class Told:
    """What a file tells: its rows, and what they came to, which is known once all of them were taken."""

    at: str
    query: str
    count: int = 0
    net: dict[str, Decimal] = field(default_factory=lambda: defaultdict(Decimal))
    total: dict[str, Decimal] = field(default_factory=lambda: defaultdict(Decimal))

    def body(self, credits: QuerySet[Credit]) -> Iterator[sheets.Row]:
        """The names of the columns, and a row for each credit."""
        yield COLUMNS
        for credit in credits.iterator(1000):
            self.count += 1
            self.total[credit.currency] += credit.total
            self.net[credit.currency] += credit.net
            yield _row(credit)

    def foot(self) -> Iterator[sheets.Row]:
        """The control totals, the time and the filter."""
        yield ("Control totals",)
        yield ("rows", self.count)
        for code in sorted(self.total):
            net, total = self.net[code], self.total[code]
            yield ("sum", "", "", "", "", net, total - net, total, code)
        yield ("as of", self.at)
        yield ("filter", self.query)
        if self.count == LONGEST:
            yield (f"only the first {LONGEST} rows",)


def _row(credit: Credit) -> tuple[Any, ...]:
    flags = " ".join(str(flag.get("flag", "")) for flag in credit.flags if isinstance(flag, dict))
    return (
        credit.number, credit.state, credit.party.name, credit.legal_entity.code, credit.reason, credit.net, credit.tax,
        credit.total, credit.currency, credit.reporting_amount, credit.requested_by, _instant(credit.submitted_at),
        _instant(credit.due_at), credit.waiting_role, flags, credit.revision,
    )  # fmt: skip


def _instant(at: Any) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S}" if at else ""
