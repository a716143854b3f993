"""What breaks, and how often. The same seed breaks the same things in the same order."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import psycopg
import redis

from hub.chaos.stage import Crew, TwinProcess
from hub.runtime.servers import Postgres, Redis

EVERY = 1.2
"""Seconds between faults, on average."""
LATE = 3.0
"""Seconds after which a held request still lands: shorter than the connections' quiet period."""

WRITES = "(POST|PUT|DELETE) "
ERP_WRITES = f"{WRITES}/[^_]"
BILLING_WRITES = r"POST /v1/(invoices|subscriptions)/[^/]+$"
BILLING_READS = r"GET /v1/(invoices|subscriptions|customers|products|prices|events|payment_intents)"
VENDOR_FAULTS: tuple[tuple[str, str, str, float, dict[str, object]], ...] = (
    # vendor, fault, which requests, how probable, more
    ("tryton", "drop_reply", ERP_WRITES, 0.03, {}),
    ("tryton", "late_commit", ERP_WRITES, 0.03, {"seconds": LATE}),
    ("tryton", "status", ERP_WRITES, 0.02, {"status": 500, "after": True}),
    ("tryton", "status", ERP_WRITES, 0.02, {"status": 502}),
    ("tryton", "status", "", 0.004, {"status": 429, "retry_after": "1"}),
    ("tryton", "slow", "", 0.01, {"seconds": 1.5}),
    ("tryton", "cut", ERP_WRITES, 0.01, {}),
    ("tryton", "garbage", ERP_WRITES, 0.01, {}),
    ("stripe", "drop_reply", BILLING_WRITES, 0.03, {}),
    ("stripe", "late_commit", BILLING_WRITES, 0.02, {"seconds": LATE}),
    ("stripe", "status", BILLING_WRITES, 0.02, {"status": 500, "after": True}),
    ("stripe", "status", BILLING_READS, 0.01, {"status": 503}),
    ("stripe", "status", BILLING_READS, 0.004, {"status": 429, "retry_after": "1"}),
    ("stripe", "slow", BILLING_READS, 0.01, {"seconds": 1.0}),
)


def arm(twins: dict[str, TwinProcess], seed: int) -> None:
    """Let the vendors misbehave from now on."""
    for number, (vendor, fault, match, probability, more) in enumerate(VENDOR_FAULTS):
        twins[vendor].steer("POST", "faults", fault=fault, match=match, probability=probability, seed=seed * 100 + number, **more)


def disarm(twins: dict[str, TwinProcess]) -> Counter[str]:
    """Let them behave again; returns how often each fault struck. Requests held back still land."""
    struck: Counter[str] = Counter()
    for vendor, twin in twins.items():
        for fault in twin.steer("GET", "faults"):
            name = f"{vendor} {fault['fault']}" + (f" {fault['status']}" if fault["fault"] == "status" else "")
            struck[name] += fault["hits"]
        twin.steer("DELETE", "faults")
    return struck


@dataclass
class Monkey:
    """Breaks one thing at a time, and mends what nobody else would."""

    crew: Crew
    postgres: Postgres
    redis: Redis
    random: random.Random
    freeze_seconds: float
    struck: Counter[str] = field(default_factory=Counter)
    _later: list[tuple[float, Callable[[], None]]] = field(default_factory=list)
    _next: float = 0.0

    def step(self) -> None:
        """Break something when it is time; bring back what has been away long enough."""
        now = time.monotonic()
        self._run_later(now)
        if now < self._next:
            return
        self._next = now + self.random.uniform(0, 2 * EVERY)
        names, weights = zip(*((name, weight) for name, (weight, _) in FAULTS.items()), strict=True)
        name = self.random.choices(names, weights)[0]
        if FAULTS[name][1](self):
            self.struck[name] += 1

    def calm(self) -> None:
        """No more faults, and everything that was taken away is back."""
        self._run_later(float("inf"))
        if not self.redis.alive:
            self.redis.start()

    def _run_later(self, now: float) -> None:
        due = [act for at, act in self._later if at <= now]
        self._later = [(at, act) for at, act in self._later if at > now]
        for act in due:
            act()

    def _after(self, seconds: float, act: Callable[[], None]) -> None:
        self._later.append((time.monotonic() + seconds, act))

    # faults: each returns whether there was something to break -------------------------------------------------

    def kill_child(self) -> bool:
        """SIGKILL to a process of Celery's pool, mid-task."""
        return self._signal_child("worker", signal.SIGKILL) is not None

    def kill_web_child(self) -> bool:
        """SIGKILL to a web process, mid-request."""
        return self._signal_child("web", signal.SIGKILL) is not None

    def freeze_child(self) -> bool:
        """Stop a pool process for longer than lease and quiet period, then let it go on as if nothing had happened."""
        pid = self._signal_child("worker", signal.SIGSTOP)
        if pid is None:
            return False

        def thaw() -> None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)

        self._after(self.freeze_seconds, thaw)
        return True

    def kill_worker(self) -> bool:
        """SIGKILL to Celery's worker and its pool at once."""
        self.crew.kill_group("worker")
        return True

    def orphan_pool(self) -> bool:
        """SIGKILL to the worker alone: its pool is orphaned in the middle of its work."""
        self.crew.kill("worker")
        return True

    def kill_work(self) -> bool:
        """SIGKILL to the broker-free worker."""
        self.crew.kill("work")
        return True

    def kill_beat(self) -> bool:
        """SIGKILL to beat."""
        self.crew.kill("beat")
        return True

    def flush_redis(self) -> bool:
        """FLUSHALL."""
        with self.redis.client() as client, contextlib.suppress(redis.RedisError):
            client.flushall()
            return True
        return False

    def stop_redis(self) -> bool:
        """Redis killed and away for a while, then back with nothing in it."""
        if not self.redis.alive or self.redis.process is None:
            return False
        self.redis.process.kill()
        self.redis.process.wait()

        def restart() -> None:
            if not self.redis.alive:
                self.redis.start()

        self._after(self.random.uniform(1, 6), restart)
        return True

    def break_sessions(self) -> bool:
        """pg_terminate_backend for every session of the hub."""
        end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'tieout' AND pid <> pg_backend_pid()"
        with psycopg.connect(self.postgres.dsn("postgres", "postgres"), autocommit=True) as session:
            session.execute(end)
        return True

    def _signal_child(self, name: str, wish: signal.Signals) -> int | None:
        children = self.crew.children(name)
        if not children:
            return None
        pid = self.random.choice(children)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, wish)
        return pid


FAULTS: dict[str, tuple[int, Callable[[Monkey], bool]]] = {
    "kill a pool process": (6, Monkey.kill_child),
    "kill the worker and its pool": (1, Monkey.kill_worker),
    "kill the worker alone": (1, Monkey.orphan_pool),
    "freeze a pool process": (2, Monkey.freeze_child),
    "kill a web process": (2, Monkey.kill_web_child),
    "kill the broker-free worker": (2, Monkey.kill_work),
    "kill beat": (1, Monkey.kill_beat),
    "flush Redis": (3, Monkey.flush_redis),
    "kill Redis for a while": (1, Monkey.stop_redis),
    "terminate PostgreSQL sessions": (3, Monkey.break_sessions),
}
"""Name → (weight, how)."""
