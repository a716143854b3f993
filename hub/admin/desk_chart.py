"""The picture of a promise: when its clock ran, when it stood still, and which part came too late. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

WIDTH = 720.0
"""Of the drawing, in its own units."""
THINNEST = 1.5
"""What is too short to see is drawn this wide."""

Interval = tuple[datetime, datetime]


@dataclass(frozen=True, slots=True)
class Bar:
    """A stretch of time: `counted` within the promise, `late` beyond it, `paused` where the clock stood still."""

    look: str
    x: float
    width: float
    title: str


@dataclass(frozen=True, slots=True)
class Mark:
    """An instant with a name."""

    x: float
    title: str
    anchor: str = "middle"


@dataclass(frozen=True, slots=True)
class Chart:
    """Bars from left to right, and the instants people look for."""

    bars: tuple[Bar, ...]
    begin: datetime
    end: datetime
    due: Mark | None
    marks: tuple[Mark, ...]
    summary: str


def split_at_target(intervals: Sequence[Interval], allowed: timedelta) -> tuple[list[Interval], list[Interval], datetime | None]:
    """(within the promise, too late, when it fell due). The two lists together are the given intervals."""
    within: list[Interval] = []
    late: list[Interval] = []
    left, due = allowed, None
    for begin, end in intervals:
        if due is None and end - begin >= left:
            due = begin + left
            within += [(begin, due)] if due > begin else []
            late += [(due, end)] if end > due else []
        elif due is None:
            within.append((begin, end))
            left -= end - begin
        else:
            late.append((begin, end))
    return within, late, due


def draw(
    intervals: Sequence[Interval], allowed: timedelta, begin: datetime, end: datetime, events: Iterable[tuple[datetime, str]] = ()
) -> Chart:
    """A promise of `allowed` counted time, whose clock ran in `intervals` between `begin` and `end`."""
    end = max([end, begin + timedelta(minutes=1), *(stop for _, stop in intervals)])
    span = (end - begin).total_seconds()

    def x(moment: datetime) -> float:
        return round(min(max((moment - begin).total_seconds() / span, 0.0), 1.0) * WIDTH, 2)

    def bar(look: str, start: datetime, stop: datetime) -> Bar:
        words = {"paused": "clock stood still", "counted": "counted", "late": "too late"}[look]
        title = f"{words}: {start:%Y-%m-%d %H:%M} to {stop:%Y-%m-%d %H:%M}, {length(stop - start)}"
        return Bar(look, x(start), max(round(x(stop) - x(start), 2), THINNEST), title)

    within, late, due = split_at_target(intervals, allowed)
    bars = [bar("paused", *gap) for gap in gaps([*within, *late], begin, end)]
    bars += [bar("counted", *part) for part in within] + [bar("late", *part) for part in late]
    marks = tuple(Mark(x(at), f"{what}: {at:%Y-%m-%d %H:%M}") for at, what in events if begin <= at <= end)
    summary = f"counted in time {length(total(within))}, too late {length(total(late))}"
    due_mark = None
    if due is not None:
        at = x(due)
        due_mark = Mark(at, f"due {due:%Y-%m-%d %H:%M}", "start" if at < WIDTH * 0.15 else "end" if at > WIDTH * 0.85 else "middle")
    return Chart(tuple(sorted(bars, key=lambda one: one.x)), begin, end, due_mark, marks, summary)


def gaps(intervals: Sequence[Interval], begin: datetime, end: datetime) -> list[Interval]:
    """What of begin…end no interval covers."""
    found, at = [], begin
    for start, stop in sorted(intervals):
        if start > at:
            found.append((at, min(start, end)))
        at = max(at, stop)
    if end > at:
        found.append((at, end))
    return found


def total(intervals: Iterable[Interval]) -> timedelta:
    """How long they are together."""
    return sum((stop - start for start, stop in intervals), timedelta())


def length(time: timedelta) -> str:
    """A length of time in words: '2 d 3 h', '4 h 05 min', '12 min', '20 s'."""
    if timedelta(0) < time < timedelta(minutes=1):
        return f"{math.ceil(time.total_seconds())} s"
    minutes = round(time.total_seconds() / 60)
    days, hours, rest = minutes // 1440, minutes % 1440 // 60, minutes % 60
    if days:
        return f"{days} d {hours} h" if hours else f"{days} d"
    return f"{hours} h {rest:02} min" if hours else f"{rest} min"
