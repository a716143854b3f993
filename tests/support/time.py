"""Time that tests move: everything that waits becomes due, and nobody waits."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from django.db import connection as database
from django.db.models import QuerySet

from hub.engine import crash, pump
from hub.engine.worker import Worker
from hub.models import Run, Step


def elapse(seconds: float) -> None:
    """Let time pass for everything that waits, without waiting."""
    with database.cursor() as cursor:
        cursor.execute(
            "UPDATE hub_step SET due_at = due_at - %s * interval '1 second', lease_until = lease_until - %s * interval '1 second'",
            [seconds, seconds],
        )
        cursor.execute("UPDATE connectors_connection SET not_before = not_before - %s * interval '1 second'", [seconds])


def work(turns: int = 60, *, meanwhile: Callable[[], None] = lambda: None) -> None:
    """Drain until nothing is open, or only people can help; crashes happen on the way, and time passes.

    `meanwhile` happens before time passes: what a vendor does within the quiet period.
    """
    for _ in range(turns):
        try:
            with Worker("test", threads=4) as worker:
                worker.drain(budget=30)
        except crash.SimulatedCrash:
            pass
        if not able().exists():
            return
        meanwhile()
        elapse(600)
        pump.expire_leases()
    raise AssertionError("never idle: " + str(list(able().values("name", "state", "due_at", "error", "run__state"))))


def able() -> QuerySet[Step]:
    """Steps that go on without a person."""
    parked = Run.objects.filter(state="parked").values("lane")
    waiting = Run.objects.filter(steps__state="waiting").values("lane")
    steps = Step.objects.filter(state__in=["ready", "running", "unknown"]).exclude(connection__state="paused")
    return steps.exclude(run__lane__in=parked).exclude(run__lane__in=waiting)


def until(what: Callable[[], bool], seconds: float = 20.0) -> None:
    """Wait for something that another process does. Fails when it does not come about."""
    deadline, nobody = time.monotonic() + seconds, threading.Event()
    while not what():
        assert time.monotonic() < deadline, "it did not come about"
        nobody.wait(0.05)
