"""What the books hold on the first day: the same codes, rates and defaults as the real peer's."""

from __future__ import annotations

import calendar
from datetime import date
from decimal import Decimal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from connectors.vendors.tryton.fake_books import Books

RECEIVABLE = "1.2.1"
REVENUE, CASH = 1, 2
"""Ids of the two journals."""


def seed(books: Books) -> None:
    """Fill empty books."""
    for code, rate in {"USD": "1", "EUR": "0.90", "GBP": "0.80", "JPY": "150", "KWD": "0.310"}.items():
        books.insert("currency.currency", {"code": code, "rate": Decimal(rate)})
    for code in ("US", "DE", "FR", "GB", "JP", "KW"):
        books.insert("country.country", {"code": code})
    owner = books.insert("party.party", {"name": "Tieout Demo Inc", "code": "1"})
    company = books.insert("company.company", {"party": owner["id"], "currency": 1})["id"]
    codes = ("1.1.1", "1.2.1", "2.1.1", "2.2.2", "4.1.2", "4.2.2", "2.2.1", "6.3.6")
    types = [books.insert("account.account.type", {"receivable": receivable})["id"] for receivable in (False, True)]
    accounts = {
        code: books.insert("account.account", {"code": code, "company": company, "type": types[code == RECEIVABLE]})["id"]
        for code in codes
    }
    books.insert(
        "account.configuration",
        {"default_account_receivable": accounts[RECEIVABLE], "deferred_account_revenue": accounts["2.2.2"]},
    )
    for name, rate in {"VAT20": "0.20", "VAT7": "0.07", "VAT0": "0"}.items():
        books.insert("account.tax", {"name": name, "rate": Decimal(rate), "company": company})
    for code, kind in (("REV", "revenue"), ("CASH", "cash")):
        books.insert("account.journal", {"code": code, "type": kind})
    unit = books.insert("product.uom", {"symbol": "u"})["id"]
    for code in ("PLAN", "USAGE", "SETUP"):
        books.insert("product.product", {"code": code, "taxes": [1], "default_uom": unit})
    for name, days in {"NET0": 0, "NET14": 14, "NET30": 30}.items():
        books.insert("account.invoice.payment_term", {"name": name, "days": days})
    books.insert("account.invoice.payment.method", {"name": "Bank", "company": company})
    for year in (books.today.year - 1, books.today.year, books.today.year + 1):
        for month in range(1, 13):
            end = date(year, month, calendar.monthrange(year, month)[1])
            books.insert("account.period", {
                "name": f"{year}-{month:02}", "start_date": date(year, month, 1), "end_date": end, "state": "open",
                "type": "standard", "company": company, "fiscalyear": year,
            })  # fmt: skip
