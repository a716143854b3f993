"""Reconciliation of two systems with many documents, beside a bare FULL OUTER JOIN of the same rows in the same database.

Both sides hold the same number of invoices; a thousandth of them is broken in five ways. What is measured is all that
follows the reading: matching, storing the matches, storing the breaks, and the commit. The bare join only counts.
"""

from __future__ import annotations

import resource
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

from django.db import connection as database
from django.db import transaction
from django.utils import timezone

from canonical.models import LegalEntity
from connectors.models import Connection
from hub.bench.lab import memory
from hub.bench.report import Row, bounded
from reconciliation import breaking, matching
from reconciliation.matching.work import SETTINGS
from reconciliation.models import Break, Scan

ROWS = 1_000_000
FLAT = 32
"""MiB that Python may grow while it reconciles."""
RATIO = 3.0
"""The most it may cost, in bare joins."""
LINEAR = 1.25
"""The most a document may cost among many, beside one among few."""
BROKEN = 1000
"""One of so many documents is broken."""
ROUNDS = 3


def run(seconds: float, rows: Sequence[int] = (ROWS,)) -> list[Row]:
    """Time, ratio and memory with so many documents on each side; of several sizes, what the largest costs beside the smallest.

    `seconds` decides nothing here: the rows do.
    """
    found: list[Row] = []
    costs: dict[int, float] = {}
    for size in sorted(rows):
        made, costs[size] = _measured(size)
        found += made
    small, large = min(costs), max(costs)
    if small < large:
        less, more = costs[small] / small * 1e6, costs[large] / large * 1e6
        name = f"reconcile: a document of {large:,}, beside one of {small:,}"
        found.append(Row(name, more, "µs", less, more / less, f"≤ {LINEAR:g}", more / less <= LINEAR))
    few, many = (_strangers(max(small // part, 1)) for part in (100, 10))
    name = f"reconcile: a document of {small // 10:,} that nothing links, beside one of {small // 100:,}"
    return [*found, Row(name, many, "µs", few, many / few, f"≤ {LINEAR:g}", many / few <= LINEAR)]


def _strangers(rows: int) -> float:
    """Microseconds a document when nothing links the two sides: an ERP that something else has posted to, or a connection
    that was given another name. Each document is a break."""
    entity, left, right = _company()
    scan = Scan.objects.create(legal_entity=entity, state="matching", as_of=timezone.now(), started_by="bench")
    _fill(scan, left, right, rows, key="elsewhere")
    return _timed(lambda: _reconcile(scan)) / rows * 1e6


def _measured(rows: int) -> tuple[list[Row], float]:
    """The rows of one size, and the seconds it took to reconcile the first time."""
    entity, left, right = _company()
    scan = Scan.objects.create(legal_entity=entity, state="matching", as_of=timezone.now(), started_by="bench")
    _fill(scan, left, right, rows, key=left.slug)
    before, peak = memory(), _peak()
    joins = [_timed(lambda: _bare_join(scan, left, right))]
    full = _timed(lambda: _reconcile(scan))
    again = _timed(lambda: _reconcile(scan))
    joins += [_timed(lambda: _bare_join(scan, left, right)) for _ in range(ROUNDS - 1)]
    bare = statistics.median(joins)
    grown, breaks = max(_peak() - max(peak, before), 0.0), Break.objects.filter(last_scan=scan).count()
    name = f"reconcile: {rows:,} documents on each side"
    return [
        Row(f"{name}, bare FULL OUTER JOIN", bare, "s"),
        Row(name, full, "s", bare, full / bare, f"≤ {RATIO:g} × join", full / bare <= RATIO),
        Row(f"{name}, once more with the breaks known", again, "s", bare, again / bare),
        Row(f"{name}, breaks stored", breaks, "", rows // BROKEN, breaks / max(rows // BROKEN, 1)),
        bounded(f"{name}, Python grew by at most", grown, "MiB", FLAT),
    ], full


def _reconcile(scan: Scan) -> None:
    with transaction.atomic():
        matching.match(scan)
        breaking.store(scan)


def _timed(work: Callable[[], None]) -> float:
    with database.cursor() as cursor:
        for table in ("fate", "keymatch"):
            cursor.execute(f"DELETE FROM reconciliation_{table}")
            cursor.execute(f"VACUUM reconciliation_{table}")
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _company() -> tuple[LegalEntity, Connection, Connection]:
    """One without the readings of the size before: what they fill is not what is measured."""
    with database.cursor() as cursor:
        cursor.execute("TRUNCATE reconciliation_readingrow, reconciliation_fate, reconciliation_keymatch")
    nth = LegalEntity.objects.count()
    entity = LegalEntity.objects.create(code=f"bench-{nth}", name="Bench", currency="EUR")
    made = (Connection(slug=f"{name}-{nth}", connector=name, legal_entity=entity, state="active") for name in ("stripe", "tryton"))
    left, right = made
    left.save()
    right.save()
    return entity, left, right


COLUMNS = """scan_id, connection_id, kind, external_id, number, reference, same_as, party, about, currency, net, tax, total, "on",
    status, updated_at, extra"""
AMOUNTS = "100 + n %% 977, (100 + n %% 977) / 5, 100 + n %% 977 + (100 + n %% 977) / 5"


def _fill(scan: Scan, left: Connection, right: Connection, rows: int, *, key: str) -> None:
    """Invoices of both systems. Of every five thousand one each is missing here or there, and one has another amount, tax,
    month."""
    values: dict[str, Any] = {"key": key, "scan": scan.pk, "l": left.pk, "r": right.pk, "n": rows, "every": 5 * BROKEN}
    common = "(ARRAY['EUR', 'USD', 'JPY'])[1 + n %% 3]"
    with database.cursor() as cursor:
        cursor.execute(
            f"""INSERT INTO reconciliation_readingrow ({COLUMNS})
                SELECT %(scan)s, %(l)s, 'invoice', 'in_' || n, 'INV-' || n, '', '[]', 'cus_' || n %% 50000, '', {common}, {AMOUNTS},
                       date '2026-01-01' + (n %% 150)::int, 'open', now() - interval '3 days', '{{}}'
                FROM generate_series(1, %(n)s) n WHERE n %% %(every)s <> 1""",
            values,
        )
        cursor.execute(
            f"""INSERT INTO reconciliation_readingrow ({COLUMNS})
                SELECT %(scan)s, %(r)s, 'invoice', n::text, '2026/' || n, %(key)s || '/in_' || n, '[]',
                       (n %% 50000)::text, '', {common},
                       net + CASE n %% %(every)s WHEN 2 THEN 40 ELSE 0 END, tax + CASE n %% %(every)s WHEN 3 THEN 9 ELSE 0 END,
                       total + CASE n %% %(every)s WHEN 2 THEN 40 WHEN 3 THEN 9 ELSE 0 END,
                       date '2026-01-01' + (n %% 150)::int + CASE n %% %(every)s WHEN 4 THEN 40 ELSE 0 END, 'open',
                       now() - interval '3 days', '{{}}'
                FROM (SELECT n, {AMOUNTS} FROM generate_series(1, %(n)s) n) AS document(n, net, tax, total)
                WHERE n %% %(every)s <> 5""",
            values,
        )
        cursor.execute("VACUUM ANALYZE reconciliation_readingrow")


def _bare_join(scan: Scan, left: Connection, right: Connection) -> None:
    side = (
        'SELECT {key} AS key, currency, total, tax, "on" FROM reconciliation_readingrow WHERE scan_id = %s AND connection_id = %s'
    )
    with transaction.atomic(), database.cursor() as cursor:
        cursor.execute(SETTINGS)
        cursor.execute(
            f"""SELECT count(*) FILTER (WHERE l.key IS NULL), count(*) FILTER (WHERE r.key IS NULL),
                       count(*) FILTER (WHERE l.total <> r.total OR l.currency <> r.currency OR l.tax <> r.tax
                                        OR date_trunc('month', l."on") <> date_trunc('month', r."on"))
                FROM ({side.format(key="%s || '/' || external_id")}) l
                FULL OUTER JOIN ({side.format(key="reference")}) r ON l.key = r.key""",
            [left.slug, scan.pk, left.pk, scan.pk, right.pk],
        )
