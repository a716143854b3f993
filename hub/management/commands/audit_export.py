"""`manage.py audit_export FOLDER`: the audit trail with a script that verifies it anywhere."""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import transaction

from hub.audit import chain
from hub.audit.export import export


class Command(BaseCommand):
    help = "Export the audit trail as JSONL with a manifest and a stand-alone verifier."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("folder", type=Path, help="must not exist yet")
        parser.add_argument("--first", type=int, default=1, help="number of the first entry")
        parser.add_argument("--last", type=int, help="number of the last entry")

    def handle(self, *, folder: Path, first: int, last: int | None, **_: Any) -> None:
        try:
            manifest = export(folder, first=first, last=last)
        except FileExistsError:
            raise CommandError(f"{folder} exists already; exports are never written over") from None
        with transaction.atomic():
            chain.append("audit.exported", actor="command", after=manifest, source="command")
        self.stdout.write(f"{manifest['count']} entries, head {manifest['head']}")
        self.stdout.write(f"verify with: python3 {folder}/verify_audit.py {folder}")
