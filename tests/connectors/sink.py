"""A webhook receiver for tests: keeps what it gets, and refuses as often as it is told to."""

from __future__ import annotations

import threading
from typing import Any

from connectors.sdk.contract import Delivery
from connectors.sdk.twin import Answer, Asked, Twin


class Sink(Twin):
    """Deliveries in the order in which they came; the first `refuse` of them are answered 503."""

    vendor = "sink"

    def __init__(self) -> None:
        super().__init__()
        self.deliveries: list[Delivery] = []
        self.refuse = 0
        self._came = threading.Condition()

    def handle(self, asked: Asked) -> Answer:
        with self._came:
            if self.refuse:
                self.refuse -= 1
                return Answer.json(503, {})
            self.deliveries.append(Delivery(asked.headers, asked.body))
            self._came.notify_all()
        return Answer.json(200, {})

    def wait_for(self, count: int, about: str = "", timeout: float = 15) -> list[Delivery]:
        """The deliveries whose body mentions `about`, once there are that many. Fails when they do not come."""

        def found() -> list[Delivery]:
            return [delivery for delivery in self.deliveries if about.encode() in delivery.body]

        with self._came:
            assert self._came.wait_for(lambda: len(found()) >= count, timeout), f"only {len(found())} came"
            return found()

    def books(self) -> Any:
        return len(self.deliveries)

    def reset(self) -> None:
        self.deliveries.clear()
