"""`manage.py bench`: what the hub costs, beside what it could cost, on a PostgreSQL and a Redis of its own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from argparse import ArgumentParser
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from hub.bench import BENCHES, report
from hub.config import ROOT
from hub.runtime.embedded import ensure_services

USUAL = ("ingest", "engine", "workflow")
"""What is measured when nothing is named; the others take longer, for the rows they fill in first."""


class Command(BaseCommand):
    help = "Measure intake, engine, workflow and the desk against references from the same run. Exit code 0 whatever the figures."
    requires_system_checks = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        names = " | ".join(BENCHES)
        parser.add_argument("names", nargs="*", choices=[*BENCHES, []], metavar=names, help=f"{', '.join(USUAL)} by default")
        parser.add_argument("--json", action="store_true", help="a list of {name, value, unit, reference, ratio, target, met}")
        parser.add_argument("--seconds", type=float, default=10.0, help="a contestant measures for about this long (10)")
        parser.add_argument("--fast", action="store_true", help="PostgreSQL without fsync: quicker, and not what you run")
        parser.add_argument("--history", type=int, nargs="+", metavar="RUNS", help="sizes of history for `workflow`")
        parser.add_argument("--rows", type=int, nargs="+", metavar="N", help="documents on each side for `reconcile` (1,000,000)")
        parser.add_argument("--credits", type=int, metavar="COUNT", help="how many credits `desk` has at last (1,000,000)")

    def handle(self, *, names: list[str], seconds: float, fast: bool, **options: Any) -> None:
        sizes = ["--credits", str(options["credits"])] if options["credits"] else []
        for name in ("history", "rows"):
            sizes += [f"--{name}", *map(str, options[name])] if options[name] else []
        figures: list[report.Row] = []
        for name in names or USUAL:
            command = [sys.executable, "-W", "ignore", "-m", "hub.bench", name, "--seconds", str(seconds), *sizes]
            # The logs are part of what the hub costs, and nobody wants to read those of thousands of runs.
            with laboratory(durable=not fast) as env, tempfile.TemporaryFile("w+") as log:
                done = subprocess.run(command, stdout=subprocess.PIPE, stderr=log, text=True, env=env, cwd=ROOT, check=False)
                if done.returncode:
                    log.seek(0)
                    raise CommandError("".join(log.readlines()[-40:]) + f"bench {name} failed with {done.returncode}")
            found = [report.Row(**row) for row in json.loads(done.stdout.splitlines()[-1])]
            figures += found
            if not options["json"]:
                self.stdout.write(report.table(found) + "\n")
        if options["json"]:
            self.stdout.write(json.dumps([row.json() for row in figures], indent=1))


@contextmanager
def laboratory(*, durable: bool) -> Iterator[dict[str, str]]:
    """The environment of a hub with a PostgreSQL and a Redis that live as long as the block, and leave nothing."""
    place = Path(tempfile.mkdtemp(prefix="tieout-bench-"))
    place.chmod(0o711)
    try:
        with ensure_services(place, durable) as services:
            yield os.environ | {
                "DATABASE_URL": services.database_url, "REDIS_URL": services.redis_url, "TIEOUT_STATE_DIR": str(place),
                "TIEOUT_ENV": "development", "TIEOUT_LOG_FORMAT": "json", "DJANGO_SETTINGS_MODULE": "hub.settings",
            }  # fmt: skip
    finally:
        shutil.rmtree(place, ignore_errors=True)
