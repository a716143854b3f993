"""Charts as numbers for SVG: where lines, bars and labels go. Pure; the template draws and escapes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from math import floor, log10

WIDTH, HEIGHT = 560.0, 220.0
LEFT, RIGHT, TOP, BOTTOM = 58.0, 12.0, 12.0, 26.0
"""The margins around what is drawn: labels stand in them."""
PITCH, NAME, LETTER = 26.0, 172.0, 6.6
"""Of bars from left to right: how far it is to the next, the room for its name, and about what a letter takes."""
TICKS = 4
LABELS = 7
"""Labels under a line chart, at most: more would run into each other."""
COLOURS = 8

Value = Decimal | float | int


@dataclass(frozen=True, slots=True)
class Line:
    """A series: its points as SVG takes them, and each with what it says."""

    name: str
    colour: int
    points: str
    dots: tuple[tuple[float, float, str], ...]


@dataclass(frozen=True, slots=True)
class Lines:
    """A chart over time. `grid`: (y, label); `labels`: (x, label)."""

    lines: tuple[Line, ...]
    grid: tuple[tuple[float, str], ...]
    labels: tuple[tuple[float, str], ...]
    summary: str
    width: float = WIDTH
    height: float = HEIGHT


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar, its name at the left and its value behind it."""

    name: str
    value: str
    y: float
    parts: tuple[tuple[float, float, int, str], ...]
    """(x, width, colour, what it says) of each part."""
    end: float


@dataclass(frozen=True, slots=True)
class Bars:
    """A chart of things to compare, largest or first on top. `legend`: (name, colour) when bars have parts."""

    bars: tuple[Bar, ...]
    legend: tuple[tuple[str, int], ...]
    summary: str
    height: float
    width: float = WIDTH


def lines(
    times: Sequence[str],
    series: Sequence[tuple[str, Sequence[Value | None]]],
    *,
    unit: str = "",
    bottom: Value = 0,
    top: Value | None = None,
) -> Lines:
    """A line per series over the same `times`; None where there is no value. From `bottom` to `top`, or to the largest value.

    Raises ValueError for a series of another length than `times`.
    """
    if any(len(values) != len(times) for _, values in series):
        raise ValueError("a series needs one value for each time")
    largest = max((float(value) for _, values in series for value in values if value is not None), default=0.0)
    least, most = float(bottom), float(top) if top is not None else nice(largest)
    span_x, span_y = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM

    def x(index: int) -> float:
        return round(LEFT + (span_x * index / (len(times) - 1) if len(times) > 1 else span_x / 2), 1)

    def y(value: float) -> float:
        return round(TOP + span_y * (1 - min(max((value - least) / (most - least), 0.0), 1.0)), 1)

    drawn = []
    for number, (name, values) in enumerate(series):
        dots = tuple(
            (x(index), y(float(value)), f"{name}, {times[index]}: {short(value)}{unit}")
            for index, value in enumerate(values)
            if value is not None
        )
        drawn.append(Line(name, number % COLOURS, " ".join(f"{at:.1f},{up:.1f}" for at, up, _ in dots), dots))
    levels = [least + (most - least) * step / TICKS for step in range(TICKS + 1)]
    grid = tuple((y(level), f"{short(level)}{unit}") for level in levels)
    every = max(1, -(-len(times) // LABELS))
    labels = tuple((x(index), time) for index, time in enumerate(times) if index % every == 0)
    last = ", ".join(f"{line.name}: {line.dots[-1][2].rpartition(': ')[2]}" for line in drawn if line.dots)
    return Lines(tuple(drawn), grid, labels, last or "no data")


def bars(rows: Sequence[tuple[str, Sequence[tuple[str, Value]], str]]) -> Bars:
    """A bar per row: (name, its parts by name, what to write behind it). Parts of one name have one colour everywhere."""
    names = list(dict.fromkeys(part for _, parts, _ in rows for part, value in parts if value))
    most = max((float(sum(value for _, value in parts)) for _, parts, _ in rows), default=0.0) or 1.0
    room = WIDTH - NAME - RIGHT - LETTER * max((len(said) for _, _, said in rows), default=0)
    drawn = []
    for index, (name, parts, said) in enumerate(rows):
        at, pieces = NAME, []
        for part, value in parts:
            if value:
                width = max(round(max(room, 40.0) * float(value) / most, 1), 1.5)
                pieces.append((at, width, names.index(part) % COLOURS, f"{name}{f', {part}' if part else ''}: {short(value)}"))
                at = round(at + width, 1)
        drawn.append(Bar(name, said, TOP + index * PITCH, tuple(pieces), at + 6))
    legend = tuple((name, number % COLOURS) for number, name in enumerate(names)) if len(names) > 1 else ()
    summary = ", ".join(f"{name}: {said}" for name, _, said in rows) or "no data"
    return Bars(tuple(drawn), legend, summary, TOP + len(rows) * PITCH)


def nice(most: float) -> float:
    """The next number of the kind 1, 2, 5, 10 that `most` fits under; 1 for nothing."""
    if most <= 0:
        return 1.0
    magnitude = 10.0 ** floor(log10(most))
    return next(step * magnitude for step in (1, 2, 5, 10) if most <= step * magnitude * 1.0000001)


def short(value: Value) -> str:
    """A number in little room: 1.2 M, 34 k, 5.5."""
    amount = Decimal(str(value))
    for limit, letter in ((Decimal(1_000_000), " M"), (Decimal(10_000), " k")):
        if abs(amount) >= limit:
            in_unit = amount / (Decimal(1000) if letter == " k" else limit)
            return f"{in_unit.quantize(Decimal('0.1')).normalize():f}{letter}"
    return f"{amount.quantize(Decimal('0.01')).normalize():,f}"
