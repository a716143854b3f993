"""`manage.py newconnector <slug> <role>`: start a vendor package and register it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

import connectors
from connectors.sdk import skeleton

HERE = Path(connectors.__file__).parent


class Command(BaseCommand):
    """Writes connectors/vendors/<slug> and its line in the registry; says how to see what is left to do."""

    help = "Start a new connector: its package, one sample, and its line in the registry."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("slug", help="lower-case name of the package, such as `zendesk`")
        parser.add_argument("role", choices=skeleton.ROLES)

    def handle(self, *args: Any, slug: str, role: str, **options: Any) -> None:
        try:
            for path in skeleton.write(slug, role, HERE / "vendors", HERE / "registry.py"):
                self.stdout.write(str(path.relative_to(HERE.parent)))
        except (ValueError, FileExistsError) as error:
            raise CommandError(str(error)) from None
        self.stdout.write(f"\nWhat is left to fill in:\n    python -m connectors.sdk.conformance {slug}")
