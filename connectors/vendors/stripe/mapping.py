"""Stripe's JSON → canonical objects, in every shape the API has had since 2017. Pure; raises BadPayload.

Three generations are read, and told apart by the fields that are there, not by a version number:
- since 2025-03-31.basil: `parent.subscription_details`, `pricing.price_details`, `taxes`, periods on items;
- before: `subscription`, `price`, `tax_amounts`, periods on the subscription;
- before 2020: `plan`, and tax on the invoice (`tax_percent` or `total_tax_amounts`) that the lines do not carry.
Lists inside an object must be complete; the client fetches the further pages first.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, tzinfo
from decimal import Decimal
from typing import Any

from pydantic import ValidationError

from canonical.types import (
    Address,
    CanonicalObject,
    Party,
    Payment,
    Price,
    Product,
    Subscription,
    SubscriptionItem,
    SubscriptionStatus,
)  # fmt: skip
from connectors.sdk.errors import BadPayload
from connectors.vendors.stripe.documents import credit_memo, invoice
from connectors.vendors.stripe.fields import (
    Json,
    currency_of,
    from_stripe,
    instant,
    many,
    money,
    need,
    need_instant,
    need_ref,
    number,
    part,
    ref,
    text,
    where,
    words,
)  # fmt: skip

_STATUSES = {
    "incomplete": SubscriptionStatus.PENDING,
    "incomplete_expired": SubscriptionStatus.CANCELLED,
    "trialing": SubscriptionStatus.ACTIVE,
    "active": SubscriptionStatus.ACTIVE,
    "past_due": SubscriptionStatus.PAST_DUE,
    "unpaid": SubscriptionStatus.PAST_DUE,
    "canceled": SubscriptionStatus.CANCELLED,
    "paused": SubscriptionStatus.PAUSED,
}
_PAYMENT_STATES = {
    "requires_payment_method": "pending",
    "requires_confirmation": "pending",
    "requires_action": "pending",
    "requires_capture": "pending",
    "processing": "pending",
    "pending": "pending",
    "succeeded": "succeeded",
    "canceled": "failed",
    "failed": "failed",
}


def party(obj: Json) -> Party:
    """A customer, deleted ones included; one without a name is called by its e-mail address or its id."""
    external_id = text(obj, "id")
    if obj.get("deleted"):
        return Party(external_id=external_id, name="", deleted=True)
    address = part(obj, "address")
    street = ", ".join(line for line in (words(address, "line1"), words(address, "line2")) if line)
    tax_ids = many(obj, "tax_ids")
    country = words(address, "country").upper()
    return Party(
        external_id=external_id,
        name=words(obj, "name") or words(obj, "email") or external_id,
        email=words(obj, "email"),
        tax_id=text(tax_ids[0], "value") if tax_ids else "",
        address=Address(
            street=street,
            city=words(address, "city"),
            postal_code=words(address, "postal_code"),
            region=words(address, "state"),
            country=country if len(country) == 2 else "",
        ),
    )


def product(obj: Json) -> Product:
    """A product; its family is the metadata key `family`."""
    return Product(
        external_id=text(obj, "id"),
        name=words(obj, "name"),
        family=words(part(obj, "metadata"), "family"),
        active=bool(obj.get("active", True)) and not obj.get("deleted"),
        updated_at=instant(obj, "updated"),
    )


def price(obj: Json) -> Price:
    """A price, or a plan, which is what a recurring price was before 2020."""
    currency = currency_of(obj)
    cycle = part(obj, "recurring") if "recurring" in obj else obj
    return Price(
        external_id=text(obj, "id"),
        product=need_ref(obj, "product"),
        currency=currency,
        unit_amount=_unit_amount(obj, currency),
        interval=cycle.get("interval") or "",
        interval_count=cycle.get("interval_count") or 1,
        usage_based=cycle.get("usage_type") == "metered",
    )


def _unit_amount(obj: Json, currency: str) -> Decimal | None:
    exact, whole = ("unit_amount_decimal", "unit_amount") if "unit_amount" in obj else ("amount_decimal", "amount")
    if obj.get(exact) is not None:
        return from_stripe(number(obj[exact], where(obj, exact)), currency)
    if need(obj, whole) is not None:
        return money(obj, whole, currency)
    if obj.get("billing_scheme") == "tiered" or obj.get("custom_unit_amount"):
        return None
    raise BadPayload(f"{where(obj, whole)} is null although the price is not tiered")


def subscription(obj: Json) -> Subscription:
    """A subscription; one that will end with its period has that instant as `cancel_at`."""
    items = many(obj, "items")
    status = text(obj, "status")
    if status not in _STATUSES:
        raise BadPayload(f"{where(obj, 'status')} is {status!r}")
    read = tuple(_subscription_item(item, obj) for item in items)
    ends = [item.period_end for item in read if item.period_end]
    cancel_at = instant(obj, "cancel_at")
    if cancel_at is None and obj.get("cancel_at_period_end"):
        cancel_at = max(ends)
    return Subscription(
        external_id=text(obj, "id"),
        party=need_ref(obj, "customer"),
        status=_STATUSES[status],
        currency=currency_of(obj if "currency" in obj or not items else _price_of(items[0])),
        items=read,
        started_at=need_instant(obj, "start_date", "start"),
        cancel_at=cancel_at,
        ended_at=instant(obj, "ended_at"),
    )


def _price_of(item: Json) -> Json:
    return part(item, "price") or part(item, "plan")


def _subscription_item(item: Json, parent: Json) -> SubscriptionItem:
    tariff = _price_of(item)
    # A metered item has no quantity: its usage decides.
    metered = "metered" in (tariff.get("usage_type"), part(tariff, "recurring").get("usage_type"))
    quantity = item.get("quantity") if metered else need(item, "quantity")
    dated = item if "current_period_start" in item else parent
    return SubscriptionItem(
        external_id=text(item, "id"),
        product=need_ref(tariff, "product"),
        price=text(tariff, "id"),
        quantity=number(1 if quantity is None else quantity, where(item, "quantity")),
        period_start=need_instant(dated, "current_period_start"),
        period_end=need_instant(dated, "current_period_end"),
    )


def payment(obj: Json, invoice: str | None = None) -> Payment:
    """A payment intent, a charge or a refund; `invoice` where only the caller knows it."""
    currency = currency_of(obj)
    state = _PAYMENT_STATES.get(text(obj, "status"))
    if state is None:
        raise BadPayload(f"{where(obj, 'status')} is {obj['status']!r}")
    kind = text(obj, "object")
    if kind == "refund":
        paid = ref(obj, "payment_intent") or need_ref(obj, "charge")
        return _payment(obj, currency, state, refund_of=paid, received_at=need_instant(obj, "created"))
    if kind == "charge":
        external_id = ref(obj, "payment_intent") or text(obj, "id")
        received = need_instant(obj, "created")
        return _payment(obj, currency, state, id=external_id, received_at=received, invoice=invoice or ref(obj, "invoice"))
    if kind != "payment_intent":
        raise BadPayload(f"a {kind} is not a payment")
    key = "amount_received" if state == "succeeded" and "amount_received" in obj else "amount"
    charge = obj.get("latest_charge")
    received_at = instant(charge, "created") if isinstance(charge, dict) else None
    bill = invoice or ref(obj, "invoice")
    return _payment(obj, currency, state, amount=money(obj, key, currency), received_at=received_at, invoice=bill)


def _payment(obj: Json, currency: str, state: Any, **told: Any) -> Payment:
    external_id = told.pop("id", None) or text(obj, "id")
    amount = told.pop("amount", None)
    amount = money(obj, "amount", currency) if amount is None else amount
    customer = ref(obj, "customer")
    return Payment(external_id=external_id, party=customer, currency=currency, amount=amount, status=state, **told)


_BY_OBJECT: dict[str, Callable[..., CanonicalObject]] = {
    "customer": party, "product": product, "price": price, "plan": price, "subscription": subscription,
    "invoice": invoice, "credit_note": credit_memo, "payment_intent": payment, "charge": payment, "refund": payment,
}  # fmt: skip


def canonical(obj: Json, zone: tzinfo = UTC) -> CanonicalObject:
    """Whichever of the mapped objects this is. Raises BadPayload, also where its amounts do not add up."""
    kind = words(obj, "object")
    mapper = _BY_OBJECT.get(kind)
    if mapper is None:
        raise BadPayload(f"{kind or 'an unnamed object'} is not mapped")
    try:
        return mapper(obj, zone) if mapper in (invoice, credit_memo) else mapper(obj)
    except ValidationError as error:
        said = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors(include_url=False))
        raise BadPayload(f"{kind} {obj.get('id', '')}: {said}") from None
    except (TypeError, ValueError, AttributeError) as error:
        raise BadPayload(f"{kind} {obj.get('id', '')}: {error}") from None
