"""Strict reading of Stripe's JSON: what decides money, dates or identity is there, or the object is quarantined."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime, tzinfo
from decimal import Decimal
from typing import Any, cast

from canonical.money import normal_currency
from connectors.sdk.errors import BadPayload

Json = Mapping[str, Any]

# https://docs.stripe.com/currencies, "Zero-decimal currencies", "Three-decimal currencies" and "Special cases":
# ISK and UGX have no minor unit, but the API writes them with two digits that are always 00. MGA is the reverse.
_ZERO = ["BIF", "CLP", "DJF", "GNF", "JPY", "KMF", "KRW", "MGA", "PYG", "RWF", "VND", "VUV", "XAF", "XOF", "XPF"]
_THREE = ["BHD", "JOD", "KWD", "OMR", "TND"]
_EXPONENTS = {**dict.fromkeys(_ZERO, 0), **dict.fromkeys(_THREE, 3)}


def exponent(currency: str) -> int:
    """Digits after the point in amounts of Stripe's API, which is not always ISO 4217's exponent."""
    return _EXPONENTS.get(currency.upper(), 2)


def from_stripe(units: int | Decimal, currency: str) -> Decimal:
    """An amount of the API → major units: 1999 usd → 19.99, 500 jpy → 500, 500 isk → 5.00."""
    return Decimal(units).scaleb(-exponent(currency))


def to_stripe(amount: Decimal, currency: str) -> int:
    """Major units → an amount of the API. Raises ValueError when it is not a whole number there."""
    scaled = amount.scaleb(exponent(currency))
    if scaled != scaled.to_integral_value():
        raise ValueError(f"{amount} {currency} is not a whole number of Stripe's minor units")
    return int(scaled)


def where(obj: Json, key: str) -> str:
    """Names a field in an error: `invoice in_1: total`."""
    return f"{obj.get('object', 'object')} {obj.get('id', '')}: {key}"


def need(obj: Json, key: str) -> Any:
    """The field, which may be null but not absent. Raises BadPayload."""
    if key not in obj:
        raise BadPayload(f"{where(obj, key)} is missing")
    return obj[key]


def text(obj: Json, key: str) -> str:
    """A string that must be there and not be empty."""
    value = need(obj, key)
    if not isinstance(value, str) or not value:
        raise BadPayload(f"{where(obj, key)} is not a string")
    return value


def words(obj: Json, key: str) -> str:
    """A string for people; '' when it is absent or null."""
    value = obj.get(key)
    return value if isinstance(value, str) else ""


def ref(obj: Json, key: str) -> str | None:
    """Id of another object, whether it came as an id, expanded, or not at all."""
    value = obj.get(key)
    if value is None or value == "":
        return None
    if isinstance(value, Mapping):
        return text(value, "id")
    if not isinstance(value, str):
        raise BadPayload(f"{where(obj, key)} is neither an id nor an object")
    return value


def need_ref(obj: Json, key: str) -> str:
    """Like `ref`, and it must name one."""
    need(obj, key)
    value = ref(obj, key)
    if value is None:
        raise BadPayload(f"{where(obj, key)} names no object")
    return value


def part(obj: Json, key: str) -> Json:
    """A nested object; empty when it is absent or null."""
    value = obj.get(key)
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise BadPayload(f"{where(obj, key)} is not an object")
    return value


def many(obj: Json, key: str) -> list[Json]:
    """A list of objects, bare or as Stripe's list object; empty when it is absent or null."""
    value = obj.get(key)
    if isinstance(value, Mapping):
        if value.get("has_more"):
            raise BadPayload(f"{where(obj, key)} goes on on another page")
        value = need(value, "data")
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(item, Mapping) for item in value):
        raise BadPayload(f"{where(obj, key)} is not a list of objects")
    return cast("list[Json]", value)


def units(obj: Json, key: str) -> int:
    """An amount in minor units, which Stripe writes as an integer."""
    value = need(obj, key)
    if not isinstance(value, int) or isinstance(value, bool):
        raise BadPayload(f"{where(obj, key)} is not a whole number")
    return value


def money(obj: Json, key: str, currency: str) -> Decimal:
    """An amount in major units."""
    return from_stripe(units(obj, key), currency)


def currency_of(obj: Json) -> str:
    """The ISO code in upper case."""
    try:
        return normal_currency(text(obj, "currency"))
    except ValueError as error:
        raise BadPayload(f"{where(obj, 'currency')}: {error}") from None


def number(value: object, name: str) -> Decimal:
    """A decimal that is not money (quantity, percentage), from Stripe's strings and JSON numbers."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise BadPayload(f"{name} is not a number")
    try:
        result = Decimal(str(value))
    except ArithmeticError:
        raise BadPayload(f"{name} is not a number") from None
    if not result.is_finite():
        raise BadPayload(f"{name} is not a number")
    return result


def instant(obj: Json, key: str) -> datetime | None:
    """A Unix time as aware UTC; None when it is absent or null."""
    value = obj.get(key)
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool):
        raise BadPayload(f"{where(obj, key)} is not a Unix time")
    try:
        return datetime.fromtimestamp(value, UTC)
    except (OverflowError, ValueError, OSError):
        raise BadPayload(f"{where(obj, key)} is out of range") from None


def need_instant(obj: Json, *keys: str) -> datetime:
    """The first of these times that is told. Raises BadPayload when none is."""
    for key in keys:
        found = instant(obj, key)
        if found is not None:
            return found
    raise BadPayload(f"{where(obj, ' or '.join(keys))} is missing")


def day(moment: datetime, zone: tzinfo) -> date:
    """The calendar day of an instant where the legal entity is."""
    return moment.astimezone(zone).date()
