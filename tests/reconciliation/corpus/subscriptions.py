"""Subscriptions and what was posted of them: breaks, and what looks like them and is none."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

from tests.reconciliation.corpus.making import Case, case
from tests.reconciliation.corpus.masters import recognised

FIRST, LAST = date(2026, 6, 1), date(2026, 6, 30)


def subscribed(c: Case, **said: Any) -> str:
    worth = {"currency": c.currency, "net": c.net, "total": c.net, "service_from": FIRST, "service_to": LAST, "status": "active"}
    return c.add(c.corpus.billing, "subscription", f"sub_{c.fresh_id()}", **{"party": c.cus, **worth, **said})


def period(c: Case, subscription: str, first: date, last: date, **said: Any) -> tuple[str, str]:
    served: dict[str, Any] = {"on": first, "service_from": first, "service_to": last}
    there = c.billed(**served, extra={"subscription": subscription, **said})
    return there, c.posted(there, **served)


@case
def upgraded_and_not_posted(c: Case) -> None:
    sub = subscribed(c, net=c.net * 2, total=c.net * 2)
    period(c, sub, FIRST, LAST)
    c.breaks("subscriptions", "plan_change", sub)


@case
def upgraded_and_posted_for_the_rest_of_the_period(c: Case) -> None:
    sub = subscribed(c, net=c.net * 2, total=c.net * 2)
    period(c, sub, FIRST, LAST)
    period(c, sub, FIRST + timedelta(days=5), LAST, proration="true")


@case
def upgraded_and_only_something_else_was_posted(c: Case) -> None:
    sub = subscribed(c, net=c.net * 2, total=c.net * 2)
    period(c, sub, FIRST, LAST)
    period(c, sub, FIRST, LAST, proration="other")
    c.breaks("subscriptions", "plan_change", sub)


@case
def same_plan(c: Case) -> None:
    sub = subscribed(c)
    period(c, sub, date(2026, 5, 1), date(2026, 5, 31))
    period(c, sub, FIRST, LAST)


@case
def gap_between_periods(c: Case) -> None:
    sub = subscribed(c)
    period(c, sub, date(2026, 4, 1), date(2026, 4, c.rng.randint(20, 28)))
    period(c, sub, FIRST, LAST)
    c.breaks("subscriptions", "gap", sub)


@case
def overlapping_periods(c: Case) -> None:
    sub = subscribed(c)
    period(c, sub, date(2026, 5, 1), FIRST + timedelta(days=c.rng.randint(0, 9)))
    period(c, sub, FIRST, LAST)
    c.breaks("subscriptions", "gap", sub)


@case
def part_of_a_period(c: Case) -> None:
    sub = subscribed(c)
    period(c, sub, FIRST, LAST)
    period(c, sub, FIRST + timedelta(days=5), LAST, proration="true")


@case
def recognised_after_the_end(c: Case) -> None:
    ended = date(2026, 5, c.rng.randint(2, 28))
    sub = subscribed(c, status="cancelled", extra={"ended_at": f"{ended}T08:00:00+00:00"})
    _, here = period(c, sub, date(2026, 1, 1), date(2026, 12, 31))
    line = recognised(c, (c.net / 3).quantize(c.unit), "running", about=here, service_to=date(2026, 12, 31))
    c.breaks("subscriptions", "obligation", sub, line)


@case
def posted_after_the_end(c: Case) -> None:
    sub = subscribed(c, status="cancelled", extra={"ended_at": "2026-05-31T23:00:00+00:00"})
    period(c, sub, date(2026, 5, 1), date(2026, 5, 31))
    c.breaks("subscriptions", "obligation", c.posted(on=FIRST, service_from=FIRST, service_to=LAST, total=c.total + c.unit * 9))


@case
def cancelled_at_the_end_of_its_period(c: Case) -> None:
    sub = subscribed(c, status="cancelled", extra={"ended_at": "2026-07-01T00:00:00+00:00"})
    _, here = period(c, sub, FIRST, LAST)
    recognised(c, (c.net / 2).quantize(c.unit), "running", about=here, service_from=FIRST, service_to=LAST)
