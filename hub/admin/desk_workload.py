"""The workload behind the desk: what waits, by age, turn, reviewer and customer; what was decided; what passed alone."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.conf import settings
from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils import timezone

from hub.admin.desk_chart import length
from hub.admin.desk_queue import Wanted
from hub.admin.desk_words import sums
from hub.admin_ui import money
from hub.credits import workload
from hub.credits.workload import Pile

SPANS = (7, 30, 90)
"""Days over which decisions are counted, to choose from."""


def page(request: HttpRequest) -> HttpResponse:
    """The workload, as of now."""
    at, asked = timezone.now(), request.GET.get("days", "")
    days = int(asked) if asked in map(str, SPANS) else 30
    roles = workload.by_role(at)
    count, median = workload.pace(at - timedelta(days=days))
    ages = workload.by_age(at)
    most = max((pile.count for pile in ages), default=0) or 1
    context = {
        "title": "Workload",
        "at": at,
        "days": days,
        "spans": SPANS,
        "waiting": sum(pile.count for pile in ages),
        "overdue": sum(pile.overdue for pile in ages),
        "decided": count,
        "median": length(median) if median is not None else "",
        "ages": [
            (row(pile, at), *aged(low, below), pile.count * 100 // most)
            for pile, (low, below) in zip(ages, workload.AGES, strict=True)
        ],
        "roles": [row(pile, at) for pile in roles],
        "customers": [(row(pile, at), Wanted("pending", customer=pile.name).query()) for pile in workload.by_customer(at)],
        "reviewers": [
            (one, sums(one.money), length(one.median) if one.median is not None else "")
            for one in workload.by_reviewer(roles, at - timedelta(days=days))
        ],
        "alone": [
            (month, money(month.passed_money, month.currency), money(month.sampled_money, month.currency))
            for month in workload.passed_alone(at)
        ],
        "most": workload.MOST_CUSTOMERS,
        "reporting": settings.REPORTING_CURRENCY,
    }
    return TemplateResponse(request, "admin/desk/workload.html", {**admin.site.each_context(request), **context})


def row(pile: Pile, at: Any) -> dict[str, Any]:
    """A pile as a row of a table."""
    oldest = length(at - pile.oldest) if pile.oldest else ""
    return {"name": pile.name, "count": pile.count, "overdue": pile.overdue, "money": sums(pile.money), "oldest": oldest}


def aged(low: int, below: int) -> tuple[str, str]:
    """An age in words, and the list of the desk that shows it."""
    words = f"{low} to {below} days" if low and below else f"up to {below} day" if below else f"more than {low} days"
    return words, Wanted("pending", older=str(low) if low else "", younger=str(below) if below else "").query()
