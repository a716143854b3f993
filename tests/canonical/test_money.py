"""Laws of money, for every currency exponent there is."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from canonical.money import CurrencyMismatch, Money, exponent, from_minor, is_exact, quantum, round_money, to_minor, total

CURRENCIES = st.sampled_from(["EUR", "USD", "JPY", "KRW", "KWD", "BHD", "CLF"])
UNITS = st.integers(min_value=-(10**15), max_value=10**15)
AMOUNTS = st.decimals(min_value=-(10**12), max_value=10**12, allow_nan=False, places=6)


@pytest.mark.parametrize(
    ("currency", "digits"), [("JPY", 0), ("EUR", 2), ("USD", 2), ("KWD", 3), ("CLF", 4), ("XYZ", 2), ("eur", 2)]
)
def test_a_currency_has_the_minor_unit_of_iso_4217(currency: str, digits: int) -> None:
    assert exponent(currency) == digits
    assert quantum(currency) == Decimal(1).scaleb(-digits)


@given(UNITS, CURRENCIES)
def test_minor_units_there_and_back_are_the_same(units: int, currency: str) -> None:
    assert to_minor(from_minor(units, currency), currency) == units


@given(AMOUNTS, CURRENCIES)
def test_rounding_makes_exact_amounts_by_less_than_a_minor_unit_and_twice_is_once(amount: Decimal, currency: str) -> None:
    rounded = round_money(amount, currency)
    assert is_exact(rounded, currency)
    assert abs(rounded - amount) * 2 <= quantum(currency)
    assert round_money(rounded, currency) == rounded


@given(AMOUNTS, CURRENCIES)
def test_a_fraction_of_a_minor_unit_is_never_lost_silently(amount: Decimal, currency: str) -> None:
    if is_exact(amount, currency):
        assert from_minor(to_minor(amount, currency), currency) == amount
        return
    with pytest.raises(ValueError, match="fraction"):
        to_minor(amount, currency)
    with pytest.raises(ValueError, match="minor units"):
        Money(amount, currency)


@given(UNITS, UNITS, UNITS, CURRENCIES)
def test_addition_is_associative_commutative_and_has_an_inverse(a: int, b: int, c: int, currency: str) -> None:
    x, y, z = (Money(from_minor(units, currency), currency) for units in (a, b, c))
    assert (x + y) + z == x + (y + z)
    assert x + y == y + x
    assert (x + y) - y == x and x + (-x) == Money(Decimal(0), currency)
    assert (x < y) is (a < b)


@given(st.lists(st.tuples(UNITS, CURRENCIES)))
def test_a_total_keeps_currencies_apart(entries: list[tuple[int, str]]) -> None:
    sums = total(Money(from_minor(units, currency), currency) for units, currency in entries)
    for currency in {currency for _, currency in entries}:
        assert to_minor(sums[currency], currency) == sum(units for units, c in entries if c == currency)


def test_two_currencies_do_not_add_up_or_compare() -> None:
    one, other = Money(Decimal(1), "EUR"), Money(Decimal(1), "USD")
    for together in (lambda: one + other, lambda: one - other, lambda: one < other):
        with pytest.raises(CurrencyMismatch):
            together()


@pytest.mark.parametrize("amount", [1, 1.5, "1"])
def test_money_is_made_of_decimals_only(amount: object) -> None:
    with pytest.raises(TypeError):
        Money(amount, "EUR")  # type: ignore[arg-type]


@pytest.mark.parametrize("amount", ["NaN", "Infinity", "-Infinity"])
def test_what_is_no_number_is_no_money(amount: str) -> None:
    with pytest.raises(ValueError, match="minor units"):
        Money(Decimal(amount), "EUR")


@pytest.mark.parametrize("code", ["", "EU", "EURO", "E1R", "€€€", "ＥＵＲ"])
def test_what_is_no_currency_code_is_refused(code: str) -> None:
    with pytest.raises(ValueError, match="ISO 4217"):
        Money(Decimal(1), code)


def test_money_reads_with_its_own_digits() -> None:
    assert [str(Money(Decimal(1234), c)) for c in ("JPY", "EUR", "KWD")] == ["1,234 JPY", "1,234.00 EUR", "1,234.000 KWD"]
