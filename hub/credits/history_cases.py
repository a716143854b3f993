"""Customers and support cases of a pretended past: who they are, what they bought, and what their clocks tell."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from random import Random
from typing import Any

from canonical.models import CaseClock, ExternalRef, LegalEntity, Party, Price, Product, Subscription, SubscriptionItem, SupportCase
from canonical.money import Money, exponent
from connectors.models import Connection
from hub.credits import starter

ENTITIES = (
    # code, name, books, country, time zone, currencies of its customers
    ("history-us", "Tieout Americas Inc", "USD", "US", "America/New_York", ("USD", "USD", "GBP")),
    ("history-eu", "Tieout Europe GmbH", "EUR", "DE", "Europe/Berlin", ("EUR", "EUR", "GBP", "CHF")),
    ("history-jp", "Tieout Japan KK", "JPY", "JP", "Asia/Tokyo", ("JPY", "JPY", "USD")),
)
MONTHLY = {"standard": (180, 600), "premium": (800, 4000), "enterprise": (5000, 20000)}
"""A month of a plan, from and to, in units of money that buy about as much as a dollar."""
YEN = 150
CUSTOMERS = 42
NAMES = ("Alder", "Birch", "Cedar", "Dogwood", "Elm", "Fir", "Gingko", "Hazel", "Ivy", "Juniper", "Kapok", "Larch", "Maple", "Oak")
TRADES = ("Logistics", "Foods", "Optics", "Analytics", "Textiles", "Energy", "Media")
SUBJECTS = (
    "Exports stop halfway", "Nobody can sign in since this morning", "Reports show yesterday's figures", "API answers with 502",
    "Webhooks arrive an hour late", "Invoices miss their purchase order", "Search finds nothing", "The dashboard is very slow",
)  # fmt: skip
AGENTS = ("mia", "noah", "yuki", "lena")


@dataclass(slots=True)
class Customer:
    """Somebody with one subscription, and what it costs a month."""

    party: Party
    plan: str
    subscription: Subscription
    monthly: Money
    billing: Connection


@dataclass(slots=True)
class Told:
    """A case, its clock, and whose it is."""

    case: SupportCase
    clock: list[CaseClock]
    customer: Customer

    @property
    def resolved(self) -> datetime:
        assert self.case.resolved_at is not None
        return self.case.resolved_at


def ref(connection: Connection, kind: str, object_id: int, external_id: str, of: str = "") -> ExternalRef:
    """What a system of the past called something."""
    return ExternalRef(
        connection=connection, kind=kind, object_kind=of or kind, object_id=object_id, external_id=external_id, provenance="history"
    )


@dataclass(slots=True)
class Teller:
    """Makes up customers and cases between two instants; the same random numbers tell the same."""

    random: Random
    start: datetime
    end: datetime
    erps: dict[int, Connection] = field(default_factory=dict)
    """The books of each legal entity, by its id."""

    def customers(self) -> list[Customer]:
        """Legal entities with their systems, and customers with a subscription each; saved."""
        places = [self._place(*one) for one in ENTITIES]
        plans = {plan: Product(name=f"Tieout {plan}", family=plan, uid=self.uid()) for plan in starter.PLANS}
        Product.objects.bulk_create(plans.values())
        found = []
        for number in range(CUSTOMERS):
            entity, billing, currencies = places[number % len(places)]
            plan = starter.PLANS[(number // len(places)) % len(starter.PLANS)]
            name = f"{NAMES[number % len(NAMES)]} {TRADES[number // len(NAMES) % len(TRADES)]}"
            found.append(self._customer(name, plan, plans[plan], entity, billing, self.random.choice(currencies)))
        refs = [
            ref(one.billing, kind, obj.pk, f"{prefix}_h{obj.pk}")
            for one in found
            for kind, obj, prefix in (("party", one.party, "cus"), ("subscription", one.subscription, "sub"))
        ]
        ExternalRef.objects.bulk_create(refs)
        return found

    def _place(
        self, code: str, name: str, currency: str, country: str, timezone: str, currencies: tuple[str, ...]
    ) -> tuple[LegalEntity, Connection, tuple[str, ...]]:
        entity = LegalEntity.objects.create(code=code, name=name, currency=currency, country=country, timezone=timezone)
        billing, erp = (
            Connection.objects.create(
                slug=f"{code}-{role}",
                title=f"{title} of {name}, replaced",
                connector=connector,
                legal_entity=entity,
                state="revoked",
            )
            for role, title, connector in (("billing", "Billing", "stripe"), ("erp", "Books", "tryton"))
        )
        self.erps[entity.pk] = erp
        return entity, billing, currencies

    def _customer(
        self, name: str, plan: str, product: Product, entity: LegalEntity, billing: Connection, currency: str
    ) -> Customer:  # fmt: skip
        low, high = MONTHLY[plan]
        worth = Decimal(self.random.randrange(low, high, 10)) * (1 if exponent(currency) else YEN)
        party = Party.objects.create(
            name=name, email=f"ap@{name.lower().replace(' ', '-')}.example", region=entity.country, uid=self.uid()
        )
        since = self.start - timedelta(days=self.random.randrange(30, 400))
        agreed = Subscription.objects.create(
            party=party, legal_entity=entity, status="active", currency=currency, started_at=since, uid=self.uid()
        )
        price = Price.objects.create(product=product, currency=currency, unit_amount=worth, interval="month", uid=self.uid())
        SubscriptionItem.objects.create(subscription=agreed, external_id=f"si_h{agreed.pk}", product=product, price=price)
        return Customer(party, plan, agreed, Money(worth, currency), billing)

    def cases(self, customers: Sequence[Customer], count: int) -> list[Told]:
        """So many cases, not saved; all are resolved before the end."""
        span = int((self.end - timedelta(days=21) - self.start).total_seconds() // 60)
        told: list[Told] = []
        while len(told) < count:
            opened = self.start + timedelta(minutes=self.random.randrange(span))
            if self.random.random() < 0.08:
                down = timedelta(minutes=self.random.randrange(20, 1500))
                struck = self.random.sample(customers, min(self.random.randrange(2, 7), count - len(told)))
                told += [self._case(one, opened, f"INC-{len(told) + 1:04d}", down) for one in struck]
            else:
                told.append(self._case(self.random.choice(customers), opened))
        return told

    def _case(self, customer: Customer, opened: datetime, incident: str = "", down: timedelta | None = None) -> Told:
        random = self.random
        opened += timedelta(seconds=random.randrange(3600))
        severity = random.choice(("urgent", "high", "normal", "low"))
        times = [("opened", opened, ""), ("severity", opened, severity)]
        if down is not None:
            times += [("down", opened, "reported by monitoring"), ("up", opened + down, "")]
        if random.random() < 0.1:
            severity = "urgent"
            times.append(("severity", opened + timedelta(minutes=random.randrange(10, 300)), severity))
        slow = {"standard": 300, "premium": 60, "enterprise": 12}[customer.plan]
        replied = opened + timedelta(minutes=min(random.expovariate(1 / slow), 3 * 1440) + 2)
        times.append(("first_reply", replied, ""))
        cursor = replied
        for _ in range(random.randrange(3)):
            paused = cursor + timedelta(minutes=random.randrange(5, 400))
            cursor = paused + timedelta(minutes=random.randrange(30, 2000))
            times += [("paused", paused, ""), ("resumed", cursor, "")]
        resolved = cursor + timedelta(minutes=min(random.expovariate(1 / (slow * 8)), 7 * 1440) + 5)
        times.append(("resolved", resolved, ""))
        if random.random() < 0.07:
            reopened, resolved = resolved + timedelta(hours=20), resolved + timedelta(hours=20 + random.randrange(1, 40))
            times += [("reopened", reopened, ""), ("resolved", resolved, "")]
        case = SupportCase(
            uid=self.uid(), party=customer.party, subject=random.choice(SUBJECTS), severity=severity, status="closed",
            opened_at=opened, first_reply_at=replied, resolved_at=resolved, incident=incident, plan=customer.plan,
            tags=["maintenance"] if random.random() < 0.04 else [], credit=self._asked(customer),
        )  # fmt: skip
        clock = [
            CaseClock(what=what, at=at.replace(microsecond=0), value=value)
            for what, at, value in sorted(times, key=lambda told: told[1])
        ]
        return Told(case, clock, customer)

    def _asked(self, customer: Customer) -> dict[str, Any] | None:
        """What an agent asked for on the case, as `canonical.types.CreditRequest`."""
        if self.random.random() > 0.12:
            return None
        share = Decimal(self.random.choice((2, 5, 10, 15, 25)))
        amount = (customer.monthly.amount * share / 100).quantize(Decimal(1))
        reason = self.random.choice(("goodwill", "goodwill", "billing_error"))
        return {
            "reason": reason, "amount": str(amount), "currency": customer.monthly.currency, "by": self.random.choice(AGENTS),
            "note": "Promised on the phone." if reason == "goodwill" else "Charged twice, see the bank statement.",
        }  # fmt: skip

    def uid(self) -> uuid.UUID:
        """The next id."""
        return uuid.UUID(int=self.random.getrandbits(128), version=4)
