"""Amounts of one currency in another, at a dated rate that somebody entered or a source gave."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

from django.db.models import Q

from canonical.money import round_money
from hub.credits.models import ExchangeRate


class NoRate(Exception):
    """No rate between two currencies is known on a day; the message says which."""


def convert(amount: Decimal, currency: str, to: str, on: date) -> tuple[Decimal, str]:
    """The amount in `to`, rounded half to even to its minor unit, and the rate in words ('' when none was needed).

    The newest row of the pair up to the day `on` decides, whichever way round it was entered; of two of one day the
    direct one. Rates are never chained over a third currency. Raises NoRate.
    """
    if currency == to:
        return round_money(amount, to), ""
    pair = Q(currency=currency, to=to) | Q(currency=to, to=currency)
    rows = ExchangeRate.objects.filter(pair, on__lte=on).order_by("-on")[:2]
    if not rows:
        raise NoRate(f"No exchange rate between {currency} and {to} is known on {on}: enter one, and try again.")
    row = max(rows, key=lambda rate: (rate.on, rate.currency == currency))
    converted = amount * row.rate if row.currency == currency else amount / row.rate
    label = f"1 {row.currency} = {row.rate.normalize():f} {row.to} on {row.on} ({row.source})"
    return round_money(converted, to), label
