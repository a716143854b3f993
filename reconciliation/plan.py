"""A way out of a break, and what it would act on: the readings that the break shows."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from canonical.commands import Request
from connectors.models import Connection
from reconciliation.models import Break


@dataclass(frozen=True, slots=True)
class Work:
    """Work an object of billing again, by order to cash."""

    billing: Connection
    kind: str
    external_id: str


@dataclass(frozen=True, slots=True)
class Write:
    """Ask the ERP for one document. `becomes`: {kind, object_kind, object_id} of what comes of it, None for nothing of ours."""

    erp: Connection
    command: str
    request: Request
    lane: str
    becomes: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Relink:
    """Say that a document of the ERP is ours."""

    erp: Connection
    kind: str
    external_id: str
    object_id: int
    number: str = ""


@dataclass(frozen=True, slots=True)
class Plan:
    """One way out. With `why_not` it cannot be taken now, and that says why. `effects` is the dry run, line by line.

    `amount` in `currency` is what it would move; for a write-off it is signed: positive where billing has more.
    """

    plan: str
    words: str
    effects: tuple[str, ...] = ()
    why_not: str = ""
    amount: Decimal = Decimal(0)
    currency: str = ""
    act: Work | Write | Relink | None = None


class WhyNot(Exception):
    """Why a plan that fits cannot be taken."""


def side(break_: Break, role: str) -> tuple[Connection, dict[str, Any]] | None:
    """The one reading of a role that the break shows, and its system; None when there is none, or several."""
    said = [reading for each in (break_.left, break_.right) for reading in readings(each)]
    systems = {c.slug: c for c in Connection.objects.filter(slug__in={r["system"] for r in said}, role=role)}
    of_role = [(systems[reading["system"]], reading) for reading in said if reading["system"] in systems]
    return of_role[0] if len(of_role) == 1 else None


def readings(said: dict[str, Any]) -> list[dict[str, Any]]:
    if "system" in said:
        return [said]
    held = said.get("items") or list(said.values())
    return [each for each in held if isinstance(each, dict) and "system" in each]


def subject(break_: Break) -> Work | None:
    """What of billing a break is about, as order to cash knows it: an invoice (also for its payment) or a subscription."""
    found = side(break_, "billing")
    if found is None:
        return None
    billing, said = found
    kind, external_id = said["kind"], said["id"]
    if kind == "payment":
        kind, external_id = "invoice", said.get("about", "")
    return Work(billing, kind, external_id) if kind in ("invoice", "subscription") and external_id else None
