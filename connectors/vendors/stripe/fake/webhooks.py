"""Webhook delivery with real signatures, retried on a schedule in test time, and as unreliable as it is told to be."""

from __future__ import annotations

import heapq
import itertools
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import requests

from connectors.sdk.signatures import sign_stripe
from connectors.sdk.twin import Clock

SCHEDULE = (0, 300, 1800, 7200, 18_000, 36_000, 72_000, 86_400, 86_400)
"""Seconds before each attempt; Stripe tries for up to three days (https://docs.stripe.com/webhooks#retries)."""
HELD_BACK = 5.0
"""Seconds of test time that a reordered delivery is late."""


@dataclass(slots=True)
class Endpoint:
    """Where to deliver and how badly. The three shares are between 0 and 1; `kinds` empty means every event."""

    url: str
    secret: str
    version: str = ""
    kinds: tuple[str, ...] = ()
    duplicate: float = 0
    reorder: float = 0
    drop: float = 0
    """Lost for good, as when the endpoint was disabled: only a sweep finds them."""
    seed: int = 0


class Webhooks:
    """One endpoint's queue, worked off by one thread; events arrive in it under the twin's lock."""

    def __init__(self, clock: Clock, body: Callable[[Any, str], bytes]) -> None:
        self.endpoint: Endpoint | None = None
        self.delivered = self.failed = self.dropped = 0
        self._clock = clock
        self._body = body
        self._queue: list[tuple[float, int, int, Any]] = []
        self._order = itertools.count()
        self._changed = threading.Condition()
        self._busy = False
        self._stopped = False
        self._random = random.Random()
        self._thread: threading.Thread | None = None

    def point_at(self, endpoint: Endpoint | None) -> None:
        """Deliver to this endpoint from now on; what waits for another is forgotten."""
        with self._changed:
            self.endpoint = endpoint
            self._queue.clear()
            self._random.seed(endpoint.seed if endpoint else 0)
            self._stopped = False
            if endpoint and self._thread is None:
                self._thread = threading.Thread(target=self._work, daemon=True)
                self._thread.start()

    def enqueue(self, event: Any) -> None:
        """Deliver an event as soon as possible, or as the endpoint's shares have it."""
        endpoint = self.endpoint
        if endpoint is None or (endpoint.kinds and event["type"] not in endpoint.kinds):
            return
        if self._random.random() < endpoint.drop:
            self.dropped += 1
            return
        times = 2 if self._random.random() < endpoint.duplicate else 1
        late = HELD_BACK if self._random.random() < endpoint.reorder else 0
        for _ in range(times):
            self._push(self._now() + late, 0, event)

    def wake(self) -> None:
        """Test time has moved."""
        with self._changed:
            self._changed.notify_all()

    def wait_until_quiet(self, timeout: float = 10) -> bool:
        """Wait until nothing is due any more; False when that took too long."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._busy and not self._is_due(), timeout)

    def stop(self) -> None:
        """End the thread; what waits is forgotten."""
        with self._changed:
            self._stopped = True
            self._queue.clear()
            self._changed.notify_all()
            thread, self._thread = self._thread, None
        if thread:
            thread.join(timeout=15)

    def _now(self) -> float:
        return time.time() + self._clock.ahead

    def _is_due(self) -> bool:
        return bool(self._queue) and self._queue[0][0] <= self._now()

    def _push(self, due: float, attempt: int, event: Any) -> None:
        with self._changed:
            heapq.heappush(self._queue, (due, next(self._order), attempt, event))
            self._changed.notify_all()

    def _work(self) -> None:
        with requests.Session() as session:
            session.trust_env = False
            while True:
                with self._changed:
                    while not self._stopped and not self._is_due():
                        wait = self._queue[0][0] - self._now() if self._queue else None
                        self._changed.wait(wait)
                    if self._stopped:
                        return
                    _, _, attempt, event = heapq.heappop(self._queue)
                    endpoint, self._busy = self.endpoint, True
                if endpoint is not None:
                    self._attempt(session, endpoint, attempt, event)
                with self._changed:
                    self._busy = False
                    self._changed.notify_all()

    def _attempt(self, session: requests.Session, endpoint: Endpoint, attempt: int, event: Any) -> None:
        body = self._body(event, endpoint.version)
        # Signed anew for every attempt, at the real time: the receiver's clock does not follow the twin's.
        headers = {
            "Content-Type": "application/json; charset=utf-8",
            "Stripe-Signature": sign_stripe(body, endpoint.secret, int(time.time())),
        }
        try:
            with session.post(endpoint.url, data=body, headers=headers, timeout=10, allow_redirects=False) as answer:
                accepted = answer.status_code < 300
        except requests.RequestException:
            accepted = False
        if accepted:
            self.delivered += 1
            return
        self.failed += 1
        if attempt + 1 < len(SCHEDULE):
            self._push(self._now() + SCHEDULE[attempt + 1], attempt + 1, event)
