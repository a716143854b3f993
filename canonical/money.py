"""Exact money: a Decimal and an ISO 4217 currency; never a float, never two currencies in one sum.

The number of minor-unit digits per currency is ISO 4217's ("exponent"). Currencies not listed have two.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Decimal

# ISO 4217, list one: every active currency whose exponent is not 2.
_ZERO = ["BIF", "CLP", "DJF", "GNF", "ISK", "JPY", "KMF", "KRW", "PYG", "RWF", "UGX", "UYI", "VND", "VUV", "XAF", "XOF", "XPF"]
_THREE = ["BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"]
_EXPONENTS = {**dict.fromkeys(_ZERO, 0), **dict.fromkeys(_THREE, 3), "CLF": 4, "UYW": 4}


class CurrencyMismatch(ValueError):
    """Two currencies met in one operation."""


def normal_currency(code: str) -> str:
    """Return the upper-case ISO code; raise ValueError unless it is three letters."""
    upper = code.upper()
    if len(upper) != 3 or not upper.isascii() or not upper.isalpha():
        raise ValueError(f"not an ISO 4217 currency code: {code!r}")
    return upper


def exponent(currency: str) -> int:
    """Digits after the decimal point of the currency's minor unit (JPY 0, EUR 2, KWD 3)."""
    return _EXPONENTS.get(normal_currency(currency), 2)


def quantum(currency: str) -> Decimal:
    """The smallest amount of the currency: Decimal('0.01') for EUR."""
    return Decimal(1).scaleb(-exponent(currency))


def from_minor(units: int, currency: str) -> Decimal:
    """1999 minor units of EUR → Decimal('19.99')."""
    return Decimal(units).scaleb(-exponent(currency))


def to_minor(amount: Decimal, currency: str) -> int:
    """Decimal('19.99') EUR → 1999. Raises ValueError when the amount has a fraction of a minor unit."""
    scaled = amount.scaleb(exponent(currency))
    if scaled != scaled.to_integral_value():
        raise ValueError(f"{amount} {currency} has a fraction of a minor unit")
    return int(scaled)


def round_money(amount: Decimal, currency: str) -> Decimal:
    """Round half to even to the currency's minor unit."""
    return amount.quantize(quantum(currency), rounding=ROUND_HALF_EVEN)


def is_exact(amount: Decimal, currency: str) -> bool:
    """True when the amount is a whole number of minor units."""
    return amount.is_finite() and amount == round_money(amount, currency)


@dataclass(frozen=True, slots=True, order=False)
class Money:
    """An exact amount in one currency. Arithmetic between currencies raises CurrencyMismatch."""

    amount: Decimal
    currency: str

    def __post_init__(self) -> None:
        if not isinstance(self.amount, Decimal):
            raise TypeError("money is made of Decimal")
        object.__setattr__(self, "currency", normal_currency(self.currency))
        if not is_exact(self.amount, self.currency):
            raise ValueError(f"{self.amount} is not a whole number of minor units of {self.currency}")
        object.__setattr__(self, "amount", round_money(self.amount, self.currency))

    def __add__(self, other: Money) -> Money:
        return Money(self.amount + self._same(other), self.currency)

    def __sub__(self, other: Money) -> Money:
        return Money(self.amount - self._same(other), self.currency)

    def __neg__(self) -> Money:
        return Money(-self.amount, self.currency)

    def __lt__(self, other: Money) -> bool:
        return self.amount < self._same(other)

    def __str__(self) -> str:
        return f"{self.amount:,.{exponent(self.currency)}f} {self.currency}"

    def _same(self, other: Money) -> Decimal:
        if other.currency != self.currency:
            raise CurrencyMismatch(f"{self.currency} and {other.currency} do not add up")
        return other.amount


def total(amounts: Iterable[Money]) -> dict[str, Decimal]:
    """Sum per currency: the only sum of mixed currencies that means something."""
    sums: dict[str, Decimal] = {}
    for money in amounts:
        sums[money.currency] = sums.get(money.currency, Decimal(0)) + money.amount
    return sums
