"""`manage.py chaos`: break everything while money flows, in a place of its own, and compare the books afterwards."""

from __future__ import annotations

import subprocess
import sys
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from hub.chaos.__main__ import add_options
from hub.config import ROOT


class Command(BaseCommand):
    help = "Kill processes and break connections under load, on a database of its own; exit 1 when a promise breaks."
    requires_system_checks = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        add_options(parser)

    def handle(self, *, seconds: int, seed: int | None, json: bool, **_: Any) -> None:
        """A process of its own, because the settings of this one name another database."""
        command = [sys.executable, "-m", "hub.chaos", "--seconds", str(seconds)]
        command += [] if seed is None else ["--seed", str(seed)]
        command += ["--json"] if json else []
        if code := subprocess.run(command, cwd=ROOT, check=False).returncode:
            sys.exit(code)
