"""What Celery carries: nudges and slots. No task holds work: what there is to do is in PostgreSQL.

All of them share one queue with a bound, so that beat cannot fill it while no worker is there, and the pump goes before
the drains that wait in it.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import structlog
from celery import Task, shared_task
from django.conf import settings
from django.db import connection as database
from django.db import transaction
from django.utils import timezone

from connectors.models import Connection
from hub.audit import anchors
from hub.credits import notices, waiting
from hub.engine import pump
from hub.engine.worker import Worker
from hub.flows import support_case, sweep
from hub.models import Slot

log = structlog.get_logger("hub.tasks")

DRAIN_SECONDS = 20.0
FIRST, LAST = 0, 9
"""Priorities of Celery's Redis transport: the lowest number goes first."""


class Nudge(Task):  # type: ignore[type-arg]
    """A task worth sending only while few wait: it carries nothing that the next one does not carry as well."""

    abstract = True
    beyond_drains = 0
    """How many may wait besides a drain for each worker."""
    rank = LAST

    def apply_async(self, *args: Any, **options: Any) -> Any:
        """Send it; or return None when the queue holds all that the workers can use, or the broker is away."""
        try:
            if pump.waiting(self.app) >= settings.WORKERS + self.beyond_drains:
                return None
            return super().apply_async(*args, **({"priority": self.rank, "retry": False} | options))
        except pump.away(self.app) as error:
            log.warning("broker_away", task=self.name, error=str(error))
            return None


class Beat(Nudge):
    """A task that beat sends: a queue full of drains still has room for it."""

    abstract = True
    beyond_drains = 4
    rank = FIRST


@shared_task(name="tieout.drain", base=Nudge, expires=30)
def drain() -> int:
    """Work whatever is due."""
    with Worker() as worker:
        return worker.drain(DRAIN_SECONDS)


@shared_task(name="tieout.pump", base=Beat)
def beat() -> int:
    """Hand on leases that ran out and wake workers. Beat sends this every second; a second beat does no harm."""
    pump.expire_leases()
    return pump.nudge()


@shared_task(name="tieout.sweep", base=Beat)
def sweep_stream(connection: str, stream: str, every_seconds: int = 60) -> int | None:
    """Start the sweep of this slot; None when another beat has started it, or the connection is not active."""
    source = Connection.objects.filter(slug=connection, state="active").first()
    if source is None:
        log.info("sweep_skipped", connection=connection, stream=stream)
        return None
    with transaction.atomic():
        slot = claim_slot(f"sweep:{connection}:{stream}", every_seconds)
        if slot is None:
            return None
        slot.run = sweep.begin(source, stream, by="schedule")
        slot.save(update_fields=["run"])
    return slot.run.pk


@shared_task(name="tieout.credits", base=Beat)
def tend_credits() -> dict[str, int]:
    """Remind, escalate and expire credits, let go on what a customer become known held up, and send mails that are due."""
    done = waiting.tend(timezone.now())
    return done | {"known": support_case.heal_known(), "mails": notices.send_due()}


@shared_task(name="tieout.digest", base=Beat)
def digest() -> int:
    """Write to everybody what waits for them. Beat sends this once a day; a second one changes nothing."""
    return notices.daily_digest(timezone.now())


@shared_task(name="tieout.anchor", base=Beat)
def anchor() -> int | None:
    """Write the head of the audit trail down outside the database."""
    written = anchors.write()
    return written.seq if written else None


def claim_slot(job: str, every_seconds: int) -> Slot | None:
    """Take the slot of `job` that is now, by PostgreSQL's clock; None when it is taken."""
    with database.cursor() as cursor:
        cursor.execute("SELECT now()")
        now: datetime = cursor.fetchone()[0]
    every = timedelta(seconds=max(1, every_seconds))
    epoch = datetime(2000, 1, 1, tzinfo=UTC)
    slot, created = Slot.objects.get_or_create(job=job, starts_at=epoch + (now - epoch) // every * every)
    return slot if created else None
