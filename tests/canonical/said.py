"""What a billing system might say, for tests of what we keep of it."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

from canonical import types

NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)


def party(**told: Any) -> types.Party:
    return types.Party(**{"external_id": "cus_1", "name": "Acme", **told})


def product(**told: Any) -> types.Product:
    return types.Product(**{"external_id": "prod_1", "name": "Plan", **told})


def line(external_id: str = "il_1", net: str = "100.00", tax: str = "20.00", **told: Any) -> types.InvoiceLine:
    taxes = (types.TaxAmount(code="txr_1", amount=Decimal(tax)),) if Decimal(tax) else ()
    return types.InvoiceLine(**{"external_id": external_id, "product": "prod_1", "net": Decimal(net), "taxes": taxes, **told})


def invoice(*lines: types.InvoiceLine, **told: Any) -> types.Invoice:
    lines = lines or (line(),)
    net, tax = sum((x.net for x in lines), Decimal(0)), sum((x.tax for x in lines), Decimal(0))
    given: dict[str, Any] = {
        "external_id": "in_1",
        "party": "cus_1",
        "currency": "EUR",
        "issued_on": date(2026, 11, 1),
        "status": "open",
    }
    return types.Invoice(**{**given, "lines": lines, "net": net, "tax": tax, "total": net + tax, **told})


def subscription(**told: Any) -> types.Subscription:
    items = (types.SubscriptionItem(external_id="si_1", product="prod_1", price="price_1"),)
    given: dict[str, Any] = {"external_id": "sub_1", "party": "cus_1", "status": "active", "currency": "EUR", "items": items}
    return types.Subscription(**{**given, **told})


def payment(**told: Any) -> types.Payment:
    given: dict[str, Any] = {"external_id": "pi_1", "currency": "EUR", "amount": Decimal("120.00"), "status": "succeeded"}
    return types.Payment(**{**given, **told})
