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


def against(counted: int, listed: int) -> list[Total]:
    """What a listing lacks of the source's own count of records (or has too much, below zero), under no currency: so the
    totals agree with no complete reading. Nothing when they agree."""
    return [Total(count=counted - listed)] if counted != listed else []
