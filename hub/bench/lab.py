"""Contestants: child processes that work when told to and say what it cost them.

A contestant reads one JSON line and answers with one. It ends with its input, so none outlives the bench.
"""

from __future__ import annotations

import json
import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from django.db import connection

from hub.config import ROOT
from hub.runtime.servers import tethered


class Contestant(AbstractContextManager["Contestant"]):
    """`python -m hub.bench.contenders.<name> …`, started and ready."""

    def __init__(self, name: str, *arguments: str, database: str = "") -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", f"hub.bench.contenders.{name}", *arguments],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=environment(database),
        )  # fmt: skip
        self.ready = self.answer()

    def tell(self, **command: Any) -> None:
        """Give it something to do."""
        assert self.process.stdin is not None
        print(json.dumps(command), file=self.process.stdin, flush=True)

    def answer(self) -> dict[str, Any]:
        """Wait for what it says. Raises RuntimeError when it has died."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.process.args!r} ended with {self.process.wait()}")
        said: dict[str, Any] = json.loads(line)
        return said

    def __exit__(self, *_: object) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(30)


def serve(work: Callable[..., dict[str, Any]], **ready: Any) -> None:
    """The contestant's side: announce, then answer each command with what `work(**command)` returns, until EOF."""
    print(json.dumps(ready), flush=True)
    for line in sys.stdin:
        print(json.dumps(work(**json.loads(line))), flush=True)


@contextmanager
def running(*command: str, **env: str) -> Iterator[subprocess.Popen[str]]:
    """A program that lives as long as the block, its output piped; `-m module` is run by our Python."""
    full = [sys.executable, "-W", "ignore", *command] if command[0] == "-m" else list(command)
    process = subprocess.Popen(tethered(full, signal.SIGKILL), stdout=subprocess.PIPE, text=True, cwd=ROOT, env=environment() | env)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        assert process.stdout is not None
        process.stdout.close()


def environment(database: str = "") -> dict[str, str]:
    """What children see: the database this process is connected to, or another one on the same server."""
    base = os.environ["DATABASE_URL"].rpartition("/")[0]
    return {**os.environ, "DATABASE_URL": f"{base}/{database or connection.settings_dict['NAME']}", "PYTHONPATH": str(ROOT)}


def memory(pid: int | None = None) -> float:
    """Resident memory of a process in MiB."""
    shown = subprocess.run(["ps", "-o", "rss=", "-p", str(pid or os.getpid())], capture_output=True, text=True, check=True)
    return int(shown.stdout) / 1024


def commits() -> int:
    """Transactions this database has committed so far, as its processes have reported them."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_stat_force_next_flush(), pg_stat_clear_snapshot()")
        cursor.execute("SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()")
        return int(cursor.fetchone()[0])


def turns(seconds: float, contestants: dict[str, Callable[[int], float]], *, rounds: int = 3, few: int = 40) -> dict[str, float]:
    """Units per second of each contestant: the median of its turns, taken in rotation.

    A contestant is called with a number of units and returns the seconds they took. A first small turn warms it up
    and tells how many units fill `seconds` in all.
    """
    sizes = {name: few + round(seconds / rounds * few / run(few)) for name, run in contestants.items()}
    rates: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(rounds):
        for name, run in contestants.items():
            rates[name].append(sizes[name] / run(sizes[name]))
    return {name: statistics.median(found) for name, found in rates.items()}


def timed(contestants: Sequence[Contestant], **command: Any) -> tuple[float, list[dict[str, Any]]]:
    """Have all of them do the same at once; returns the seconds until the last was done, and what each said."""
    started = time.perf_counter()
    for contestant in contestants:
        contestant.tell(**command)
    said = [contestant.answer() for contestant in contestants]
    return time.perf_counter() - started, said


def children(pid: int) -> list[int]:
    """The processes a process has started."""
    shown = subprocess.run(["ps", "-eo", "pid=,ppid="], capture_output=True, text=True, check=True)
    pairs = (map(int, line.split()) for line in shown.stdout.splitlines())
    return [child for child, parent in pairs if parent == pid]
