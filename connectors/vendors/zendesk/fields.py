"""Strict reading of Zendesk's JSON: what decides money, times or identity is there, or the object is refused."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, cast

from canonical.masking import mask
from connectors.sdk.errors import BadPayload

Json = Mapping[str, Any]
_DIGITS = re.compile(r"[0-9]{1,19}")
LONGEST = 2000
"""Characters of `canonical.types.Text`."""


def where(obj: Json, key: str) -> str:
    """Names a field in an error: `35436: created_at`."""
    return f"{obj.get('id', 'object')}: {key}"


def text(obj: Json, key: str) -> str:
    """A string that must be there and not be empty."""
    value = obj.get(key)
    if not isinstance(value, str) or not value:
        raise BadPayload(f"{where(obj, key)} is not a string")
    return value


def words(obj: Json, key: str) -> str:
    """A string; '' when it is absent or null."""
    value = obj.get(key)
    return value if isinstance(value, str) else ""


def typed(value: object) -> str:
    """What somebody typed, card numbers masked, as much of it as we keep; '' for what is no text or number."""
    if isinstance(value, bool) or not isinstance(value, str | int | Decimal):
        return ""
    # PostgreSQL keeps no NUL.
    return mask(str(value).replace("\x00", ""))[:LONGEST].strip()


def identity(obj: Json, key: str) -> str | None:
    """An id, which is a number in the API and a string in events; None when it is absent, null, '' or 0."""
    value = obj.get(key)
    if value in (None, "", "0", 0):
        return None
    if isinstance(value, bool) or not isinstance(value, int | str) or not _DIGITS.fullmatch(str(value)):
        raise BadPayload(f"{where(obj, key)} is not an id")
    return str(value)


def need_identity(obj: Json, key: str = "id") -> str:
    """Like `identity`, and it must be there."""
    found = identity(obj, key)
    if found is None:
        raise BadPayload(f"{where(obj, key)} is missing")
    return found


def many(obj: Json, key: str) -> list[Json]:
    """A list of objects; empty when it is absent or null."""
    value = obj.get(key)
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(item, Mapping) for item in value):
        raise BadPayload(f"{where(obj, key)} is not a list of objects")
    return cast("list[Json]", value)


def instant(obj: Json, key: str) -> datetime | None:
    """An ISO 8601 time as aware UTC; None when it is absent or null."""
    value = obj.get(key)
    if value is None:
        return None
    try:
        found = datetime.fromisoformat(value)
        return (found if found.tzinfo else found.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, TypeError, OverflowError):
        raise BadPayload(f"{where(obj, key)} is not a time") from None


def need_instant(obj: Json, key: str) -> datetime:
    """Like `instant`, and it must be there."""
    found = instant(obj, key)
    if found is None:
        raise BadPayload(f"{where(obj, key)} is missing")
    return found


def custom(ticket: Json, field: str) -> Any:
    """The value of a ticket's custom field; None when the field is not used here or not on the ticket."""
    if not field:
        return None
    return next((each.get("value") for each in many(ticket, "custom_fields") if str(each.get("id")) == field), None)
