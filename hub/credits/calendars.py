"""Business time: which instants count for a promise, and how many minutes lie between two of them. Pure.

A calendar is a set of instants: opening hours by weekday in a time zone, less holidays. Everything else follows from
that set, so that minutes add up across any cut. On the days clocks change, hours are as long as they really are: an
hour that is skipped is not counted, an hour that happens twice is. A local time that happens twice means the first of
the two; one that never happens means the instant of the change.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from itertools import pairwise
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

Interval = tuple[datetime, datetime]
WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
DAY = timedelta(days=1)
FOUR_DIGITS = Decimal("0.0001")
LONGEST_CLOSED = 3660
"""Days in a row without an open hour after which `after` gives up."""


class NotACalendar(ValueError):
    """Time zone, hours or holidays cannot be understood; the message says which."""


@dataclass(frozen=True, slots=True)
class Calendar:
    """When a clock runs. `hours` has an entry per weekday of (opens, closes) since local midnight; none: always."""

    label: str = ""
    zone: ZoneInfo = field(default_factory=lambda: ZoneInfo("UTC"))
    hours: tuple[tuple[tuple[timedelta, timedelta], ...], ...] = ()
    holidays: frozenset[date] = frozenset()

    @classmethod
    def of(
        cls, timezone: str, hours: Mapping[str, Sequence[Sequence[str]]], holidays: Iterable[str] = (), *, label: str = ""
    ) -> Calendar:
        """A calendar of `{"mon": [["09:00", "17:30"]], …}` and `["2026-12-25", …]`; "24:00" is midnight at the day's end.

        Raises NotACalendar: also when no hour of the week is open, when hours overlap, or when they pass midnight.
        """
        unknown = set(hours) - set(WEEKDAYS)
        if unknown:
            raise NotACalendar(f"no weekday is called {sorted(unknown)[0]!r}: use {', '.join(WEEKDAYS)}")
        try:
            zone = ZoneInfo(timezone)
            off = frozenset(date.fromisoformat(day) for day in holidays)
            week = tuple(_day(hours.get(name, ())) for name in WEEKDAYS)
        except (ZoneInfoNotFoundError, ValueError, TypeError) as error:
            raise NotACalendar(f"not a calendar: {error}") from None
        if not any(week):
            raise NotACalendar("no hour of the week is open")
        return cls(label, zone, week, off)

    def intervals(self, start: datetime, end: datetime) -> tuple[Interval, ...]:
        """The open time between two instants, in order and apart from each other; in UTC, whole seconds."""
        start, end = whole(start), whole(end)
        if end <= start:
            return ()
        if not self.hours:
            return ((start, end),)
        return merged((max(a, start), min(b, end)) for a, b in self._open(start, end) if a < end and b > start)

    def seconds(self, start: datetime, end: datetime) -> int:
        """Open seconds between two instants; 0 when the second is not the later one."""
        return length(self.intervals(start, end))

    def minutes(self, start: datetime, end: datetime) -> Decimal:
        """Open minutes between two instants, rounded to four digits."""
        return to_minutes(self.seconds(start, end))

    def after(self, start: datetime, hours: Decimal | int) -> datetime:
        """The instant at which so many open hours have passed since `start`; `start` itself for none, to the second."""
        left = int(Decimal(hours) * 3600)
        start = whole(start)
        if left <= 0:
            return start
        if not self.hours:
            return start + timedelta(seconds=left)
        for opens, closes in self._open(start, None):
            opens = max(opens, start)
            seconds = max(0, int((closes - opens).total_seconds()))
            if left <= seconds:
                return opens + timedelta(seconds=left)
            left -= seconds
        raise NotACalendar(f"{self.label or 'the calendar'} stays closed for years")

    def _open(self, start: datetime, end: datetime | None) -> Iterator[Interval]:
        """Opening hours of every day that may touch the span, in order."""
        day = start.astimezone(self.zone).date()
        # Clocks set back over midnight repeat the end of a day after the next one has begun.
        last = end.astimezone(self.zone).date() + DAY if end else date.max
        closed = 0
        while day <= last and closed < LONGEST_CLOSED:
            spans = () if day in self.holidays else self.hours[day.weekday()]
            closed = 0 if spans else closed + 1
            midnight = datetime.combine(day, time())
            for opens, closes in spans:
                yield self._instant(midnight + opens), self._instant(midnight + closes)
            day += DAY

    def _instant(self, local: datetime) -> datetime:
        at = local.replace(tzinfo=self.zone).astimezone(UTC)
        if at.astimezone(self.zone).replace(tzinfo=None) == local:
            return at
        # The local time is skipped: with the offsets from after and before the change it lies on either side of it.
        before = local.replace(tzinfo=self.zone, fold=1).astimezone(UTC)
        offset = before.astimezone(self.zone).utcoffset()
        while (at - before).total_seconds() > 1:
            middle = whole(before + (at - before) / 2)
            if middle.astimezone(self.zone).utcoffset() == offset:
                before = middle
            else:
                at = middle
        return at


AROUND_THE_CLOCK = Calendar(label="around the clock")


def whole(at: datetime) -> datetime:
    """The instant in UTC, cut to the second."""
    return at.astimezone(UTC).replace(microsecond=0)


def length(intervals: Iterable[Interval]) -> int:
    """Seconds in intervals that do not overlap."""
    return sum(int((b - a).total_seconds()) for a, b in intervals)


def to_minutes(seconds: int) -> Decimal:
    """Seconds as minutes, rounded to four digits."""
    return (Decimal(seconds) / 60).quantize(FOUR_DIGITS)


def merged(intervals: Iterable[Interval]) -> tuple[Interval, ...]:
    """The same instants in intervals that neither touch nor overlap, in order."""
    found: list[Interval] = []
    for a, b in sorted(interval for interval in intervals if interval[0] < interval[1]):
        if found and a <= found[-1][1]:
            found[-1] = (found[-1][0], max(b, found[-1][1]))
        else:
            found.append((a, b))
    return tuple(found)


def _day(spans: Sequence[Sequence[str]]) -> tuple[tuple[timedelta, timedelta], ...]:
    found = tuple(sorted((_since_midnight(opens), _since_midnight(closes)) for opens, closes in spans))
    for opens, closes in found:
        if opens >= closes:
            raise ValueError("hours end after they begin; split them at 24:00 when they pass midnight")
    for (_, closes), (opens, _) in pairwise(found):
        if opens < closes:
            raise ValueError("hours of a day overlap")
    return found


def _since_midnight(clock: str) -> timedelta:
    if clock == "24:00":
        return DAY
    at = time.fromisoformat(clock)
    return timedelta(hours=at.hour, minutes=at.minute, seconds=at.second)
