"""Rows for the tests of the pages: a scan of one entity, breaks of it, and months to close."""

from __future__ import annotations

import hashlib
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

from django.utils import timezone

from canonical.models import LegalEntity
from connectors.models import Connection
from reconciliation.models import Break, Certificate, ReadingRow, Scan
from tests.backoffice import factories as make

MONTH = date(2026, 10, 1)
CLOSE = "/admin/reconciliation/close/de/2026-10/"


def scan(entity: LegalEntity | None = None, state: str = "done", **told: Any) -> Scan:
    """A scan that has ended, of now."""
    now = timezone.now()
    counts = {
        "invoices": {"left": {"matched": {"reference": {"EUR": {"count": 40, "amount": "4800"}}},
                              "break": {"amount": {"EUR": {"count": 1, "amount": "120"}}}},
                     "right": {"matched": {"reference": {"EUR": {"count": 40, "amount": "4800"}}}}},
        "breaks": {"new": 2, "known": 1, "reopened": 0, "closed": 3}, "red": [], "explained": {"missed webhook": 1},
    }  # fmt: skip
    fields = {
        "legal_entity": entity or make.entity(), "as_of": now, "started_by": "schedule", "state": state, "counts": counts,
        "progress": {"billing/invoice": {"read": 41, "pages": 1, "done": state != "reading"}},
        "ended_at": None if state in ("reading", "matching") else now, "result_hash": "ab" * 32,
    }  # fmt: skip
    return Scan.objects.create(**{**fields, **told})


def certificate(of: Scan, source: Connection, read: int = 41, there: int = 41) -> Certificate:
    """What a source says of its invoices, and what was read of them."""
    return Certificate.objects.create(
        scan=of,
        connection=source,
        kind="invoice",
        until=of.as_of,
        is_complete=read == there,
        at_source={"EUR": {"count": there, "amount": f"{there * 120}"}},
        as_read={"EUR": {"count": read, "amount": f"{read * 120}"}},
    )


def reading(of: Scan, source: Connection, number: int, total: str = "120.00", **told: Any) -> ReadingRow:
    """An invoice as a system said it."""
    gross = Decimal(total)
    fields = {"kind": "invoice", "external_id": f"in_{number}", "currency": "EUR", "net": gross - 20, "tax": 20, "total": gross,
              "on": MONTH + timedelta(days=number % 28), "status": "paid"}  # fmt: skip
    return ReadingRow.objects.create(scan=of, connection=source, **{**fields, **told})


def said(system: str, total: str = "120.00", **told: Any) -> dict[str, Any]:
    """A reading as a break keeps it."""
    return {
        "system": system,
        "kind": "invoice",
        "id": "in_7",
        "number": "A-0007",
        "currency": "EUR",
        "net": "100.00",
        "tax": "20.00",
        "total": total,
        "on": "2026-10-07",
        "status": "open",
        **told,
    }


def broken(
    of: Scan, name: str = "A-0007: another amount, 120 EUR and 100 EUR", exposed: str = "20", days: int = 3, **told: Any
) -> Break:
    """A break: billing and the ERP say different amounts of one invoice."""
    fields = {
        "legal_entity": of.legal_entity,
        "pair": "invoices",
        "type": "amount",
        "title": name,
        "currency": "EUR",
        "exposed": Decimal(exposed),
        "left_amount": Decimal(120),
        "right_amount": Decimal(100),
        "left": said("billing"),
        "right": said("erp", "100.00", id="17"),
        "period": MONTH,
        "fingerprint": hashlib.sha256(name.encode()).hexdigest(),
        "first_scan": of,
        "last_scan": of,
        "cause": "changed in the ERP by hand",
        "evidence": [{"text": "17 was changed there on 2026-10-09", "kind": "", "id": None}],
        "opened_at": datetime.now(UTC) - timedelta(days=days),
    }
    return Break.objects.create(**{**fields, **told})


def fresh(obj: Any) -> Any:
    """As it is now; states are protected against refreshing in place."""
    return type(obj).objects.get(pk=obj.pk)
