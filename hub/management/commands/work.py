"""`manage.py work`: a worker that needs no broker. While Redis is away the hub is slower, and nothing else."""

from __future__ import annotations

import os
import signal
import socket
import threading
from argparse import ArgumentParser
from types import FrameType
from typing import Any

import structlog
from django.core.management.base import BaseCommand
from django.db import DatabaseError, InterfaceError, connection

from hub.engine import pump
from hub.engine.worker import Worker

log = structlog.get_logger("hub.work")

POLL = 1.0
"""Seconds between looks at the database while nothing is overdue."""
TURN = 5.0
"""Seconds of work between two looks at expired leases."""


class Command(BaseCommand):
    help = "Work what is overdue straight from PostgreSQL, without the broker, until told to stop."
    requires_system_checks = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--grace", type=float, default=0, metavar="SECONDS", help="help only once something has been due for so long (0)"
        )
        parser.add_argument("--once", action="store_true", help="end when nothing is overdue")

    def handle(self, *, grace: float, once: bool, **_: Any) -> None:
        stop = threading.Event()
        with Worker(f"{socket.gethostname()}:{os.getpid()}:work") as worker:

            def end(_signal: int, _frame: FrameType | None) -> None:
                stop.set()
                worker.stop()

            before = {wish: signal.signal(wish, end) for wish in (signal.SIGTERM, signal.SIGINT)}
            try:
                while not stop.is_set():
                    if not self._turn(worker, grace):
                        if once:
                            return
                        stop.wait(POLL)
            finally:
                for wish, handler in before.items():
                    signal.signal(wish, handler)

    def _turn(self, worker: Worker, grace: float) -> int:
        """Hand on leases that ran out and work for a while; 0 when there was nothing to do, or no database."""
        try:
            return pump.expire_leases() + worker.drain(TURN, overdue=grace)
        except (DatabaseError, InterfaceError) as error:
            log.warning("database_away", error=str(error))
            connection.close()
            return 0
