"""What must be true in the end, read from the vendors' own books alone: nothing the hub says about itself counts here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from canonical.money import from_minor

OWED = ("open", "paid", "uncollectible")
Money = dict[str, Decimal]


@dataclass
class Comparison:
    """Billing's books against the ERP's. Every list is empty, and both sums are the same, when all is well."""

    invoices: int = 0
    documents: int = 0
    payments: int = 0
    lost: list[str] = field(default_factory=list)
    duplicate: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    expected: Money = field(default_factory=dict)
    held: Money = field(default_factory=dict)

    @property
    def difference(self) -> Money:
        """Currency → what the ERP holds beyond what it should; empty when nothing."""
        currencies = self.expected.keys() | self.held.keys()
        gaps = {c: self.held.get(c, Decimal(0)) - self.expected.get(c, Decimal(0)) for c in sorted(currencies)}
        return {currency: gap for currency, gap in gaps.items() if gap}

    @property
    def agrees(self) -> bool:
        """Nothing lost, nothing twice, nothing wrong, not a cent of difference."""
        return not (self.lost or self.duplicate or self.wrong or self.difference)


def compare(billing: Mapping[str, Any], erp: Mapping[str, Any], slug: str) -> Comparison:
    """Match the invoices of billing's books with documents and payments by their keys (`slug/<invoice id>`)."""
    found = Comparison(documents=len(erp["documents"]), payments=len(erp["payments"]))
    documents, payments = _by_key(erp["documents"]), _by_key(erp["payments"])
    for invoice in billing.get("invoices", ()):
        if invoice["status"] == "draft":
            continue
        found.invoices += 1
        key = f"{slug}/{invoice['id']}"
        _check_documents(found, invoice, documents.pop(key, []), documents.pop(f"{key}/reversal", []), key)
        _check_payments(found, invoice, payments.pop(f"{key}/payment", []), key)
    strangers = [*documents, *payments]
    found.wrong += [f"{key}: nothing in billing asked for this" for key in strangers]
    found.held = _sums((row["currency"], Decimal(row["total"])) for row in erp["documents"])
    return found


def _check_documents(found: Comparison, invoice: Mapping[str, Any], posted: list[Any], reversals: list[Any], key: str) -> None:
    total, currency = _money(invoice, "total")
    owed = invoice["status"] in OWED and total
    found.duplicate += [key] * (len(posted) > 1) + [f"{key}/reversal"] * (len(reversals) > 1)
    for row in posted:
        if (Decimal(row["total"]), row["currency"]) != (total, currency):
            found.wrong.append(f"{key}: posted {row['total']} {row['currency']}, billing says {total} {currency}")
    if owed:
        found.expected[currency] = found.expected.get(currency, Decimal(0)) + total
        found.lost += [key] * (not posted)
        found.wrong += [f"{key}: reversed, although it is {invoice['status']}"] * bool(reversals)
    elif posted and not reversals:
        found.lost.append(f"{key}/reversal")
    elif reversals and Decimal(reversals[0]["total"]) != -total:
        found.wrong.append(f"{key}: reversed {reversals[0]['total']} of {total}")


def _check_payments(found: Comparison, invoice: Mapping[str, Any], paid: list[Any], key: str) -> None:
    amount, currency = _money(invoice, "amount_paid")
    wanted = amount if invoice["status"] == "paid" else Decimal(0)
    found.duplicate += [f"{key}/payment"] * (len(paid) > 1)
    found.lost += [f"{key}/payment"] * bool(wanted and not paid)
    held = sum((Decimal(row["amount"]) for row in paid), Decimal(0))
    if paid and (held, paid[0]["currency"]) != (wanted, currency):
        found.wrong.append(f"{key}: {held} {paid[0]['currency']} received, billing says {wanted} {currency}")


def _money(invoice: Mapping[str, Any], field_name: str) -> tuple[Decimal, str]:
    currency = invoice["currency"].upper()
    return from_minor(invoice[field_name], currency), currency


def _by_key(rows: Iterable[Mapping[str, Any]]) -> dict[str, list[Any]]:
    grouped: dict[str, list[Any]] = {}
    for row in rows:
        grouped.setdefault(row["key"] or f"(no key) {row['id']}", []).append(row)
    return grouped


def _sums(amounts: Iterable[tuple[str, Decimal]]) -> Money:
    sums: Money = {}
    for currency, amount in amounts:
        sums[currency] = sums.get(currency, Decimal(0)) + amount
    return sums
