"""`manage.py reconcile`: scan legal entities now, and say what came of it."""

from __future__ import annotations

import sys
import threading
from argparse import ArgumentParser
from collections.abc import Iterator
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db.models import Count, Sum

from canonical.models import LegalEntity
from hub.engine import pump
from hub.engine.worker import Worker
from hub.models import ReviewItem
from reconciliation import scanning
from reconciliation.models import Break, Scan
from reconciliation.models.breaks import OPEN_BREAK
from reconciliation.scanning import concluding

POLL = 0.5
"""Seconds between looks while others do the work, or a vendor asked for patience."""


class Command(BaseCommand):
    help = "Compare billing, support and ERP of every legal entity, or of one; exit 1 when a scan fails or is incomplete."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--entity", metavar="CODE", help="only this legal entity")
        parser.add_argument("--full", action="store_true", help="read everything, not only what changed since the last scan")
        parser.add_argument("--wait", action="store_true", help="work along until it has ended, and print what came of it")

    def handle(self, *, entity: str | None, full: bool, wait: bool, **_: Any) -> None:
        begun = [self._begin(each, full) for each in _entities(entity)]
        for scan in begun:
            self.stdout.write(f"{scan} has begun")
        if not wait:
            return
        with Worker() as worker:
            for scan in begun:
                self._finish(scan, worker)
        for scan in begun:
            self.stdout.write("\n".join(report(scan)))
        if any(scan.state != "done" or scan.counts["red"] for scan in begun):
            sys.exit(1)

    def _begin(self, entity: LegalEntity, full: bool) -> Scan:
        try:
            return scanning.begin(entity, full=full, by="command")
        except scanning.AlreadyRunning as error:
            self.stdout.write(f"{error}; this is what is waited for")
            return error.scan
        except LookupError as error:
            raise CommandError(str(error)) from None

    def _finish(self, scan: Scan, worker: Worker) -> None:
        """Work whatever is due until the scan has ended. Raises CommandError when only a person can help."""
        patience = threading.Event()
        while scan.state in scanning.GOING:
            done = pump.expire_leases() + worker.drain(POLL) + len(concluding.conclude_all())
            scanning.give_up_ended_sources()
            scan.refresh_from_db()
            if scan.state == "reading" and (why := _stuck(scan)):
                raise CommandError(f"{scan} waits for a person: {why}")
            if not done:
                patience.wait(POLL)


def _entities(code: str | None) -> list[LegalEntity]:
    if code is None:
        return [entity for entity in LegalEntity.objects.order_by("code") if scanning.connections_of(entity)]
    entity = LegalEntity.objects.filter(code=code).first()
    if entity is None:
        raise CommandError(f"no legal entity {code}; there are {', '.join(LegalEntity.objects.values_list('code', flat=True))}")
    return [entity]


def _stuck(scan: Scan) -> str:
    """Why the reading does not go on by itself, '' when it does."""
    asked = ReviewItem.objects.filter(state="open", blocks__state="waiting", blocks__run__in=scanning.runs_of(scan))
    titles = list(asked.values_list("title", flat=True).distinct())
    paused = [f"{c} is paused: {c.pause_reason}" for c in scanning.connections_of(scan.legal_entity) if c.state == "paused"]
    return "; ".join([*titles, *paused])


def report(scan: Scan) -> Iterator[str]:
    """What came of a scan, in lines."""
    yield f"{scan}: {scan.state}" + (f" ({scan.failure})" if scan.failure else "")
    for certificate in scan.certificates.select_related("connection").order_by("connection__slug", "kind"):
        verdict = "complete" if certificate.is_complete else "INCOMPLETE"
        sums = certificate.as_read.items()
        read = ", ".join(f"{told['count']} of {told['amount']} {currency}".rstrip() for currency, told in sums)
        yield f"  {verdict:<10} {certificate.connection.slug}/{certificate.kind}: {read or 'nothing'}"
    if scan.state != "done":
        return
    for name, count in scan.counts.items():
        yield f"  {name}: {count}"
    open_breaks = Break.objects.filter(legal_entity=scan.legal_entity, state__in=OPEN_BREAK)
    by_type = open_breaks.values("type", "currency").annotate(n=Count("id"), money=Sum("exposed")).order_by("type", "currency")
    for row in by_type:
        yield f"  {row['n']} open {Break.Type(row['type']).label}: {row['money']:f} {row['currency']}".rstrip()
    yield f"  {open_breaks.count()} open breaks, result {scan.result_hash[:16]}"
