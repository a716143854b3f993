"""Rates: dated, either way round, never chained, never guessed."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.django import TestCase

from hub.credits.exchange import NoRate, convert
from tests.credits import factories as make

DAY = date(2026, 11, 20)


@pytest.mark.django_db
def test_the_newest_rate_up_to_the_day_counts() -> None:
    for day, worth in (("2026-11-01", "1.08"), ("2026-11-20", "1.10"), ("2026-11-21", "2")):
        make.rate("EUR", worth, on=date.fromisoformat(day))
    assert convert(Decimal("100"), "EUR", "USD", DAY) == (Decimal("110.00"), "1 EUR = 1.1 USD on 2026-11-20 (test)")
    assert convert(Decimal("100"), "EUR", "USD", date(2026, 11, 19))[0] == Decimal("108.00")


@pytest.mark.django_db
def test_a_rate_serves_both_directions_and_the_direct_one_of_a_day_first() -> None:
    make.rate("EUR", "1.25", on=DAY)
    assert convert(Decimal("10"), "USD", "EUR", DAY)[0] == Decimal("8.00")
    make.rate("USD", "0.9", to="EUR", on=DAY)
    assert convert(Decimal("10"), "USD", "EUR", DAY) == (Decimal("9.00"), "1 USD = 0.9 EUR on 2026-11-20 (test)")


@pytest.mark.django_db
def test_without_a_rate_there_is_no_amount_and_two_rates_are_never_chained() -> None:
    make.rate("EUR", "1.08", on=DAY)
    make.rate("GBP", "1.27", on=DAY)
    for currency, to, on in (("EUR", "GBP", DAY), ("JPY", "USD", DAY), ("EUR", "USD", date(2026, 11, 19))):
        with pytest.raises(NoRate, match=f"between {currency} and {to}"):
            convert(Decimal("1"), currency, to, on)


@pytest.mark.django_db
def test_the_result_is_a_whole_number_of_minor_units() -> None:
    make.rate("KWD", "0.0066", to="JPY", on=DAY)
    make.rate("EUR", "0.333333", to="KWD", on=DAY)
    assert convert(Decimal("1000.125"), "KWD", "JPY", DAY)[0] == Decimal("7")
    assert convert(Decimal("1.00"), "EUR", "KWD", DAY)[0] == Decimal("0.333")


class Laws(TestCase):
    @given(amount=st.decimals("0.01", "1000000", places=2), same=st.sampled_from(["USD", "EUR"]))
    def test_the_same_currency_needs_no_rate(self, amount: Decimal, same: str) -> None:
        assert convert(amount, same, same, DAY) == (amount, "")

    @given(amount=st.decimals("0.01", "1000000", places=2), worth=st.decimals("0.1", "10", places=4))
    def test_there_and_back_differs_by_less_than_the_rounding(self, amount: Decimal, worth: Decimal) -> None:
        make.rate("EUR", str(worth), on=DAY)
        there = convert(amount, "EUR", "USD", DAY)[0]
        back = convert(there, "USD", "EUR", DAY)[0]
        assert abs(back - amount) <= Decimal("0.005") / worth + Decimal("0.005")
