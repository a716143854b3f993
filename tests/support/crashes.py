"""One crash and one fault, each in the step a test names: what a crash matrix is made of."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar
from unittest import mock

from connectors.sdk import twin as twins
from connectors.sdk.twin import Asked, Fault, Twin
from hub.engine import crash, perform
from hub.models import Attempt, Run, Step

CRASHES = (None, *(point for point in crash.POINTS if not point.startswith("intake")))
"""Where a worker dies, None for nowhere."""

VARIANTS: dict[str, list[dict[str, Any]]] = {
    "status": [
        {"status": 429, "retry_after": "2"}, {"status": 500}, {"status": 500, "after": True}, {"status": 503},
    ],
    "slow": [{"seconds": 60.0}],
}  # fmt: skip
FAULTS = [(kind, options) for kind in Fault.kinds for options in VARIANTS.get(kind, [{}])]
"""Every fault a twin knows; a new one joins by itself."""

THOROUGH = bool(os.environ.get("CRASHES"))
"""With CRASHES=all every story is told; without, a share of them."""

Told = TypeVar("Told")


def share(stories: Iterable[Told], fault: Any) -> list[Told]:
    """Every second story of a fault, the other ones of the next fault: each fault and each story still has its turns."""
    every = list(stories)
    return every if THOROUGH else every[FAULTS.index(fault) % 2 :: 2]


PATIENCE = 0.25
"""Seconds that a call waits for a slow vendor here."""


def name_of(fault: tuple[str, dict[str, Any]]) -> str:
    """For test ids: `status-500-True`."""
    return "-".join([fault[0], *(str(value) for value in fault[1].values())])


class Later(Fault):
    """A fault that lets some requests pass first."""

    passes = 0

    def strikes(self, asked: Asked) -> bool:
        if self.passes > 0:
            self.passes -= 1
            return False
        return super().strikes(asked)


@dataclass(frozen=True)
class Site:
    """The `request`-th request of the first call of a step."""

    step: str
    vendor: str
    request: int
    method: str

    @property
    def writes(self) -> bool:
        """True unless it cannot change anything."""
        return self.method != "GET"


def sites_of(run: Run) -> list[Site]:
    """Every request of every step of a run that met no trouble."""
    attempts = Attempt.objects.filter(run=run, connection__isnull=False).select_related("step", "connection").order_by("id")
    return [
        Site(attempt.step.name, attempt.connection.connector, n, exchange["method"])
        for attempt in attempts
        if attempt.connection
        for n, exchange in enumerate(attempt.exchanges)
    ]


class Gate:
    """Stands in for the clock of slow twins: they wait until the test lets them go on, and it waits for them."""

    def __init__(self) -> None:
        self._waiting: list[tuple[threading.Thread, threading.Event]] = []

    def sleep(self, seconds: float) -> None:
        """What a slow twin calls."""
        go_on = threading.Event()
        self._waiting.append((threading.current_thread(), go_on))
        go_on.wait(20)

    def open(self) -> None:
        """Let them commit what their callers have given up on; returns when they have."""
        while self._waiting:
            thread, go_on = self._waiting.pop()
            go_on.set()
            thread.join(20)


@dataclass
class Trouble:
    """What goes wrong in one story; `struck` and `crashed` tell afterwards whether it did."""

    site: Site | None
    fault: tuple[str, dict[str, Any]] | None
    point: str | None
    step: str
    is_late: bool = False
    """What the vendor holds back lands only when the story is over."""
    twin: Twin | None = None
    armed: Fault | None = None
    crashed: bool = False
    gate: Gate = field(default_factory=Gate)
    _now: str = ""

    def pass_point(self, name: str) -> None:
        """Stands in for `crash.point`."""
        if name == "after_claim":
            running = Step.objects.filter(state="running").values_list("name", flat=True)
            self._now = self.step if self.step in running else ""
        if self._now != self.step:
            return
        if name == "before_call" and self.fault and self.twin and self.site and self.armed is None:
            kind, options = self.fault
            later = Later(kind, **options)
            later.passes = self.site.request
            self.armed = later
            self.twin.faults.append(later)
        if name == self.point and not self.crashed:
            self.crashed = True
            raise crash.SimulatedCrash(name)

    def land(self) -> None:
        """The time after a lost call is over: whatever the vendor still held has landed."""
        if not self.is_late:
            self._land()

    def _land(self) -> None:
        self.gate.open()
        if self.twin:
            self.twin.land()

    @contextmanager
    def happens(self) -> Iterator[None]:
        """Inside the block, the engine's crash points and the slow twins are ours."""
        clock = mock.Mock(wraps=time, sleep=self.gate.sleep)
        patience = PATIENCE if self.fault and self.fault[0] == "slow" else perform.CALL_TIMEOUT
        with (
            mock.patch.object(crash, "point", self.pass_point),
            mock.patch.object(twins, "time", clock),
            mock.patch.object(perform, "CALL_TIMEOUT", patience),
        ):
            try:
                yield
            finally:
                self._land()
                if self.twin:
                    self.twin.disarm()
