"""Scans: begun for a legal entity, read source by source through the engine, ended by their result or by a person.

    begin ──▶ reading: one run a page, sources side by side (`reconciliation.scanning.scan_flow`)
              ──▶ matching: carry forward, match, store breaks, explain (`reconciliation.scanning.concluding`) ──▶ done
    a person, or a source that was given up ──▶ failed

Which sources there are is decided when a scan begins: everything that the entity's live connections can extract.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import structlog
from django.db import IntegrityError, transaction
from django.db import connection as database
from django.utils import timezone

from canonical.models import LegalEntity, move
from connectors.models import Connection
from hub import answers, inbox
from hub.audit import chain as audit
from hub.models import ReviewItem, Run
from hub.models.work import OPEN_RUN
from reconciliation.models import Certificate, Scan
from reconciliation.scanning import scan_flow

log = structlog.get_logger("reconciliation")

OVERLAP = timedelta(hours=1)
"""How far an incremental scan looks back beyond the one before: systems commit late, and clocks differ."""
GOING = ("reading", "matching")
MATCHING_LOCK = 0x71E6
"""First key of the advisory lock that whoever matches a legal entity's scan holds; the second is the entity."""


class AlreadyRunning(Exception):
    """A scan of this entity is going on; `scan` is that one."""

    def __init__(self, scan: Scan) -> None:
        super().__init__(f"{scan} is {scan.state}")
        self.scan = scan


def begin(entity: LegalEntity, *, full: bool, by: str, missed: Sequence[str] = ()) -> Scan:
    """Start a scan and its reading. Raises AlreadyRunning, and LookupError when there is nothing to read.

    An incremental one reads what changed since the last finished scan, less the overlap. A source that scan has no
    complete certificate of is read whole; so is everything when there is no scan before. `missed` are the due times
    (ISO) of the schedule that this scan makes up for.
    """
    sources = [(source, kind) for source in connections_of(entity) for kind in sorted(source.spec.extracts)]
    if not sources:
        raise LookupError(f"{entity} has no connection that can be read for reconciliation")
    before = None if full else Scan.objects.filter(legal_entity=entity, state="done").order_by("-as_of").first()
    if before is not None and before.readings_pruned_at is not None:
        before = None  # nothing to carry forward from: everything is read
    as_of = timezone.now()
    since = before.as_of - OVERLAP if before else None
    proven = set(before.certificates.filter(is_complete=True).values_list("connection_id", "kind")) if before else set()
    windows = {
        scan_flow.name_of(source, kind): since.isoformat() if since and (source.pk, kind) in proven else None
        for source, kind in sources
    }
    with transaction.atomic():
        try:
            with transaction.atomic():
                scan = Scan.objects.create(
                    legal_entity=entity, as_of=as_of, since=since, carried_from=before, started_by=by,
                    parameters={"since": windows, "overlap_seconds": int(OVERLAP.total_seconds()), "missed": list(missed)},
                    progress={name: {"read": 0, "pages": 0, "counted": 0, "done": False} for name in windows},
                )  # fmt: skip
        except IntegrityError:
            running = Scan.objects.filter(legal_entity=entity, state__in=GOING).first()
            if running is None:
                raise
            raise AlreadyRunning(running) from None
        together = uuid.uuid4()
        for source, kind in sources:
            window = {"since": windows[scan_flow.name_of(source, kind)], "until": as_of.isoformat()}
            context = {"kind": kind, "window": window, **scan_flow.FIRST_PAGE}
            inbox.start(
                scan_flow.FLOW, connection=source, subject_kind="scan", subject_id=str(scan.pk), by=by, context=context,
                correlation_id=together,
            )  # fmt: skip
    log.info("scan_begun", scan=scan.pk, entity=entity.code, full=before is None, sources=len(sources), missed=list(missed))
    return scan


def connections_of(entity: LegalEntity) -> list[Connection]:
    """What is read for an entity. A paused connection belongs to it: its scan waits until the connection goes on."""
    live = Connection.objects.filter(legal_entity=entity, state__in=["active", "paused"]).order_by("slug")
    return [connection for connection in live if connection.spec.extracts]


def runs_of(scan: Scan) -> Any:
    """The engine's runs that read for a scan, oldest first."""
    return Run.objects.filter(flow=scan_flow.FLOW.name, subject_kind="scan", subject_id=str(scan.pk)).order_by("id")


def red(scan: Scan) -> list[str]:
    """The sources whose certificate says that something was lost."""
    incomplete = Certificate.objects.filter(scan=scan, is_complete=False).select_related("connection")
    return sorted(scan_flow.name_of(certificate.connection, certificate.kind) for certificate in incomplete)


def fail(scan: Scan, *, by: str, reason: str) -> None:
    """End a scan that is going on; what it read is kept, and the next one may begin.

    Questions about its reading are answered with it. A matching under way is cut off. Raises
    django_fsm.TransitionNotAllowed for a scan that has ended, ConcurrentTransition when it ends at this moment.
    """
    if scan.state == "matching":
        interrupt(scan)
    with transaction.atomic():
        scan.ended_at, scan.failure = timezone.now(), reason
        move(scan, "fail", by=by, note=reason, save=["ended_at", "failure"])
        waiting = ReviewItem.objects.filter(state="open", blocks__state="waiting", blocks__run__in=runs_of(scan))
        for item in waiting.distinct():
            if "close" in answers.answers_of(item):
                answers.answer(item, "close", by=by, reason=f"{scan} was ended: {reason}")
        audit.append("scan.failed", actor=by, obj=scan, note=reason)
    log.warning("scan_failed", scan=scan.pk, entity=scan.legal_entity.code, reason=reason, by=by)


def give_up_ended_sources() -> list[Scan]:
    """Fail the scans that cannot come to an end, because a person ended the reading of one of their sources."""
    given_up = []
    for scan in Scan.objects.filter(state="reading"):
        going = runs_of(scan).filter(state__in=OPEN_RUN).values_list("connection__slug", "context__kind")
        names = {f"{slug}/{kind}" for slug, kind in going}
        # Read after the runs: a source whose last run ended between the two is done by now.
        scan.refresh_from_db()
        left = [name for name, told in scan.progress.items() if not told["done"] and name not in names]
        if scan.state == "reading" and left:
            fail(scan, by="engine", reason=f"the reading of {', '.join(left)} was ended by a person")
            given_up.append(scan)
    return given_up


def interrupt(scan: Scan) -> None:
    """Cut off the session that matches this scan, if there is one: PostgreSQL takes back what it did."""
    with database.cursor() as cursor:
        cursor.execute(
            """SELECT pg_terminate_backend(pid, 10000) FROM pg_locks
               WHERE locktype = 'advisory' AND classid = %s AND objid = %s AND objsubid = 2 AND granted
                 AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
                 AND pid <> pg_backend_pid()""",
            [MATCHING_LOCK, scan.legal_entity_id],
        )
