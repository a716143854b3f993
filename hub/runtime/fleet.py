"""Which processes the hub is made of on one machine, and what a demo adds to them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from hub.config import ROOT
from hub.runtime.supervisor import ChildSpec

PYTHON = sys.executable


class Demo(Protocol):
    """What `hub.demo.prepare(log, base_url=…)` returns, having filled the migrated database.

    `log` takes one line of progress. `base_url` is where the hub will answer; it does not yet when `prepare` runs.
    """

    children: Sequence[ChildSpec]
    """The peer systems, supervised like the hub's own processes, started with them."""
    logins: Sequence[tuple[str, str, str]]
    """(who it is, user name, password), for the banner."""
    urls: Mapping[str, str]
    """Title → address of what else there is to look at."""

    def run_once(self) -> int:
        """Drive every story to its end, print the summary; 0 when each is where it should be.

        Runs in a thread of its own while the processes run, so it may wait and it installs no signal handlers.
        """


Prepare = Callable[..., Demo]


def hub_processes(port: int, workers: int) -> list[ChildSpec]:
    """Web, Celery worker, beat, and the broker-free worker that keeps the hub going when Redis does not."""
    celery = [PYTHON, "-W", "ignore", "-m", "celery", "-q", "-A", "hub.celery"]
    return [
        ChildSpec(
            "web",
            [PYTHON, "-m", "gunicorn", "-c", "python:hub.runtime.web", "hub.wsgi"],
            env={"TIEOUT_BIND": f"127.0.0.1:{port}"},
            cwd=ROOT,
        ),
        ChildSpec(
            "worker",
            [*celery, "worker", "--pool=prefork", f"--concurrency={workers}", "--without-mingle", "--without-gossip"],
            cwd=ROOT,
            grace=20,
        ),
        ChildSpec("beat", [*celery, "beat", "--pidfile="], cwd=ROOT),
        ChildSpec("work", [PYTHON, "manage.py", "work", "--grace", "5"], cwd=ROOT, grace=20),
    ]
