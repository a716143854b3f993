"""What a close signs: control totals of every source, the breaks that are left, and the parameters they were judged by."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Any

from django.db import connection as database

from canonical.models import LegalEntity
from reconciliation.closing import gates
from reconciliation.models import Break, Scan
from reconciliation.models.breaks import OPEN_BREAK

FORMAT = "tieout-close/1"
KEPT = ("accepted", "written off")
"""Breaks that persons closed although the systems still differ: part of the picture."""

TOTALS = """
    SELECT c.slug, r.kind, r.currency, r.status, count(*), coalesce(sum(r.net), 0), coalesce(sum(r.tax), 0),
           coalesce(sum(r.total), 0)
    FROM reconciliation_readingrow r JOIN connectors_connection c ON c.id = r.connection_id
    WHERE r.scan_id = %s AND r."on" >= %s AND r."on" < %s
    GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4"""


def content(entity: LegalEntity, period: date) -> dict[str, Any]:
    """The picture of a month (`period`: its first day) by its last scan. Equal for equal books; amounts are decimal text."""
    scan = gates.last_scan(entity, period)
    return {
        "format": FORMAT, "entity": entity.code, "period": f"{period:%Y-%m}", "currency": entity.currency,
        "timezone": entity.timezone,
        "scan": {"id": scan.pk, "as_of": scan.as_of.isoformat(), "result_hash": scan.result_hash} if scan else None,
        "parameters": {
            **(scan.parameters if scan else {}),
            "close_tolerated": {code: gates.plain(most) for code, most in sorted(gates.tolerated(entity).items())},
            "fresh_hours": int(gates.FRESH.total_seconds() // 3600),
        },
        "certificates": _certificates(scan) if scan else [],
        "totals": _totals(scan, period) if scan else [],
        "breaks": [_told(each) for each in _left(entity, period)],
    }  # fmt: skip


def _totals(scan: Scan, period: date) -> list[dict[str, Any]]:
    with database.cursor() as cursor:
        cursor.execute(TOTALS, [scan.pk, period, gates.following(period)])
        return [
            {
                "name": "/".join((source, kind, currency or "-", status or "-")), "source": source, "kind": kind,
                "currency": currency, "status": status, "count": count, "net": gates.plain(net), "tax": gates.plain(tax),
                "total": gates.plain(total),
            }
            for source, kind, currency, status, count, net, tax, total in cursor.fetchall()
        ]  # fmt: skip


def _certificates(scan: Scan) -> list[dict[str, Any]]:
    signed = scan.certificates.select_related("connection").order_by("connection__slug", "kind")
    return [
        {
            "source": each.connection.slug, "kind": each.kind, "is_complete": each.is_complete, "at_source": each.at_source,
            "as_read": each.as_read, "since": each.since.isoformat() if each.since else None, "until": each.until.isoformat(),
        }
        for each in signed
    ]  # fmt: skip


def _left(entity: LegalEntity, period: date) -> list[Break]:
    of_month = gates.breaks_of(entity, period)
    left = [*of_month.filter(state__in=OPEN_BREAK), *of_month.filter(state="closed", closed_how__in=KEPT)]
    return sorted(left, key=lambda each: (each.pair, each.type, each.fingerprint, each.pk))


def _told(each: Break) -> dict[str, Any]:
    return {
        "name": f"break {each.pk}", "fingerprint": each.fingerprint, "pair": each.pair, "type": each.type, "title": each.title,
        "state": "open" if each.state in OPEN_BREAK else each.closed_how, "currency": each.currency,
        "left_amount": _amount(each.left_amount), "right_amount": _amount(each.right_amount), "exposed": gates.plain(each.exposed),
        "cause": each.cause,
    }  # fmt: skip


def _amount(amount: Decimal | None) -> str | None:
    return None if amount is None else gates.plain(amount)
