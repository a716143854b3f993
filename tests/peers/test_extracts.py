# ruff: noqa: F811
"""Bulk readings from the real peers, and the same from their twins: what reconciliation believes about each system."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from canonical.commands import Written
from canonical.readings import Reading, Total, Window
from connectors.sdk.checks.extracting import counted
from connectors.sdk.http import Call
from connectors.sdk.tallies import tally
from connectors.vendors.request_tracker import CONNECTOR as REQUEST_TRACKER
from connectors.vendors.roundup import CONNECTOR as ROUNDUP
from connectors.vendors.stripe import CONNECTOR as STRIPE
from connectors.vendors.stripe.client import Stripe
from connectors.vendors.stripe.fake import StripeTwin
from connectors.vendors.tryton import CONNECTOR as TRYTON
from tests.connectors.stripe_stories import ours, sdk, subscribe
from tests.peers.erp import Erp, credit_memo, invoice, line, paid, reversal, served
from tests.peers.test_localstripe import peer as localstripe  # noqa: F401
from tests.peers.test_request_tracker import Rt, rt  # noqa: F401
from tests.peers.test_request_tracker import block as rt_block
from tests.peers.tracker import Desk, block

TODAY = datetime.now(UTC).date()


def window(**apart: int) -> Window:
    """Everything there is until now, or so much later."""
    return Window(until=datetime.now(UTC) + timedelta(seconds=2) + timedelta(**apart))


def read(connector: Any, client: Any, kind: str, asked: Window) -> dict[str, Reading]:
    """Everything in a window by its id. The totals of the source must be those of what was read."""
    found: list[Reading] = []
    cursor: str | None = None
    while True:
        page = connector.extracts[kind](client, asked, cursor, Call())
        found += page.readings
        cursor = page.cursor
        if cursor is None:
            break
    by_id = {reading.external_id: reading for reading in found}
    assert len(by_id) == len(found)
    assert told(counted(connector, client, kind, asked)) == told(tally((it.currency or "", it.total) for it in found))
    return by_id


def told(totals: Any) -> dict[str, Total]:
    return {total.currency: total for total in totals if total.count or total.amount}


# Tryton ----------------------------------------------------------------------------------------------------


def test_the_ledger_shows_the_two_cents_too_many(erp: Erp) -> None:
    """Tryton's deferral recognises 1200.02 of 1200.00 over twelve months: the closing cent has the wrong sign."""
    first = date(TODAY.year, 2, 1) if TODAY.month == 1 else date(TODAY.year, TODAY.month, 1)
    last = date(first.year + 1, first.month, 1) - timedelta(days=1)
    posted = erp.run("post_invoice", invoice(erp, served("1200.00", first, last)))
    reading = recognised(erp, posted, window(days=800))
    assert (reading.net, reading.total, reading.status) == (Decimal("1200.00"), Decimal("1200.02"), "done")
    assert (reading.service_from, reading.service_to, reading.party) == (first, last, erp.party)
    before = recognised(erp, posted, window())
    assert before.status == "running"
    assert before.total is not None and 0 <= before.total < Decimal("1200.00")
    assert before.extra["scheduled"] == "1200.02"


def recognised(erp: Erp, document: Written, asked: Window) -> Reading:
    """What the ledger says of the only line of a document."""
    (reading,) = (each for each in read(TRYTON, erp.client, "recognition", asked).values() if each.about == document.external_id)
    return reading


def test_time_alone_changes_what_is_recognised(erp: Erp) -> None:
    last = TODAY + timedelta(days=70)
    posted = erp.run("post_invoice", invoice(erp, served("90.00", TODAY, last)))
    later = window(days=60)
    now = recognised(erp, posted, window())
    then = recognised(erp, posted, Window(since=later.until - timedelta(days=1), until=later.until))
    assert now.total is not None and then.total is not None
    assert now.total < then.total


def test_documents_of_the_erp_are_read_whole(erp: Erp) -> None:
    request = invoice(erp, line("100.00", "20.00", "VAT20"), served("60.00", TODAY, TODAY + timedelta(days=29)))
    posted = erp.run("post_invoice", request)
    memo = erp.run("post_credit_memo", credit_memo(erp, line("10.00", "2.00", "VAT20"), invoice=posted.external_id))
    values = {"type": "out", "company": erp.entry["company"], "party": int(erp.party), "reference": "by hand"}
    draft = erp.client.create(erp.call, "account.invoice", {**draft_of(erp, posted.external_id), **values})
    invoices = read(TRYTON, erp.client, "invoice", window())
    reading = invoices[posted.external_id]
    assert (reading.number, reading.reference, reading.party) == (posted.number, request.key, erp.party)
    assert (reading.net, reading.tax, reading.total) == (Decimal("160.00"), Decimal("20.00"), Decimal("180.00"))
    assert (reading.currency, reading.status, reading.on) == ("USD", "open", posted.facts.document_on)
    assert (reading.service_from, reading.service_to) == (TODAY, TODAY + timedelta(days=29))
    assert (invoices[str(draft)].status, invoices[str(draft)].number) == ("draft", "")
    assert memo.external_id not in invoices
    credit = read(TRYTON, erp.client, "credit_memo", window())[memo.external_id]
    assert (credit.total, credit.tax, credit.status) == (Decimal("12.00"), Decimal("2.00"), "issued")
    assert credit.about == posted.external_id


def draft_of(erp: Erp, document: str) -> dict[str, Any]:
    """What a draft needs, from another document."""
    fields = ["invoice_address", "account", "journal", "currency"]
    row = erp.client.read(erp.call, "account.invoice", int(document), fields)
    return {name: row[name] for name in fields}


def test_what_an_invoice_became_is_its_status(erp: Erp) -> None:
    open_, settled, gone = (erp.run("post_invoice", invoice(erp, line("100.00"))) for _ in range(3))
    erp.run("register_payment", paid(erp, settled, "100.00"))
    erp.run("reverse_invoice", reversal(erp, gone))
    found = read(TRYTON, erp.client, "invoice", window())
    assert [found[each.external_id].status for each in (open_, settled, gone)] == ["open", "paid", "void"]


@pytest.mark.parametrize("currency", ["USD", "EUR"])
def test_payments_are_read_from_the_ledger(erp: Erp, currency: str) -> None:
    posted = erp.run("post_invoice", invoice(erp, line("100.00"), currency=currency))
    request = paid(erp, posted, "40.00")
    written = erp.run("register_payment", request)
    reading = read(TRYTON, erp.client, "payment", window())[written.external_id]
    assert (reading.total, reading.currency, reading.status) == (Decimal("40.00"), currency, "succeeded")
    assert (reading.reference, reading.about, reading.party) == (request.key, posted.external_id, erp.party)
    assert reading.on == TODAY


def test_an_incremental_reading_brings_what_was_written_since(erp: Erp) -> None:
    posted = erp.run("post_invoice", invoice(erp))
    now = datetime.now(UTC)
    assert posted.external_id in read(TRYTON, erp.client, "invoice", Window(since=now, until=now + timedelta(seconds=2)))
    tomorrow = now + timedelta(days=1)
    assert read(TRYTON, erp.client, "invoice", Window(since=tomorrow, until=tomorrow)) == {}


def test_customers_and_products_have_the_codes_the_hub_gave(erp: Erp) -> None:
    parties = read(TRYTON, erp.client, "party", window())
    assert parties[erp.party].reference.startswith("cus_")
    assert {"PLAN", "USAGE", "SETUP"} <= {reading.number for reading in read(TRYTON, erp.client, "product", window()).values()}


# Roundup ---------------------------------------------------------------------------------------------------


def test_an_issue_shows_the_credit_the_hub_wrote(desk: Desk) -> None:
    issue, bare = desk.customer.open("Down", billing_customer="cus_9"), desk.customer.open("No credit")
    values = {"credit_state": "credited", "credit_number": "CN2026/000007", "credit_amount": "12.50", "credit_currency": "EUR"}
    desk.run("write_case", block(issue).model_copy(update={"values": values}))
    found = read(ROUNDUP, desk.client, "support_credit", window())
    assert bare not in found
    reading = found[issue]
    assert (reading.number, reading.total, reading.currency) == ("CN2026/000007", Decimal("12.50"), "EUR")
    assert (reading.status, reading.party) == ("credited", "customer:cus_9")
    desk.agent.set(issue, credit_amount="a lot")
    spoiled = read(ROUNDUP, desk.client, "support_credit", window())[issue]
    assert (spoiled.total, spoiled.extra) == (None, {"shown": "a lot EUR"})
    desk.admin.retire(issue)
    assert issue not in read(ROUNDUP, desk.client, "support_credit", window())


# Request Tracker -------------------------------------------------------------------------------------------


def test_a_ticket_shows_the_credit_the_hub_wrote(rt: Rt) -> None:
    ticket, emptied, bare = rt.opens(), rt.opens(), rt.opens("No credit")
    values = {"credit_state": "credited", "credit_number": "CN2026/000007", "credit_amount": "12.50", "credit_currency": "EUR"}
    write = REQUEST_TRACKER.commands["write_case"].run
    for each in (ticket, emptied):
        write(rt.client(), rt_block(each).model_copy(update={"values": values}), Call())
    write(rt.client(), rt_block(emptied).model_copy(update={"values": {}}), Call())
    found = read(REQUEST_TRACKER, rt.client(), "support_credit", window())
    assert bare not in found and emptied not in found
    reading = found[ticket]
    assert (reading.number, reading.total, reading.currency) == ("CN2026/000007", Decimal("12.50"), "EUR")
    assert reading.status == "credited" and reading.party


# Stripe ----------------------------------------------------------------------------------------------------


@pytest.fixture(params=["twin", pytest.param("localstripe", marks=pytest.mark.peer)])
def billing(request: pytest.FixtureRequest) -> Iterator[tuple[str, Stripe]]:
    """The address of one of the two, and the connector's client for it."""
    if request.param == "twin":
        with StripeTwin() as running:
            yield running.url, ours(running.url)
        return
    server = request.getfixturevalue("localstripe")
    server.reset()
    yield server.base_url, ours(server.base_url, version="")


def test_a_subscription_and_what_it_billed_are_read_from_both(billing: tuple[str, Stripe]) -> None:
    base_url, client = billing
    made = subscribe(sdk(base_url))
    found = {kind: read(STRIPE, client, kind, window()) for kind in STRIPE.extracts}
    billed = found["invoice"][made.invoice]
    assert (billed.net, billed.tax, billed.total) == (Decimal("59.97"), Decimal("11.39"), Decimal("71.36"))
    assert (billed.status, billed.party, billed.extra["subscription"]) == ("paid", made.customer, made.subscription)
    assert billed.service_from is not None and billed.service_to is not None
    agreed = found["subscription"][made.subscription]
    assert (agreed.net, agreed.currency, agreed.status) == (Decimal("59.97"), "EUR", "active")
    assert (agreed.service_from, agreed.service_to) == (billed.service_from, billed.service_to)
    (payment,) = found["payment"].values()
    assert (payment.total, payment.status) == (Decimal("71.36"), "succeeded")
    assert (payment.about, payment.party) == (made.invoice, made.customer)
    assert made.customer in found["party"] and made.product in found["product"]
    assert found["credit_memo"] == {}
