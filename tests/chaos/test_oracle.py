"""The judge of a chaos run must see each crime, or its verdict is worth nothing."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from hub.chaos.oracle import compare


def books() -> tuple[dict[str, Any], dict[str, Any]]:
    """A paid, an open and a voided invoice, all as they should be."""
    billing = {
        "invoices": [
            {"id": "in_1", "status": "paid", "total": 1190, "amount_paid": 1190, "currency": "eur"},
            {"id": "in_2", "status": "open", "total": 500, "amount_paid": 0, "currency": "jpy"},
            {"id": "in_3", "status": "void", "total": 700, "amount_paid": 0, "currency": "eur"},
            {"id": "in_4", "status": "draft", "total": 900, "amount_paid": 0, "currency": "eur"},
        ]
    }
    documents = [
        {"id": 1, "key": "stripe/in_1", "total": "11.90", "currency": "EUR"},
        {"id": 2, "key": "stripe/in_2", "total": "500", "currency": "JPY"},
        {"id": 3, "key": "stripe/in_3", "total": "7.00", "currency": "EUR"},
        {"id": 4, "key": "stripe/in_3/reversal", "total": "-7.00", "currency": "EUR"},
    ]
    payments = [{"id": 5, "key": "stripe/in_1/payment", "amount": "11.90", "currency": "EUR"}]
    return billing, {"documents": documents, "payments": payments}


def test_books_that_agree_are_told_so() -> None:
    found = compare(*books(), "stripe")
    assert found.agrees and (found.invoices, found.documents, found.payments) == (3, 4, 1)
    assert found.held == found.expected == {"EUR": Decimal("11.90"), "JPY": Decimal("500")}


@pytest.mark.parametrize(
    ("table", "row", "change", "crime"),
    [
        ("documents", 0, None, "lost"),
        ("documents", 3, None, "lost"),
        ("payments", 0, None, "lost"),
        ("documents", 0, {}, "duplicate"),
        ("documents", 3, {}, "duplicate"),
        ("payments", 0, {}, "duplicate"),
        ("documents", 0, {"total": "11.89"}, "wrong"),
        ("documents", 0, {"currency": "USD"}, "wrong"),
        ("documents", 3, {"total": "-6.00"}, "wrong"),
        ("payments", 0, {"amount": "11.00"}, "wrong"),
        ("documents", 0, {"key": "stripe/in_9"}, "wrong"),
        ("documents", 3, {"key": "stripe/in_1/reversal", "total": "-11.90"}, "wrong"),
    ],
)
def test_every_crime_is_seen(table: str, row: int, change: dict[str, str] | None, crime: str) -> None:
    """None takes the row away, {} doubles it, anything else changes it."""
    billing, erp = books()
    if change is None:
        del erp[table][row]
    elif change:
        erp[table][row] |= change
    else:
        erp[table].append(dict(erp[table][row]))
    found = compare(billing, erp, "stripe")
    assert getattr(found, crime) and not found.agrees


def test_money_without_a_key_is_a_difference() -> None:
    billing, erp = books()
    erp["documents"].append({"id": 9, "key": None, "total": "0.01", "currency": "EUR"})
    found = compare(billing, erp, "stripe")
    assert found.difference == {"EUR": Decimal("0.01")} and found.wrong
