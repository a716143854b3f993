"""Whether a promise was kept, worked out from the case's own clock, in lines a customer could check. Pure.

First response runs from opening to the first public answer by staff, or to the resolution when there was none.
Resolution runs while the case is neither resolved nor waiting for the customer; a reopened case goes on where it
stood. Both count business time. Availability is the share of a whole calendar month without outage, in wall time, also
while the month lasts; an outage without an end lasts until the case was resolved, and overlapping outages count once,
whichever case told them.

Severity. The target is that of the severity in force when the clock stopped (now, for one that runs), counted since the
case has been at least that severe: a case raised to urgent has the whole urgent target from then on. Lowering loosens
the promise only while it is kept: a target that was missed while in force stays missed, and of several the one missed
by most decides. Before the first change that the history tells, the severity is the one for "any other".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import ROUND_HALF_EVEN, Decimal
from itertools import pairwise
from typing import Any, Literal, NamedTuple, Protocol
from zoneinfo import ZoneInfo

from hub.credits.calendars import AROUND_THE_CLOCK, FOUR_DIGITS, Calendar, Interval, length, merged, to_minutes, whole

What = Literal["first_response", "resolution", "uptime"]
CALLED = {"first_response": "first response", "resolution": "resolution", "uptime": "availability"}
ZERO = Decimal(0)


class ClockEntry(Protocol):
    """A `canonical.types.ClockEvent`, or a row of `CaseClock`."""

    @property
    def what(self) -> str: ...
    @property
    def at(self) -> datetime: ...
    @property
    def value(self) -> str: ...


class Outage(NamedTuple):
    """An outage told by another case. Without an end it lasts until now."""

    since: datetime
    until: datetime | None
    told_by: str


@dataclass(frozen=True, slots=True)
class Target:
    """What is promised for one severity. Minutes run by `calendar`; uptime is percent of a calendar month."""

    label: str
    first_response: Decimal | None = None
    resolution: Decimal | None = None
    uptime: Decimal | None = None
    calendar: Calendar = AROUND_THE_CLOCK


@dataclass(frozen=True, slots=True)
class Terms:
    """The targets of a plan by severity; '' is for severities not listed."""

    plan: str
    targets: Mapping[str, Target]

    def of(self, severity: str) -> Target | None:
        """The target of a severity, None when nothing is promised for it."""
        return self.targets.get(severity) or self.targets.get("")


@dataclass(frozen=True, slots=True)
class Promise:
    """One promise and how it was kept. Times in minutes (availability in percent), four digits.

    `actual` is None while what was promised has not happened; `missed_by` (minutes late, or percentage points short)
    counts what is late so far. `intervals` are the business time that counted, or the outages.
    """

    what: What
    target: Decimal
    actual: Decimal | None
    missed_by: Decimal
    started: datetime
    stopped: datetime | None
    intervals: tuple[Interval, ...] = ()
    explanation: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """Plain values; Decimals as text, instants in ISO 8601."""
        return {
            "what": self.what, "target": str(self.target), "actual": None if self.actual is None else str(self.actual),
            "missed_by": str(self.missed_by), "started": self.started.isoformat(),
            "stopped": self.stopped.isoformat() if self.stopped else None,
            "intervals": [[a.isoformat(), b.isoformat()] for a, b in self.intervals], "explanation": list(self.explanation),
        }  # fmt: skip

    @classmethod
    def from_json(cls, said: Mapping[str, Any]) -> Promise:
        """What `as_json` wrote."""
        read = datetime.fromisoformat
        return cls(
            what=said["what"], target=Decimal(said["target"]),
            actual=None if said["actual"] is None else Decimal(said["actual"]), missed_by=Decimal(said["missed_by"]),
            started=read(said["started"]), stopped=read(said["stopped"]) if said["stopped"] else None,
            intervals=tuple((read(a), read(b)) for a, b in said["intervals"]), explanation=tuple(said["explanation"]),
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Assessment:
    """What was promised for a case, and what came of it by the instant `at`."""

    plan: str
    severity: str
    terms: str
    calendar: str
    promises: tuple[Promise, ...]
    at: datetime

    @property
    def missed(self) -> tuple[Promise, ...]:
        """The promises that were not kept."""
        return tuple(promise for promise in self.promises if promise.missed_by > 0)

    @property
    def missed_by(self) -> dict[str, Decimal]:
        """Reason → how much it was missed by; of several months of availability, the worst."""
        found: dict[str, Decimal] = {}
        for promise in self.missed:
            found[promise.what] = max(promise.missed_by, found.get(promise.what, ZERO))
        return found

    def as_json(self) -> dict[str, Any]:
        """Plain values; `from_json` reads them."""
        return {
            "plan": self.plan, "severity": self.severity, "terms": self.terms, "calendar": self.calendar,
            "at": self.at.isoformat(), "promises": [promise.as_json() for promise in self.promises],
        }  # fmt: skip

    @classmethod
    def from_json(cls, said: Mapping[str, Any]) -> Assessment:
        """What `as_json` wrote."""
        return cls(
            said["plan"], said["severity"], said["terms"], said["calendar"],
            tuple(Promise.from_json(one) for one in said["promises"]), datetime.fromisoformat(said["at"]),
        )  # fmt: skip


def assess(
    clock: Iterable[ClockEntry], *, opened_at: datetime, severity: str, terms: Terms, at: datetime,
    outages: Iterable[Outage] = (),
) -> Assessment:  # fmt: skip
    """Judge a case by what happened until `at`. `outages` are those told elsewhere, by other cases of the incident.

    Entries of the clock may come in any order; `severity` is the case's own, for a history that tells of none.
    """
    case = _Case(clock, opened_at, severity, terms, at)
    promises = [_timed("first_response", case), _timed("resolution", case), *_uptime(case, outages)]
    now = terms.of(case.severities[-1][1])
    return Assessment(
        plan=terms.plan, severity=case.severities[-1][1], terms=now.label if now else "",
        calendar=now.calendar.label if now else "", promises=tuple(one for one in promises if one is not None), at=case.at,
    )  # fmt: skip


def outages_of(clock: Iterable[ClockEntry], *, opened_at: datetime, told_by: str, at: datetime) -> list[Outage]:
    """The outages that a case's own clock tells until `at`, by the same reading as its own availability."""
    case = _Case(clock, opened_at, "", Terms("", {}), at)
    return [Outage(since, until, told_by) for since, until in _outages(case)]


@dataclass(slots=True)
class _Case:
    """The clock of a case until `at`, read once."""

    clock: Iterable[ClockEntry]
    opened: datetime
    severity: str
    terms: Terms
    at: datetime
    events: list[tuple[datetime, str, str]] = field(init=False)
    severities: list[tuple[datetime, str]] = field(init=False)
    replied: datetime | None = None
    resolved: datetime | None = None
    first_resolved: datetime | None = None
    running: tuple[Interval, ...] = ()

    def __post_init__(self) -> None:
        self.opened, self.at = whole(self.opened), whole(self.at)
        told = [(max(whole(event.at), self.opened), event.what, event.value) for event in self.clock]
        self.events = sorted({event: None for event in told if event[0] <= self.at}, key=lambda event: event[0])
        self._read_severities()
        self._read_times()

    def _read_severities(self) -> None:
        changes = [(at, value) for at, what, value in self.events if what == "severity"]
        told = [(self.opened, "" if changes else self.severity), *changes]
        # Of changes in the same second only the last was ever in force.
        self.severities = [one for one, following in pairwise(told) if one[0] < following[0]] + told[-1:]

    def _read_times(self) -> None:
        spans: list[Interval] = []
        since: datetime | None = self.opened
        for at, what, _ in self.events:
            if what == "first_reply":
                self.replied = self.replied or at
            elif what in ("paused", "resolved"):
                if since is not None:
                    spans.append((since, at))
                    since = None
                if what == "resolved" and self.resolved is None:
                    self.resolved = at
                    self.first_resolved = self.first_resolved or at
            elif (what == "resumed" and since is None and self.resolved is None) or what == "reopened":
                since, self.resolved = since or at, None
        if since is not None:
            spans.append((since, self.at))
        self.running = merged(spans)

    def stops(self, what: What) -> datetime | None:
        """When the clock of a promise stopped for good, None when it still runs."""
        if what == "resolution":
            return self.resolved
        return min(filter(None, (self.replied, self.first_resolved)), default=None)


@dataclass(frozen=True, slots=True)
class _Counted:
    """A target held against the clock."""

    target: Target
    severity: str
    allowed: Decimal
    since: datetime
    intervals: tuple[Interval, ...]
    missed_in_force: bool

    @property
    def minutes(self) -> Decimal:
        return to_minutes(length(self.intervals))

    @property
    def late(self) -> Decimal:
        return max(ZERO, self.minutes - self.allowed)


def _timed(what: Literal["first_response", "resolution"], case: _Case) -> Promise | None:
    """First response or resolution, None when nothing is promised."""
    stopped = case.stops(what)
    end = stopped or case.at
    spans = [(at, severity) for at, severity in case.severities if at < end or at == case.opened]
    counted = [one for number in range(len(spans)) if (one := _count(what, case, spans, number, end))]
    in_force = case.terms.of(spans[-1][1])
    missed = [one for one in counted if one.missed_in_force]
    if missed:
        it = max(missed, key=lambda one: (one.late, -one.allowed))
    elif in_force is not None and getattr(in_force, what) is not None:
        it = counted[-1]
    else:
        return None
    return Promise(
        what, it.allowed, it.minutes if stopped else None, it.late, it.since, stopped, it.intervals,
        tuple(_say(what, case, it, stopped)),
    )  # fmt: skip


def _count(
    what: Literal["first_response", "resolution"], case: _Case, spans: Sequence[tuple[datetime, str]], number: int, end: datetime
) -> _Counted | None:
    """The target of one span of severity, counted since the case has been at least that severe."""

    def allowed(severity: str) -> Decimal | None:
        target = case.terms.of(severity)
        found: Decimal | None = getattr(target, what) if target else None
        return found

    target, most = case.terms.of(spans[number][1]), allowed(spans[number][1])
    if target is None or most is None:
        return None
    strict = [(known := allowed(severity)) is not None and known <= most for _, severity in spans]
    first = number
    while first and strict[first - 1]:
        first -= 1
    until = next((at for (at, _), held in list(zip(spans, strict, strict=True))[number + 1 :] if not held), end)
    since = spans[first][0]

    def business(stop: datetime) -> tuple[Interval, ...]:
        running = case.running if what == "resolution" else ((case.opened, case.at),)
        return merged(
            part for a, b in running for part in target.calendar.intervals(max(a, since), min(b, stop))
        )  # fmt: skip

    missed = to_minutes(length(business(until))) > most
    return _Counted(target, spans[number][1], most, since, business(end), missed)


def _uptime(case: _Case, outages: Iterable[Outage]) -> list[Promise]:
    """One promise for each calendar month with an outage, in the calendar's time zone."""
    target = case.terms.of(case.severities[-1][1])
    if target is None or target.uptime is None:
        return []
    zone = target.calendar.zone
    told = sorted({(whole(a), min(whole(b or case.at), case.at), by) for a, b, by in outages if whole(a) < case.at})
    down = merged([*_outages(case), *((a, b) for a, b, _ in told)])
    months = sorted({month for a, b in down for month in _months(a, b, zone)})
    return [_month(target.uptime, start, end, down, told, zone) for start, end in months]


def _outages(case: _Case) -> list[Interval]:
    found: list[Interval] = []
    since: datetime | None = None
    for at, what, _ in case.events:
        if what == "down":
            since = since or at
        elif since is not None and what in ("up", "resolved"):
            found.append((since, at))
            since = None
    return [*found, (since, case.at)] if since is not None else found


def _months(a: datetime, b: datetime, zone: ZoneInfo) -> Iterable[Interval]:
    local = a.astimezone(zone)
    year, month = local.year, local.month
    while True:
        start = datetime(year, month, 1, tzinfo=zone).astimezone(UTC)
        year, month = (year + 1, 1) if month == 12 else (year, month + 1)
        end = datetime(year, month, 1, tzinfo=zone).astimezone(UTC)
        yield start, end
        if end >= b:
            return


def _month(
    target: Decimal, start: datetime, end: datetime, down: Sequence[Interval], told: Sequence[tuple[datetime, datetime, str]],
    zone: ZoneInfo,
) -> Promise:  # fmt: skip
    parts = tuple((max(a, start), min(b, end)) for a, b in down if a < end and b > start)
    lost, whole_month = length(parts), length([(start, end)])
    up = (100 * (1 - Decimal(lost) / whole_month)).quantize(FOUR_DIGITS, ROUND_HALF_EVEN)
    short = max(ZERO, target - up)
    name = f"{start.astimezone(zone):%B %Y}"
    lines = [
        *(f"down {_span(a, b, zone)} = {plain(to_minutes(length([(a, b)])))} min" for a, b in parts),
        *(f"{by} told {_span(max(a, start), min(b, end), zone)}" for a, b, by in told if a < min(b, end) and b > start),
        f"{name} has {plain(to_minutes(whole_month))} min, {plain(to_minutes(lost))} of them down: available {plain(up)} %",
        f"target {plain(target)} % → " + (f"{plain(short)} percentage points short" if short else "kept"),
    ]
    return Promise("uptime", target, up, short, start, end, parts, tuple(lines))


# saying it -------------------------------------------------------------------------------------------------------


def _say(what: What, case: _Case, it: _Counted, stopped: datetime | None) -> list[str]:
    zone = it.target.calendar.zone
    lines = [f"opened {_at(case.opened, zone)}"]
    if it.since > case.opened:
        lines.append(f"severity {it.severity or 'other'} set {_at(it.since, zone)}: its target counts from then")
    first = it.intervals[0][0] if it.intervals else None
    if first is not None and first > it.since and it.target.calendar.hours:
        lines.append(f"outside {it.target.calendar.label or 'business hours'}: counted from {_at(first, zone)}")
    if what == "resolution":
        words = {"paused": "waiting for the customer from", "resumed": "went on", "resolved": "resolved", "reopened": "reopened"}
        lines += [f"{words[event]} {_at(at, zone)}" for at, event, _ in case.events if event in words]
    elif stopped is not None:
        answered = case.replied is not None and stopped == case.replied
        lines.append(f"{'first reply' if answered else 'resolved without a reply'} {_at(stopped, zone)}")
    if it.severity != case.severities[-1][1] and it.late:
        lines.append("the severity was lowered only after this target had passed: the miss stands")
    lines += [f"clock ran {_span(a, b, zone)} = {plain(to_minutes(length([(a, b)])))} min" for a, b in it.intervals]
    if len(it.intervals) != 1:
        lines.append(f"together {plain(it.minutes)} min")
    if stopped is None:
        lines.append(f"no {CALLED[what]} by {_at(case.at, zone)}")
    kept = f"{plain(it.allowed - it.minutes)} min to spare"
    target = f"target {plain(it.allowed)} min ({it.target.label})"
    lines.append(f"{target} → {plain(it.late)} min late" if it.late else f"{target} → {kept}")
    return lines


def plain(number: Decimal) -> str:
    """A number without trailing zeros."""
    text = f"{number:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _at(at: datetime, zone: ZoneInfo) -> str:
    local = at.astimezone(zone)
    return f"{local:%a %Y-%m-%d} {_clock(local)} {local:%Z}"


def _span(a: datetime, b: datetime, zone: ZoneInfo) -> str:
    start, end = a.astimezone(zone), b.astimezone(zone)
    same = start.date() == end.date() and start.utcoffset() == end.utcoffset()
    return f"{start:%a %Y-%m-%d} {_clock(start)}–{_clock(end)}" if same else f"{_at(a, zone)} – {_at(b, zone)}"


def _clock(local: datetime) -> str:
    return f"{local:%H:%M:%S}" if local.second else f"{local:%H:%M}"
