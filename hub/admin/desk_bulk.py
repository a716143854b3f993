"""Many credits at once: approving up to fifty after seeing what they come to, and the list as a file with control totals."""

from __future__ import annotations

import csv
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any
from urllib.parse import urlencode

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone

from hub.admin.desk_actions import DECIDE
from hub.admin.desk_queue import HEAVY, Wanted, rows_of, waiting_for
from hub.admin.desk_words import sums
from hub.admin.rule_files import harmless
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
    results = [(one.credit, decided[one.credit.pk]) for one in chosen]
    well = [credit for credit, why in results if not why]
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


def export(request: HttpRequest) -> StreamingHttpResponse:
    """The list as CSV, as it is now: rows, then control totals (rows and sums per currency) and the time."""
    wanted = Wanted.of(request.GET)
    at = timezone.now()
    rows = rows_of(waiting_for(request.user, at), wanted).select_related("party", "legal_entity").defer(*HEAVY)[:LONGEST]
    answer = StreamingHttpResponse(_lines(rows, f"{at:%Y-%m-%d %H:%M:%S} UTC", wanted), content_type="text/csv; charset=utf-8")
    answer["Content-Disposition"] = f'attachment; filename="credits-{wanted.tab}-{at:%Y%m%d-%H%M}.csv"'
    return answer


class _Echo:
    """What a csv writer writes to, when the lines are wanted back."""

    def write(self, line: str) -> str:
        return line


def _lines(rows: Any, at: str, wanted: Wanted) -> Iterator[str]:
    writer = csv.writer(_Echo())
    yield "\ufeff" + writer.writerow(COLUMNS)
    count, total, net = 0, defaultdict[str, Decimal](Decimal), defaultdict[str, Decimal](Decimal)
    for credit in rows.iterator(1000):
        count += 1
        total[credit.currency] += credit.total
        net[credit.currency] += credit.net
        yield writer.writerow([harmless(cell) for cell in _row(credit)])
    yield writer.writerow(["Control totals"])
    yield writer.writerow(["rows", count])
    for currency in sorted(total):
        yield writer.writerow(["sum", "", "", "", "", net[currency], total[currency] - net[currency], total[currency], currency])
    yield writer.writerow(["as of", at])
    yield writer.writerow(["filter", harmless(wanted.query())])
    if count == LONGEST:
        yield writer.writerow([f"only the first {LONGEST} rows"])


def _row(credit: Credit) -> tuple[Any, ...]:
    flags = " ".join(str(flag.get("flag", "")) for flag in credit.flags if isinstance(flag, dict))
    return (
        credit.number, credit.state, credit.party.name, credit.legal_entity.code, credit.reason, credit.net, credit.tax,
        credit.total, credit.currency, credit.reporting_amount, credit.requested_by, _instant(credit.submitted_at),
        _instant(credit.due_at), credit.waiting_role, flags, credit.revision,
    )  # fmt: skip


def _instant(at: Any) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S}" if at else ""
