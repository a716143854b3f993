"""What the conformance suite needs to try this connector against its twin."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import orjson

from canonical.commands import AdjustBalance, CreditDocumentLine, IssueCreditNote, VoidCreditNote, WriteReference
from connectors.sdk.errors import BadPayload
from connectors.sdk.kit import Kit, Probe
from connectors.sdk.signatures import sign_stripe
from connectors.vendors.stripe import CONNECTOR
from connectors.vendors.stripe.client import PAGE, Credentials, Settings
from connectors.vendors.stripe.crediting import KEY
from connectors.vendors.stripe.fake import StripeTwin
from connectors.vendors.stripe.fake.catalog import create_balance_transaction, create_customer, create_price, create_product
from connectors.vendors.stripe.fake.crediting import create_credit_note, create_refund
from connectors.vendors.stripe.fake.invoicing import create_invoice, create_item, finalize_invoice, pay_invoice
from connectors.vendors.stripe.fake.subscribing import cancel_subscription, create_subscription
from connectors.vendors.stripe.mapping import canonical

API_KEY = "sk_test_not_a_real_key"
UNKNOWN = orjson.dumps(
    {
        "id": "evt_1",
        "object": "event",
        "type": "radar.early_fraud_warning.created",
        "created": 1767225600,
        "data": {"object": {"id": "issfr_1", "object": "radar.early_fraud_warning"}},
    }
)


def a_customer(twin: StripeTwin) -> str:
    """A new customer."""
    with twin.lock:
        return str(create_customer(twin.store, "", {"name": "Acme GmbH", "email": "ap@acme.example"})["id"])


def a_product(twin: StripeTwin) -> str:
    """A new product."""
    with twin.lock:
        return str(create_product(twin.store, "", {"name": "Platform"})["id"])


def a_price(twin: StripeTwin) -> str:
    """A new monthly price of 49.00 EUR."""
    params = {"product": a_product(twin), "unit_amount": 4900, "currency": "eur", "recurring": {"interval": "month"}}
    with twin.lock:
        return str(create_price(twin.store, "", params)["id"])


def a_subscription(twin: StripeTwin) -> str:
    """A new running subscription, with its first invoice paid."""
    params = {"customer": a_customer(twin), "items": [{"price": a_price(twin)}]}
    with twin.lock:
        return str(create_subscription(twin.store, "", params)["id"])


def an_invoice(twin: StripeTwin, *, paid: bool = True) -> str:
    """A new finalized invoice over 100.00 EUR."""
    customer = a_customer(twin)
    with twin.lock:
        invoice = create_invoice(twin.store, "", {"customer": customer, "currency": "eur"})["id"]
        item = {"customer": customer, "invoice": invoice, "amount": 10_000, "currency": "eur", "description": "Set-up"}
        create_item(twin.store, "", item)
        (pay_invoice if paid else finalize_invoice)(twin.store, invoice, {})
    return str(invoice)


def a_credit_note(twin: StripeTwin) -> str:
    """A new credit note over 10.00 EUR."""
    params = {"invoice": an_invoice(twin, paid=False), "amount": 1000}
    with twin.lock:
        return str(create_credit_note(twin.store, "", params)["id"])


def a_payment(twin: StripeTwin) -> str:
    """The payment of a new invoice."""
    return str(twin.store.get("invoices", an_invoice(twin))["payment_intent"])


def fill_events(twin: StripeTwin) -> set[str]:
    """More than a page of customers, each of them an event."""
    return {a_customer(twin) for _ in range(PAGE + 30)}


def fill_invoices(twin: StripeTwin) -> set[str]:
    """More than a page of invoices in several states."""
    return {an_invoice(twin, paid=number % 2 == 0) for number in range(PAGE + 30)}


def fill_subscriptions(twin: StripeTwin) -> set[str]:
    """More than a page of subscriptions, some of them cancelled."""
    made = [a_subscription(twin) for _ in range(PAGE + 10)]
    for external_id in made[::7]:
        cancel_subscription(twin.store, external_id, {})
    return set(made)


def fill_credits(twin: StripeTwin) -> set[str]:
    """More than a page of credit notes, a credit on the balance and its taking back."""
    made = {a_credit_note(twin) for _ in range(PAGE + 5)}
    with twin.lock:
        customer = twin.store.get("credit_notes", max(made))["customer"]
        amounts = ({"amount": amount, "currency": "eur", "metadata": {KEY: f"credit {amount}"}} for amount in (-1500, 1500))
        return made | {str(create_balance_transaction(twin.store, customer, amount)["id"]) for amount in amounts}


def fill_payments(twin: StripeTwin) -> set[str]:
    """More than a page of payments of invoices, and a refund."""
    made = [a_payment(twin) for _ in range(PAGE + 5)]
    with twin.lock:
        return {*made, str(create_refund(twin.store, "", {"payment_intent": made[3], "amount": 700})["id"])}


def reference(twin: StripeTwin, key: str) -> WriteReference:
    """A reference on a new invoice."""
    values = {"erp_number": key, "erp_state": "posted"}
    return WriteReference(key=key, kind="invoice", external_id=an_invoice(twin), values=values)


def references(twin: StripeTwin, request: WriteReference) -> int:
    """1 when the invoice carries the reference."""
    return int(twin.store.get("invoices", request.external_id)["metadata"].get("tieout_erp_number") == request.key)


def credit_note(twin: StripeTwin, key: str) -> IssueCreditNote:
    """A credit of 10.00 EUR on a new paid invoice, which becomes the customer's balance."""
    invoice = an_invoice(twin)
    lines = (CreditDocumentLine(description="Service credit", net=Decimal(10)),)
    party = twin.store.get("invoices", invoice)["customer"]
    return IssueCreditNote(key=key, party=party, invoice=invoice, currency="EUR", lines=lines, total=Decimal(10))


def voiding(twin: StripeTwin, key: str) -> VoidCreditNote:
    """The taking back of a new credit note on an open invoice."""
    note = twin.store.get("credit_notes", a_credit_note(twin))
    return VoidCreditNote(key=key, document=note["id"], party=note["customer"], total=Decimal(10), currency="EUR")


def voided(twin: StripeTwin, request: VoidCreditNote) -> int:
    """1 when the note is void."""
    return int(twin.store.get("credit_notes", request.document)["status"] == "void")


def balance(twin: StripeTwin, key: str) -> AdjustBalance:
    """A credit of 10.00 EUR for a new customer."""
    return AdjustBalance(key=key, party=a_customer(twin), currency="EUR", amount=Decimal(10))


def carrying_key(table: str) -> Any:
    """Counts the objects of a table whose metadata carries the request's key."""
    return lambda twin, request: sum(o["metadata"].get(KEY) == request.key for o in twin.store.tables[table])


def parse(body: bytes) -> list[Any]:
    """The object inside an event as the event tells it, or a bare object."""
    try:
        read = orjson.loads(body)
    except ValueError:
        raise BadPayload("not JSON") from None
    if not isinstance(read, dict):
        raise BadPayload("not a JSON object")
    inner = (read.get("data") or {}).get("object") if read.get("object") == "event" else read
    if not isinstance(inner, dict):
        raise BadPayload("an event without an object")
    return [canonical(inner)]


KIT = Kit(
    connector=CONNECTOR,
    folder=Path(__file__).parent,
    twin=lambda: StripeTwin(API_KEY),
    settings=lambda twin: Settings(base_url=twin.url),
    credentials=Credentials(api_key=API_KEY),
    parse=parse,
    unknown_event=UNKNOWN,
    sign=lambda body, secret, at: {"stripe-signature": sign_stripe(body, secret, at)},
    probes={
        "write_reference": Probe(reference, references, "POST /v1/invoices/"),
        "issue_credit_note": Probe(credit_note, carrying_key("credit_notes"), "POST /v1/credit_notes"),
        "void_credit_note": Probe(voiding, voided, "POST /v1/credit_notes/"),
        "adjust_balance": Probe(balance, carrying_key("balance_transactions"), "POST /v1/customers/"),
    },
    fill={
        "events": fill_events,
        "invoices": fill_invoices,
        "subscriptions": fill_subscriptions,
        "invoice": fill_invoices,
        "credit_memo": fill_credits,
        "payment": fill_payments,
        "subscription": fill_subscriptions,
        "party": fill_events,
        "product": lambda twin: {a_product(twin) for _ in range(PAGE + 20)},
    },
    disturb=a_subscription,
    known={
        "party": a_customer,
        "product": a_product,
        "price": a_price,
        "subscription": a_subscription,
        "invoice": an_invoice,
        "credit_memo": a_credit_note,
        "payment": a_payment,
    },
)
