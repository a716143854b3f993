"""What a customer was promised, and by which subscription: the plan, the affected subscription, its monthly value."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal

from dateutil.relativedelta import relativedelta
from django.db import transaction
from django.db.models import Exists, F, OuterRef, Q, QuerySet

from canonical import xref
from canonical.models import Entitlement, ExternalRef, InvoiceLine, Party, Subscription, SubscriptionItem, SupportCase
from canonical.money import Money, round_money
from connectors.models import Connection
from hub.booking import in_force
from hub.credits.models import SlaTerms
from hub.credits.policy import Billed

SUPPORT = "support"
"""Feature of the entitlements that are concluded from subscriptions."""

MONTHS = {
    "month": Decimal(1), "year": Decimal(1) / 12, "week": Decimal(365) / 12 / 7, "day": Decimal(365) / 12,
}  # fmt: skip
"""How many of an interval a month has: twelve months a year, 365 days a year."""


def billing_of(party: Party, near: Connection | None = None) -> Connection | None:
    """The billing connection that knows a customer; of several, one of `near`'s legal entity, then the oldest."""
    ids = ExternalRef.objects.filter(
        object_kind="party", kind="party", object_id=party.pk, state=ExternalRef.ACTIVE, connection__role="billing"
    ).values("connection_id")
    known = list(Connection.objects.filter(pk__in=ids).exclude(state="revoked").order_by("pk"))
    wanted = near.legal_entity_id if near else None
    return min(known, key=lambda one: (one.legal_entity_id != wanted, one.pk), default=None)


def entitlement_of(party: Party, at: datetime, *, plan_hint: str = "") -> Entitlement | None:
    """What the customer was promised at an instant; None: nothing.

    A row that somebody wrote comes first; of several the one of `plan_hint`, then the latest. Without one, the promise
    follows from a subscription whose product's family is a plan with SLA terms, and is stored with its source. The hint
    only chooses: what a support platform believes promises nothing.
    """
    held = list(
        party.entitlements.filter(active=True, valid_from__lte=at).filter(Q(valid_to=None) | Q(valid_to__gt=at)).exclude(plan="")
    )
    # What was concluded and is still open may have changed since; what ended is history.
    written = [row for row in held if not _is_concluded(row)] or [row for row in held if row.valid_to is not None]
    if written:
        return max(written, key=lambda row: (row.plan == plan_hint, row.valid_from, row.pk))
    promised = [(plan, agreed) for agreed in subscriptions(party, at) for plan in plans(agreed, at.date())]
    if not promised:
        return None
    plan, agreed = min(promised, key=lambda one: (one[0] != plan_hint, one[1].pk, one[0]))
    return _conclude(party, agreed, plan, at)


def affected_subscription(about: SupportCase | Party, at: datetime) -> Subscription | None:
    """The subscription a case is about: the one it names, if it is the customer's, else the only one there was.

    Of several, the only one of the customer's plan. None when that is still not one.
    """
    party = about if isinstance(about, Party) else about.party
    if party is None:
        return None
    live = list(subscriptions(party, at))
    if isinstance(about, SupportCase) and about.subscription:
        named = _named(about.subscription, party)
        if named is not None:
            return named
    if len(live) > 1 and (promise := entitlement_of(party, at, plan_hint=getattr(about, "plan", ""))):
        live = [agreed for agreed in live if promise.plan in plans(agreed, at.date())] or live
    return live[0] if len(live) == 1 else None


def monthly_value(subscription: Subscription) -> Money | None:
    """What its items cost a month at list price, discounts aside; None when that is not known or nothing.

    A year is twelve months or 365 days. One-off and usage-based prices are no part of it. Rounded once, half to even.
    """
    return value_of(subscription.items.filter(ended=False).select_related("price"), subscription.currency)


def value_of(items: Iterable[SubscriptionItem], currency: str) -> Money | None:
    """As `monthly_value`, of items that were read already."""
    worth = Decimal(0)
    for item in items:
        price = item.price
        if price is None:
            return None
        if price.usage_based or not price.interval:
            continue
        if price.unit_amount is None or price.currency != currency:
            return None
        worth += price.unit_amount * item.quantity * MONTHS[price.interval] / price.interval_count
    rounded = round_money(worth, currency)
    return Money(rounded, currency) if rounded > 0 else None


def billed(subscription: Subscription, on: date) -> Billed | None:
    """What the newest invoice issued by a day bills a month, discounts off, for what recurs and is not usage.

    Of invoices that are all later, the first. None when no invoice has a line for it. Net of tax, rounded once. A service
    period that is no number of whole months counts by its days.
    """
    return Billings([subscription.pk]).of(subscription.pk, on)


class Billings:
    """What is billed for several subscriptions, read in one query."""

    def __init__(self, subscriptions: Sequence[int]) -> None:
        fixed = SubscriptionItem.objects.filter(
            subscription=OuterRef("invoice__subscription"), product=OuterRef("product"), ended=False, price__usage_based=False
        ).exclude(price__interval="")
        lines = InvoiceLine.objects.filter(
            Exists(fixed), invoice__subscription__in=subscriptions, invoice__voided_on=None, proration=False,
            service_to__gte=F("service_from"),
        ).order_by("invoice__issued_on", "invoice__pk")  # fmt: skip
        self._invoices: dict[int, dict[int, _Invoice]] = defaultdict(dict)
        for line in lines.values_list(
            "invoice__subscription", "invoice", "invoice__issued_on", "invoice__number", "invoice__currency", "net",
            "service_from", "service_to", named=True,
        ):  # fmt: skip
            told = self._invoices[line.invoice__subscription].setdefault(
                line.invoice, _Invoice(line.invoice__issued_on, line.invoice__number or str(line.invoice), line.invoice__currency)
            )
            assert line.service_from and line.service_to, "the query asks for both"
            told.worth += line.net / _months(line.service_from, line.service_to + timedelta(days=1))

    def of(self, subscription: int, on: date) -> Billed | None:
        """As `billed`."""
        known = list(self._invoices[subscription].values())
        if not known:
            return None
        told = [each for each in known if each.issued_on is not None and each.issued_on <= on]
        one = told[-1] if told else known[0]
        return Billed(Money(round_money(one.worth, one.currency), one.currency), one.number)


@dataclass(slots=True)
class _Invoice:
    issued_on: date | None
    number: str
    currency: str
    worth: Decimal = Decimal(0)


def subscriptions(party: Party, at: datetime) -> QuerySet[Subscription]:
    """Those that were running at an instant, oldest first."""
    running = Q(ended_at__gt=at) | Q(ended_at=None, status__in=["active", "past_due"])
    begun = Q(started_at__lte=at) | Q(started_at=None)
    return party.subscriptions.filter(begun & running).select_related("legal_entity").order_by("pk")


def plans(subscription: Subscription, on: date) -> list[str]:
    """Families of its products that are plans: there are SLA terms of that name in force on the day."""
    families = set(subscription.items.filter(ended=False).values_list("product__family", flat=True)) - {""}
    return sorted(set(SlaTerms.objects.filter(in_force(on), plan__in=families).values_list("plan", flat=True)))


def _months(begin: date, end: date) -> Decimal:
    """How many months there are between a day and the day after the last; from the 31st on, months end with their last day."""
    whole = (end.year - begin.year) * 12 + end.month - begin.month
    if end == begin + relativedelta(months=whole) or begin == end - relativedelta(months=whole):
        return Decimal(whole)
    return (end - begin).days / MONTHS["day"]


def _named(external_id: str, party: Party) -> Subscription | None:
    """The customer's own subscription of that id in any billing system."""
    ids = ExternalRef.objects.filter(
        kind="subscription", external_id=external_id, connection__role="billing", object_kind="subscription"
    ).values("connection_id")
    found = {xref.find(pk, "subscription", external_id) for (pk,) in ids.values_list("connection_id")}
    return party.subscriptions.filter(pk__in=[pk for pk in found if pk]).select_related("legal_entity").first()


def _is_concluded(row: Entitlement) -> bool:
    return row.feature == SUPPORT and row.source.startswith("subscription ")


@transaction.atomic
def _conclude(party: Party, agreed: Subscription, plan: str, at: datetime) -> Entitlement:
    """The stored promise of a subscription; another plan than before ends the one before."""
    source = f"subscription {agreed.pk}"
    Party.objects.select_for_update(no_key=True).get(pk=party.pk)
    before = party.entitlements.filter(feature=SUPPORT, source=source, valid_to=None).first()
    if before is not None and before.plan == plan:
        return before
    begins, ends = agreed.started_at or at, agreed.ended_at
    if before is not None and before.valid_from <= at:
        before.valid_to = begins = at
        before.save(update_fields=["valid_to"])
    elif before is not None:
        ends = before.valid_from
    return Entitlement.objects.create(
        party=party, feature=SUPPORT, plan=plan, source=source, active=True, valid_from=min(begins, at), valid_to=ends
    )
