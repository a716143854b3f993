"""When scans are due: rows of django-celery-beat, edited in the back office, and the slots of theirs that were worked.

Beat only knocks. What is due is read from the rows and from the slots (`hub.models.Slot`) worked so far, so that a slot
that nobody knocked for, because beat, the broker or the whole hub was away, is noticed, and made up for by one scan.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice
from typing import Any

import structlog
from celery.schedules import crontab as Crontab
from django.apps import AppConfig
from django.db import transaction
from django.utils import timezone
from django_celery_beat.models import CrontabSchedule, IntervalSchedule, PeriodicTask

from canonical.models import LegalEntity
from connectors.models import Connection
from hub.models import Slot
from reconciliation import scanning
from reconciliation.models import Scan

log = structlog.get_logger("reconciliation")

SCAN, PUMP = "tieout.reconcile", "tieout.scans"
HOURLY = {"minute": "35", "hour": "*"}
NIGHTLY = {"minute": "5", "hour": "3"}
LATE = timedelta(minutes=10)
"""A slot that is begun later than this was missed."""
COUNTED = 5000
"""Missed slots of one row that are counted."""


# the rows ----------------------------------------------------------------------------------------------------------


def install(sender: AppConfig, using: str = "default", **_: Any) -> None:
    """A receiver of `post_migrate`: the pump of scans, and the scans of entities that can be reconciled."""
    if sender.label != "reconciliation":
        return
    every, _created = IntervalSchedule.objects.using(using).get_or_create(every=10, period=IntervalSchedule.SECONDS)
    told = {
        "task": PUMP,
        "interval": every,
        "expire_seconds": 10,
        "description": "Starts scans that are due, ends those that are read.",
    }
    PeriodicTask.objects.using(using).get_or_create(name="scans", defaults=told)
    for entity in LegalEntity.objects.using(using).order_by("pk"):
        _schedule_scans(entity, using)


def follow(sender: type[Connection], instance: Connection, using: str, raw: bool = False, **_: Any) -> None:
    """A receiver of `post_save`: an entity whose billing and ERP are active is reconciled from then on."""
    if instance.state == "active" and instance.legal_entity is not None and not raw:
        _schedule_scans(instance.legal_entity, using)


def _schedule_scans(entity: LegalEntity, using: str) -> None:
    roles = Connection.objects.using(using).filter(legal_entity=entity, state="active").values_list("role", flat=True)
    if not {"billing", "erp"} <= set(roles):
        return
    for name, full, times in (
        (f"reconcile {entity.code} hourly", False, HOURLY), (f"reconcile {entity.code} nightly", True, NIGHTLY),
    ):  # fmt: skip
        if PeriodicTask.objects.using(using).filter(name=name).exists():
            continue
        crontab, _created = CrontabSchedule.objects.using(using).get_or_create(**times, timezone=entity.timezone)
        told = {
            "task": SCAN, "crontab": crontab, "expire_seconds": 240, "kwargs": json.dumps({"entity": entity.code, "full": full}),
            "description": "Reads everything, and compares." if full else "Reads what changed, and compares.",
        }  # fmt: skip
        PeriodicTask.objects.using(using).get_or_create(name=name, defaults=told)


# what is due -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Due:
    """One row of the schedule with its latest due time, and those before it that nobody worked."""

    entity: str
    full: bool
    job: str
    at: datetime
    missed: tuple[datetime, ...]


def begin_due() -> list[Scan]:
    """Begin a scan for every row with a due time that nobody has worked, whole ones first; once each, however many knock.

    While the entity is being scanned its slot stays open, and is taken when that scan has ended.
    """
    begun = []
    for due in sorted(_due(timezone.now()), key=lambda due: not due.full):
        entity = LegalEntity.objects.filter(code=due.entity).first()
        if entity is None:
            log.warning("reconciliation_of_nobody", entity=due.entity)
            continue
        try:
            scan = _begin(entity, due)
        except (scanning.AlreadyRunning, LookupError) as error:
            log.info("reconciliation_postponed", entity=due.entity, full=due.full, why=str(error))
            continue
        if scan is not None:
            begun.append(scan)
    return begun


def _begin(entity: LegalEntity, due: Due) -> Scan | None:
    with transaction.atomic():
        slot, created = Slot.objects.get_or_create(job=due.job, starts_at=due.at)
        if not created:
            return None
        if due.missed:
            log.warning("slots_missed", job=due.job, count=len(due.missed), first=due.missed[0].isoformat())
        scan = scanning.begin(entity, full=due.full, by="schedule", missed=[at.isoformat() for at in due.missed])
        slot.run = scanning.runs_of(scan).first()
        slot.save(update_fields=["run"])
    return scan


def _due(now: datetime) -> Iterator[Due]:
    rows = PeriodicTask.objects.filter(task=SCAN, enabled=True).select_related("crontab", "interval", "solar", "clocked")
    for row in rows.order_by("pk"):
        told = json.loads(row.kwargs or "{}")
        entity, full = str(told.get("entity", "")), bool(told.get("full"))
        job = f"reconcile:{entity}:{'full' if full else 'changes'}:{row.pk}"
        last = Slot.objects.filter(job=job).order_by("-starts_at").first()
        # A row that beat has not sent since it was written or switched on again has missed nothing yet.
        after = last.starts_at if last and row.last_run_at else max(now - LATE, last.starts_at if last else now - LATE)
        times = list(islice(due_times(row.schedule, after, now), COUNTED))
        if times:
            late = times if now - times[-1] > LATE else times[:-1]
            yield Due(entity, full, job, times[-1], tuple(late))


def due_times(schedule: Any, after: datetime, until: datetime) -> Iterator[datetime]:
    """The due times of a crontab or an interval after one instant, up to another."""
    at = after
    while True:
        if isinstance(schedule, Crontab):
            start, delta, _now = schedule.remaining_delta(at)
            at = start + delta
        elif (every := getattr(schedule, "run_every", None)) is not None:
            at += every
        else:  # sun or clock: beat itself knocks at the time, and there is nothing to count
            return
        if at > until:
            return
        yield at
