"""The second half of a scan: carry forward, match, store the breaks, explain them, done. One transaction, in a process of its own.

It takes minutes on millions of rows, longer than an engine step may last: so it is not one. Whoever finds a scan that
matches and that nobody holds (`conclude_all`: the beat's task, the shell) holds it by an advisory lock, which PostgreSQL
lets go with the session. Killed in the middle, everything is taken back, and the next one starts from the beginning.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import date, timedelta
from typing import Any

import structlog
from django.conf import settings
from django.db import InterfaceError, OperationalError, transaction
from django.db import connection as database
from django.utils import timezone

from canonical.models import move
from hub.audit import chain as audit
from reconciliation import breaking, matching, scanning
from reconciliation.breaking import causes
from reconciliation.models import Scan
from reconciliation.scanning import storing

log = structlog.get_logger("reconciliation")

MAX_TRIES = 5
"""How many processes may die of one matching before it is given up."""
MATCHING = "matching"
"""Its entry in a scan's progress; no source is called so."""


def conclude_all() -> list[Scan]:
    """Bring every scan that has been read, and that nobody is at, to its end; returns those that ended here."""
    return [scan for scan in Scan.objects.filter(state="matching").order_by("id") if conclude(scan)]


def conclude(scan: Scan) -> bool:
    """Match a scan to its end. False when somebody else is at it, or PostgreSQL hung up on us: it is tried again.

    An error of the matching itself fails the scan, with its words.
    """
    with _alone(scan) as is_ours:
        scan.refresh_from_db()
        if not is_ours or scan.state != "matching":
            return False
        tries = scan.progress.get(MATCHING, {}).get("tries", 0) + 1
        if tries > MAX_TRIES:
            scanning.fail(scan, by="engine", reason=f"its matching was cut off {MAX_TRIES} times")
            return True
        scan.progress = {**scan.progress, MATCHING: {"tries": tries, "since": timezone.now().isoformat(), "done": False}}
        scan.save(update_fields=["progress"])
        try:
            with transaction.atomic():
                _conclude(scan)
        except (OperationalError, InterfaceError) as error:
            log.warning("matching_cut_off", scan=scan.pk, tries=tries, error=str(error))
            database.close()
            return False
        except Exception as error:
            log.exception("matching_failed", scan=scan.pk)
            scan = Scan.objects.get(pk=scan.pk)
            scanning.fail(scan, by="engine", reason=f"{type(error).__name__}: {error}"[:2000])
        return True


def _conclude(scan: Scan) -> None:
    with database.cursor() as cursor:  # a killed process is noticed at once, not at the end of a long statement
        cursor.execute("SET LOCAL client_connection_check_interval = '2s'")
    carried = storing.carry_forward(scan)
    tolerances = tolerances_of(scan)
    outcome = matching.match(scan, tolerances)
    breaks = breaking.store(scan)
    explained = causes.explain(scan)
    red = scanning.red(scan)
    scan.counts = {**_told(outcome.counts), "breaks": _told(breaks), "explained": explained, "carried_forward": carried, "red": red}
    scan.parameters = {**scan.parameters, "tolerances": tolerances.json()}
    scan.result_hash, scan.ended_at = outcome.result_hash, timezone.now()
    scan.progress = {**scan.progress, MATCHING: {**scan.progress[MATCHING], "done": True}}
    move(scan, "finish", by="engine", save=["counts", "parameters", "result_hash", "ended_at", "progress"])
    audit.append("scan.finished", actor="engine", obj=scan, after={"result_hash": scan.result_hash, "red": red})
    log.info("scan_finished", scan=scan.pk, entity=scan.legal_entity.code, breaks=scan.counts["breaks"], red=red)


def tolerances_of(scan: Scan) -> matching.Tolerances:
    """By what a scan is judged: nothing is tolerated but time, and documents of the ERP's closed periods may have moved."""
    closed = scan.parameters.get("closed_until")
    grace = timedelta(minutes=settings.GRACE_MINUTES)
    return matching.Tolerances(grace=grace, closed_until=date.fromisoformat(closed) if closed else None)


def _told(counts: Any) -> Any:
    return counts if isinstance(counts, dict) else asdict(counts)


@contextmanager
def _alone(scan: Scan) -> Iterator[bool]:
    """True for whoever is the only one to match this entity's scans as long as the block lasts."""
    key = [scanning.MATCHING_LOCK, scan.legal_entity_id]
    with database.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(%s, %s)", key)
        is_ours = bool(cursor.fetchone()[0])
    try:
        yield is_ours
    finally:
        if is_ours and database.connection is not None:  # a session that ended has let go by itself
            with database.cursor() as cursor:
                cursor.execute("SELECT pg_advisory_unlock(%s, %s)", key)
