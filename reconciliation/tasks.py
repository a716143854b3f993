"""What Celery carries for reconciliation: knocks. What is due, and what is to be matched, is in PostgreSQL."""

from __future__ import annotations

from celery import shared_task
from django.utils import timezone

from hub.tasks import Beat
from reconciliation import mending, scanning
from reconciliation.breaking import overdue
from reconciliation.mending import automatic
from reconciliation.scanning import concluding, pruning, schedule

HOURS = 3600


@shared_task(name=schedule.SCAN, base=Beat)
def reconcile(entity: str, full: bool = False) -> int:
    """Sent at the due times of a row of the schedule: begin what is due, of this entity or another. How many began."""
    return len(schedule.begin_due())


@shared_task(name=schedule.PUMP, base=Beat, time_limit=6 * HOURS, soft_time_limit=6 * HOURS - 60)
def scans() -> int:
    """Begin scans that are due, fail those given up, match those that are read, mend, remind, prune. How many ended.

    Matching takes as long as it takes: a message that the broker hands out again meanwhile finds it locked.
    """
    schedule.begin_due()
    scanning.give_up_ended_sources()
    ended = concluding.conclude_all()
    for scan in ended:
        automatic.auto_mend(scan)
    mending.settle_mends()
    overdue.digest(timezone.now())
    pruning.prune_some()
    return len(ended)
