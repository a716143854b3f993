"""The readings of a break side by side, field by field, with what differs marked. Pure; everything shown is text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any

LABELS = {
    "kind": "Kind", "id": "Id there", "number": "Number", "reference": "Reference", "party": "Customer there", "about": "About",
    "currency": "Currency", "net": "Net", "tax": "Tax", "total": "Total", "on": "Dated", "status": "Status",
    "service_from": "Service from", "service_to": "Service to",
}  # fmt: skip
"""The fields of a reading in the order they are read; what else it says comes after them."""
NAMES = ("kind", "id", "number", "reference", "party", "about", "ids", "code")
"""What a thing is called: every system has its own names, so that they are not compared."""
AMOUNTS = ("net", "tax", "total")
MOST = 4
"""Readings of one side that are shown in columns."""


@dataclass(frozen=True, slots=True)
class Column:
    """One reading: the system it was read from, and the side of the pair ('left' or 'right') it is on."""

    system: str
    side: str


@dataclass(frozen=True, slots=True)
class Line:
    """A field with what every reading says of it, and whether the sides disagree."""

    label: str
    values: tuple[str, ...]
    differs: bool


@dataclass(frozen=True, slots=True)
class Comparison:
    """A table: a column for each reading, a line for each field. `left_out` readings are only in the JSON below it."""

    columns: tuple[Column, ...]
    lines: tuple[Line, ...]
    left_out: int


def compare(left: Any, right: Any, *, names_matter: bool = False) -> Comparison:
    """What two sides say. With `names_matter` a customer that differs is marked too (the break is about that).

    A side that says nothing is an empty column without a system.
    """
    held = [("left", each) for each in voices(left) or [[{}]]] + [("right", each) for each in voices(right) or [[{}]]]
    shown = [(side, voice[:MOST]) for side, voice in held]
    all_readings = [reading for _, voice in shown for reading in voice]
    columns = tuple(Column(str(reading.get("system", "")), side) for side, voice in shown for reading in voice)
    said = dict.fromkeys(name for reading in all_readings for name in reading if name != "system")
    ordered = [name for name in LABELS if name in said] + [name for name in said if name not in LABELS]
    lines = tuple(
        Line(
            LABELS.get(name, name.replace("_", " ").capitalize()),
            tuple(text(reading.get(name), name in AMOUNTS) for reading in all_readings),
            (name not in NAMES or (names_matter and name == "party")) and differs(name, [voice for _, voice in held]),
        )
        for name in ordered
    )
    return Comparison(columns, lines, sum(len(voice) for _, voice in held) - len(all_readings))


def voices(said: Any) -> list[list[Mapping[str, Any]]]:
    """Who speaks on one side, each with its readings: one reading, several as `items`, or one by role (support, billing)."""
    if not isinstance(said, Mapping) or not said:
        return []
    if isinstance(said.get("items"), list):
        return [[each for each in said["items"] if isinstance(each, Mapping)]]
    if all(isinstance(each, Mapping) for each in said.values()):
        return [[each] for each in said.values()]
    return [[said]]


def differs(name: str, spoken: Sequence[Sequence[Mapping[str, Any]]]) -> bool:
    """Whether they disagree about a field: amounts by their sums, everything else by the set of values."""
    values = [[reading[name] for reading in voice if name in reading] for voice in spoken]
    told = [each for each in values if each]
    if name in AMOUNTS:
        return len({total(each) for each in told}) > 1
    return len({frozenset(map(text, each)) for each in told}) > 1


def total(values: Sequence[Any]) -> Decimal | None:
    """The sum of stored amounts; None when one is none."""
    found = [number(value) for value in values]
    return sum((value for value in found if value is not None), Decimal()) if found and None not in found else None


def number(value: Any) -> Decimal | None:
    """A stored amount."""
    try:
        found = Decimal(str(value))
    except InvalidOperation:
        return None
    return found if found.is_finite() else None


def text(value: Any, is_amount: bool = False) -> str:
    """A value as it is read; amounts to the cent, or as exact as they are."""
    if value is None or value == "":
        return ""
    if is_amount and (found := number(value)) is not None:
        exact = found.normalize()
        return f"{exact:,.{max(2, -int(exact.as_tuple().exponent))}f}"
    return ", ".join(map(text, value)) if isinstance(value, list) else str(value)
