"""A customer of a small company, with everything a credit needs: a subscription, a plan, rules, who approves."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from django.contrib.auth.models import User
from django.utils import timezone

from canonical import xref
from canonical.models import (
    CaseClock,
    Invoice,
    InvoiceLine,
    LegalEntity,
    Party,
    Price,
    Product,
    Subscription,
    SubscriptionItem,
    SupportCase,
    move,
)
from connectors import registry
from connectors.models import Connection
from hub.credits import assessing, deciding, starter
from hub.credits.models import Credit
from hub.credits.opening import Claim
from tests.credits import factories
from tests.engine import vendor
from tests.support.world import LONG_AGO, billing_connection, people, rule_for

OPENED = datetime(2026, 11, 2, 9, tzinfo=UTC)
"""A Monday."""
NOW = datetime(2026, 11, 10, 12, tzinfo=UTC)
MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)


@dataclass
class Company:
    """The connections, and the first customer, who pays 1,000.00 a month for the plan `enterprise`."""

    entity: LegalEntity
    billing: Connection
    support: Connection
    erp: Connection
    acme: Party
    subscription: Subscription
    made: int = 0

    def customer(self, name: str, *, started: datetime = OPENED - 400 * DAY, price: str = "1000") -> tuple[Party, Subscription]:
        """A customer of billing with a subscription to the plan."""
        self.made += 1
        party = Party.objects.create(name=name)
        agreed = Subscription.objects.create(
            party=party, legal_entity=self.entity, status="active", currency="EUR", started_at=started
        )
        product, _ = Product.objects.get_or_create(name="Enterprise", family="enterprise")
        priced = Price.objects.create(product=product, currency="EUR", unit_amount=Decimal(price), interval="month")
        SubscriptionItem.objects.create(subscription=agreed, external_id=f"si_{self.made}", product=product, price=priced)
        xref.link(self.billing.pk, "party", f"cus_{self.made}", "party", party.pk, provenance="test")
        xref.link(self.billing.pk, "subscription", f"sub_{self.made}", "subscription", agreed.pk, provenance="test")
        return party, agreed

    def invoice(
        self, *, state: str = "posted", net: str = "1000", tax: str = "200", agreed: Subscription | None = None, **line: Any
    ) -> Invoice:
        """An invoice of a subscription, known to billing and, unless merely recorded, to the ERP."""
        agreed = agreed or self.subscription
        made = Invoice.objects.create(
            number="IN-1", party=agreed.party, legal_entity=self.entity, subscription=agreed, status="open", currency="EUR",
            issued_on=OPENED.date(), net=Decimal(net), tax=Decimal(tax), total=Decimal(net) + Decimal(tax), state=state,
        )  # fmt: skip
        posting = {
            "revenue_account": "4000", "deferred_account": "", "journal": "", "dimensions": {}, "product_code": "PLAN",
            "tax_codes": ["VAT"], "rules": ["accountingrule:1/v1"],
        }  # fmt: skip
        InvoiceLine.objects.create(
            invoice=made, external_id="il_1", position=0, net=Decimal(net), tax=Decimal(tax), posting=posting, taxes=[], **line
        )
        for system in (self.billing, self.erp) if state != "recorded" else (self.billing,):
            xref.link(system.pk, "invoice", f"in_{made.pk}", "invoice", made.pk, provenance="test")
        return made

    def case(self, *, late: timedelta | None = None, party: Party | None = None, **told: Any) -> SupportCase:
        """A resolved case of high severity; `late`: how long after its eight hours it was resolved. Answered at once."""
        resolved = OPENED + timedelta(hours=8) + (late if late is not None else -DAY / 24)
        given = {"status": "resolved", "severity": "high", "resolved_at": resolved, "first_reply_at": OPENED + MINUTE, **told}
        made = SupportCase.objects.create(party=party or self.acme, subject="it is down", opened_at=OPENED, **given)
        self.clock(made, ("opened", OPENED), ("first_reply", OPENED + MINUTE), ("resolved", resolved))
        xref.link(self.support.pk, "support_case", f"t{made.pk}", "support_case", made.pk, provenance="test")
        return made

    def clock(self, case: SupportCase, *entries: tuple[str, datetime]) -> None:
        """Say anew what moved the clock."""
        case.clock.all().delete()
        CaseClock.objects.bulk_create(CaseClock(case=case, what=what, at=at) for what, at in entries)

    def missed(self, case: SupportCase, **told: Any) -> Claim:
        """The claim for what was missed on a case."""
        assert case.party is not None
        given = {"reason": "resolution", "origin": "sla", "requested_by": "sla", "incident": case.incident, **told}
        return Claim(
            party=case.party,
            billing=self.billing,
            case=case,
            support=self.support,
            assessment=assessing.assess(case, at=NOW),
            **given,
        )

    def asked(self, amount: str | None = "100", **told: Any) -> Claim:
        """A reviewer's claim of goodwill."""
        given: dict[str, Any] = {
            "party": self.acme, "billing": self.billing, "reason": "goodwill", "origin": "reviewer", "requested_by": "rosa",
            "amount": None if amount is None else Decimal(amount), "evidence": "see the call of Monday", **told,
        }  # fmt: skip
        if given["origin"] == "reviewer":
            given["made_by"] = User.objects.get_or_create(username=given["requested_by"])[0]
        return Claim(**given)


def approve(credit: Credit) -> Credit:
    """Approved as its rule asks, by as many people."""
    for role in [stage["role"] for stage in credit.stages for _ in range(stage["count"])]:
        checker = factories.person(f"{role} {credit.approvals.count()}", role)
        credit = deciding.approve(credit, checker, revision=credit.revision, confirmed_at=timezone.now())
    return credit


def post(credit: Credit) -> Credit:
    """In the ERP's books, as the flow would say."""
    for name in ("release", "post"):
        move(credit, name, by="test")
    return credit


def found(*, rules: bool = True) -> Company:
    """The company, with the starter set in force and a rule for booking everything."""
    entity = LegalEntity.objects.create(code="main", name="Main", currency="EUR", timezone="Europe/Berlin")
    registry.register(vendor.connector("a"))
    billing = billing_connection(entity=entity)
    support = Connection.objects.create(slug="desk", title="Desk", connector="test-a", legal_entity=entity, state="active")
    erp = Connection.objects.create(slug="tryton", connector="tryton", legal_entity=entity, state="active")
    if rules:
        starter.install(*people(), [entity], on=LONG_AGO)
        rule_for(entity)
    company = Company(entity, billing, support, erp, Party(), Subscription())
    company.acme, company.subscription = company.customer("Acme")
    return company
