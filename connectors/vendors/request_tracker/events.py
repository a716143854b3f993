"""RT's transactions as events: what our scrip sends of one, what a sweep makes of one, and what both are called. Pure."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import orjson

from connectors.sdk.contract import Envelope
from connectors.sdk.errors import BadPayload

Json = dict[str, Any]
ENDINGS = {
    "resolved": "support.case.resolved",
    "rejected": "support.case.resolved",
    "deleted": "support.case.deleted",
}
"""Statuses of RT's default lifecycle that end a case; other lifecycles' are updates, and the case is read anyway."""
CHANGES = (
    "Status", "Set", "CustomField", "Correspond", "Comment", "Subject", "Told", "Take", "Untake", "Steal", "Force", "Give",
    "AddWatcher", "DelWatcher", "SetWatcher", "AddLink", "DeleteLink", "AddReminder", "OpenReminder", "ResolveReminder",
)  # fmt: skip
EVENTS = (
    {"Create": "support.case.opened"}
    | {f"Status {status}": name for status, name in ENDINGS.items()}
    | dict.fromkeys(CHANGES, "support.case.updated")
)
"""Kind of a transaction → canonical name. The kind is RT's type, with the new status behind it when that ends the case."""


def envelope(body: bytes) -> Envelope:
    """What a delivery is about. Raises BadPayload unless it tells transaction, ticket, type and time."""
    told = read(body)
    number, ticket = _number(told, "id"), _number(told, "ticket")
    kind, new = told.get("type"), told.get("new")
    if not isinstance(kind, str) or not 0 < len(kind) <= 100:
        raise BadPayload("no type of transaction")
    if kind == "Status" and new in ENDINGS:
        kind = f"Status {new}"
    known = kind in EVENTS
    return Envelope(
        external_id=f"transaction/{number}",
        kind=kind,
        subject_kind="support_case" if known else "",
        subject_id=str(ticket) if known else "",
        occurred_at=instant(told.get("created")),
    )


def read(body: bytes) -> Json:
    """The JSON object of a body. Raises BadPayload."""
    try:
        told = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise BadPayload("not JSON") from None
    if not isinstance(told, dict):
        raise BadPayload("not a JSON object")
    return told


def delivery(transaction: Json, queue: str) -> bytes:
    """A transaction read over REST, as the scrip would have sent it."""
    told = {
        "id": int(transaction["id"]),
        "ticket": int(transaction.get("ObjectId") or 0),
        "queue": queue,
        "type": transaction.get("Type"),
        "field": transaction.get("Field") or "",
        "old": transaction.get("OldValue") or "",
        "new": transaction.get("NewValue") or "",
        "created": transaction.get("Created"),
        "creator": creator(transaction),
    }
    return orjson.dumps(told, option=orjson.OPT_SORT_KEYS)


def creator(transaction: Json) -> str:
    """The login of who did it."""
    who = transaction.get("Creator")
    return str(who.get("id") or "") if isinstance(who, dict) else ""


def instant(value: Any) -> datetime:
    """An instant as RT writes it. Raises BadPayload, also for one without a time zone."""
    try:
        at = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        raise BadPayload(f"{value!r} is no instant") from None
    if at.tzinfo is None:
        raise BadPayload(f"{value!r} has no time zone")
    return at.astimezone(UTC)


def _number(told: Json, name: str) -> int:
    value = told.get(name)
    if type(value) is not int or value <= 0:
        raise BadPayload(f"{name!r} is no number of RT's")
    return value
