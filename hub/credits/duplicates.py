"""Whether a credit was given already: exactly, which stops it, or nearly, which a reviewer should look at."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal

from django.db.models import Q, QuerySet

from hub.credits.models import Credit
from hub.credits.models.credit import OVER

NEAR = Decimal("0.01")
"""How far two amounts may be apart to be nearly the same, as a share of the one looked at."""
DAYS = timedelta(days=30)


def standing() -> QuerySet[Credit]:
    """Credits that stand for money, or may yet: neither given up, nor stopped, nor replaced by parts, nor reversals."""
    return Credit.objects.filter(reverses=None).exclude(state__in=[*OVER, "stopped", "split"])


def find(credit: Credit) -> tuple[Credit, str] | None:
    """The first credit that this one (saved or not) repeats, and in which way; None when it repeats none.

    The same case, the same incident and customer, or the same period and customer, each for the same reason. Parts of a
    split are found as what they were split from.
    """
    # A split stands for its parts: they may be decided one by one, and the case has its credit all the same.
    first = Credit.objects.filter(reverses=None, reason=credit.reason, split_from=None).exclude(state__in=[*OVER, "stopped"])
    for same, why in _ways(credit):
        found = first.filter(same).exclude(pk=credit.pk).order_by("pk").first()
        if found is not None:
            return found, why
    return None


def near(credit: Credit) -> list[Credit]:
    """Standing credits of the customer within 30 days whose net amount is the same within 1 %, newest first."""
    margin = abs(credit.net) * NEAR
    return list(
        standing()
        .filter(
            party=credit.party_id, currency=credit.currency, net__range=(credit.net - margin, credit.net + margin),
            submitted_at__range=(credit.submitted_at - DAYS, credit.submitted_at + DAYS),
        )
        .exclude(pk=credit.pk).order_by("-pk")
    )  # fmt: skip


def _ways(credit: Credit) -> Iterator[tuple[Q, str]]:
    if credit.case_id is not None:
        yield Q(case=credit.case_id), "the same case and reason"
    if credit.incident:
        yield Q(party=credit.party_id, incident=credit.incident), f"the same incident {credit.incident}, customer and reason"[:200]
    if credit.period_start is not None and credit.period_end is not None:
        same = Q(party=credit.party_id, period_start=credit.period_start, period_end=credit.period_end)
        yield same, f"the same period from {credit.period_start} to {credit.period_end}, customer and reason"
