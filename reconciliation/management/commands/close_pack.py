"""`manage.py close_pack ENTITY YYYY-MM --out DIR`: the close pack of a month, as XLSX, CSV and JSON."""

from __future__ import annotations

from argparse import ArgumentParser
from datetime import date
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import transaction

from canonical.models import LegalEntity
from hub.audit import chain as audit
from reconciliation import closing
from reconciliation.closing import pack
from reconciliation.models import PeriodClose


class Command(BaseCommand):
    help = "Write the close pack of a month: gates, control totals, breaks left, certificates, parameters and their hash."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("entity", help="code of the legal entity")
        parser.add_argument("period", help="the month, as YYYY-MM")
        parser.add_argument("--out", type=Path, required=True, help="folder that must not exist yet")

    def handle(self, *, entity: str, period: str, out: Path, **_: Any) -> None:
        try:
            month = date.fromisoformat(f"{period}-01")
        except ValueError:
            raise CommandError(f"{period} is no month: write it as YYYY-MM") from None
        found = LegalEntity.objects.filter(code=entity).first()
        if found is None:
            raise CommandError(f"there is no legal entity {entity}")
        close = PeriodClose.objects.filter(legal_entity=found, period=month).first() or PeriodClose(
            legal_entity=found, period=month
        )
        try:
            files = pack.write(close, out)
        except FileExistsError:
            raise CommandError(f"{out} exists already; packs are never written over") from None
        told = closing.digest(pack.content_of(close))
        with transaction.atomic():
            after = {"hash": told, "state": close.state, "entity": entity, "period": period}
            audit.append("periodclose.exported", actor="command", obj=close if close.pk else None, after=after, source="command")
        for file in files:
            self.stdout.write(str(file))
        self.stdout.write(f"{close.state}, hash {told}")
