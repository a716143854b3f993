"""What the desk calls things: the state of a credit in words, and the marks it wears."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from canonical.models import ExternalRef
from hub.admin_ui import money
from hub.credits.models import Credit
from hub.models import Step

LOOKS = {
    "mine": "busy", "pending": "plain", "needs_info": "wait", "returned": "wait", "stopped": "bad", "approved": "good",
    "posting": "busy", "doubt": "wait", "posted": "good", "mirrored": "good", "told": "good", "closed": "good",
    "rejected": "bad", "expired": "bad", "withdrawn": "plain", "split": "plain", "reversed": "plain",
}  # fmt: skip
"""State → how it looks (good, busy, wait, bad, plain)."""


@dataclass(frozen=True, slots=True)
class Standing:
    """A state in words, and how it looks."""

    words: str
    look: str


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """What the systems know of a credit: the number of its memo, and whether the outcome of a call is unknown."""

    memo: str = ""
    doubt: bool = False


def elsewhere(credits: Iterable[Credit]) -> dict[int, Elsewhere]:
    """What the systems know of each of these credits. Two queries at most, however many there are."""
    out = [credit for credit in credits if credit.state in ("posting", "posted", "mirrored", "told", "closed", "reversed")]
    if not out:
        return {}
    numbers = {credit.number: credit.pk for credit in out}
    refs = ExternalRef.objects.filter(object_kind="credit", object_id__in=numbers.values(), kind__in=("credit_memo", "reversal"))
    memos = {ref.object_id: ref.number or ref.external_id or "" for ref in refs.exclude(state="superseded")}
    unknown = Step.objects.filter(state="unknown", run__subject_kind="credit", run__subject_id__in=list(numbers))
    doubts = {numbers[number] for number in unknown.values_list("run__subject_id", flat=True)}
    return {pk: Elsewhere(memos.get(pk, ""), pk in doubts) for pk in numbers.values()}


def standing(credit: Credit, *, mine: bool, at: datetime, known: Elsewhere | None = None) -> Standing:
    """Where a credit stands, as people say it; `mine` when the reader may decide it now."""
    known = known or Elsewhere()
    state = "doubt" if known.doubt else "mine" if mine and credit.state == "pending" else credit.state
    held = credit.held_until
    words = {
        "mine": "waiting for me",
        "pending": f"waiting for {credit.waiting_role or 'a reviewer'}",
        "needs_info": f"needs info from {credit.requested_by}",
        "returned": f"sent back to {credit.requested_by}",
        "stopped": "stopped: possible duplicate",
        "approved": f"approved, held until {clock(held, at)}" if held and held > at else "approved, about to be posted",
        "posting": "posting",
        "doubt": "in doubt, checking ERP",
        "posted": f"posted {known.memo}".strip(),
        "mirrored": "reflected in billing",
        "told": "customer told, waiting for reconciliation",
        "closed": "reconciled",
        "split": "split into parts",
    }.get(state, state)
    return Standing(words, LOOKS.get(state, "plain"))


def clock(moment: datetime, at: datetime) -> str:
    """A time of day, with the day when it is another one. UTC, as everywhere in the back office."""
    return f"{moment:%H:%M}" if moment.date() == at.date() else f"{moment:%Y-%m-%d %H:%M}"


def sums(amounts: dict[str, Decimal]) -> str:
    """Sums per currency in one line, largest first."""
    return " · ".join(money(amounts[code], code) for code in sorted(amounts, key=lambda code: -amounts[code]))
