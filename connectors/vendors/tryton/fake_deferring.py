"""The twin's revenue schedules: one move that defers a line, and one that recognises a part of it in each period."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

from canonical.money import round_money
from connectors.vendors.tryton.fake_books import DEFERRED, INVOICE, LINE, Books, Record
from connectors.vendors.tryton.fake_seed import REVENUE

OWN = "USD"
"""The company's currency."""


def start(books: Books, schedule: Record) -> None:
    """Write the moves of a schedule, those of all known periods at once.

    What rounding leaves goes into the last move. For invoices the original gets its sign wrong, which doubles it.
    """
    line = books.get(LINE, schedule["invoice_line"])
    amount, first, last = schedule["amount"], schedule["start_date"], schedule["end_date"]
    periods = [it for it in books.tables["account.period"].values() if it["start_date"] <= last and it["end_date"] >= first]
    daily, parts = amount / ((last - first).days + 1), []
    for it in sorted(periods, key=lambda period: period["start_date"]):
        days = (min(it["end_date"], last) - max(it["start_date"], first)).days + 1
        parts.append((it["start_date"], round_money(daily * days, OWN)))
    is_whole = any(it["end_date"] >= last for it in periods)
    if is_whole:
        on, part = parts.pop()
        left = amount - part - sum((earlier for _, earlier in parts), Decimal(0))
        parts.append((on, part - left if amount > 0 else part + left))
    deferring = (books.get(INVOICE, line["invoice"])["invoice_date"], -amount)
    moves = [_move(books, schedule, line["account"], on, part) for on, part in (deferring, *parts)]
    books.write(DEFERRED, schedule, {"state": "closed" if is_whole else "running", "moves": moves})


def _move(books: Books, schedule: Record, account: int, on: date, amount: Decimal) -> int:
    """Revenue out of the deferred account, or below zero into it."""
    debit, credit = max(-amount, Decimal(0)), max(amount, Decimal(0))
    deferred = books.get("account.configuration", 1)["deferred_account_revenue"]
    shared = {"party": None, "date": on}
    lines = [
        {**shared, "account": deferred, "debit": credit, "credit": debit},
        {**shared, "account": account, "debit": debit, "credit": credit},
    ]
    move = {
        "number": books.number(f"M{on.year}/"), "state": "posted", "date": on, "company": schedule["company"], "journal": REVENUE,
        "description": None, "origin": f"{DEFERRED},{schedule['id']}", "lines": [["create", lines]],
    }  # fmt: skip
    return int(books.insert("account.move", move)["id"])
