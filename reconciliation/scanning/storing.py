"""Readings into the database, and what they come to: COPY for pages, one INSERT … SELECT for what is carried forward."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from django.db import connection as database

from canonical.readings import Reading, Total
from connectors.sdk.tallies import added
from reconciliation.models import Scan

COLUMNS = (
    "external_id", "number", "reference", "same_as", "party", "about", "currency", "net", "tax", "total", '"on"',
    "service_from", "service_to", "status", "updated_at", "extra",
)  # fmt: skip
COPY = f"COPY reconciliation_readingrow (scan_id, connection_id, kind, {', '.join(COLUMNS)}) FROM STDIN"
LONG_AGO = datetime.min.replace(tzinfo=UTC)

Sums = dict[str, dict[str, Any]]
"""Currency → count and amount, as a certificate shows them: {"EUR": {"count": 12, "amount": "345.60"}}."""


def store(scan_id: int, connection_id: int, kind: str, readings: Iterable[Reading]) -> int:
    """Add a page of one source to a scan; returns how many objects it brought that were not there.

    An object seen twice while paging is kept once: its newest version, and of two that do not say, the later one.
    Pages of one source come one after the other; inside a transaction.
    """
    page: dict[str, Reading] = {}
    for reading in readings:
        if reading.kind != kind:
            raise ValueError(f"asked for {kind}, and got {reading.kind} {reading.external_id}")
        held = page.get(reading.external_id)
        if held is None or _version(reading.updated_at) >= _version(held.updated_at):
            page[reading.external_id] = reading
    if not page:
        return 0
    with database.cursor() as cursor:
        of_source = (scan_id, connection_id, kind)
        cursor.execute(
            """SELECT external_id, updated_at FROM reconciliation_readingrow
               WHERE scan_id = %s AND connection_id = %s AND kind = %s AND external_id = ANY(%s)""",
            (*of_source, list(page)),
        )
        seen = dict(cursor.fetchall())
        older = [known for known, at in seen.items() if _version(page[known].updated_at) >= _version(at)]
        if older:
            cursor.execute(
                """DELETE FROM reconciliation_readingrow
                   WHERE scan_id = %s AND connection_id = %s AND kind = %s AND external_id = ANY(%s)""",
                (*of_source, older),
            )
        fresh = [reading for known, reading in page.items() if known not in seen or known in set(older)]
        with cursor.copy(COPY) as rows:
            for reading in fresh:
                rows.write_row((*of_source, *_row(reading)))
    return len(page) - len(seen)


def _version(at: datetime | None) -> datetime:
    return at or LONG_AGO


def _row(r: Reading) -> tuple[Any, ...]:
    return (
        r.external_id, r.number[:255], r.reference[:255], json.dumps(r.same_as), r.party[:255], r.about[:255], r.currency or "",
        r.net, r.tax, r.total, r.on, r.service_from, r.service_to, r.status[:40], r.updated_at, json.dumps(r.extra),
    )  # fmt: skip


def forget(scan_id: int, connection_id: int, kind: str) -> None:
    """Drop what was read of a source, to read it again."""
    with database.cursor() as cursor:
        cursor.execute(
            "DELETE FROM reconciliation_readingrow WHERE scan_id = %s AND connection_id = %s AND kind = %s",
            [scan_id, connection_id, kind],
        )


def as_read(scan_id: int, connection_id: int, kind: str) -> Sums:
    """What a source came to as it was read, before anything is carried forward."""
    with database.cursor() as cursor:
        cursor.execute(
            """SELECT currency, count(*), coalesce(sum(total), 0) FROM reconciliation_readingrow
               WHERE scan_id = %s AND connection_id = %s AND kind = %s GROUP BY currency ORDER BY currency""",
            [scan_id, connection_id, kind],
        )
        return sums(Total(currency=currency, count=count, amount=amount) for currency, count, amount in cursor.fetchall())


def sums(counted: Iterable[Total]) -> Sums:
    """Totals as a certificate shows them: one entry a currency, none that is empty, amounts without trailing zeros."""
    return {t.currency: {"count": t.count, "amount": f"{t.amount.normalize():f}"} for t in added(counted)}


def totals(told: Sums) -> list[Total]:
    """The reverse of `sums`."""
    return [Total(currency=name, count=said["count"], amount=Decimal(said["amount"])) for name, said in told.items()]


def carry_forward(scan: Scan) -> int:
    """Take over from the scan before what was not read again; returns how many. Sources read whole take over nothing."""
    windows = scan.parameters["since"]
    partly = [source for source, since in windows.items() if since is not None]
    if scan.carried_from_id is None or not partly:
        return 0
    names = ", ".join(COLUMNS)
    with database.cursor() as cursor:
        cursor.execute(
            f"""INSERT INTO reconciliation_readingrow (scan_id, connection_id, kind, {names})
                SELECT %s, connection_id, kind, {names} FROM reconciliation_readingrow AS before
                WHERE scan_id = %s AND (connection_id, kind) IN (
                      SELECT c.id, w.kind FROM unnest(%s::text[], %s::text[]) AS w(slug, kind)
                      JOIN connectors_connection c ON c.slug = w.slug)
                  AND NOT EXISTS (SELECT 1 FROM reconciliation_readingrow AS now WHERE now.scan_id = %s
                      AND (now.connection_id, now.kind, now.external_id) = (before.connection_id, before.kind, before.external_id))
                ORDER BY id""",
            [scan.pk, scan.carried_from_id, *_columns(partly), scan.pk],
        )
        return int(cursor.rowcount)


def _columns(sources: Sequence[str]) -> tuple[list[str], list[str]]:
    parts = [source.split("/", 1) for source in sources]
    return [slug for slug, _ in parts], [kind for _, kind in parts]


def differences(at_source: Mapping[str, Any], read: Mapping[str, Any]) -> str:
    """Where two sums part, for people: 'EUR: 12 of 345.60 there, 11 of 300 here'."""
    return "; ".join(
        f"{currency or 'without currency'}: {_told(at_source.get(currency))} there, {_told(read.get(currency))} here"
        for currency in sorted({*at_source, *read})
        if at_source.get(currency) != read.get(currency)
    )


def _told(sum_: Mapping[str, Any] | None) -> str:
    return f"{sum_['count']} of {sum_['amount']}" if sum_ else "nothing"
