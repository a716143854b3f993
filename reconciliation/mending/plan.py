"""A way out of a break, and what it would act on: the readings that the break shows."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from canonical import xref
from canonical.commands import PostCreditMemo, PostInvoice, Request, ReverseDocument
from canonical.models import Invoice
from connectors.models import Connection
from reconciliation.models import Break, Mend, ReadingRow


@dataclass(frozen=True, slots=True)
class Work:
    """Work an object of billing again, by order to cash."""

    billing: Connection
    kind: str
    external_id: str


@dataclass(frozen=True, slots=True)
class Write:
    """Ask a system for one write. `becomes`: {kind, object_kind, object_id} of what comes of it, None for nothing of ours."""

    system: Connection
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
class Restate:
    """Take an invoice's document of the ERP back, and post the invoice anew under `key`, if billing still says `approved`."""

    billing: Connection
    external_id: str
    object_id: int
    document: str
    reverse: ReverseDocument
    key: str
    approved: dict[str, str]


@dataclass(frozen=True, slots=True)
class ShowCase:
    """Write the block of a credit's case again."""

    credit: int


@dataclass(frozen=True, slots=True)
class Page:
    """Where a person goes on: a page of the back office. `values` fill its form, or name the object by `pk`."""

    words: str
    view: str
    values: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Plan:
    """One way out. With `why_not` it cannot be taken now, and that says why. `effects` is the dry run, line by line.

    `amount` in `currency` is what it would move; for a write-off it is signed: positive where billing has more. A hand-over
    is nothing that the hub does: its effects say who does what, with figures, and `page` where.
    """

    plan: str
    words: str
    effects: tuple[str, ...] = ()
    why_not: str = ""
    amount: Decimal = Decimal(0)
    currency: str = ""
    act: Work | Write | Relink | Restate | ShowCase | None = None
    page: Page | None = None
    choice: str = ""
    """Which of several plans of the kind, where a person chooses."""


class WhyNot(Exception):
    """Why a plan that fits cannot be taken; `page`: where that can be changed."""

    def __init__(self, message: str, page: Page | None = None) -> None:
        super().__init__(message)
        self.page = page


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


def row(break_: Break, system: Connection, said: dict[str, Any]) -> ReadingRow:
    """The reading behind what a break shows, as its last scan kept it. Raises WhyNot when it keeps it no longer."""
    found = ReadingRow.objects.filter(
        scan=break_.last_scan_id, connection=system, kind=said["kind"], external_id=said["id"]
    ).first()
    if found is None:
        raise WhyNot("The reading is not kept any more: the next scan brings it again.")
    return found


def key_of(break_: Break, plan: str, name: str) -> str:
    """The key of a mend's document: `name`, and which time it is when the break was mended so before. One that failed keeps it."""
    before = break_.mends.filter(plan=plan, state="done").count() if break_.pk else 0
    return f"{name}/{before + 1}" if before else name


def invoice_of(work: Work) -> Invoice | None:
    """The invoice as the hub has recorded it."""
    pk = xref.find(work.billing.pk, "invoice", work.external_id) if work.kind == "invoice" else None
    return Invoice.objects.select_related("legal_entity").get(pk=pk) if pk else None


# in words -----------------------------------------------------------------------------------------------------------

ON_APPROVAL = "the day it is approved"


def words(kind: str) -> str:
    """What a plan is called."""
    return str(Mend.Plan(kind).label)


def plain(amount: Decimal | str) -> str:
    """An amount without trailing zeros."""
    return f"{Decimal(amount).normalize() or Decimal(0):f}"


def money(said: dict[str, Any]) -> str:
    """The total of a reading."""
    return f"{plain(said['total'])} {said.get('currency', '')}".strip() if said.get("total") else "no amount"


def name(said: dict[str, Any]) -> str:
    """A reading by its kind and number."""
    return f"{str(said['kind']).replace('_', ' ')} {said.get('number') or said['id']}"


def books(erp: Connection) -> str:
    """An ERP and whose books of it."""
    company = erp.settings.get("company", "")
    return f"{erp} (company {company})" if company else str(erp)


def posts(what: str, request: PostInvoice | PostCreditMemo, erp: Connection, dated: str = "") -> tuple[str, ...]:
    """What posting a document would do, line by line."""
    lines = [
        f"account {line.revenue_account}: {line.net} net and {line.tax} tax {', '.join(line.tax_codes)}".rstrip()
        for line in request.lines
    ]  # fmt: skip
    head = f"would post {what} {request.number or request.key} of {request.total} {request.currency} in {books(erp)}"
    return (f"{head}, dated {dated or request.document_on} or the first open day after, under the key {request.key}", *lines)


def hand_over(*effects: str, page: Page | None = None) -> Plan:
    """What a person has to do, because the hub must not or cannot."""
    return Plan(Mend.Plan.HAND_OVER, words("hand_over"), effects, page=page)
