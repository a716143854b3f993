"""What the pages of reconciliation call things."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html
from django_fsm import ConcurrentTransition, TransitionNotAllowed

from canonical.xref import AlreadyBound
from hub.admin.desk_chart import length
from hub.admin_ui import Problem, money
from reconciliation.matching.pairs import PAIRS
from reconciliation.people import NotAllowed

PAIR_TITLES = {pair.name: pair.title for pair in PAIRS} | {
    "credits": "Service credits", "subscriptions": "Subscriptions", "customers": "Customers", "products": "Products",
    "recognition": "Recognition", "control_totals": "Control totals",
}  # fmt: skip
LOOKS = {
    "open": "wait", "reopened": "wait", "explained": "busy", "repairing": "busy", "closed": "good",
    "reading": "busy", "matching": "busy", "done": "good", "failed": "bad",
    "proposed": "wait", "applying": "busy", "refused": "bad", "prepared": "wait", "signed": "good",
}  # fmt: skip
"""State of a break, scan, mend or close → how it looks."""
FATES = {"matched": "good", "excused": "plain", "fresh": "wait", "break": "bad"}
"""What became of readings → how it looks, in the order it is shown."""
EVIDENCE = {
    "run": "hub_run", "reviewitem": "hub_reviewitem", "inboxevent": "hub_inboxevent", "externalref": "canonical_externalref",
    "credit": "credits_credit", "invoice": "canonical_invoice", "scan": "reconciliation_scan", "break": "reconciliation_break",
}  # fmt: skip
"""Kind of an object that evidence names → its page."""
REFUSALS = (NotAllowed, TransitionNotAllowed, ConcurrentTransition, AlreadyBound)
"""What a service says no with."""


def mark(state: str, label: str = "") -> str:
    """A state as a coloured mark."""
    return format_html('<span class="tie-badge tie-{}">{}</span>', LOOKS.get(state, "plain"), label or state)


def pair_title(name: str) -> str:
    """What people call a pair."""
    return PAIR_TITLES.get(name, name.replace("_", " "))


def age(since: datetime) -> str:
    """How long ago, in words."""
    return length(timezone.now() - since)


def proof(evidence: Iterable[Any]) -> list[dict[str, str]]:
    """Evidence with the page of what it names ('' where it names nothing of ours)."""
    found = []
    for each in evidence:
        said = each if isinstance(each, Mapping) else {"text": each}
        page, pk = EVIDENCE.get(str(said.get("kind", ""))), said.get("id")
        url = reverse(f"admin:{page}_change", args=[pk]) if page and isinstance(pk, int) else ""
        found.append({"text": str(said.get("text", "")), "url": url})
    return found


def sums(rows: Iterable[tuple[str, Decimal]]) -> str:
    """(currency, amount) in one line, largest first; amounts of different currencies are never added."""
    return " · ".join(money(amount, currency) for currency, amount in sorted(rows, key=lambda row: -row[1]))


def problem(error: Exception) -> Problem:
    """A refusal of a service as a sentence for a person."""
    said = str(error).strip() or "That is not possible."
    return Problem(f"{said[:1].upper()}{said[1:]}{'' if said.endswith(('.', '!', '?')) else '.'}")


def carried_out(act: Callable[[], Any], done: str) -> str:
    """What to tell after a service has done its work. Raises Problem when it refuses."""
    try:
        act()
    except REFUSALS as error:
        raise problem(error) from error
    return done
