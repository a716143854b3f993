"""Business time is a set of instants: it adds up, never exceeds wall time, and knows the days clocks change."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.credits.calendars import AROUND_THE_CLOCK, Calendar, NotACalendar

WEEK = ("mon", "tue", "wed", "thu", "fri")
EVERY_DAY = (*WEEK, "sat", "sun")
BERLIN = Calendar.of("Europe/Berlin", {day: [["09:00", "12:00"], ["13:00", "17:30"]] for day in WEEK}, ["2026-12-25"])
NIGHT = Calendar.of("America/New_York", {day: [["00:00", "06:00"], ["22:00", "24:00"]] for day in EVERY_DAY})
GAP = Calendar.of("America/New_York", {day: [["02:10", "02:50"], ["03:00", "04:00"]] for day in EVERY_DAY})
SYDNEY = Calendar.of("Australia/Sydney", {day: [["00:00", "24:00"]] for day in (*WEEK, "sun")}, ["2026-04-05", "2026-10-05"])
ALL = [BERLIN, NIGHT, GAP, SYDNEY, AROUND_THE_CLOCK]

calendars = st.sampled_from(ALL)
instants = st.integers(0, 2 * 366 * 24 * 3600).map(lambda s: datetime(2025, 12, 1, tzinfo=UTC) + timedelta(seconds=s))


def at(text: str, zone: str = "Europe/Berlin") -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone))


# laws ------------------------------------------------------------------------------------------------------------


@given(calendars, st.lists(instants, min_size=3, max_size=3))
def test_time_adds_up_across_any_cut(calendar: Calendar, three: list[datetime]) -> None:
    a, b, c = sorted(three)
    assert calendar.seconds(a, b) + calendar.seconds(b, c) == calendar.seconds(a, c)
    assert abs(calendar.minutes(a, b) + calendar.minutes(b, c) - calendar.minutes(a, c)) <= Decimal("0.0001")


@given(calendars, instants, instants)
def test_there_is_never_more_business_time_than_time(calendar: Calendar, a: datetime, b: datetime) -> None:
    assert 0 <= calendar.seconds(a, b) <= max(0, (b - a).total_seconds())


@given(calendars, instants, st.integers(0, 400 * 60))
def test_after_so_many_hours_exactly_so_many_have_passed(calendar: Calendar, start: datetime, minutes: int) -> None:
    end = calendar.after(start, Decimal(minutes) / 60 if minutes % 60 else minutes // 60)
    wanted = int(Decimal(minutes) / 60 * 3600)
    assert calendar.seconds(start, end) == wanted
    assert wanted == 0 or calendar.seconds(start, end - timedelta(seconds=1)) == wanted - 1


@given(calendars, instants, instants)
def test_what_counted_lies_inside_in_order_and_apart(calendar: Calendar, a: datetime, b: datetime) -> None:
    found = calendar.intervals(a, b)
    edges = [edge for interval in found for edge in interval]
    assert edges == sorted(set(edges))
    assert all(a <= edge <= b for edge in edges)


@given(instants, instants)
def test_around_the_clock_every_second_counts(a: datetime, b: datetime) -> None:
    assert AROUND_THE_CLOCK.seconds(a, b) == max(0, int((b - a).total_seconds()))


# examples --------------------------------------------------------------------------------------------------------

CASES = [
    # a Monday; lunch is off
    ("2026-11-02T08:55", "2026-11-02T11:30", "150"),
    ("2026-11-02T11:30", "2026-11-02T13:30", "60"),
    ("2026-11-02T17:29", "2026-11-03T09:01", "2"),
    ("2026-11-02T18:00", "2026-11-03T08:00", "0"),
    # over a weekend, over a holiday
    ("2026-11-06T17:00", "2026-11-09T09:30", "60"),
    ("2026-12-24T17:00", "2026-12-28T10:00", "90"),
    # backwards, and the same instant
    ("2026-11-03T10:00", "2026-11-02T10:00", "0"),
    ("2026-11-03T10:00", "2026-11-03T10:00", "0"),
    # seconds
    ("2026-11-02T10:00:00", "2026-11-02T10:00:01", "0.0167"),
    # a whole year of working days: 261 of them, one off
    ("2026-01-01T00:00", "2027-01-01T00:00", str(260 * 450)),
]


@pytest.mark.parametrize(("start", "end", "minutes"), CASES)
def test_minutes(start: str, end: str, minutes: str) -> None:
    assert BERLIN.minutes(at(start), at(end)) == Decimal(minutes)


@pytest.mark.parametrize(
    ("calendar", "start", "end", "hours"),
    [
        # clocks go forward on 2026-03-08 and back on 2026-11-01 in New York
        (NIGHT, "2026-03-08T00:00", "2026-03-08T12:00", "5"),
        (NIGHT, "2026-03-07T00:00", "2026-03-07T12:00", "6"),
        (NIGHT, "2026-11-01T00:00", "2026-11-01T12:00", "7"),
        # 02:10–02:50 does not exist that day, and is not counted beside 03:00–04:00
        (GAP, "2026-03-08T00:00", "2026-03-09T00:00", "1"),
    ],
)
def test_the_days_clocks_change_are_as_long_as_they_are(calendar: Calendar, start: str, end: str, hours: str) -> None:
    zone = "America/New_York"
    assert calendar.minutes(at(start, zone), at(end, zone)) == Decimal(hours) * 60


def test_opening_hours_follow_local_time_through_the_change() -> None:
    winter, summer = at("2026-03-27T00:00"), at("2026-03-30T00:00")
    assert BERLIN.intervals(winter, summer + timedelta(days=1))[0][0] == datetime(2026, 3, 27, 8, tzinfo=UTC)
    assert BERLIN.intervals(summer, summer + timedelta(days=1))[0][0] == datetime(2026, 3, 30, 7, tzinfo=UTC)


def test_clocks_set_back_over_midnight_lose_nothing_and_count_nothing_twice() -> None:
    # On 2010-11-07 at 00:01, St John's went back to 23:01 of the day before.
    calendar = Calendar.of("America/St_Johns", {day: [["00:00", "24:00"]] for day in EVERY_DAY})
    begin = datetime(2010, 11, 6, 12, tzinfo=UTC)
    for hours in range(24):
        middle = begin + timedelta(hours=hours, minutes=45)
        assert calendar.seconds(begin, middle) == (middle - begin).total_seconds()
        assert calendar.seconds(middle, begin + timedelta(days=2)) == (begin + timedelta(days=2) - middle).total_seconds()


def test_open_nights_on_both_sides_of_midnight_are_one_interval() -> None:
    zone = "America/New_York"
    found = NIGHT.intervals(at("2026-06-01T21:00", zone), at("2026-06-02T09:00", zone))
    assert found == ((at("2026-06-01T22:00", zone), at("2026-06-02T06:00", zone)),)


@pytest.mark.parametrize(
    ("zone", "hours", "holidays"),
    [
        ("Mars/Olympus", {"mon": [["09:00", "17:00"]]}, []),
        ("UTC", {}, []),
        ("UTC", {"mon": []}, []),
        ("UTC", {"monday": [["09:00", "17:00"]]}, []),
        ("UTC", {"mon": [["17:00", "09:00"]]}, []),
        ("UTC", {"mon": [["09:00", "13:00"], ["12:00", "17:00"]]}, []),
        ("UTC", {"mon": [["9 o'clock", "17:00"]]}, []),
        ("UTC", {"mon": [["09:00"]]}, []),
        ("UTC", {"mon": [["09:00", "17:00"]]}, ["Christmas"]),
    ],
)
def test_what_is_no_calendar_is_refused(zone: str, hours: dict[str, list[list[str]]], holidays: list[str]) -> None:
    with pytest.raises(NotACalendar):
        Calendar.of(zone, hours, holidays)
