"""What a customer was promised, by which subscription, and what that is worth a month."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from canonical import xref
from canonical.models import (
    Entitlement,
    Invoice,
    InvoiceLine,
    LegalEntity,
    Party,
    Price,
    Product,
    Subscription,
    SubscriptionItem,
    SupportCase,
)
from canonical.money import Money
from connectors.models import Connection
from hub.credits import entitling
from hub.credits.models import SlaTerms
from hub.credits.policy import Billed
from tests.support.world import approved, billing_connection

AT = datetime(2026, 11, 10, 12, tzinfo=UTC)
DAY = timedelta(days=1)


@pytest.fixture
def billing(db: None) -> Connection:
    return billing_connection(entity=LegalEntity.objects.create(code="main", name="Main", currency="EUR"))


@pytest.fixture
def acme(billing: Connection) -> Party:
    for plan in ("gold", "silver"):
        approved(SlaTerms, plan=plan, resolution_minutes=60)
    return Party.objects.create(name="Acme")


def sells(
    party: Party, billing: Connection, family: str = "gold", price: str | None = "100", *, started: datetime = AT - 90 * DAY,
    ended: datetime | None = None, quantity: str = "1", currency: str = "EUR", **told: Any,
) -> Subscription:  # fmt: skip
    agreed = Subscription.objects.create(
        party=party, legal_entity=billing.legal_entity, status="cancelled" if ended else "active", currency="EUR",
        started_at=started, ended_at=ended,
    )  # fmt: skip
    xref.link(billing.pk, "subscription", f"sub_{agreed.pk}", "subscription", agreed.pk, provenance="test")
    adds(agreed, family, price, quantity=quantity, currency=currency, **told)
    return agreed


def adds(agreed: Subscription, family: str, price: str | None, *, quantity: str = "1", currency: str = "EUR", **told: Any) -> None:
    product = Product.objects.create(name=f"Plan {family}", family=family)
    given = {"interval": "month", "unit_amount": None if price is None else Decimal(price), "currency": currency, **told}
    SubscriptionItem.objects.create(
        subscription=agreed, external_id=f"si_{product.pk}", product=product, quantity=Decimal(quantity),
        price=Price.objects.create(product=product, **given),
    )  # fmt: skip


def writes(party: Party, plan: str, **told: Any) -> Entitlement:
    given = {"feature": "support", "source": "contract 7", "active": True, "valid_from": AT - 30 * DAY, **told}
    return Entitlement.objects.create(party=party, plan=plan, **given)


def a_case(party: Party | None, **told: Any) -> SupportCase:
    return SupportCase.objects.create(party=party, subject="down", status="open", opened_at=AT, **told)


def test_what_is_written_comes_before_what_follows_from_a_subscription(acme: Party, billing: Connection) -> None:
    sells(acme, billing, "gold")
    written = writes(acme, "silver")
    assert entitling.entitlement_of(acme, AT) == written


@pytest.mark.parametrize(
    "told",
    [{"active": False}, {"valid_to": AT}, {"valid_from": AT + DAY}, {"plan": ""}],
    ids=["inactive", "over", "not yet", "no plan"],
)
def test_what_is_not_valid_at_the_instant_promises_nothing(told: dict[str, Any], acme: Party) -> None:
    writes(acme, **{"plan": "gold", **told})
    assert entitling.entitlement_of(acme, AT) is None


def test_the_hint_chooses_among_promises_and_makes_none(acme: Party) -> None:
    assert entitling.entitlement_of(acme, AT, plan_hint="gold") is None
    silver, gold = writes(acme, "silver"), writes(acme, "gold", valid_from=AT - DAY)
    assert entitling.entitlement_of(acme, AT, plan_hint="silver") == silver
    assert entitling.entitlement_of(acme, AT, plan_hint="diamond") == gold, "the latest"


def test_a_subscription_promises_what_its_products_family_does(acme: Party, billing: Connection) -> None:
    agreed = sells(acme, billing, "gold")
    promise = entitling.entitlement_of(acme, AT)
    assert promise is not None and (promise.plan, promise.source) == ("gold", f"subscription {agreed.pk}")
    assert promise.valid_from == agreed.started_at
    assert entitling.entitlement_of(acme, AT + DAY) == promise, "it is concluded once"


def test_a_family_without_terms_is_no_plan(acme: Party, billing: Connection) -> None:
    sells(acme, billing, "hardware")
    assert entitling.entitlement_of(acme, AT) is None and not Entitlement.objects.exists()


def test_another_plan_ends_the_promise_before_and_leaves_history(acme: Party, billing: Connection) -> None:
    agreed = sells(acme, billing, "silver")
    entitling.entitlement_of(acme, AT - 10 * DAY)
    agreed.items.update(ended=True)
    adds(agreed, "gold", "200")
    for at, plan in ((AT, "gold"), (AT - 10 * DAY, "silver"), (AT + DAY, "gold")):
        promise = entitling.entitlement_of(acme, at)
        assert promise is not None and promise.plan == plan
    assert Entitlement.objects.count() == 2


def test_a_subscription_that_had_ended_promises_nothing(acme: Party, billing: Connection) -> None:
    sells(acme, billing, "gold", ended=AT - DAY)
    assert entitling.entitlement_of(acme, AT) is None
    assert (promise := entitling.entitlement_of(acme, AT - 2 * DAY)) is not None and promise.plan == "gold"


def test_a_case_affects_the_subscription_it_names(acme: Party, billing: Connection) -> None:
    _first, second = sells(acme, billing), sells(acme, billing)
    assert entitling.affected_subscription(a_case(acme, subscription=f"sub_{second.pk}"), AT) == second


def test_a_case_cannot_name_a_subscription_of_another_customer(acme: Party, billing: Connection) -> None:
    own = sells(acme, billing)
    other = sells(Party.objects.create(name="Other"), billing, price="9999")
    assert entitling.affected_subscription(a_case(acme, subscription=f"sub_{other.pk}"), AT) == own


def test_of_several_subscriptions_the_one_of_the_plan_is_affected(acme: Party, billing: Connection) -> None:
    sells(acme, billing, "hardware")
    gold = sells(acme, billing, "gold")
    assert entitling.affected_subscription(acme, AT) == gold


def test_several_that_may_be_meant_are_none(acme: Party, billing: Connection) -> None:
    sells(acme, billing), sells(acme, billing)
    assert entitling.affected_subscription(a_case(acme), AT) is None
    assert entitling.affected_subscription(a_case(None), AT) is None


@pytest.mark.parametrize(
    ("told", "worth"),
    [
        ({"price": "100"}, "100.00"),
        ({"price": "100", "quantity": "3"}, "300.00"),
        ({"price": "1200", "interval": "year"}, "100.00"),
        ({"price": "100", "interval": "year"}, "8.33"),
        ({"price": "300", "interval_count": 3}, "100.00"),
        ({"price": "12", "interval": "day", "interval_count": 365}, "1.00"),
        ({"price": "84", "interval": "week"}, "365.00"),
    ],
)
def test_a_subscription_is_worth_what_it_costs_a_month(told: dict[str, Any], worth: str, acme: Party, billing: Connection) -> None:
    assert entitling.monthly_value(sells(acme, billing, **told)) == Money(Decimal(worth), "EUR")


@pytest.mark.parametrize(
    "told",
    [{"price": None}, {"price": "10", "currency": "USD"}, {"price": "0"}, {"price": "10", "interval": ""},
     {"price": "10", "usage_based": True}],
    ids=["tiered", "another currency", "free", "one-off", "by usage"],
)  # fmt: skip
def test_what_it_is_worth_is_not_guessed(told: dict[str, Any], acme: Party, billing: Connection) -> None:
    assert entitling.monthly_value(sells(acme, billing, **told)) is None


def test_items_add_up_and_ended_ones_do_not_count(acme: Party, billing: Connection) -> None:
    agreed = sells(acme, billing, price="100")
    agreed.items.update(ended=True)
    adds(agreed, "gold", "70")
    adds(agreed, "extra", "30", interval="")
    adds(agreed, "more", "0.005", quantity="1")
    assert entitling.monthly_value(agreed) == Money(Decimal("70.00"), "EUR"), "rounded once, half to even"


def bills(agreed: Subscription, number: str, net: str, first: date, last: date, **told: Any) -> Invoice:
    said = {
        "party": agreed.party, "legal_entity": agreed.legal_entity, "subscription": agreed, "status": "paid", "currency": "EUR",
        "issued_on": first, "voided_on": told.pop("voided_on", None), "net": 0, "tax": 0, "total": 0,
    }  # fmt: skip
    invoice, _ = Invoice.objects.get_or_create(number=number, defaults=said)
    given = {"product": agreed.items.first().product, **told}  # type: ignore[union-attr]
    position = invoice.lines.count()
    InvoiceLine.objects.create(
        invoice=invoice, external_id=f"il_{position}", position=position, net=Decimal(net), tax=Decimal("9.99"),
        service_from=first, service_to=last, taxes=[], **given,
    )  # fmt: skip
    return invoice


@pytest.mark.parametrize(
    ("first", "last", "net", "worth"),
    [
        (date(2026, 11, 1), date(2026, 11, 30), "80", "80.00"),
        (date(2026, 1, 31), date(2026, 2, 27), "80", "80.00"),
        (date(2026, 2, 28), date(2026, 3, 30), "80", "80.00"),
        (date(2026, 4, 30), date(2026, 5, 30), "80", "80.00"),
        (date(2026, 11, 10), date(2027, 11, 9), "960", "80.00"),
        (date(2026, 8, 31), date(2026, 11, 29), "240", "80.00"),
        (date(2026, 11, 1), date(2026, 11, 7), "84", "365.00"),
        (date(2026, 11, 1), date(2026, 11, 30), "0", "0.00"),
    ],
    ids=["month", "to the end of February", "from it", "from the 30th", "year", "quarter", "week", "all of it off"],
)
def test_what_is_billed_a_month_is_exact_for_whole_months(
    first: date, last: date, net: str, worth: str, acme: Party, billing: Connection
) -> None:
    agreed = sells(acme, billing)
    bills(agreed, "IN-1", net, first, last)
    assert entitling.billed(agreed, last) == Billed(Money(Decimal(worth), "EUR"), "IN-1")


def test_the_newest_invoice_of_the_day_says_what_is_billed(acme: Party, billing: Connection) -> None:
    agreed = sells(acme, billing)
    for month, net in ((9, "70"), (10, "80"), (11, "90")):
        bills(agreed, f"IN-{month}", net, date(2026, month, 1), date(2026, month, 28))
    told = {on: entitling.billed(agreed, on) for on in (date(2026, 8, 1), date(2026, 10, 31), date(2027, 1, 1))}
    assert [one.invoice for one in told.values() if one] == ["IN-9", "IN-10", "IN-11"]


def test_lines_add_up_and_what_does_not_recur_does_not_count(acme: Party, billing: Connection) -> None:
    agreed = sells(acme, billing)
    adds(agreed, "extra", "30")
    adds(agreed, "calls", "1", usage_based=True)
    month = (date(2026, 11, 1), date(2026, 11, 30))
    plan, extra, calls = (item.product for item in agreed.items.order_by("pk"))
    for net, told in (
        ("80", {"product": plan}), ("25", {"product": extra}), ("500", {"product": calls}), ("7", {"product": None}),
        ("11", {"product": plan, "proration": True}),
    ):  # fmt: skip
        bills(agreed, "IN-1", net, *month, **told)
    bills(agreed, "IN-2", "1", date(2026, 11, 2), date(2026, 12, 1), voided_on=date(2026, 11, 3))
    assert entitling.billed(agreed, AT.date()) == Billed(Money(Decimal(105), "EUR"), "IN-1")


def test_without_an_invoice_nothing_says_what_is_billed(acme: Party, billing: Connection) -> None:
    assert entitling.billed(sells(acme, billing), AT.date()) is None


def test_billing_is_the_system_that_knows_the_customer(acme: Party, billing: Connection) -> None:
    assert entitling.billing_of(acme) is None
    other = billing_connection(slug="other", entity=LegalEntity.objects.create(code="b", name="B", currency="USD"))
    for number, connection in enumerate((billing, other)):
        xref.link(connection.pk, "party", f"cus_{number}", "party", acme.pk, provenance="test")
    assert entitling.billing_of(acme) == billing
    assert entitling.billing_of(acme, other) == other, "the one of the desk's legal entity"
