"""What an approval covers, in one spelling: the canonical payload of a credit and its SHA-256. Pure."""

from __future__ import annotations

import hashlib
import json
from decimal import Decimal
from typing import Any

from canonical.money import round_money


def canonical(said: dict[str, Any]) -> str:
    """The one spelling that is hashed: sorted keys, no blanks; Decimals as plain text."""
    return json.dumps(said, sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=_plain)


def digest(payload: str) -> str:
    """SHA-256 of a payload, in hex."""
    return hashlib.sha256(payload.encode()).hexdigest()


def payload_of(credit: Any) -> str:
    """Everything about a `Credit` (saved or not) that money depends on. The same facts always give the same text."""

    def exact(amount: Decimal) -> str:
        return f"{round_money(Decimal(amount), credit.currency):f}"

    return canonical(
        {
            "uid": str(credit.uid), "party": credit.party_id, "legal_entity": credit.legal_entity_id, "billing": credit.billing_id,
            "case": credit.case_id, "subscription": credit.subscription_id, "invoice": credit.invoice_id, "reason": credit.reason,
            "period": [str(credit.period_start or ""), str(credit.period_end or "")], "currency": credit.currency,
            "net": exact(credit.net), "tax": exact(credit.tax), "total": exact(credit.total), "settlement": credit.settlement,
            "lines": credit.lines, "reverses": credit.reverses_id, "split_from": credit.split_from_id,
        }
    )  # fmt: skip


def seal(credit: Any) -> None:
    """Write payload and digest for what the credit says now. Whoever edits a saved one also raises its revision."""
    credit.payload = payload_of(credit)
    credit.digest = digest(credit.payload)


def _plain(value: Any) -> str:
    return f"{value:f}" if isinstance(value, Decimal) else str(value)
