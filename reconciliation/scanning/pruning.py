"""Readings are kept for some days; scans, certificates, breaks and hashes for ever.

A scan is a complete picture of its own, so none needs the readings of another: the newest finished one and the newest full
one of each entity keep theirs whatever their age, and so do those that a close was prepared from and those that an open
break was last seen by.
"""

from __future__ import annotations

from datetime import timedelta

import structlog
from django.conf import settings
from django.db import transaction
from django.db.models import Q, QuerySet
from django.utils import timezone

from reconciliation.models import Break, PeriodClose, Scan
from reconciliation.models.breaks import OPEN_BREAK
from reconciliation.scanning import GOING

log = structlog.get_logger("reconciliation")

BATCH = 20_000
"""Readings that are deleted in one transaction."""


def prunable() -> QuerySet[Scan]:
    """Scans whose readings nobody needs any more, oldest first."""
    done = Scan.objects.filter(state="done").order_by("legal_entity", "-as_of").distinct("legal_entity")
    kept = Q(pk__in=done.values("pk")) | Q(pk__in=done.filter(since=None).values("pk")) | Q(state__in=GOING)
    kept |= Q(pk__in=PeriodClose.objects.exclude(scan=None).values("scan"))
    kept |= Q(pk__in=Break.objects.filter(state__in=OPEN_BREAK).values("last_scan"))
    old = Scan.objects.filter(as_of__lt=timezone.now() - timedelta(days=settings.READINGS_DAYS), readings_pruned_at=None)
    return old.exclude(kept).order_by("pk")


def prune_some() -> int:
    """Delete a batch of one scan's readings. How many went.

    A scan says that it is pruned before the first of them goes, and the next one begins when it has none left. Several
    callers at once wait for each other.
    """
    with transaction.atomic():
        scan = _half_pruned() or _begun()
        if scan is None:
            return 0
        batch = scan.readings.order_by().values("pk")[:BATCH]
        gone, _ = scan.readings.filter(pk__in=batch).delete()
        if not scan.readings.exists():
            scan.fates.all().delete()
            scan.key_matches.all().delete()
            log.info("readings_pruned", scan=scan.pk, entity=scan.legal_entity.code)
    return gone


def _half_pruned() -> Scan | None:
    """The scan that was begun last, while it has readings: only that one may."""
    begun = Scan.objects.select_for_update(of=("self",), no_key=True).exclude(readings_pruned_at=None)
    last = begun.order_by("-readings_pruned_at").first()
    return last if last is not None and last.readings.exists() else None


def _begun() -> Scan | None:
    scan = prunable().select_for_update(of=("self",), no_key=True).first()
    if scan is not None:
        scan.readings_pruned_at = timezone.now()
        scan.save(update_fields=["readings_pruned_at"])
    return scan
