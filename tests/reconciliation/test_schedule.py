"""Scans are begun by the clock: once a slot, and once for all the slots that nobody worked."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
import time_machine
from celery.schedules import crontab
from celery.schedules import schedule as interval
from django.apps import apps
from django.utils import timezone
from django_celery_beat.models import CrontabSchedule, PeriodicTask

from canonical.models import move
from hub.celery import app
from hub.models import Slot
from reconciliation import scanning, tasks
from reconciliation.models import Scan
from reconciliation.scanning import schedule
from tests.reconciliation import vendor
from tests.reconciliation.world import connection, end, entity, fill
from tests.support.threads import at_once
from tests.support.time import work

Books = dict[str, vendor.Books]
NOON = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


def at(hour: float) -> datetime:
    return NOON.replace(hour=0) + timedelta(hours=hour)


def row(full: bool) -> PeriodicTask:
    return next(r for r in PeriodicTask.objects.filter(task=schedule.SCAN) if json.loads(r.kwargs)["full"] is full)


def sent(full: bool) -> None:
    """Beat has sent this row before."""
    PeriodicTask.objects.filter(pk=row(full).pk).update(last_run_at=timezone.now())


def begin_at(hour: float, *, to_its_end: bool = True) -> list[Scan]:
    with time_machine.travel(at(hour), tick=False):
        begun = schedule.begin_due()
    return [end(scan) for scan in begun] if to_its_end else begun


@pytest.fixture
def scheduled(books: Books) -> None:
    fill(1)
    sent(True)
    sent(False)
    Slot.objects.create(job=job(False), starts_at=at(8 + 35 / 60))
    Slot.objects.create(job=job(True), starts_at=at(3 + 5 / 60))


def job(full: bool) -> str:
    return f"reconcile:acme:{'full' if full else 'changes'}:{row(full).pk}"


def test_an_entity_with_billing_and_erp_is_scheduled_hourly_and_nightly(books: Books) -> None:
    assert (row(False).crontab.hour, row(True).crontab.hour) == ("*", "3")
    app.loader.import_default_modules()
    assert {row(True).task, PeriodicTask.objects.get(name="scans").task} <= set(app.tasks)
    assert tasks.reconcile.name == schedule.SCAN and tasks.scans.name == schedule.PUMP


def test_an_entity_without_an_erp_is_not_scheduled(books: Books) -> None:
    PeriodicTask.objects.filter(task=schedule.SCAN).delete()
    move(connection("erp"), "revoke", by="ada")
    connection("billing").save()
    schedule.install(apps.get_app_config("reconciliation"))
    assert not PeriodicTask.objects.filter(task=schedule.SCAN).exists()


def test_what_people_changed_or_switched_off_stays(books: Books) -> None:
    weekly = CrontabSchedule.objects.create(minute="0", hour="0", day_of_week="1")
    PeriodicTask.objects.filter(pk=row(False).pk).update(crontab=weekly, enabled=False)
    before = list(PeriodicTask.objects.order_by("id").values())
    schedule.install(apps.get_app_config("reconciliation"))
    connection("erp").save()
    assert list(PeriodicTask.objects.order_by("id").values()) == before
    assert begin_at(9.6) == [] and begin_at(0.01) == []


@pytest.mark.usefixtures("scheduled")
def test_a_slot_is_worked_once_however_many_knock() -> None:
    assert begin_at(9) == []
    (scan,) = begin_at(9.6)
    assert (scan.state, scan.failure) == ("done", "") and scan.parameters["missed"] == [] and scan.started_by == "schedule"
    assert begin_at(9.6) == [] and begin_at(9.7) == []
    assert Slot.objects.get(starts_at=at(9 + 35 / 60)).run in scanning.runs_of(scan)


@pytest.mark.usefixtures("scheduled")
def test_two_beats_at_the_same_moment_begin_one_scan() -> None:
    with time_machine.travel(at(9.6), tick=False):
        begun = at_once(4, lambda _: len(schedule.begin_due()))
    assert sum(begun) == 1 and Scan.objects.count() == 1


@pytest.mark.usefixtures("scheduled")
def test_missed_slots_are_told_and_made_up_for_once() -> None:
    (scan,) = begin_at(14)
    assert scan.parameters["missed"] == [at(hour + 35 / 60).isoformat() for hour in (9, 10, 11, 12, 13)]
    assert begin_at(14) == []
    (following,) = begin_at(14.6)
    assert following.parameters["missed"] == []


@pytest.mark.usefixtures("scheduled")
def test_after_nights_away_everything_is_read_first_and_each_row_once() -> None:
    (first,) = begin_at(24 * 2 + 4, to_its_end=False)
    assert first.since is None
    assert first.parameters["missed"] == [at(24 + 3 + 5 / 60).isoformat(), at(48 + 3 + 5 / 60).isoformat()]
    assert begin_at(24 * 2 + 4) == [], "its entity is being scanned: the slot stays open"
    end(first)
    (second,) = begin_at(24 * 2 + 4.1)
    assert second.since is not None and len(second.parameters["missed"]) == 43
    assert begin_at(24 * 2 + 4.1) == []


@pytest.mark.usefixtures("scheduled")
def test_a_row_switched_on_again_has_missed_nothing() -> None:
    for enabled in (False, True):
        again = row(False)
        again.enabled = enabled
        again.save()
    assert begin_at(14) == []
    (scan,) = begin_at(14.6)
    assert scan.parameters["missed"] == []


@pytest.mark.usefixtures("scheduled")
def test_the_tasks_begin_and_end_scans() -> None:
    with time_machine.travel(at(9.6), tick=False):
        assert tasks.reconcile.apply(kwargs={"entity": "acme"}).get() == 1
    work()
    assert tasks.scans.apply().get() == 1
    assert Scan.objects.get().state == "done" and entity().scans.count() == 1


def test_due_times_follow_crontabs_and_intervals() -> None:
    nightly = crontab(minute="5", hour="3", nowfun=lambda: NOON)
    assert list(schedule.due_times(nightly, at(0), at(50))) == [at(3 + 5 / 60), at(27 + 5 / 60)]
    assert list(schedule.due_times(interval(timedelta(hours=6)), at(0), at(13))) == [at(6), at(12)]
    assert list(schedule.due_times(object(), at(0), at(13))) == []
