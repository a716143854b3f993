"""Bulk readings where the systems differ from one another; what holds for all of them is in the conformance checks."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from canonical.readings import Reading, Total, Window
from connectors.sdk.checks.extracting import counted
from connectors.sdk.contract import Count
from connectors.sdk.errors import Refused
from connectors.sdk.http import Call, Http
from connectors.sdk.tallies import added, against, tally
from connectors.vendors.stripe import CONNECTOR as STRIPE
from connectors.vendors.stripe import conformance as made
from connectors.vendors.stripe.crediting import KEY
from connectors.vendors.stripe.fake import StripeTwin
from connectors.vendors.stripe.fake.catalog import create_balance_transaction, create_price
from connectors.vendors.stripe.fake.subscribing import create_subscription
from connectors.vendors.stripe.recurring import recurring
from connectors.vendors.zendesk import CONNECTOR as ZENDESK
from connectors.vendors.zendesk import conformance as desk
from connectors.vendors.zendesk import extracts
from connectors.vendors.zendesk.fake import FIELDS, ZendeskTwin

AMOUNTS = st.lists(st.tuples(st.sampled_from(["", "EUR", "JPY"]), st.decimals(0, 10**9, places=2)))
Made = tuple[StripeTwin, Any]


@pytest.fixture
def stripe() -> Iterator[Made]:
    with StripeTwin(made.API_KEY) as twin:
        yield twin, opened(twin)


def opened(twin: StripeTwin, **settings: Any) -> Any:
    return STRIPE.open(STRIPE.settings(base_url=twin.url, **settings), made.KIT.credentials, Http())


def now(since: timedelta | None = None) -> Window:
    until = datetime.now(UTC) + timedelta(seconds=1)
    return Window(since=until - since if since else None, until=until)


def read(connector: Any, client: Any, kind: str, window: Window, call: Call | None = None) -> dict[str, Reading]:
    found: list[Reading] = []
    cursor: str | None = None
    while True:
        page = connector.extracts[kind](client, window, cursor, call or Call())
        found += page.readings
        cursor = page.cursor
        if cursor is None:
            return {reading.external_id: reading for reading in found}


# totals ----------------------------------------------------------------------------------------------------------


@given(AMOUNTS, AMOUNTS)
def test_the_parts_come_to_the_whole(some: list[Any], others: list[Any]) -> None:
    sums: dict[str, tuple[int, Decimal]] = {}
    for total in (*tally(some), *tally(others)):
        count, amount = sums.get(total.currency, (0, Decimal(0)))
        sums[total.currency] = (count + total.count, amount + total.amount)
    assert sums == {total.currency: (total.count, total.amount) for total in tally([*some, *others])}


def test_a_count_that_differs_is_told_and_one_that_agrees_is_not() -> None:
    assert against(7, 7) == []
    assert against(7, 5) == [Total(count=2)]
    assert against(5, 7) == [Total(count=-2)]


# Stripe ----------------------------------------------------------------------------------------------------------


def test_a_list_that_is_missing_is_empty_only_where_there_are_no_versions(stripe: Made) -> None:
    twin, client = stripe
    twin.arm("status", status=404, match="GET /v1/credit_notes", times=10)
    with pytest.raises(Refused):
        STRIPE.extracts["credit_memo"](client, now(), None, Call())
    with pytest.raises(Refused):
        STRIPE.totals["credit_memo"](client, now(), None, Call())
    partial = opened(twin, api_version="")
    assert read(STRIPE, partial, "credit_memo", now()) == {}
    assert STRIPE.totals["credit_memo"](partial, now(), None, Call()) == Count([], None)


def test_a_credit_on_the_balance_is_a_credit_memo_with_our_key(stripe: Made) -> None:
    twin, client = stripe
    customer = made.a_customer(twin)
    for amount, key in ((-1250, "credit-1"), (1250, "credit-1/back")):
        entry = {"amount": amount, "currency": "eur", "metadata": {KEY: key}}
        create_balance_transaction(twin.store, customer, entry)
    given_, back = sorted(read(STRIPE, client, "credit_memo", now()).values(), key=lambda reading: reading.reference)
    assert (given_.reference, given_.total, given_.currency, given_.party) == ("credit-1", Decimal("12.50"), "EUR", customer)
    assert (given_.status, given_.extra["form"]) == ("issued", "balance")
    assert (back.total, back.status, back.extra["form"]) == (Decimal("12.50"), "void", "charge")


def test_an_incremental_reading_asks_only_for_balances_that_changed(stripe: Made) -> None:
    twin, client = stripe
    customers = [made.a_customer(twin) for _ in range(60)]
    create_balance_transaction(twin.store, customers[42], {"amount": -500, "currency": "eur"})
    whole, part = Call(), Call()
    assert read(STRIPE, client, "credit_memo", now(), whole) == read(STRIPE, client, "credit_memo", now(timedelta(hours=1)), part)
    asked = [exchange.url for exchange in part.exchanges if exchange.url.endswith("/balance_transactions")]
    assert len(asked) == 1 and customers[42] in asked[0]
    assert sum(exchange.url.endswith("/balance_transactions") for exchange in whole.exchanges) == len(customers)


def test_an_incremental_reading_goes_back_as_far_as_the_settings_say_and_knows_every_subscription(stripe: Made) -> None:
    twin, _ = stripe
    old = made.an_invoice(twin)
    running = made.a_subscription(twin)
    for table in ("invoices", "subscriptions"):
        for obj in twin.store.tables[table]:
            obj["created"] -= 40 * 86_400
    new = made.an_invoice(twin)
    client, window = opened(twin, sweep_days=30), now(timedelta(hours=1))
    assert set(read(STRIPE, client, "invoice", window)) == {new}
    assert {old, new} < set(read(STRIPE, opened(twin, sweep_days=60), "invoice", window))
    assert set(read(STRIPE, client, "subscription", window)) == {running}


@pytest.mark.parametrize(
    ("interval", "count", "quantity", "monthly"),
    [
        ("month", 1, 3, "147.00"),
        ("year", 1, 1, "4.08"),
        ("month", 3, 1, "16.33"),
        ("week", 1, 1, "212.92"),
        ("day", 1, 1, "1490.42"),
    ],
)
def test_a_subscription_is_worth_what_it_costs_a_month(
    stripe: Made, interval: str, count: int, quantity: int, monthly: str
) -> None:
    twin, client = stripe
    recurring = {"interval": interval, "interval_count": count}
    price = {"product": made.a_product(twin), "unit_amount": 4900, "currency": "eur", "recurring": recurring}
    price_id = create_price(twin.store, "", price)["id"]
    items = [{"price": price_id, "quantity": quantity}]
    external_id = create_subscription(twin.store, "", {"customer": made.a_customer(twin), "items": items})["id"]
    reading = read(STRIPE, client, "subscription", now())[external_id]
    assert (reading.net, reading.currency, reading.status) == (Decimal(monthly), "EUR", "active")
    assert reading.service_from == datetime.now(UTC).date()
    (billed,) = read(STRIPE, client, "invoice", now()).values()
    assert (Decimal(billed.extra["recurring"]), "proration" in billed.extra) == (49 * quantity, False)


def _sold(quantity: int = 1, amount: int = 5000, **more: Any) -> dict[str, Any]:
    """A line of a subscription: a price, a period of November and, with `usage`, what usage made of it."""
    kind = "metered" if more.pop("usage", False) else "licensed"
    begins, ends = more.pop("period", (1793491200, 1796083200))
    return {
        "id": f"il_{amount}_{quantity}", "object": "line_item", "type": "subscription", "subscription": "sub_1",
        "subscription_item": "si_1", "amount": amount, "currency": "eur", "quantity": quantity, "proration": False,
        "discount_amounts": [], "tax_amounts": [], "tax_rates": [], "period": {"start": begins, "end": ends},
        "price": {"id": "price_1", "product": "prod_1", "recurring": {"interval": "month", "usage_type": kind}}, **more,
    }  # fmt: skip


RECURS = [
    ("its licensed price", [_sold()], "50", False),
    ("before the coupon", [_sold(discount_amounts=[{"amount": 1000, "discount": "di_1"}])], "50", False),
    ("without what was used", [_sold(), _sold(amount=733, usage=True)], "50", False),
    ("without a single item", [_sold(), _sold(amount=900, type="invoiceitem", subscription_item=None)], "50", False),
    ("without the change before it", [_sold(), _sold(amount=321, proration=True, period=(1793000000, 1793491200))], "50", False),
    ("nothing, when it is a change", [_sold(amount=321, proration=True)], None, True),
    ("nothing, when it is usage", [_sold(amount=733, usage=True)], None, False),
]


@pytest.mark.parametrize(("lines", "amount", "is_proration"), [row[1:] for row in RECURS], ids=[row[0] for row in RECURS])
def test_what_recurs_of_an_invoice_is(stripe: Made, lines: list[Any], amount: str | None, is_proration: bool) -> None:
    found = recurring(stripe[1], lines, "EUR", Call())
    assert (found.amount, found.is_proration) == (Decimal(amount) if amount else None, is_proration)
    assert {line["period"]["start"] for line in found.lines} == {1793491200}, "a change of the month before tells no period"


def test_what_the_hub_wrote_on_an_invoice_names_its_counterpart(stripe: Made) -> None:
    twin, client = stripe
    invoice = made.an_invoice(twin)
    twin.store.get("invoices", invoice)["metadata"] = {"tieout_erp_id": "17", "tieout_erp_number": "INV2026/000017"}
    assert read(STRIPE, client, "invoice", now())[invoice].same_as == ("17", "INV2026/000017")


# Zendesk ---------------------------------------------------------------------------------------------------------


def test_a_ticket_that_was_deleted_or_spoiled_is_still_read() -> None:
    with ZendeskTwin(desk.EMAIL, desk.TOKEN) as twin:
        client = ZENDESK.open(desk.settings(twin), desk.KIT.credentials, Http())
        shown = {"field_state": "credited", "field_number": "CR-1", "field_amount": "12.50", "field_currency": "EUR"}
        tickets = [desk.a_case(twin) for _ in range(3)]
        for ticket, amount in zip(tickets, ("12.50", "12.50", "a lot"), strict=True):
            values = {**shown, "field_amount": amount}
            fields = [{"id": int(FIELDS[name]), "value": value} for name, value in values.items()]
            twin.store.update(int(ticket), {"custom_fields": fields})
        twin.store.delete(int(tickets[1]))
        twin.advance(120)
        found = read(ZENDESK, client, "support_credit", now())
        sound, deleted, spoiled = (found[ticket] for ticket in tickets)
        assert (sound.total, sound.currency, sound.number, sound.status) == (Decimal("12.50"), "EUR", "CR-1", "credited")
        assert (deleted.total, deleted.status) == (Decimal("12.50"), "deleted")
        assert (spoiled.total, spoiled.extra) == (None, {"shown": "a lot EUR"})
        assert counted(ZENDESK, client, "support_credit", now()) == tally(
            (reading.currency or "", reading.total) for reading in found.values()
        )


def test_a_credit_that_changes_while_tickets_are_counted_counts_once_and_as_it_is_then(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extracts, "EXPORTED", 2)
    with ZendeskTwin(desk.EMAIL, desk.TOKEN) as twin:
        client = ZENDESK.open(desk.settings(twin), desk.KIT.credentials, Http())

        def show(ticket: str, amount: str) -> None:
            values = {"field_state": "credited", "field_number": "CR-1", "field_amount": amount, "field_currency": "EUR"}
            fields = [{"id": int(FIELDS[name]), "value": value} for name, value in values.items()]
            twin.store.update(int(ticket), {"custom_fields": fields})
            twin.advance(5)

        tickets = [desk.a_case(twin) for _ in range(5)]
        for ticket in tickets:
            show(ticket, "10.00")
        twin.advance(120)
        first = ZENDESK.totals["support_credit"](client, now(), None, Call())
        assert [total.count for total in first.totals] == [2]
        show(tickets[0], "70.00")
        twin.advance(120)
        found, cursor = [*first.totals], first.cursor
        while cursor is not None:
            page = ZENDESK.totals["support_credit"](client, now(), cursor, Call())
            found, cursor = [*found, *page.totals], page.cursor
        assert added(found) == [Total(currency="EUR", count=5, amount=Decimal("110.00"))]
