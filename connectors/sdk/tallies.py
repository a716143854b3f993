"""Count and sum per currency: what a certificate compares. The same rule for what a source says and for what was read."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal

from canonical.readings import Total

Amount = tuple[str, Decimal | None]
"""(currency, amount) of one object; '' and None for kinds without money."""


def tally(amounts: Iterable[Amount]) -> list[Total]:
    """Totals per currency, in the order of their codes. Of nothing there are none."""
    sums: dict[str, tuple[int, Decimal]] = {}
    for currency, amount in amounts:
        count, total = sums.get(currency, (0, Decimal(0)))
        sums[currency] = (count + 1, total + (amount or 0))
    return [Total(currency=code, count=count, amount=total) for code, (count, total) in sorted(sums.items())]


def added(totals: Iterable[Total]) -> list[Total]:
    """One total a currency, none of nothing, in the order of the codes."""
    sums: dict[str, Total] = {}
    for each in totals:
        held = sums.get(each.currency, Total(currency=each.currency, count=0))
        sums[each.currency] = Total(currency=each.currency, count=held.count + each.count, amount=held.amount + each.amount)
    return [total for _, total in sorted(sums.items()) if total.count or total.amount]


def against(counted: int, listed: int) -> list[Total]:
    """What a listing lacks of the source's own count of records (or has too much, below zero), under no currency: so the
    totals agree with no complete reading. Nothing when they agree."""
    return [Total(count=counted - listed)] if counted != listed else []
