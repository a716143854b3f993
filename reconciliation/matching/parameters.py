"""How much two systems may differ before it is a break. Kept with the scan, so that a result can be explained later."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

from canonical.money import exponent


@dataclass(frozen=True, slots=True)
class Tolerances:
    """Without arguments nothing is tolerated but time: every difference in money is a break."""

    amount: Mapping[str, Decimal] = field(default_factory=dict)
    """Per currency: up to so much is taken for equal (rule `tolerance`). 0 for currencies not named."""
    rounding: int = 1
    """Minor units per line that are called rounding. Rounding is a break of its own type, never silent."""
    days: int = 5
    """Dates of two documents that carry no common key may be so far apart."""
    group_cap: int = 8
    """At most so many documents of one customer and currency on a side are tried for 1:N, N:1 and N:M."""
    groups_cap: int = 2000
    """At most so many customers and currencies are tried so."""
    grace: timedelta = timedelta(hours=1)
    """What changed later than so long before `as_of` may still be under way, and is not missed yet."""
    stale_after: int = 14
    """Days after which what is under way (drafts of ours, pending payments, approved credits) is stale."""
    closed_until: date | None = None
    """Last day of the ERP's closed periods: documents of closed months rightly move to the first open one."""

    def json(self) -> dict[str, Any]:
        """As kept in `Scan.parameters`."""
        return {
            "amount": {currency: str(value) for currency, value in sorted(self.amount.items())},
            "rounding": self.rounding, "days": self.days, "group_cap": self.group_cap, "groups_cap": self.groups_cap,
            "grace_seconds": int(self.grace.total_seconds()), "stale_after": self.stale_after,
            "closed_until": self.closed_until.isoformat() if self.closed_until else None,
        }  # fmt: skip

    def of(self, currencies: list[str]) -> list[tuple[str, Decimal, Decimal]]:
        """(currency, tolerated, minor unit) for each."""
        return [(code, self.amount.get(code, Decimal(0)), Decimal(1).scaleb(-exponent(code))) for code in currencies]
