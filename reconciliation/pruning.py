"""Readings are kept for some days; scans, certificates, breaks and hashes for ever.

A scan is a complete picture of its own, so none needs the readings of another: the newest finished one and the newest full
one of each entity keep theirs whatever their age, and so do those that a close was prepared from and those that an open
break was last seen by.
"""

from __future__ import annotations

from datetime import timedelta

import structlog
from django.conf import settings
from django.db import connection as database
from django.db import transaction
from django.db.models import Q, QuerySet
from django.utils import timezone

from canonical.models import LegalEntity
from reconciliation.models import Break, PeriodClose, Scan
from reconciliation.models.breaks import OPEN_BREAK
from reconciliation.scanning import GOING

log = structlog.get_logger("reconciliation")

BATCH = 20_000
"""Readings that are deleted in one transaction."""


def prunable() -> QuerySet[Scan]:
    """Scans whose readings nobody needs any more, oldest first."""
    needed: set[int] = set()
    for entity in LegalEntity.objects.all():
        done = Scan.objects.filter(legal_entity=entity, state="done").order_by("-as_of").values_list("pk", flat=True)
        needed |= {*done[:1], *done.filter(since=None)[:1]}
    kept = Q(pk__in=needed) | Q(state__in=GOING)
    kept |= Q(pk__in=PeriodClose.objects.exclude(scan=None).values("scan"))
    kept |= Q(pk__in=Break.objects.filter(state__in=OPEN_BREAK).values("last_scan"))
    old = Scan.objects.filter(as_of__lt=timezone.now() - timedelta(days=settings.READINGS_DAYS), readings_pruned_at=None)
    return old.exclude(kept).order_by("pk")


def prune_some() -> int:
    """Delete a batch of the oldest such scan's readings; the scan says when the last of them were gone. How many went.

    Several callers at once delete what the others have not locked.
    """
    scan = prunable().first()
    if scan is None:
        return 0
    with transaction.atomic(), database.cursor() as cursor:
        cursor.execute(
            """DELETE FROM reconciliation_readingrow WHERE id IN (
                   SELECT id FROM reconciliation_readingrow WHERE scan_id = %s LIMIT %s FOR UPDATE SKIP LOCKED)""",
            [scan.pk, BATCH],
        )
        gone: int = cursor.rowcount
        if not scan.readings.exists():
            scan.fates.all().delete()
            scan.key_matches.all().delete()
            Scan.objects.filter(pk=scan.pk, readings_pruned_at=None).update(readings_pruned_at=timezone.now())
            log.info("readings_pruned", scan=scan.pk, entity=scan.legal_entity.code)
    return gone
