"""Rows for tests about credits: people with roles, rules in force, rates, and credits that are sealed as real ones."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

from django.contrib.auth.models import Group, User
from django.utils import timezone

from canonical.models import LegalEntity, Party, move
from connectors.models import Connection
from hub.credits import matrix, payload
from hub.credits.models import ApprovalRule, ApproverLimit, Credit, CreditPolicy, ExchangeRate
from hub.models import AccountingRule
from hub.roles import CONTROLLER, FINANCE, SENIOR
from tests.support.world import LONG_AGO, approved


def person(name: str, *roles: str, **told: Any) -> User:
    """A user with these roles; the same one for the same name."""
    user, _ = User.objects.get_or_create(username=name, defaults={"email": f"{name}@example.com", "is_staff": True, **told})
    user.groups.set(Group.objects.filter(name__in=roles))
    return user


def entity(code: str = "us", currency: str = "USD") -> LegalEntity:
    """A legal entity with an ERP, and an accounting rule for everything."""
    made, new = LegalEntity.objects.get_or_create(code=code, defaults={"name": code.upper(), "currency": currency})
    if new:
        Connection.objects.create(slug=f"erp-{code}", connector="tryton", legal_entity=made, state="active")
        approved(AccountingRule, legal_entity=made, revenue_account="4.2.2")
    return made


def billing(of: LegalEntity) -> Connection:
    """Its billing connection."""
    told = {"connector": "stripe", "legal_entity": of, "state": "active"}
    return Connection.objects.get_or_create(slug=f"billing-{of.code}", defaults=told)[0]


def party(name: str = "Acme GmbH") -> Party:
    """A customer; the same one for the same name."""
    return Party.objects.filter(name=name).first() or Party.objects.create(name=name)


def rule(*roles: str, at_least: str = "0", below: str | None = None, **told: Any) -> ApprovalRule:
    """An approval rule in force: one approval of each role, in this order; none at all when no role is given."""
    fields = {
        "currency": "USD", "at_least": Decimal(at_least), "below": None if below is None else Decimal(below),
        "stages": [{"role": role, "count": 1} for role in roles], "sample_percent": 0, **told,
    }  # fmt: skip
    made: ApprovalRule = approved(ApprovalRule, **fields)
    return made


def limit(role: str, per_credit: str | None = None, per_day: str | None = None, per_customer: str | None = None,
          currency: str = "USD", **told: Any) -> ApproverLimit:  # fmt: skip
    """A limit in force; what is not given is not limited."""
    said = {"per_credit": per_credit, "per_day": per_day, "per_customer": per_customer}
    amounts = {name: None if amount is None else Decimal(amount) for name, amount in said.items()}
    made: ApproverLimit = approved(ApproverLimit, role=role, currency=currency, **amounts, **told)
    return made


def rate(currency: str, worth: str, to: str = "USD", on: date = LONG_AGO) -> ExchangeRate:
    """What one unit is worth from a day on."""
    return ExchangeRate.objects.create(on=on, currency=currency, to=to, rate=Decimal(worth), source="test")


def ground() -> None:
    """What credits of any amount need: one approval below 1,000 USD, two below 10,000, and then seniors; ample limits."""
    rule(FINANCE, below="1000")
    rule(FINANCE, SENIOR, at_least="1000", below="10000")
    rule(SENIOR, CONTROLLER, at_least="10000", step_up=True)
    for role in (FINANCE, SENIOR, CONTROLLER):
        limit(role)


def credit(net: str = "100", *, at: datetime | None = None, **told: Any) -> Credit:
    """A credit that waits for its decision, by the rules in force; without tax unless told. Asked for on a case."""
    at = at or timezone.now()
    owner = told.pop("legal_entity", None) or entity()
    tax = Decimal(told.pop("tax", 0))
    fields: dict[str, Any] = {
        "party": told.pop("party", None) or party(), "legal_entity": owner, "billing": told.pop("billing", None) or billing(owner),
        "origin": "agent", "reason": "goodwill", "currency": "USD", "net": Decimal(net), "tax": tax,
        "total": Decimal(net) + tax, "settlement": CreditPolicy.Settlement.CREDIT_NOTE, "requested_by": "agent@support",
        "submitted_at": at,
        "lines": [{"description": "Credit", "revenue_account": "4.2.2", "net": net, "tax": str(tax)}],
    }  # fmt: skip
    made = Credit(**(fields | told))
    matrix.assign(made, at=at)
    payload.seal(made)
    made.save(force_insert=True)
    return made


def computed(net: str = "10", **told: Any) -> Credit:
    """A credit that a policy computed from a missed promise."""
    return credit(net, origin="sla", reason="resolution", requested_by="hub", computed=Decimal(net), **told)


def ago(**time: float) -> datetime:
    """A moment so long ago."""
    return timezone.now() - timedelta(**time)


def lapse(credit: Credit) -> Credit:
    """The undo window of an approved credit is over."""
    Credit.objects.filter(pk=credit.pk).update(held_until=ago(seconds=1))
    return Credit.objects.get(pk=credit.pk)


def released(credit: Credit) -> Credit:
    """The flow took it out of its undo window."""
    fresh = Credit.objects.get(pk=credit.pk)
    move(fresh, "release", by="flow")
    return fresh
