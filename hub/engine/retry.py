"""When to try again. Pure: outcome and history in, seconds out.

Transient failures get full jitter; throttling gets equal jitter, because full jitter can fall near zero and burn
every try inside one rate window (RELIABILITY: retry classes). The wait a vendor asked for binds its connection.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import timedelta

BASE, CAP = 2.0, 900.0
THROTTLE_FLOOR = 30.0
MAX_ATTEMPTS = 12
MAX_AGE = timedelta(hours=72)
MAX_CRASHES = 3
MAX_LOOKUPS = 5


@dataclass(frozen=True, slots=True)
class Wait:
    """Seconds for the item, and for its whole connection (0: the connection is fine)."""

    item: float
    connection: float = 0.0


def backoff(attempt: int, rng: random.Random) -> float:
    """Full jitter: uniform between 0 and min(cap, base · 2^attempt)."""
    return rng.uniform(0, min(CAP, BASE * 2.0 ** min(attempt, 20)))


def after_busy(attempt: int, throttled: bool, retry_after: float | None, rng: random.Random) -> Wait:
    """The vendor said not now."""
    if retry_after is not None:
        return Wait(item=retry_after, connection=retry_after)
    if throttled:
        window = max(THROTTLE_FLOOR, min(CAP, BASE * 2.0 ** min(attempt, 20)))
        wait = (
            window / 2 + rng.uniform(0, window / 2) if window > THROTTLE_FLOOR else THROTTLE_FLOOR + rng.uniform(0, THROTTLE_FLOOR)
        )
        return Wait(item=wait, connection=wait)
    return Wait(item=backoff(attempt, rng))


def exhausted(attempts: int, age: timedelta) -> bool:
    """True when trying again is no longer the answer: 12 attempts or 72 hours."""
    return attempts >= MAX_ATTEMPTS or age >= MAX_AGE
