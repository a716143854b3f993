"""Old readings go, what stands on them does not."""

from __future__ import annotations

from datetime import timedelta
from unittest import mock

from django.utils import timezone

from reconciliation import invariants
from reconciliation.models import Break, PeriodClose, Scan
from reconciliation.scanning import pruning
from tests.reconciliation import vendor
from tests.reconciliation.world import entity, fill, scan

Books = dict[str, vendor.Books]


def age(*scans: Scan, days: int) -> None:
    for one in scans:
        Scan.objects.filter(pk=one.pk).update(as_of=timezone.now() - timedelta(days=days, seconds=-one.pk))


def left() -> set[int]:
    """Scans that have their readings."""
    while pruning.prune_some():
        pass
    assert not [finding.named for finding in invariants.check() if finding.count and "prune" in finding.invariant.name]
    return set(Scan.objects.filter(readings_pruned_at=None).values_list("pk", flat=True))


def test_readings_go_after_their_days_and_the_newest_stay(books: Books) -> None:
    fill(3)
    first, second, full, newest = scan(), scan(), scan(), scan(full=False)
    assert left() == {first.pk, second.pk, full.pk, newest.pk}, "none is old enough"
    age(first, second, full, newest, days=30)
    with mock.patch.object(pruning, "BATCH", 4):
        assert left() == {full.pk, newest.pk}
    for gone in (first, second):
        assert not gone.readings.exists() and not gone.fates.exists() and not gone.key_matches.exists()
        assert gone.certificates.exists() and Scan.objects.get(pk=gone.pk).result_hash


def test_a_scan_says_that_it_is_pruned_before_the_first_reading_goes(books: Books) -> None:
    fill(3)
    old, _newest = scan(), scan()
    age(old, days=30)
    held = old.readings.count()
    with mock.patch.object(pruning, "BATCH", 2):
        assert pruning.prune_some() == 2
    old.refresh_from_db()
    assert old.readings_pruned_at is not None and old.readings.count() == held - 2
    assert left() == {_newest.pk} and not old.readings.exists() and not old.fates.exists()


def test_what_a_close_or_an_open_break_stands_on_stays(books: Books) -> None:
    fill(2)
    books["erp"].drop("invoice", "001")
    broken, closed, _newest = scan(), scan(), scan()
    Break.objects.update(last_scan=broken)
    PeriodClose.objects.create(legal_entity=entity(), period=timezone.now().date().replace(day=1), scan=closed)
    age(*Scan.objects.all(), days=30)
    assert left() >= {broken.pk, closed.pk}
    PeriodClose.objects.all().delete()
    assert closed.pk not in left() and broken.pk in left()
