"""A case's clock against its promises: what counts, what does not, and that the explanation adds up."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from canonical.types import ClockEvent
from hub.credits.calendars import AROUND_THE_CLOCK, Calendar, length, to_minutes
from hub.credits.sla import Assessment, Outage, Promise, Target, Terms, assess, outages_of

D = Decimal
FIRST = "first_response"
OFFICE = Calendar.of(
    "Europe/Berlin", {day: [["09:00", "17:30"]] for day in ("mon", "tue", "wed", "thu", "fri")}, label="office hours"
)
TERMS = Terms(
    "premium",
    {
        "urgent": Target("premium urgent", D(60), D(480), D("99.9"), AROUND_THE_CLOCK),
        "high": Target("premium high", D(120), D(960), D("99.9"), OFFICE),
        "": Target("premium", D(240), D(1920), D("99.5"), OFFICE),
    },
)


def at(text: str) -> datetime:
    """Local time in Berlin; '02T08:55' is in November 2026, whose second day is a Monday."""
    return datetime.fromisoformat(text if len(text) > 10 else f"2026-11-{text}").replace(tzinfo=ZoneInfo("Europe/Berlin"))


def events(*told: str) -> list[ClockEvent]:
    """'02T08:55 severity urgent' → an event."""
    found = []
    for one in told:
        when, what, value = [*one.split(), ""][:3]
        found.append(ClockEvent(what=what, at=at(when), value=value))  # type: ignore[arg-type]
    return found


def judged(*told: str, opened: str = "02T08:55", severity: str = "high", now: str = "30T12:00", **more: Any) -> Assessment:
    return assess(events(*told), opened_at=at(opened), severity=severity, terms=TERMS, at=at(now), **more)


def promise(found: Assessment, what: str) -> Promise:
    (one,) = (one for one in found.promises if one.what == what)
    return one


# first response --------------------------------------------------------------------------------------------------


def test_the_first_response_is_counted_in_business_hours_and_explained() -> None:
    one = promise(judged("02T11:45 first_reply"), FIRST)
    assert (one.target, one.actual, one.missed_by) == (D(120), D(165), D(45))
    assert one.explanation == (
        "opened Mon 2026-11-02 08:55 CET",
        "outside office hours: counted from Mon 2026-11-02 09:00 CET",
        "first reply Mon 2026-11-02 11:45 CET",
        "clock ran Mon 2026-11-02 09:00–11:45 = 165 min",
        "target 120 min (premium high) → 45 min late",
    )


def test_a_reply_in_time_keeps_the_promise() -> None:
    one = promise(judged("02T10:59 first_reply"), FIRST)
    assert (one.actual, one.missed_by) == (D(119), 0)
    assert one.explanation[-1] == "target 120 min (premium high) → 1 min to spare"


def test_waiting_for_the_customer_does_not_stop_the_clock_of_the_first_response() -> None:
    assert promise(judged("02T09:30 paused", "02T11:30 resumed", "02T12:00 first_reply"), "first_response").actual == D(180)


def test_a_resolution_without_a_reply_ends_the_wait_for_one() -> None:
    one = promise(judged("02T10:00 resolved", "03T10:00 reopened", "03T12:00 first_reply"), FIRST)
    assert one.actual == D(60)
    assert "resolved without a reply Mon 2026-11-02 10:00 CET" in one.explanation


def test_without_an_answer_it_is_late_so_far_and_has_no_actual() -> None:
    one = promise(judged(now="02T12:00"), FIRST)
    assert (one.actual, one.stopped, one.missed_by) == (None, None, D(60))
    assert "no first response by Mon 2026-11-02 12:00 CET" in one.explanation
    early = promise(judged(now="02T10:00"), FIRST)
    assert (early.actual, early.missed_by) == (None, 0)


def test_what_happened_after_the_instant_of_judgement_is_not_known_yet() -> None:
    assert judged("02T11:45 first_reply", now="02T10:00") == judged(now="02T10:00")


# resolution ------------------------------------------------------------------------------------------------------


def test_time_spent_waiting_for_the_customer_is_not_counted() -> None:
    one = promise(judged("02T10:00 paused", "03T10:00 resumed", "03T11:00 resolved"), "resolution")
    assert one.actual == D(60 + 60)
    assert "waiting for the customer from Mon 2026-11-02 10:00 CET" in one.explanation
    assert "together 120 min" in one.explanation


def test_a_reopened_case_goes_on_where_it_stood() -> None:
    told = ("02T10:00 resolved", "03T09:00 reopened", "03T10:30 resolved", "04T09:00 reopened", "04T09:15 resolved")
    one = promise(judged(*told), "resolution")
    assert one.actual == D(60 + 90 + 15)
    assert one.stopped == at("04T09:15")
    reopened = promise(judged(*told[:2], now="03T10:00"), "resolution")
    assert (reopened.actual, to_minutes(length(reopened.intervals))) == (None, D(120))


def test_resolved_while_waiting_and_reopened_the_clock_runs_again() -> None:
    one = promise(judged("02T10:00 paused", "02T11:00 resolved", "02T12:00 reopened", "02T13:00 resolved"), "resolution")
    assert one.actual == D(60 + 60)


def test_entries_that_come_twice_or_in_any_order_count_once() -> None:
    told = ("02T10:00 paused", "03T10:00 resumed", "03T11:00 resolved")
    assert judged(*told, *told) == judged(*reversed(told))


def test_a_resolution_over_the_change_of_clocks_counts_real_time() -> None:
    urgent = {"opened": "2026-10-25T00:00", "severity": "urgent"}
    one = promise(judged("2026-10-25T06:00 resolved", **urgent), "resolution")
    assert one.actual == D(7 * 60)


# severity --------------------------------------------------------------------------------------------------------


def test_a_raised_severity_has_its_whole_target_from_then_on() -> None:
    one = promise(judged("02T08:55 severity high", "02T10:00 severity urgent", "02T11:30 first_reply"), FIRST)
    assert (one.target, one.actual, one.missed_by) == (D(60), D(90), D(30))
    assert "severity urgent set Mon 2026-11-02 10:00 UTC: its target counts from then" not in one.explanation
    assert "severity urgent set Mon 2026-11-02 09:00 UTC: its target counts from then" in one.explanation


def test_of_several_missed_targets_the_one_missed_by_most_decides() -> None:
    one = promise(judged("02T09:00 severity high", "02T12:50 severity urgent", "02T14:10 first_reply", opened="02T09:00"), FIRST)
    assert (one.target, one.missed_by) == (D(120), D(190))


def test_lowering_a_kept_promise_loosens_it_and_counts_from_the_beginning() -> None:
    one = promise(
        judged("02T09:00 severity urgent", "02T09:30 severity low", "02T12:30 first_reply", opened="02T09:00"), "first_response"
    )
    assert (one.target, one.actual, one.missed_by) == (D(240), D(210), 0)


def test_lowering_after_the_miss_does_not_undo_it() -> None:
    one = promise(
        judged("02T09:00 severity urgent", "02T10:30 severity low", "02T11:00 first_reply", opened="02T09:00"), "first_response"
    )
    assert (one.target, one.missed_by) == (D(60), D(60))
    assert "the severity was lowered only after this target had passed: the miss stands" in one.explanation


def test_of_changes_in_one_second_only_the_last_counts() -> None:
    one = promise(
        judged("02T09:00 severity urgent", "02T09:00 severity high", "02T10:30 first_reply", opened="02T09:00"), "first_response"
    )
    assert one.target == D(120)


def test_nothing_promised_for_a_severity_is_no_promise() -> None:
    terms = Terms("basic", {"urgent": Target("basic urgent", D(60))})
    found = assess([], opened_at=at("02T09:00"), severity="low", terms=terms, at=at("05T09:00"))
    assert (found.promises, found.terms) == ((), "")
    urgent = assess([], opened_at=at("02T09:00"), severity="urgent", terms=terms, at=at("02T11:00"))
    assert [(one.what, one.missed_by) for one in urgent.promises] == [("first_response", D(60))]


# availability ----------------------------------------------------------------------------------------------------


def test_availability_is_that_of_the_calendar_month() -> None:
    one = promise(judged("02T10:00 down", "02T11:00 up"), "uptime")
    assert one.actual == D("99.8611")  # 60 of 43200 minutes
    assert one.missed_by == D("0.0389")
    assert (one.started, one.stopped) == (at("01T00:00"), at("2026-12-01T00:00"))
    assert one.explanation[1] == "November 2026 has 43200 min, 60 of them down: available 99.8611 %"


def test_overlapping_outages_count_once() -> None:
    told = [("02T10:30", "02T11:30"), ("02T10:45", "02T11:00"), ("03T10:00", "03T10:10")]
    elsewhere = [Outage(at(since), at(until), "case 7") for since, until in told]
    one = promise(judged("02T10:00 down", "02T11:00 up", outages=elsewhere), "uptime")
    assert to_minutes(length(one.intervals)) == D(100)
    assert "case 7 told Tue 2026-11-03 10:00–10:10" in one.explanation, "and the lines say who told what"


def test_an_outage_reported_twice_began_with_the_first_report() -> None:
    one = promise(judged("02T10:00 down", "02T10:30 down", "02T11:00 up", "02T11:30 up"), "uptime")
    assert to_minutes(length(one.intervals)) == D(60)


def test_an_outage_over_the_end_of_a_month_counts_in_both() -> None:
    found = judged("2026-10-31T23:00 down", "01T02:00 up", opened="2026-10-31T22:00")
    months = [one for one in found.promises if one.what == "uptime"]
    assert [to_minutes(length(one.intervals)) for one in months] == [D(60), D(120)]
    assert found.missed_by["uptime"] == max(one.missed_by for one in months)


def test_an_outage_nobody_ended_lasts_until_the_case_was_resolved() -> None:
    assert to_minutes(length(promise(judged("02T10:00 down", "02T12:00 resolved"), "uptime").intervals)) == D(120)
    assert to_minutes(length(promise(judged("02T10:00 down", now="02T13:00"), "uptime").intervals)) == D(180)


# laws ------------------------------------------------------------------------------------------------------------

WHATS = ("first_reply", "paused", "resumed", "resolved", "reopened", "severity", "down", "up")


@st.composite
def clocks(draw: st.DrawFn) -> list[ClockEvent]:
    told = draw(
        st.lists(st.tuples(st.sampled_from(WHATS), st.integers(0, 20 * 24 * 60)), max_size=10, unique_by=lambda one: one[1])
    )
    severity = st.sampled_from(["urgent", "high", "low"])
    return [
        ClockEvent(what=what, at=at("02T08:55") + timedelta(minutes=after), value=draw(severity) if what == "severity" else "")  # type: ignore[arg-type]
        for what, after in told
    ]


@given(clocks(), st.integers(0, 30 * 24 * 60), st.randoms())
def test_any_clock_is_judged_exactly_whatever_its_order(clock: list[ClockEvent], minutes: int, random: Any) -> None:
    now = at("02T08:55") + timedelta(minutes=minutes)
    found = assess(clock, opened_at=at("02T08:55"), severity="high", terms=TERMS, at=now)
    shuffled = list(clock)
    random.shuffle(shuffled)
    assert assess(shuffled, opened_at=at("02T08:55"), severity="high", terms=TERMS, at=now) == found
    for one in found.promises:
        if one.what == "uptime":
            continue
        counted = to_minutes(length(one.intervals))
        assert one.missed_by == max(D(0), counted - one.target)
        assert one.actual in (None, counted)
        assert counted * 60 <= (now - one.started).total_seconds()
        # A customer adds up the lines and gets the same.
        said = [D(text) for line in one.explanation for text in re.findall(r"^clock ran .* = ([\d.]+) min$", line)]
        assert sum(said, D(0)) == counted
        assert one.explanation[-1].startswith("target ")


@given(clocks(), st.integers(0, 30 * 24 * 60))
def test_an_assessment_survives_being_stored(clock: list[ClockEvent], minutes: int) -> None:
    now = at("02T08:55") + timedelta(minutes=minutes)
    found = assess(clock, opened_at=at("02T08:55"), severity="high", terms=TERMS, at=now)
    assert Assessment.from_json(json.loads(json.dumps(found.as_json()))) == found


@given(clocks(), st.integers(0, 20 * 24 * 60), st.integers(0, 10 * 24 * 60))
def test_a_miss_never_shrinks_while_nothing_happens(clock: list[ClockEvent], minutes: int, more: int) -> None:
    now = at("02T08:55") + timedelta(minutes=minutes)
    clock = [event for event in clock if event.at <= now]

    def missed(when: datetime) -> dict[str, Decimal]:
        return assess(clock, opened_at=at("02T08:55"), severity="high", terms=TERMS, at=when).missed_by

    before, after = missed(now), missed(now + timedelta(minutes=more))
    assert all(by <= after.get(reason, D(0)) for reason, by in before.items())


@pytest.mark.parametrize("zone", [UTC, ZoneInfo("Asia/Tokyo")])
def test_the_zone_in_which_instants_are_told_makes_no_difference(zone: Any) -> None:
    clock = [event.model_copy(update={"at": event.at.astimezone(zone)}) for event in events("02T11:45 first_reply")]
    found = assess(clock, opened_at=at("02T08:55").astimezone(zone), severity="high", terms=TERMS, at=at("30T12:00"))
    assert found == judged("02T11:45 first_reply")


@given(clocks(), st.lists(clocks(), max_size=3), st.integers(0, 40 * 24 * 60), st.randoms())
def test_another_case_of_the_incident_never_lowers_what_was_down(
    own: list[ClockEvent], others: list[list[ClockEvent]], minutes: int, random: Any
) -> None:
    opened, now = at("02T08:55"), at("02T08:55") + timedelta(minutes=minutes)
    told = [outages_of(clock, opened_at=opened, told_by=f"case {n}", at=now) for n, clock in enumerate(others)]

    def judge(outages: list[Outage]) -> Assessment:
        return assess(own, opened_at=opened, severity="high", terms=TERMS, at=now, outages=outages)

    def down(outages: list[Outage]) -> Decimal:
        found = [length(one.intervals) for one in judge(outages).promises if one.what == "uptime"]
        return to_minutes(sum(found))

    lost = [down([outage for clock in told[:some] for outage in clock]) for some in range(len(told) + 1)]
    assert lost == sorted(lost) and lost[-1] <= minutes, "more cases tell more, and no minute is lost twice"
    every = [outage for clock in told for outage in clock]
    shuffled = [*every, *every]
    random.shuffle(shuffled)
    assert judge(shuffled) == judge(every)
