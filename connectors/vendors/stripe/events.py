"""Stripe's events: what we call them, and the envelope that the intake reads before anything else."""

from __future__ import annotations

from typing import Any

import orjson

from connectors.sdk.contract import Envelope
from connectors.sdk.errors import BadPayload
from connectors.vendors.stripe.fields import Json, instant, many, part, ref, text, words

EVENTS = {
    "customer.created": "billing.party.created",
    "customer.updated": "billing.party.updated",
    "customer.deleted": "billing.party.deleted",
    "product.created": "billing.product.created",
    "product.updated": "billing.product.updated",
    "product.deleted": "billing.product.deleted",
    "price.created": "billing.price.created",
    "price.updated": "billing.price.updated",
    "price.deleted": "billing.price.deleted",
    "plan.created": "billing.price.created",
    "plan.updated": "billing.price.updated",
    "plan.deleted": "billing.price.deleted",
    "customer.subscription.created": "billing.subscription.created",
    "customer.subscription.updated": "billing.subscription.updated",
    "customer.subscription.deleted": "billing.subscription.cancelled",
    "customer.subscription.paused": "billing.subscription.paused",
    "customer.subscription.resumed": "billing.subscription.resumed",
    "subscription.observed": "billing.subscription.observed",
    "invoice.created": "billing.invoice.created",
    "invoice.updated": "billing.invoice.updated",
    "invoice.finalized": "billing.invoice.finalized",
    "invoice.paid": "billing.invoice.paid",
    "invoice.payment_succeeded": "billing.invoice.payment_succeeded",
    "invoice.payment_failed": "billing.invoice.payment_failed",
    "invoice.overdue": "billing.invoice.overdue",
    "invoice.voided": "billing.invoice.voided",
    "invoice.marked_uncollectible": "billing.invoice.uncollectible",
    "invoice.deleted": "billing.invoice.deleted",
    "invoice.observed": "billing.invoice.observed",
    "credit_note.created": "billing.credit_memo.issued",
    "credit_note.updated": "billing.credit_memo.updated",
    "credit_note.voided": "billing.credit_memo.voided",
    "payment_intent.succeeded": "billing.payment.succeeded",
    "payment_intent.payment_failed": "billing.payment.failed",
    "payment_intent.canceled": "billing.payment.cancelled",
    "charge.succeeded": "billing.payment.succeeded",
    "charge.failed": "billing.payment.failed",
    "charge.refunded": "billing.payment.refunded",
    "invoice_payment.paid": "billing.payment.allocated",
    "refund.created": "billing.payment.refunded",
    "refund.updated": "billing.payment.refund_updated",
    "refund.failed": "billing.payment.refund_failed",
}
"""Event type → canonical name. Events with other types are kept and reported, with no subject."""

_KINDS = {
    "customer": "party",
    "product": "product",
    "price": "price",
    "plan": "price",
    "subscription": "subscription",
    "invoice": "invoice",
    "credit_note": "credit_memo",
    "payment_intent": "payment",
    "charge": "payment",
    "refund": "payment",
    "invoice_payment": "payment",
}

_DELIVERY = {"pending_webhooks", "request"}
"""How many endpoints have still to confirm the event, and the API call behind it: neither is about the object."""


def envelope(body: bytes) -> Envelope:
    """What an event is about. Raises BadPayload unless it is an event with id, type and object."""
    try:
        event = orjson.loads(body)
    except ValueError:
        raise BadPayload("not JSON") from None
    return envelope_of(event)


def envelope_of(event: Any) -> Envelope:
    """Like `envelope`, for an event already read."""
    if not isinstance(event, dict):
        raise BadPayload("not a JSON object")
    if event.get("object") != "event":
        raise BadPayload("not an event")
    external_id, kind = text(event, "id"), text(event, "type")
    if len(external_id) > 255 or len(kind) > 255:
        raise BadPayload("the id or the type of the event is too long")
    subject = part(part(event, "data"), "object")
    subject_kind = _KINDS.get(words(subject, "object"), "") if kind in EVENTS else ""
    subject_id = _subject_id(subject) if subject_kind else ""
    if subject_kind and not 0 < len(subject_id) <= 255:
        raise BadPayload(f"event {external_id} names no object")
    return Envelope(external_id, kind, subject_kind, subject_id, instant(event, "created"))


def same(one: bytes, other: bytes) -> bool:
    """True when two bodies are one event, however it is written; False also for what is no event."""
    try:
        return _content(one) == _content(other)
    except (ValueError, TypeError, BadPayload):
        return False


def _content(body: bytes) -> bytes:
    """The event in one order. As text again, because to Python `true`, `1` and `1.0` are equal and an amount may be 1."""
    event = orjson.loads(body)
    envelope_of(event)
    content = {name: value for name, value in event.items() if name not in _DELIVERY}
    return orjson.dumps(content, option=orjson.OPT_SORT_KEYS)


def _subject_id(subject: Json) -> str:
    """Payments are known by their payment intent, so that its charge and its invoice payment are the same subject."""
    match words(subject, "object"):
        case "charge":
            # Before 2022-11-15 a refunded charge carries its refunds, newest first; since then they have own events.
            refunds = many(subject, "refunds") if not part(subject, "refunds").get("has_more") else []
            return text(refunds[0], "id") if refunds else ref(subject, "payment_intent") or text(subject, "id")
        case "invoice_payment":
            means = part(subject, "payment")
            return ref(means, "payment_intent") or ref(means, "charge") or ""
        case _:
            return text(subject, "id")
