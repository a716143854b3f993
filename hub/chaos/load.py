"""What happens in billing meanwhile: subscriptions are sold, some invoices stay open, and some of those are voided."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter

import requests

from hub.demo.biller import DECLINED_CARD, GOOD_CARD, Biller, Catalog

PLANS = ("team-month-usd", "team-year-eur", "archive-year-jpy")


class Load(threading.Thread):
    """Sells at a steady rate until told to stop. Billing's own API works throughout: only the hub's calls meet faults."""

    def __init__(self, biller: Biller, catalog: Catalog, rate: float, seed: int) -> None:
        super().__init__(name="load", daemon=True)
        self.biller, self.catalog, self.pause = biller, catalog, 1 / rate
        self.random = random.Random(seed)
        self.done: Counter[str] = Counter()
        self.unpaid: list[str] = []
        self.failure: Exception | None = None
        self._ended = threading.Event()

    def run(self) -> None:
        """The thread."""
        try:
            due = time.monotonic()
            while not self._ended.is_set():
                self._act()
                due += self.pause
                self._ended.wait(max(0.0, due - time.monotonic()))
        except (requests.RequestException, KeyError) as error:
            self.failure = error

    def finish(self) -> None:
        """Stop selling. Raises what stopped it earlier, if anything did."""
        self._ended.set()
        self.join()
        if self.failure:
            raise self.failure

    def _act(self) -> None:
        if self.unpaid and self.random.random() < 0.15:
            self.biller.void(self.unpaid.pop(self.random.randrange(len(self.unpaid))))
            self.done["voided"] += 1
            return
        number = self.done["sold"]
        declines = self.random.random() < 0.25
        sale = self.biller.sell(
            f"Customer {number}", self.catalog.plans[self.random.choice(PLANS)], quantity=self.random.randint(1, 40),
            tax_rate=self.random.choice(["", *self.catalog.tax_rates]), card=DECLINED_CARD if declines else GOOD_CARD,
        )  # fmt: skip
        self.done["sold"] += 1
        if declines:
            self.unpaid.append(sale.invoice)
