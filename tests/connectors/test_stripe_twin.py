"""The twin is Stripe as far as its published fixtures, its own SDK and its documentation can tell."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import requests
import stripe

from canonical.commands import AdjustBalance, CreditDocumentLine, IssueCreditNote, VoidCreditNote
from canonical.types import Invoice, InvoiceStatus, Subscription, SubscriptionStatus
from connectors.sdk.errors import Refused
from connectors.vendors import stripe as package
from connectors.vendors.stripe import CONNECTOR, conformance
from connectors.vendors.stripe.conformance import a_price, an_invoice
from connectors.vendors.stripe.fake import StripeTwin
from connectors.vendors.stripe.fake.server import ABSENT_KEYS
from tests.connectors.stripe_stories import Subscribed, call, cancel, ours, subscribe, upgrade

PUBLISHED = Path(package.__file__).parent / "samples" / "published" / "fixtures3.json"
FIXTURES: dict[str, Any] = json.loads(PUBLISHED.read_text())["resources"]
SECRET = "whsec_not_a_real_secret"
BOTH = pytest.mark.parametrize("version", ["2025-03-31.basil", "2022-11-15"])


def invoices_of(client: stripe.StripeClient, made: Subscribed) -> list[stripe.Invoice]:
    return client.v1.invoices.list({"subscription": made.subscription, "limit": 100}).data


# shapes ------------------------------------------------------------------------------------------------------


def everything(twin: StripeTwin, client: stripe.StripeClient) -> dict[str, str]:
    """One object of every published kind: its kind → where it is read."""
    made = subscribe(client)
    subscribed = client.v1.invoices.retrieve(made.invoice)
    item = client.v1.invoice_items.create({"customer": made.customer, "amount": 500, "currency": "eur"})
    line = subscribed.lines.data[0].id
    note = client.v1.credit_notes.create(
        {
            "invoice": made.invoice,
            "lines": [{"type": "invoice_line_item", "invoice_line_item": line, "amount": 1000}],
            "credit_amount": 1190,
        }
    )
    intent = client.v1.payment_intents.create({"amount": 900, "currency": "eur", "confirm": True})
    refund = client.v1.refunds.create({"payment_intent": intent.id, "amount": 300})
    price = a_price(twin)
    return {
        "customer": f"/v1/customers/{made.customer}",
        "product": f"/v1/products/{made.product}",
        "price": f"/v1/prices/{price}",
        "plan": f"/v1/plans/{made.plan}",
        "tax_rate": f"/v1/tax_rates/{made.tax_rate}",
        "subscription": f"/v1/subscriptions/{made.subscription}",
        "invoice": f"/v1/invoices/{made.invoice}",
        "invoiceitem": f"/v1/invoiceitems/{item.id}",
        "invoice_payment": f"/v1/invoice_payments?invoice={made.invoice}",
        "line_item": f"/v1/invoices/{made.invoice}/lines",
        "credit_note": f"/v1/credit_notes/{note.id}",
        "credit_note_line_item": f"/v1/credit_notes/{note.id}/lines",
        "customer_balance_transaction": f"/v1/customers/{made.customer}/balance_transactions",
        "payment_intent": f"/v1/payment_intents/{intent.id}",
        "charge": f"/v1/charges/{intent.latest_charge}",
        "refund": f"/v1/refunds/{refund.id}",
        "subscription_item": f"/v1/subscription_items?subscription={made.subscription}",
        "payment_method": "/v1/payment_methods",
        "event": "/v1/events?type=plan.created",
    }


def differences(published: Any, given: Any, where: str) -> list[str]:
    """How an object departs from the published one: keys that are missing, values of another JSON type."""
    if published is None or given is None or published == {} or given == {}:
        return []
    if json_type(published) != json_type(given):
        return [f"{where} is {json_type(given)}, published as {json_type(published)}"]
    if isinstance(published, list):
        return differences(published[0], given[0], f"{where}[0]") if published and given else []
    if not isinstance(published, dict):
        return []
    known = ABSENT_KEYS.get(published.get("object", ""), {})
    missing = [f"{where}.{key} is missing" for key in published if key not in given and key not in known]
    # `parent` holds one of several shapes, and metadata is the account's own.
    nested = [key for key in published if key in given and key not in ("parent", "metadata", "payload", "data")]
    return missing + [d for key in nested for d in differences(published[key], given[key], f"{where}.{key}")]


def json_type(value: Any) -> str:
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int | float):
        return "number"
    return type(value).__name__


def test_every_object_has_the_published_keys_and_types(twin: StripeTwin, client: stripe.StripeClient) -> None:
    session = requests.Session()
    session.headers.update({"Authorization": "Bearer sk_test_not_a_real_key", "Stripe-Version": "2025-03-31.basil"})
    found = []
    for kind, path in everything(twin, client).items():
        obj = session.get(twin.url + path).json()
        obj = obj["data"][0] if obj.get("object") == "list" else obj
        assert obj["object"] == FIXTURES[kind]["object"]
        found += differences(FIXTURES[kind], obj, kind)
    assert found == []


def test_the_comparison_with_the_fixtures_sees_a_difference() -> None:
    lacking = {key: value for key, value in FIXTURES["customer"].items() if key != "balance"}
    assert differences(FIXTURES["customer"], lacking, "customer") == ["customer.balance is missing"]
    assert differences({"total": 1}, {"total": "1"}, "x") == ["x.total is str, published as number"]


def test_the_old_shape_has_what_the_new_one_moved(twin: StripeTwin, client: stripe.StripeClient) -> None:
    made = subscribe(client)

    def read(version: str, path: str) -> dict[str, Any]:
        headers = {"Authorization": "Bearer sk_test_not_a_real_key", "Stripe-Version": version}
        answer: dict[str, Any] = requests.get(twin.url + path, headers=headers, timeout=10).json()
        return answer

    old, new = (read(v, f"/v1/invoices/{made.invoice}") for v in ("2022-11-15", "2025-03-31.basil"))
    assert old["subscription"] == new["parent"]["subscription_details"]["subscription"] == made.subscription
    assert "parent" not in old
    assert "subscription" not in new
    assert old["tax"] == new["total_taxes"][0]["amount"] == 1139
    lines = old["lines"]["data"][0], new["lines"]["data"][0]
    assert lines[0]["price"]["id"] == lines[1]["pricing"]["price_details"]["price"] == made.plan
    old, new = (read(v, f"/v1/subscriptions/{made.subscription}") for v in ("2022-11-15", "2025-03-31.basil"))
    assert old["current_period_end"] == new["items"]["data"][0]["current_period_end"]
    assert "current_period_end" not in new
    assert "current_period_end" not in old["items"]["data"][0]


# stories -----------------------------------------------------------------------------------------------------


@BOTH
def test_our_connector_reads_the_story_in_either_shape(twin: StripeTwin, client: stripe.StripeClient, version: str) -> None:
    made = subscribe(client)
    invoice, *named = CONNECTOR.fetch["invoice"](ours(twin.url, version), made.invoice, call())
    assert isinstance(invoice, Invoice)
    assert (invoice.net, invoice.tax, invoice.total) == (Decimal("59.97"), Decimal("11.39"), Decimal("71.36"))
    assert (invoice.status, invoice.paid, invoice.subscription) == (
        InvoiceStatus.PAID,
        Decimal("71.36"),
        made.subscription,
    )
    assert invoice.payment is not None
    assert [obj.external_id for obj in named] == [made.customer, made.product, made.plan]


def test_an_upgrade_is_billed_from_the_next_renewal(twin: StripeTwin, client: stripe.StripeClient) -> None:
    made = subscribe(client)
    upgrade(client, made, 5)
    twin.advance(32 * 86_400)
    assert [invoice.total for invoice in invoices_of(client, made)] == [11894, 7136]


def test_a_year_of_test_time_bills_twelve_gapless_months(twin: StripeTwin, client: stripe.StripeClient) -> None:
    made = subscribe(client)
    twin.advance(370 * 86_400)
    found = invoices_of(client, made)
    assert len(found) == 13
    assert len({invoice.number for invoice in found}) == 13
    periods = sorted((i.lines.data[0].period.start, i.lines.data[0].period.end) for i in found)
    assert all(before[1] == after[0] for before, after in itertools.pairwise(periods))


@BOTH
def test_service_days_of_two_periods_do_not_overlap(twin: StripeTwin, client: stripe.StripeClient, version: str) -> None:
    made = subscribe(client)
    twin.advance(32 * 86_400)
    lines = []
    for invoice in sorted(invoices_of(client, made), key=lambda i: i.created):
        found = CONNECTOR.fetch["invoice"](ours(twin.url, version), invoice.id, call())[0]
        assert isinstance(found, Invoice)
        lines.append(found.lines[0])
    assert lines[0].service_to is not None
    assert lines[0].service_to + timedelta(days=1) == lines[1].service_from


def test_cancelling_at_period_end_ends_then_and_bills_no_more(twin: StripeTwin, client: stripe.StripeClient) -> None:
    made = subscribe(client)
    client.v1.subscriptions.update(made.subscription, {"cancel_at_period_end": True})
    before = CONNECTOR.fetch["subscription"](ours(twin.url), made.subscription, call())[0]
    twin.advance(90 * 86_400)
    after = CONNECTOR.fetch["subscription"](ours(twin.url), made.subscription, call())[0]
    assert isinstance(before, Subscription)
    assert isinstance(after, Subscription)
    assert (before.status, after.status) == (SubscriptionStatus.ACTIVE, SubscriptionStatus.CANCELLED)
    assert after.ended_at == before.cancel_at
    assert len(invoices_of(client, made)) == 1


def test_cancelling_now_is_seen_by_the_sweep(twin: StripeTwin, client: stripe.StripeClient) -> None:
    made = subscribe(client)
    since = datetime.now(UTC) - timedelta(hours=1)

    def observed() -> str:
        page = CONNECTOR.pages["subscriptions"](ours(twin.url), since, None, call())
        return page.items[0].envelope.external_id

    running = observed()
    assert observed() == running
    cancel(client, made)
    assert observed() != running


def test_our_own_reference_is_no_change_to_the_sweep(twin: StripeTwin) -> None:
    kit_request = conformance.reference(twin, "key-1")
    since = datetime.now(UTC) - timedelta(hours=1)
    before = CONNECTOR.pages["invoices"](ours(twin.url), since, None, call()).items
    CONNECTOR.commands["write_reference"].run(ours(twin.url), kit_request, call())
    assert CONNECTOR.pages["invoices"](ours(twin.url), since, None, call()).items == before


def test_metered_usage_is_billed_after_the_period(twin: StripeTwin, client: stripe.StripeClient) -> None:
    meter = client.v1.billing.meters.create(
        {"display_name": "Calls", "event_name": "calls", "default_aggregation": {"formula": "sum"}}
    )
    product = client.v1.products.create({"name": "Calls"})
    price = client.v1.prices.create(
        {
            "product": product.id,
            "currency": "eur",
            "unit_amount_decimal": Decimal("0.5"),
            "recurring": {"interval": "month", "usage_type": "metered", "meter": meter.id},
        }
    )
    customer = client.v1.customers.create({"name": "Acme"})
    client.v1.subscriptions.create({"customer": customer.id, "items": [{"price": price.id}]})
    for number, value in enumerate([70, 31]):
        payload = {"stripe_customer_id": customer.id, "value": str(value)}
        client.v1.billing.meter_events.create({"event_name": "calls", "payload": payload, "identifier": f"u{number}"})
    with pytest.raises(stripe.InvalidRequestError, match="already exists"):
        client.v1.billing.meter_events.create({"event_name": "calls", "payload": payload, "identifier": "u1"})
    twin.advance(32 * 86_400)
    assert client.v1.invoices.list({"customer": customer.id}).data[0].total == 51


def test_an_invoice_of_more_than_ten_lines_is_read_whole(twin: StripeTwin, client: stripe.StripeClient) -> None:
    customer = client.v1.customers.create({"name": "Acme"})
    draft = client.v1.invoices.create({"customer": customer.id, "currency": "eur"})
    for number in range(123):
        client.v1.invoice_items.create({"customer": customer.id, "invoice": draft.id, "amount": 100 + number, "currency": "eur"})
    client.v1.invoices.finalize_invoice(draft.id)
    assert len(client.v1.invoices.retrieve(draft.id).lines.data) == 10
    invoice = CONNECTOR.fetch["invoice"](ours(twin.url), draft.id, call())[0]
    assert isinstance(invoice, Invoice)
    assert len(invoice.lines) == 123
    assert invoice.total == sum(Decimal(100 + number) / 100 for number in range(123))


def test_a_deleted_customer_does_not_hide_the_invoice(twin: StripeTwin, client: stripe.StripeClient) -> None:
    made = subscribe(client)
    client.v1.customers.delete(made.customer)
    _, customer, *_ = CONNECTOR.fetch["invoice"](ours(twin.url), made.invoice, call())
    assert (customer.external_id, customer.model_dump()["deleted"]) == (made.customer, True)


def credited(twin: StripeTwin, invoice: str, *lines: CreditDocumentLine, key: str = "k") -> IssueCreditNote:
    total = sum((line.net + line.tax for line in lines), Decimal(0))
    party = twin.store.get("invoices", invoice)["customer"]
    return IssueCreditNote(key=key, party=party, invoice=invoice, currency="EUR", lines=lines, total=total)


def of_its_own(net: str) -> CreditDocumentLine:
    return CreditDocumentLine(description="Service credit", net=Decimal(net))


def state_of(client: stripe.StripeClient, invoice: str) -> tuple[int, int]:
    """What is due on the invoice, and the customer's balance (below zero: the customer's credit)."""
    read = client.v1.invoices.retrieve(invoice)
    return read.amount_remaining, client.v1.customers.retrieve(str(read.customer)).balance


@pytest.mark.parametrize(("paid", "after"), [(True, (0, -1000)), (False, (9000, 0))])
def test_a_credit_lowers_what_is_due_or_becomes_the_customers(
    twin: StripeTwin, client: stripe.StripeClient, paid: bool, after: tuple[int, int]
) -> None:
    invoice = an_invoice(twin, paid=paid)
    request = credited(twin, invoice, of_its_own("10.00"))
    written = CONNECTOR.commands["issue_credit_note"].run(ours(twin.url), request, call())
    assert (written.facts.total, written.facts.party) == (Decimal("10.00"), request.party)
    assert state_of(client, invoice) == after


def test_what_an_open_invoice_no_longer_owes_becomes_the_customers(twin: StripeTwin, client: stripe.StripeClient) -> None:
    invoice = an_invoice(twin, paid=False)
    for key, net in (("first", "60.00"), ("second", "40.00")):
        CONNECTOR.commands["issue_credit_note"].run(ours(twin.url), credited(twin, invoice, of_its_own(net), key=key), call())
    assert state_of(client, invoice) == (0, 0)
    part = an_invoice(twin, paid=False)
    twin.store.get("invoices", part).update(amount_remaining=2500)
    CONNECTOR.commands["issue_credit_note"].run(ours(twin.url), credited(twin, part, of_its_own("60.00"), key="third"), call())
    assert state_of(client, part) == (0, -3500)


def test_a_credit_note_asked_for_twice_is_one_although_the_invoice_has_changed_by_the_first(
    twin: StripeTwin, client: stripe.StripeClient
) -> None:
    invoice = an_invoice(twin, paid=False)
    request = credited(twin, invoice, of_its_own("60.00"))
    first, again = (CONNECTOR.commands["issue_credit_note"].run(ours(twin.url), request, call()) for _ in range(2))
    assert first == again
    assert state_of(client, invoice) == (4000, 0)


def test_the_tax_of_a_credited_line_is_the_one_that_was_asked_for(twin: StripeTwin, client: stripe.StripeClient) -> None:
    made = subscribe(client)
    line = client.v1.invoices.retrieve(made.invoice).lines.data[0].id
    # 19 % of 10.03 is 1.9057, which Stripe would make 1.91.
    request = credited(twin, made.invoice, CreditDocumentLine(invoice_line=line, net=Decimal("10.03"), tax=Decimal("1.90")))
    written = CONNECTOR.commands["issue_credit_note"].run(ours(twin.url), request, call())
    memo = CONNECTOR.fetch["credit_memo"](ours(twin.url), written.external_id, call())[0]
    assert (memo.net, memo.tax, memo.total) == (Decimal("10.03"), Decimal("1.90"), Decimal("11.93"))  # type: ignore[attr-defined]


def test_more_than_the_invoice_cannot_be_credited(twin: StripeTwin) -> None:
    request = credited(twin, an_invoice(twin, paid=False), of_its_own("100.01"))
    with pytest.raises(Refused, match="exceeds"):
        CONNECTOR.commands["issue_credit_note"].run(ours(twin.url), request, call())


def test_an_invoice_of_somebody_else_is_not_credited(twin: StripeTwin) -> None:
    request = credited(twin, an_invoice(twin), of_its_own("1.00")).model_copy(update={"party": "cus_other"})
    with pytest.raises(Refused) as refusal:
        CONNECTOR.commands["issue_credit_note"].run(ours(twin.url), request, call())
    assert refusal.value.code == "document_differs"


@pytest.mark.parametrize(("paid", "after"), [(True, (0, 0)), (False, (10_000, 0))])
def test_a_credit_note_is_voided_while_it_can_be_and_charged_to_the_balance_after(
    twin: StripeTwin, client: stripe.StripeClient, paid: bool, after: tuple[int, int]
) -> None:
    invoice = an_invoice(twin, paid=paid)
    issue = credited(twin, invoice, of_its_own("10.00"))
    note = CONNECTOR.commands["issue_credit_note"].run(ours(twin.url), issue, call())
    request = VoidCreditNote(key="void", document=note.external_id, party=issue.party, total=issue.total, currency="EUR")
    command = CONNECTOR.commands["void_credit_note"]
    assert command.find is not None and command.find(ours(twin.url), request, call()) is None
    written = [command.run(ours(twin.url), request, call()) for _ in range(2)]
    assert written[0] == written[1] == command.find(ours(twin.url), request, call())
    assert (written[0].facts.total, written[0].facts.currency) == (Decimal("10.00"), "EUR")
    assert state_of(client, invoice) == after


def test_a_balance_goes_up_and_down(twin: StripeTwin, client: stripe.StripeClient) -> None:
    customer = conformance.a_customer(twin)
    for key, amount in (("up", "10.00"), ("down", "-4.00")):
        request = AdjustBalance(key=key, party=customer, amount=Decimal(amount), currency="EUR")
        written = CONNECTOR.commands["adjust_balance"].run(ours(twin.url), request, call())
        assert written.facts.total == Decimal(amount)
    assert client.v1.customers.retrieve(customer).balance == -600


def test_a_customers_credit_pays_the_next_invoice(twin: StripeTwin, client: stripe.StripeClient) -> None:
    made = subscribe(client)
    client.v1.customers.balance_transactions.create(made.customer, {"amount": -5000, "currency": "eur"})
    twin.advance(32 * 86_400)
    newest = invoices_of(client, made)[0]
    assert (newest.total, newest.amount_due, newest.starting_balance) == (7136, 2136, -5000)
    assert client.v1.customers.retrieve(made.customer).balance == 0


def test_a_card_that_declines_leaves_the_renewal_open(twin: StripeTwin, client: stripe.StripeClient) -> None:
    made = subscribe(client)
    card = client.v1.payment_methods.create({"type": "card", "card": {"number": "4000000000000341"}})  # type: ignore[typeddict-item]
    client.v1.customers.update(made.customer, {"invoice_settings": {"default_payment_method": card.id}})
    twin.advance(32 * 86_400)
    newest = invoices_of(client, made)[0]
    assert newest.status == "open"
    assert client.v1.subscriptions.retrieve(made.subscription).status == "past_due"
    with pytest.raises(stripe.CardError):
        client.v1.invoices.pay(newest.id)


@pytest.mark.parametrize(
    ("close", "status"),
    [
        (lambda client, invoice: client.v1.invoices.void_invoice(invoice), "void"),
        (lambda client, invoice: client.v1.invoices.mark_uncollectible(invoice), "uncollectible"),
    ],
    ids=["void", "uncollectible"],
)
def test_a_closed_invoice_is_still_swept(
    twin: StripeTwin, client: stripe.StripeClient, close: Callable[..., Any], status: str
) -> None:
    invoice = an_invoice(twin, paid=False)
    close(client, invoice)
    since = datetime.now(UTC) - timedelta(hours=1)
    items = CONNECTOR.pages["invoices"](ours(twin.url), since, None, call()).items
    assert json.loads(items[0].body)["data"]["object"]["status"] == status
    read = CONNECTOR.fetch["invoice"](ours(twin.url), invoice, call())[0]
    assert isinstance(read, Invoice)
    assert read.status == status
