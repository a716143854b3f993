"""A legal entity with three systems in memory, and the means to scan it."""

from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal
from typing import Any

from django.utils import timezone

from canonical.models import LegalEntity
from canonical.readings import Reading
from connectors.models import Connection
from reconciliation import scanning
from reconciliation.models import Scan
from reconciliation.scanning import concluding
from tests.reconciliation import vendor
from tests.support.time import work


def entity() -> LegalEntity:
    """The one that is scanned."""
    return LegalEntity.objects.get(code="acme")


def connection(role: str) -> Connection:
    """Its billing, ERP or support."""
    return Connection.objects.get(slug=role)


def billed(number: int, total: str = "120.00", **told: Any) -> Reading:
    """An invoice of billing, two days old."""
    return _invoice(f"in_{number:03}", total, party="cus_1", **told)


def booked(number: int, total: str = "120.00", **told: Any) -> Reading:
    """Its counterpart in the ERP."""
    told = {"reference": f"billing/in_{number:03}", **told}
    return _invoice(f"{number:03}", total, number=f"INV/{number}", party="1", **told)


def _invoice(external_id: str, total: str, **told: Any) -> Reading:
    gross = Decimal(total)
    fields: dict[str, Any] = {
        "kind": "invoice", "external_id": external_id, "currency": "EUR", "net": gross - 20, "tax": Decimal(20), "total": gross,
        "on": date(2026, 11, 1), "status": "open", "updated_at": timezone.now() - timedelta(days=2),
    }  # fmt: skip
    return Reading(**{**fields, **told})


def fill(invoices: int = 10) -> None:
    """Both sides hold the same invoices of one customer."""
    vendor.BOOKS["billing"].put(Reading(kind="party", external_id="cus_1", number="Ann", status="active"))
    vendor.BOOKS["erp"].put(Reading(kind="party", external_id="1", reference="billing/cus_1", number="Ann", status="active"))
    for number in range(invoices):
        vendor.BOOKS["billing"].put(billed(number))
        vendor.BOOKS["erp"].put(booked(number))


def scan(*, full: bool = True) -> Scan:
    """One scan from its beginning to its end."""
    return end(scanning.begin(entity(), full=full, by="test"))


def end(scan: Scan) -> Scan:
    """Work until the engine has nothing more to do, then match."""
    work()
    concluding.conclude_all()
    scan.refresh_from_db()
    return scan


def readings(scan: Scan) -> list[tuple[Any, ...]]:
    """What a scan holds, without ids."""
    rows = scan.readings.order_by("connection__slug", "kind", "external_id")
    return list(rows.values_list("connection__slug", "kind", "external_id", "total", "status", "updated_at"))
