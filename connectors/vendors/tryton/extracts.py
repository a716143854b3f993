"""Bulk readings for reconciliation, from Tryton's documents and from its ledger.

Records are read in the order of their ids, each page behind the last id of the one before: what is written meanwhile moves
nothing. Without `since` everything is read that was there at `until`; with it, what was written since, a little earlier
included. Deleted records leave no trace in Tryton (only drafts and unused customers can be deleted): they are gone from a
full reading. Money is in the document's currency, except for recognition, which Tryton keeps in the company's.

Totals list ids and amounts the other way, newest first, and are held against Tryton's own count of the records.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date
from decimal import Decimal
from functools import partial
from typing import Any

from canonical.readings import Reading, Window
from connectors.sdk.contract import Count, Extract
from connectors.sdk.errors import Busy
from connectors.sdk.http import Call
from connectors.sdk.tallies import Amount, against, tally
from connectors.vendors.tryton.client import Domain, Row, TrytonClient
from connectors.vendors.tryton.reading import OVERLAP

PAGE, LEAN_PAGE = 500, 5000
"""Records of one page, and of one that carries ids and amounts alone. Tryton itself sets no bound."""
INVOICE, MOVE, DEFERRED = "account.invoice", "account.move", "account.invoice.deferred"
STATES = {"posted": "open", "paid": "paid", "cancelled": "void"}
MONEY_JOURNALS = ("cash", "general")
"""Types of journals whose moves on receivable accounts are money: not invoices, write-offs or the opening of accounts."""
FAR = 1 << 31


@dataclass(frozen=True, slots=True)
class Source:
    """One kind: where it is, what is read, and the reading of a row (None: the row is of another kind)."""

    model: str
    domain: Callable[[TrytonClient, Window], Domain]
    fields: Sequence[str]
    lean: Sequence[str]
    """What `amounts` needs."""
    readings: Callable[[Row, Window], Iterable[Reading]]
    amounts: Callable[[Row, Window], Iterable[Amount]]


def _extract(source: Source, client: TrytonClient, window: Window, cursor: str | None, call: Call) -> Extract:
    domain = [*source.domain(client, window), ["id", ">", int(cursor or 0)]]
    rows = client.search(call, source.model, domain, source.fields, order=[["id", "ASC"]], limit=PAGE)
    try:
        readings = [reading for row in rows for reading in source.readings(row, window)]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise Busy(f"a page of {source.model} that is not understood: {error!r}"[:300], code="unreadable_answer") from None
    return Extract(readings, str(rows[-1]["id"]) if len(rows) == PAGE else None)


def _count(source: Source, client: TrytonClient, window: Window, cursor: str | None, call: Call) -> Count:
    """The cursor holds the lowest id read, how many records there are by Tryton's own count, and how many were listed."""
    domain = source.domain(client, window)
    if cursor:
        before, counted, listed = json.loads(cursor)
    else:
        before, listed = FAR, 0
        counted = int(client.rpc(call, f"model.{source.model}.search_count", domain, write=False))
    below = [*domain, ["id", "<", before]]
    rows = client.search(call, source.model, below, source.lean, order=[["id", "DESC"]], limit=LEAN_PAGE)
    told, listed = tally(amount for row in rows for amount in source.amounts(row, window)), listed + len(rows)
    if len(rows) == LEAN_PAGE:
        return Count(told, json.dumps([rows[-1]["id"], counted, listed]))
    # Records may be of no kind or of several readings, so it is records that are counted.
    return Count([*told, *against(counted, listed)], None)


def _changed(window: Window, *more: Any) -> Domain:
    """Known at `until`, and written since or held by one of the further conditions."""
    known: Domain = [["create_date", "<=", window.until.astimezone(UTC)]]
    if window.since is None:
        return known
    written = ["write_date", ">=", (window.since - OVERLAP).astimezone(UTC)]
    return [*known, ["OR", written, *more]]


def _of(row: Row, **told: Any) -> Reading:
    return Reading(external_id=str(row["id"]), updated_at=row["write_date"], **told)


def _id(value: Any) -> str:
    return "" if value is None else str(value)


# documents -------------------------------------------------------------------------------------------------------

DOCUMENT = (
    "number", "state", "reference", "party", "currency.code", "untaxed_amount", "tax_amount", "total_amount", "invoice_date",
    "write_date", "origin_invoices", "reconciled", "reconciliation_lines.amount", "reconciliation_lines.move_origin",
    "lines.defer_from", "lines.defer_to",
)  # fmt: skip


def _documents(sign: int, client: TrytonClient, window: Window) -> Domain:
    """Customer documents of that sign; those whose amount Tryton has not stored yet (drafts) may be of either."""
    stored = ["OR", ["total_amount_cache", ">=" if sign > 0 else "<", Decimal(0)], ["total_amount_cache", "=", None]]
    return [["type", "=", "out"], ["company", "=", client.settings.company], stored, *_changed(window)]


def _document(sign: int, row: Row, window: Window) -> Iterator[Reading]:
    total = row["total_amount"]
    if _sign(total) != sign:
        return
    served = [line for line in row["lines"] if line["defer_from"] and line["defer_to"]]
    yield _of(
        row, kind="invoice" if sign > 0 else "credit_memo", number=row["number"] or "", reference=row["reference"] or "",
        party=_id(row["party"]), about=_id(next(iter(row["origin_invoices"]), None)), currency=row["currency"]["code"],
        net=sign * row["untaxed_amount"], tax=sign * row["tax_amount"], total=sign * total, on=row["invoice_date"],
        service_from=min((line["defer_from"] for line in served), default=None),
        service_to=max((line["defer_to"] for line in served), default=None), status=_status(sign, row),
    )  # fmt: skip


def _sign(total: Decimal) -> int:
    return -1 if total < 0 else 1


def _status(sign: int, row: Row) -> str:
    """An invoice that other documents took back is void, although Tryton calls it paid; its worker is not waited for."""
    state = STATES.get(row["state"], "draft")
    if sign < 0:
        return {"open": "issued", "paid": "issued"}.get(state, state)
    if state != "open" and state != "paid":
        return state
    if row["reconciled"] is None:
        return "open"
    own = f"{INVOICE},{row['id']}"
    others = [line for line in row["reconciliation_lines"] if (line["move_origin"] or own) != own]
    credits = [-line["amount"] for line in others if line["move_origin"].startswith(f"{INVOICE},") and line["amount"] < 0]
    return "void" if 0 < row["total_amount"] <= sum(credits, Decimal(0)) else "paid"


def _document_amount(sign: int, row: Row, window: Window) -> Iterator[Amount]:
    total = row["total_amount"]
    if _sign(total) == sign:
        yield row["currency"]["code"], sign * total


# payments --------------------------------------------------------------------------------------------------------

PAYMENT = (
    "number", "date", "description", "origin", "write_date", "company.currency.code", "lines.party", "lines.debit",
    "lines.credit", "lines.amount_second_currency", "lines.second_currency.code", "lines.account.type.receivable",
    "lines.invoice_payments",
)  # fmt: skip
PAYMENT_AMOUNT = tuple(name for name in PAYMENT if name.startswith(("lines.", "company.")))


def _payments(client: TrytonClient, window: Window) -> Domain:
    """Posted moves of money on receivable accounts: the payment wizard's, and those that people book by hand."""
    return [
        ["company", "=", client.settings.company], ["state", "=", "posted"], ["journal.type", "in", list(MONEY_JOURNALS)],
        ["lines.account.type.receivable", "=", True], *_changed(window),
    ]  # fmt: skip


def _payment(row: Row, window: Window) -> Iterator[Reading]:
    """One per customer and currency of the move; `origin` of a move names its invoice when the wizard made it."""
    sums = _received(row)
    model, _, origin = (row["origin"] or "").partition(",")
    for number, ((party, currency), (amount, invoice)) in enumerate(sums.items()):
        about = origin if model == INVOICE else invoice
        yield _of(
            {**row, "id": row["id"] if not number else f"{row['id']}:{number}"}, kind="payment", number=row["number"] or "",
            reference=row["description"] or "", party=party, about=about, currency=currency, total=abs(amount), on=row["date"],
            status="succeeded" if amount > 0 else "refunded",
        )  # fmt: skip


def _received(row: Row) -> dict[tuple[str, str], tuple[Decimal, str]]:
    """(customer, currency) → (what was received, below zero what was given back; the invoice it was for, if that is told)."""
    sums: dict[tuple[str, str], tuple[Decimal, str]] = {}
    for line in row["lines"]:
        if not line["party"] or not ((line["account"] or {}).get("type") or {}).get("receivable"):
            continue
        foreign = line["second_currency"]
        amount = -line["amount_second_currency"] if foreign else line["credit"] - line["debit"]
        key = _id(line["party"]), foreign["code"] if foreign else row["company"]["currency"]["code"]
        before, invoice = sums.get(key, (Decimal(0), ""))
        sums[key] = before + amount, invoice or _id(next(iter(line["invoice_payments"]), None))
    return {key: (amount, invoice) for key, (amount, invoice) in sums.items() if amount}


def _payment_amount(row: Row, window: Window) -> Iterator[Amount]:
    for (_, currency), (amount, _invoice) in _received(row).items():
        yield currency, abs(amount)


# recognition -----------------------------------------------------------------------------------------------------

SCHEDULE = (
    "amount", "state", "start_date", "end_date", "write_date", "company.currency.code", "invoice_line.account",
    "invoice_line.invoice.id", "invoice_line.invoice.party", "invoice_line.invoice.reference", "invoice_line.invoice.number",
    "moves.date", "moves.state", "moves.lines.account", "moves.lines.debit", "moves.lines.credit",
)  # fmt: skip
SCHEDULE_AMOUNT = tuple(name for name in SCHEDULE if name.startswith(("moves.", "company.", "amount", "invoice_line.account")))


def _schedules(client: TrytonClient, window: Window) -> Domain:
    """Schedules of customer invoices. Days pass without anything being written, so one still running then is read too."""
    since = window.since.date() if window.since else date.min
    more = (["end_date", ">=", since], ["moves.write_date", ">=", (window.since - OVERLAP).astimezone(UTC)]) if window.since else ()
    return [["type", "=", "out"], ["company", "=", client.settings.company], *_changed(window, *more)]


def _recognition(row: Row, window: Window) -> Iterator[Reading]:
    """What the ledger recognised of an invoice line up to `until`, by the days of its moves: they are posted in advance.

    `net` is the line's amount; `extra.scheduled` what all moves posted so far will have recognised in the end. Of a credit
    memo's line (`extra.form` = credit) it is revenue taken back, positive too.
    """
    line, today = row["invoice_line"], window.until.astimezone(UTC).date()
    sign = _sign(row["amount"])
    recognised, scheduled = sign * _recognised(row, today), sign * _recognised(row, date.max)
    is_done = row["end_date"] <= today and row["state"] == "closed"
    invoice = line["invoice"]
    yield Reading(
        kind="recognition", external_id=f"{invoice['id']}:{line['id']}", number=invoice["number"] or "",
        reference=invoice["reference"] or "", party=_id(invoice["party"]), about=_id(invoice["id"]),
        currency=row["company"]["currency"]["code"], net=abs(row["amount"]), total=recognised, service_from=row["start_date"],
        service_to=row["end_date"], status="done" if is_done else "running", updated_at=row["write_date"],
        extra={"scheduled": f"{scheduled:f}", "state": row["state"], **({"form": "credit"} if sign < 0 else {})},
    )  # fmt: skip


def _recognised(row: Row, until: date) -> Decimal:
    """The line's own amount, which its invoice books as revenue, and what the schedule's moves change of that.

    Not started (draft) the schedule has no moves, and all of the line was revenue on the day of the invoice.
    """
    account, total = row["invoice_line"]["account"], row["amount"]
    for move in row["moves"]:
        if move["state"] == "posted" and move["date"] <= until:
            own = [line for line in move["lines"] if line["account"] == account]
            total += sum((line["credit"] - line["debit"] for line in own), Decimal(0))
    return Decimal(total)


def _recognition_amount(row: Row, window: Window) -> Iterator[Amount]:
    recognised = _recognised(row, window.until.astimezone(UTC).date())
    yield row["company"]["currency"]["code"], _sign(row["amount"]) * recognised


# master data -----------------------------------------------------------------------------------------------------


def _all(client: TrytonClient, window: Window) -> Domain:
    # Naming the field is what makes Tryton bring inactive records too.
    return [["active", "in", [True, False]], *_changed(window)]


def _named(kind: str, row: Row, window: Window) -> Iterator[Reading]:
    """A record with a code, which the hub gives to customers it makes."""
    code = row["code"] or ""
    reference = code if kind == "party" else ""
    status = "active" if row["active"] else "gone"
    extra = {"name": row["name"]} if row["name"] else {}
    yield _of(row, kind=kind, number=code, reference=reference, status=status, extra=extra)


def _one(row: Row, window: Window) -> Iterator[Amount]:
    yield "", None


def _master(kind: str, model: str) -> Source:
    return Source(model, _all, ("code", "name", "active", "write_date"), ("id",), partial(_named, kind), _one)


def _documents_of(sign: int) -> Source:
    readings, amounts = partial(_document, sign), partial(_document_amount, sign)
    return Source(INVOICE, partial(_documents, sign), DOCUMENT, ("currency.code", "total_amount"), readings, amounts)


SOURCES: Mapping[str, Source] = {
    "invoice": _documents_of(1),
    "credit_memo": _documents_of(-1),
    "payment": Source(MOVE, _payments, PAYMENT, PAYMENT_AMOUNT, _payment, _payment_amount),
    "recognition": Source(DEFERRED, _schedules, SCHEDULE, SCHEDULE_AMOUNT, _recognition, _recognition_amount),
    "party": _master("party", "party.party"),
    "product": _master("product", "product.product"),
}
EXTRACTS: dict[str, Callable[[TrytonClient, Window, str | None, Call], Extract]] = {
    kind: partial(_extract, source) for kind, source in SOURCES.items()
}
TOTALS: dict[str, Callable[[TrytonClient, Window, str | None, Call], Count]] = {
    kind: partial(_count, source) for kind, source in SOURCES.items()
}
