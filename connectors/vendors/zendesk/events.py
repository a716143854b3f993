"""Zendesk's events: their signature, what we call them, and the envelope that the intake reads before anything else.

Source: https://developer.zendesk.com/documentation/webhooks/verifying/ and
https://developer.zendesk.com/api-reference/webhooks/event-types/ticket-events (and organization-events).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from connectors.sdk.contract import Envelope
from connectors.sdk.errors import BadPayload
from connectors.sdk.signatures import HmacScheme
from connectors.vendors.zendesk.fields import identity, instant, text, words

SIGNATURE = HmacScheme(
    "X-Zendesk-Webhook-Signature", "X-Zendesk-Webhook-Signature-Timestamp", separator="", encoding="base64", clock="iso"
)
"""base64(HMACSHA256(TIMESTAMP + BODY)), the timestamp as `2021-03-25T05:09:27Z`."""

TICKET = "zen:event-type:ticket."
ORGANIZATION = "zen:event-type:organization."
SOLVED = f"{TICKET}status_changed.solved"
"""What we make of a change of status that says the ticket is solved or closed now."""
OBSERVED, DELETED = "ticket.observed", "ticket.deleted"
"""What a sweep brings."""

_UPDATES = (
    "status_changed", "custom_status_changed", "priority_changed", "custom_field_changed", "comment_added",
    "comment_made_private", "tags_changed", "organization_changed", "requester_changed", "subject_changed",
    "type_changed", "problem_link_changed", "merged", "undeleted",
)  # fmt: skip
_DELETIONS = ("soft_deleted", "permanently_deleted", "marked_as_spam")
_ORGANIZATIONS = ("created", "name_changed", "external_id_changed", "custom_field_changed")

EVENTS = {
    f"{TICKET}created": "support.case.opened",
    **{TICKET + name: "support.case.updated" for name in _UPDATES},
    SOLVED: "support.case.resolved",
    **{TICKET + name: "support.case.deleted" for name in _DELETIONS},
    **{ORGANIZATION + name: "support.party.updated" for name in _ORGANIZATIONS},
    OBSERVED: "support.case.observed",
    DELETED: "support.case.deleted",
}
"""Event type → canonical name. Events with other types are kept and reported, with no subject."""


def envelope(body: bytes) -> Envelope:
    """What an event is about. Raises BadPayload unless it has an id, a type and, where the type is known, an object."""
    try:
        event = orjson.loads(body)
    except ValueError:
        raise BadPayload("not JSON") from None
    return envelope_of(event)


def envelope_of(event: Any) -> Envelope:
    """Like `envelope`, for an event already read."""
    if not isinstance(event, dict):
        raise BadPayload("not a JSON object")
    external_id, kind = text(event, "id"), text(event, "type")
    if len(external_id) > 255 or len(kind) > 255:
        raise BadPayload("the id or the type of the event is too long")
    kind = SOLVED if kind == f"{TICKET}status_changed" and _is_solved(event) else kind
    if kind not in EVENTS:
        return Envelope(external_id, kind, occurred_at=instant(event, "time"))
    detail = event.get("detail")
    subject_id = identity(detail, "id") if isinstance(detail, Mapping) else None
    if subject_id is None:
        raise BadPayload(f"event {external_id} names no object")
    subject_kind = "party" if kind.startswith(ORGANIZATION) else "support_case"
    return Envelope(external_id, kind, subject_kind, subject_id, instant(event, "time"))


def _is_solved(event: Mapping[str, Any]) -> bool:
    change = event.get("event")
    return isinstance(change, Mapping) and words(change, "current").lower() in ("solved", "closed")


def same(one: bytes, other: bytes) -> bool:
    """True when two bodies are one event, however it is written; False also for what is no event."""
    try:
        return _content(one) == _content(other)
    except (ValueError, TypeError, BadPayload):
        return False


def _content(body: bytes) -> bytes:
    event = orjson.loads(body)
    envelope_of(event)
    return orjson.dumps(event, option=orjson.OPT_SORT_KEYS)
