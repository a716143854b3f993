"""`manage.py doctor`: one line per question, what mends it, and an exit code a monitor can read."""

from __future__ import annotations

import sys
from typing import Any

from django.core.management.base import BaseCommand

from hub.logging import clean
from hub.runtime.doctor import examine


class Command(BaseCommand):
    help = "Check configuration, database, broker, clock and every connection; exit code 1 if one of them fails."
    requires_system_checks = []

    def handle(self, **_: Any) -> None:
        style = {"ok": self.style.SUCCESS, "warn": self.style.WARNING, "fail": self.style.ERROR}
        failures = 0
        for finding in examine():
            self.stdout.write(style[finding.level](clean(str(finding))))
            failures += finding.level == "fail"
        if failures:
            sys.exit(1)
