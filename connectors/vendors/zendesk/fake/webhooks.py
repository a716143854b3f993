"""Webhook delivery with real signatures, as hasty as Zendesk's, and as unreliable as it is told to be.

Zendesk tries again only after 409 (three times), after 429 and 503 with a Retry-After below a minute, and after its
12 seconds have passed; any other failure is the end of that delivery
(https://developer.zendesk.com/documentation/webhooks/creating-and-monitoring-webhooks/). The twin tries after 409, and
for the rest leaves the event to the sweep.
"""

from __future__ import annotations

import queue
import random
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson
import requests

from connectors.vendors.zendesk.events import SIGNATURE

TRIES = 4
TIMEOUT = 12


@dataclass(slots=True)
class Endpoint:
    """Where to deliver and how badly. The three shares are between 0 and 1; `kinds` empty means every event."""

    url: str
    secret: str
    kinds: Sequence[str] = ()
    duplicate: float = 0
    reorder: float = 0
    """Come after the event that follows."""
    drop: float = 0
    """Lost for good: only a sweep finds what they were about."""
    seed: int = 0


class Webhooks:
    """One endpoint's queue, worked off by one thread; events arrive in it under the twin's lock."""

    def __init__(self) -> None:
        self.endpoint: Endpoint | None = None
        self.delivered = self.failed = self.dropped = 0
        self._queue: queue.Queue[tuple[Endpoint, bytes] | None] = queue.Queue()
        self._waiting: list[bytes] = []
        self._random = random.Random()
        self._thread: threading.Thread | None = None

    def point_at(self, endpoint: Endpoint | None) -> None:
        """Deliver to this endpoint from now on."""
        self.endpoint = endpoint
        self._waiting.clear()
        self._random.seed(endpoint.seed if endpoint else 0)
        if endpoint and self._thread is None:
            self._thread = threading.Thread(target=self._work, daemon=True)
            self._thread.start()

    def enqueue(self, event: dict[str, Any]) -> None:
        """Deliver an event as soon as possible, or as the endpoint's shares have it."""
        endpoint = self.endpoint
        if endpoint is None or (endpoint.kinds and event["type"] not in endpoint.kinds):
            return
        if self._random.random() < endpoint.drop:
            self.dropped += 1
            return
        body = orjson.dumps(event)
        if self._random.random() < endpoint.reorder:
            self._waiting.append(body)
            return
        times = 2 if self._random.random() < endpoint.duplicate else 1
        for each in [body] * times + self._waiting:
            self._queue.put((endpoint, each))
        self._waiting.clear()

    def wait_until_quiet(self) -> None:
        """Return when everything that is due has been tried; what is held back to be late is due now."""
        if self.endpoint:
            for body in self._waiting:
                self._queue.put((self.endpoint, body))
        self._waiting.clear()
        self._queue.join()

    def stop(self) -> None:
        """End the thread."""
        thread, self._thread = self._thread, None
        if thread:
            self._queue.put(None)
            thread.join(timeout=TIMEOUT)

    def _work(self) -> None:
        with requests.Session() as session:
            session.trust_env = False
            while (due := self._queue.get()) is not None:
                endpoint, body = due
                status = 409
                for _ in range(TRIES):
                    status = self._attempt(session, endpoint, body)
                    if status != 409:
                        break
                self.delivered += status < 300
                self.failed += status >= 300
                self._queue.task_done()
            self._queue.task_done()

    def _attempt(self, session: requests.Session, endpoint: Endpoint, body: bytes) -> int:
        """The status of the answer; 504 when there is none, as Zendesk's log has it."""
        headers = {"Content-Type": "application/json", **SIGNATURE.sign(body, endpoint.secret, int(time.time()))}
        try:
            with session.post(endpoint.url, data=body, headers=headers, timeout=TIMEOUT, allow_redirects=False) as answer:
                return answer.status_code
        except requests.RequestException:
            return 504
