"""`manage.py verify`: is everything true that must always be? Safe on a running hub: it only reads."""

from __future__ import annotations

import json
import sys
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from reconciliation.invariants import Finding, check


class Command(BaseCommand):
    help = "Check every invariant against the database and name each violation; exit 1 when there is one."
    requires_system_checks = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--json", action="store_true", help="for machines")

    def handle(self, *, json: bool, **_: Any) -> None:
        findings = check()
        self.stdout.write(_as_json(findings) if json else _as_text(findings))
        if any(finding.count for finding in findings):
            sys.exit(1)


def _as_json(findings: list[Finding]) -> str:
    shown = [
        {"name": f.invariant.name, "promise": f.invariant.promise, "violations": f.count, "first": list(f.named)} for f in findings
    ]
    return json.dumps({"ok": not any(f.count for f in findings), "invariants": shown}, indent=1)


def _as_text(findings: list[Finding]) -> str:
    lines = []
    for finding in findings:
        mark = "BROKEN" if finding.count else "ok    "
        lines.append(f"{mark} {finding.invariant.name}: {finding.invariant.promise}")
        lines += [f"         {what}" for what in finding.named]
        if finding.count > len(finding.named):
            lines.append(f"         … and {finding.count - len(finding.named)} more")
    broken = sum(finding.count > 0 for finding in findings)
    lines.append(f"{len(findings)} invariants, {broken} broken" if broken else f"{len(findings)} invariants hold")
    return "\n".join(lines)
