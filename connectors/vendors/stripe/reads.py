"""Reading from Stripe: one object as it is now, and pages of what has changed."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import orjson

from canonical.types import CanonicalObject, Invoice, Subscription
from connectors.sdk.contract import Envelope, Page, SourceEvent
from connectors.sdk.errors import BadPayload, Refused
from connectors.sdk.http import Call
from connectors.vendors.stripe.client import PAGE, Stripe, objects, path_of
from connectors.vendors.stripe.events import envelope_of
from connectors.vendors.stripe.mapping import canonical, payment

OURS = "tieout_"
"""Prefix of the metadata keys that we write."""


def fetch_party(client: Stripe, external_id: str, call: Call) -> list[CanonicalObject]:
    """A customer with its tax ids; a deleted one is a party that is `deleted`."""
    return [canonical(client.get(call, path_of("customers", external_id), expand=["tax_ids"]))]


def fetch_product(client: Stripe, external_id: str, call: Call) -> list[CanonicalObject]:
    """A product."""
    return [canonical(client.get(call, path_of("products", external_id)))]


def fetch_price(client: Stripe, external_id: str, call: Call) -> list[CanonicalObject]:
    """A price and its product; ids of plans are tried as prices first, because Stripe answers to both."""
    try:
        obj = client.get(call, path_of("prices", external_id))
    except Refused as error:
        if error.code != "not_found":
            raise
        obj = client.get(call, path_of("plans", external_id))
    return [canonical(obj), *_named(client, call, products=[_id(obj.get("product"))])]


def fetch_subscription(client: Stripe, external_id: str, call: Call) -> list[CanonicalObject]:
    """A subscription, its customer, and the products and prices of its items."""
    obj = client.get(call, path_of("subscriptions", external_id))
    found = canonical(_whole_subscription(client, call, obj), client.zone)
    assert isinstance(found, Subscription)
    sold = [item.product for item in found.items]
    return [found, *_named(client, call, found.party, sold, [item.price for item in found.items])]


def fetch_invoice(client: Stripe, external_id: str, call: Call) -> list[CanonicalObject]:
    """An invoice with all its lines, its customer, and the products and prices of its lines that still exist."""
    obj = client.get(call, path_of("invoices", external_id))
    found = canonical(_whole_document(client, call, obj, "invoices"), client.zone)
    assert isinstance(found, Invoice)
    if found.payment is None and found.paid and "payment_intent" not in obj:
        found = found.model_copy(update={"payment": _payment_of(client, call, external_id)})
    sold = [line.product for line in found.lines]
    return [found, *_named(client, call, found.party, sold, [line.price for line in found.lines])]


def fetch_credit_memo(client: Stripe, external_id: str, call: Call) -> list[CanonicalObject]:
    """A credit note with all its lines, and the invoice it credits with whatever that names."""
    obj = client.get(call, path_of("credit_notes", external_id))
    found = canonical(_whole_document(client, call, obj, "credit_notes"), client.zone)
    invoice = _id(obj.get("invoice"))
    return [found, *(fetch_invoice(client, invoice, call) if invoice else _named(client, call, _id(obj.get("customer"))))]


def fetch_payment(client: Stripe, external_id: str, call: Call) -> list[CanonicalObject]:
    """A payment intent, a charge or a refund, by the kind its id tells, and the customer it names."""
    if external_id.startswith(("re_", "pyr_")):
        found = payment(client.get(call, path_of("refunds", external_id)))
    elif external_id.startswith(("ch_", "py_")):
        found = payment(client.get(call, path_of("charges", external_id)))
    else:
        obj = client.get(call, path_of("payment_intents", external_id), expand=["latest_charge"])
        found = payment(obj, None if "invoice" in obj else _invoice_of(client, call, external_id))
    return [found, *_named(client, call, found.party)]


def _named(
    client: Stripe,
    call: Call,
    party: str | None = None,
    products: Sequence[str | None] = (),
    prices: Sequence[str | None] = (),
) -> list[CanonicalObject]:
    """The objects that another one names; one that has been deleted beyond reading is left out."""
    found: list[CanonicalObject] = []
    wanted = [(fetch_party, party), *((fetch_product, p) for p in products), *((fetch_price, p) for p in prices)]
    for fetch, external_id in dict.fromkeys(wanted):
        if external_id is None:
            continue
        try:
            # A price brings its product, which is wanted on its own already.
            found.append(fetch(client, external_id, call)[0])
        except Refused as error:
            if error.code != "not_found":
                raise
    return found


def _id(value: Any) -> str | None:
    return value.get("id") if isinstance(value, Mapping) else value


def _whole_document(client: Stripe, call: Call, obj: dict[str, Any], collection: str) -> dict[str, Any]:
    return client.complete(call, obj, "lines", path_of(collection, str(obj.get("id"))) + "/lines")


def _whole_subscription(client: Stripe, call: Call, obj: dict[str, Any]) -> dict[str, Any]:
    return client.complete(call, obj, "items", "/v1/subscription_items", subscription=obj.get("id"))


def _payment_of(client: Stripe, call: Call, invoice: str) -> str | None:
    """Since basil an invoice no longer names its payment; the invoice's payments do."""
    try:
        payments = client.get(call, "/v1/invoice_payments", invoice=invoice, status="paid", limit=PAGE)
    except Refused:
        return None
    means = [p.get("payment") or {} for p in objects(payments)]
    return next((m.get("payment_intent") or m.get("charge") for m in means if isinstance(m, Mapping)), None)


def _invoice_of(client: Stripe, call: Call, intent: str) -> str | None:
    try:
        asked = {"type": "payment_intent", "payment_intent": intent}
        payments = objects(client.get(call, "/v1/invoice_payments", payment=asked, limit=1))
    except Refused:
        return None
    return _id(payments[0].get("invoice")) if payments else None


# sweeps ------------------------------------------------------------------------------------------------------


def page_events(client: Stripe, since: datetime, cursor: str | None, call: Call) -> Page:
    """Events created at or after `since`; Stripe keeps 30 days.

    The cursor is the id of the last event read, and Stripe's order (newest first) and its twins' (oldest first) are
    both stable under it: what is created meanwhile is at the other end, and belongs to the next sweep.
    """
    window = {"gte": int(since.timestamp())}
    page = client.get(call, "/v1/events", limit=PAGE, created=window, starting_after=cursor)
    events = objects(page)
    items = [SourceEvent(_envelope(event), orjson.dumps(event)) for event in events]
    return Page(items, events[-1]["id"] if page.get("has_more") and events else None)


def _envelope(event: dict[str, Any]) -> Envelope:
    """One event nobody can read must not hide those behind it."""
    try:
        return envelope_of(event)
    except BadPayload as error:
        return Envelope(external_id=str(event["id"])[:255], kind=str(event.get("type", ""))[:100], problem=str(error))


def page_invoices(client: Stripe, since: datetime, cursor: str | None, call: Call) -> Page:
    """Every state of the invoices created since `since` less `sweep_days`: Stripe does not list by modification.

    An invoice that has not changed is the same event as in the sweep before.
    """
    floor = (since - timedelta(days=client.settings.sweep_days)).timestamp()
    page = client.get(call, "/v1/invoices", limit=PAGE, starting_after=cursor)
    found = objects(page)
    young = [obj for obj in found if (obj.get("created") or obj.get("date") or 0) >= floor]
    items = [_observed(client, call, obj, "invoice") for obj in young]
    # Newest first, so one that is too old ends the sweep; not every server takes a `created` filter here.
    goes_on = bool(page.get("has_more") and young and len(young) == len(found))
    return Page(items, found[-1]["id"] if goes_on else None)


def page_subscriptions(client: Stripe, since: datetime, cursor: str | None, call: Call) -> Page:
    """Every subscription there is, cancelled ones too: they live for years and none tells when it changed."""
    page = client.get(call, "/v1/subscriptions", limit=PAGE, status="all", starting_after=cursor)
    found = objects(page)
    items = [_observed(client, call, obj, "subscription") for obj in found]
    return Page(items, found[-1]["id"] if page.get("has_more") and found else None)


_VOLATILE = ("hosted_invoice_url", "invoice_pdf", "webhooks_delivered_at", "next_payment_attempt", "payments")
"""Fields that differ between two reads of an unchanged object, or change without meaning anything to us."""


def _observed(client: Stripe, call: Call, obj: dict[str, Any], kind: str) -> SourceEvent:
    """The object as an event whose id and bytes are the same as long as nothing that matters has changed."""
    is_invoice = kind == "invoice"
    obj = _whole_document(client, call, obj, "invoices") if is_invoice else _whole_subscription(client, call, obj)
    state = {key: value for key, value in obj.items() if key not in _VOLATILE}
    # What we write there ourselves is no change.
    state["metadata"] = {k: v for k, v in (obj.get("metadata") or {}).items() if not k.startswith(OURS)}
    digest = hashlib.sha256(orjson.dumps(state, option=orjson.OPT_SORT_KEYS)).hexdigest()[:32]
    event = {
        "id": f"sweep:{kind}:{obj['id']}:{digest}",
        "object": "event",
        "type": f"{kind}.observed",
        "data": {"object": state},
    }
    return SourceEvent(envelope_of(event), orjson.dumps(event, option=orjson.OPT_SORT_KEYS))


FETCH: dict[str, Callable[[Stripe, str, Call], Sequence[CanonicalObject]]] = {
    "party": fetch_party,
    "product": fetch_product,
    "price": fetch_price,
    "subscription": fetch_subscription,
    "invoice": fetch_invoice,
    "credit_memo": fetch_credit_memo,
    "payment": fetch_payment,
}

PAGES: dict[str, Callable[[Stripe, datetime, str | None, Call], Page]] = {
    "events": page_events,
    "invoices": page_invoices,
    "subscriptions": page_subscriptions,
}
