"""What a case was promised, and what became of it: the tables' side of `hub.credits.sla`."""

from __future__ import annotations

from datetime import datetime

from canonical.models import SupportCase
from hub.credits import entitling, rows, sla
from hub.credits.refusing import NotOpened, NotReady


def assess(case: SupportCase, *, at: datetime) -> sla.Assessment:
    """What was promised about a case and how it was kept, as known at an instant.

    Plan, terms and calendars are those of the day (UTC) the case was opened; outages are those its own clock tells.
    Raises NotOpened when nothing was promised, and NotReady when terms name a calendar that is not in force.
    """
    party, on = case.party, case.opened_at.date()
    if party is None:
        raise NotOpened("The case names no customer.")
    promise = entitling.entitlement_of(party, case.opened_at, plan_hint=case.plan)
    if promise is None:
        raise NotOpened(f"{party} had no plan with SLA terms on {on}.")
    try:
        terms = rows.terms(promise.plan, on)
    except rows.NoCalendar as missing:
        raise NotReady(str(missing)) from None
    if terms is None:
        raise NotOpened(f"There were no SLA terms of the plan {promise.plan} in force on {on}.")
    return sla.assess(case.clock.all(), opened_at=case.opened_at, severity=case.severity, terms=terms, at=at)
