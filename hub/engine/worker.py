"""The loop: claim what is due, call in threads, settle whatever has finished, claim again.

One worker process claims for every pool that has room, so a slow vendor never holds up another. Settling waits at
most SETTLE_WINDOW for company: batches share a commit, and the time in which a crash leaves an outcome unknown stays
short.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Any

import structlog
from django.db import InterfaceError, OperationalError
from django.db import connection as database

from canonical.commands import Written
from connectors.clients import client_for
from connectors.models import Connection
from connectors.sdk.errors import Misconfigured
from hub import flows
from hub.engine import store
from hub.engine.flow import UNDO, Effect, Gate, Local, Read, Undo
from hub.engine.perform import Outcome, perform, prepare
from hub.engine.settle import Settled, settle
from hub.engine.store import Claimed
from hub.models import Step

log = structlog.get_logger("hub.engine")

BATCH = 50
THREADS = 16
SETTLE_WINDOW = 0.02


class Worker:
    """Drains due steps. Not shared between threads; close it to give its threads back."""

    def __init__(self, name: str = "", *, threads: int = THREADS, batch: int = BATCH) -> None:
        self.name = name or f"{socket.gethostname()}:{os.getpid()}"
        self.batch = batch
        self.threads = ThreadPoolExecutor(threads, thread_name_prefix="call")
        self.capacity = threads * 2
        self.flying: dict[Future[Outcome], Claimed] = {}
        self.connections: dict[int, Connection] = {}
        self._stopped = threading.Event()

    def stop(self) -> None:
        """Claim nothing more; `drain` settles what is in flight and returns. Safe in a signal handler."""
        self._stopped.set()

    def close(self) -> None:
        """Wait for calls in flight, without settling them."""
        self.threads.shutdown(wait=True, cancel_futures=True)

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def drain(self, budget: float = 20.0, overdue: float = 0.0) -> int:
        """Work until nothing is due or `budget` seconds have passed; returns how many steps were settled.

        `overdue` leaves a pool alone until something in it has been due for so many seconds.
        """
        ends = time.monotonic() + budget
        settled = 0
        while True:
            ready = self._claim(overdue) if time.monotonic() < ends and not self._stopped.is_set() else []
            ready += self._landed(block=not ready)
            if not ready and not self.flying:
                return settled
            if ready:
                self._settle(ready)
                settled += len(ready)

    def _settle(self, ready: list[Settled]) -> None:
        """Settle; when PostgreSQL hung up, once more with a new session: the outcomes are still in our hands.

        The fence keeps a batch whose commit did arrive from being settled twice.
        """
        try:
            settle(ready)
        except (OperationalError, InterfaceError) as error:
            log.warning("settling_again", error=str(error), steps=[claimed.step.pk for claimed, _ in ready])
            database.close()
            fresh = Step.objects.select_related("run").in_bulk([claimed.step.pk for claimed, _ in ready])
            settle([(Claimed(fresh[c.step.pk], c.token, c.lost), outcome) for c, outcome in ready])

    def _claim(self, overdue: float) -> list[Settled]:
        """Claim from every pool; start the calls; return what needs no call."""
        at_once: list[Settled] = []
        for pool in store.pools(overdue):
            room = self.batch if pool is None else min(self.batch, self.capacity - len(self.flying))
            if room <= 0:
                continue
            if pool is not None:
                self.connections[pool.pk] = pool
            for claimed in store.claim(pool, room, self.name):
                outcome = self._start(claimed)
                if outcome is not None:
                    at_once.append((claimed, outcome))
        return at_once

    def _start(self, claimed: Claimed) -> Outcome | None:
        """Send a call on its way, or say at once what a step without one comes to."""
        step = claimed.step
        step.worker = self.name  # as its row says since the claim; its attempt is written from here
        try:
            flow = flows.get(step.run.flow, step.run.version)
            spec: Any = flow.step(step.name)
            if isinstance(spec, Local | Gate):
                return Outcome("done")
            if step.result and step.result.get("answered_by"):
                if isinstance(spec, Read):
                    return Outcome("found")
                return Outcome("found", answer=Written.model_validate({k: step.result[k] for k in ANSWER_KEYS if k in step.result}))
            if isinstance(spec, Effect) and step.name.startswith(UNDO):
                spec = spec.undo
            if step.request is None:
                return Outcome("built")
            self._call(spec, claimed)
            return None
        except Misconfigured as error:
            return Outcome("misconfigured", code=error.code, message=error.message)
        except Exception as error:
            log.exception("step_not_startable", step=step.pk, run=step.run_id)
            return Outcome("crashed", code=type(error).__name__, message=str(error)[:2000])

    def _call(self, spec: Effect | Undo | Read, claimed: Claimed) -> None:
        step = claimed.step
        assert step.connection_id is not None
        connection = self.connections[step.connection_id]
        job = prepare(spec, connection, client_for(connection), step.request, claimed.lost, str(step.run.correlation_id), step.key)
        self.flying[self.threads.submit(perform, job)] = claimed

    def _landed(self, block: bool) -> list[Settled]:
        """Calls that have come back; waits one settle window for company, longer when there is nothing else to do."""
        if not self.flying:
            return []
        done, _ = wait(self.flying, timeout=0.5 if block else 0, return_when=FIRST_COMPLETED)
        if done and len(done) < len(self.flying):
            more, _ = wait(self.flying, timeout=SETTLE_WINDOW)
            done |= more
        return [(self.flying.pop(future), future.result()) for future in done]


ANSWER_KEYS = ("external_id", "number", "facts", "url")
