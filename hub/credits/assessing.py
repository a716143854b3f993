"""What a case was promised, and what became of it: the tables' side of `hub.credits.sla`."""

from __future__ import annotations

from datetime import datetime

from django.db.models import Exists, OuterRef, QuerySet

from canonical.models import ExternalRef, SupportCase
from hub.credits import entitling, rows, sla
from hub.credits.refusing import NotOpened, NotReady


def assess(case: SupportCase, *, at: datetime) -> sla.Assessment:
    """What was promised about a case and how it was kept, as known at an instant.

    Plan, terms and calendars are those of the day (UTC) the case was opened; outages are those its own clock tells, and
    those of the other cases of its incident.
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
    return sla.assess(
        case.clock.all(), opened_at=case.opened_at, severity=case.severity, terms=terms, at=at, outages=_told_elsewhere(case, at)
    )


def of_the_incident(case: SupportCase) -> QuerySet[SupportCase]:
    """The other cases of a case's incident on the same platform, whosever they are; none for a case without an incident."""
    if not case.incident:
        return SupportCase.objects.none()
    refs = ExternalRef.objects.filter(object_kind="support_case", kind="support_case", state=ExternalRef.ACTIVE)
    platforms = refs.filter(object_id=case.pk).values("connection_id")
    same_platform = Exists(refs.filter(object_id=OuterRef("pk"), connection_id__in=platforms))
    return SupportCase.objects.filter(same_platform, incident=case.incident, deleted_at_source=False).exclude(pk=case.pk)


def _told_elsewhere(case: SupportCase, at: datetime) -> list[sla.Outage]:
    """Several customers have an incident together, and a credit's lines may be read to one of them: cases go by our id."""
    telling = of_the_incident(case).filter(clock__what="down").distinct().prefetch_related("clock")
    return [
        outage
        for other in telling
        for outage in sla.outages_of(other.clock.all(), opened_at=other.opened_at, told_by=f"case {other.pk}", at=at)
    ]
