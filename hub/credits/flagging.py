"""What a reviewer should look at before deciding: each flag a code and a sentence. None of them decides anything."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from decimal import Decimal

from django.db.models import Min

from canonical.models import Party
from canonical.money import Money, round_money
from hub.credits import duplicates, exchange
from hub.credits.models import Credit
from hub.credits.policy import Facts

NEW = timedelta(days=90)
"""How long a customer is new."""
REMEMBERED = timedelta(days=180)
"""How long a rejected request is held against its requester."""
CLOSE = Decimal("0.95")
"""From this share of the upper end of its approval band a credit is near the limit."""
LISTED = Decimal("0.95")
"""Whoever is billed less than this share of the list price has a discount; the rest is what periods counted by days may be off."""


def flags_of(credit: Credit) -> list[dict[str, str]]:
    """The flags of a credit (saved or not) whose approval rule is assigned, in the order of `CHECKS`."""
    return [{"flag": flag, "text": text} for flag, check in CHECKS.items() for text in check(credit)]


def _near_limit(credit: Credit) -> Iterator[str]:
    rule = credit.approval_rule
    if rule is not None and rule.below is not None:
        try:
            amount, _label = exchange.convert(credit.total, credit.currency, rule.currency, credit.submitted_at.date())
        except exchange.NoRate:
            return
        if amount >= rule.below * CLOSE:
            yield f"Just below {_money(rule.below, rule.currency)}, from where others must approve."


def _capped(credit: Credit) -> Iterator[str]:
    if cap := (credit.calculation.get("decision") or {}).get("capped_by"):
        yield f"The policy's cap per {cap} has cut it."


def _near_duplicate(credit: Credit) -> Iterator[str]:
    if alike := duplicates.near(credit):
        yield f"Nearly the amount of {', '.join(one.number for one in alike[:3])}, of the same customer within 30 days."


def _new_customer(credit: Credit) -> Iterator[str]:
    since = _customer_since(credit.party)
    if credit.submitted_at - since < NEW:
        yield f"A customer since {since:%Y-%m-%d}."


def _customer_since(party: Party) -> datetime:
    """The first subscription, or when we first heard of the customer."""
    first: datetime | None = party.subscriptions.aggregate(first=Min("started_at"))["first"]
    return min(first, party.created_at) if first else party.created_at


def _requester(credit: Credit) -> Iterator[str]:
    theirs = Credit.objects.filter(
        origin=credit.origin, requested_by=credit.requested_by, submitted_at__gt=credit.submitted_at - REMEMBERED
    ).exclude(pk=credit.pk)
    rejected = theirs.filter(state="rejected").count() if credit.origin != Credit.Origin.SLA else 0
    if rejected:
        yield f"{rejected} of {theirs.count()} requests of {credit.requested_by} in the last 180 days were rejected."


def _above_computed(credit: Credit) -> Iterator[str]:
    if credit.requested is not None and credit.computed is not None and credit.requested > credit.computed:
        yield f"Asked for {_money(credit.requested, credit.currency)}; the policy gives {_money(credit.computed, credit.currency)}."


def _platform_sla(credit: Credit) -> Iterator[str]:
    """Where the support platform's own SLA policy has come to another opinion than our clock, in either direction."""
    told = credit.case.platform_sla if credit.case else []
    for promise in (credit.calculation.get("assessment") or {}).get("promises", []):
        said = {event["type"] for event in told if event["what"] == promise["what"]}
        is_missed = Decimal(promise["missed_by"]) > 0
        if said and ("breached" in said) != is_missed:
            ours, theirs = ("missed", "kept") if is_missed else ("kept", "missed")
            what = promise["what"].replace("_", " ")
            yield f"The support platform's own SLA policy calls the {what} {theirs}; by ours it is {ours}."


def _discounted(credit: Credit) -> Iterator[str]:
    """Where the policy gives shares of the list price, whoever pays less may be given less."""
    if "facts" not in credit.calculation or credit.policy is None or credit.policy.monthly_value != "listed":
        return
    facts = Facts.from_json(credit.calculation["facts"])
    listed, paid = facts.monthly, facts.billed
    if listed and paid and paid.value.currency == listed.currency and paid.value.amount < listed.amount * LISTED:
        yield f"Invoice {paid.invoice} bills {paid.value} a month; the policy gives shares of the list price, {listed}."


def _no_rule(credit: Credit) -> Iterator[str]:
    if not (credit.calculation.get("decision") or {}).get("rules"):
        yield "No rule of the policy gives this amount."


def _not_posted(credit: Credit) -> Iterator[str]:
    if credit.invoice_id is not None or credit.subscription is None:
        return
    newest = credit.subscription.invoices.filter(state__in=["recorded", "mapped"]).order_by("-issued_on", "-pk").first()
    if newest is not None:
        yield f"Invoice {newest.number or newest.pk} is not in the ERP's books yet: this one would be credited on account."


def _money(amount: Decimal, currency: str) -> Money:
    return Money(round_money(amount, currency), currency)


CHECKS: dict[str, Callable[[Credit], Iterator[str]]] = {
    "near_limit": _near_limit, "capped": _capped, "near_duplicate": _near_duplicate, "new_customer": _new_customer,
    "requester": _requester, "above_computed": _above_computed, "platform_sla": _platform_sla, "discounted": _discounted,
    "no_rule": _no_rule, "invoice_not_posted": _not_posted,
}  # fmt: skip
"""Flag → what finds it. Flags that later events add: `changed` (see `reassessing`)."""
