"""Journal entries of our own, through the same three states as documents (see `commands`): a draft with our key in its
description, held against what was asked for, and posted by id, which Tryton does at most once.

What an entry corrects is its origin. An entry about a schedule of revenue is one of the schedule's own moves from then on, so
that the ledger shows it there; therefore only schedules whose moves are all posted are corrected: Tryton posts no move of its
own into a period that has one already.
"""

from __future__ import annotations

from datetime import date
from decimal import Decimal

from canonical.commands import DocumentFacts, PostJournal, Written
from connectors.sdk.errors import Busy, Refused, Unknown
from connectors.sdk.http import Call
from connectors.vendors.tryton import drafting
from connectors.vendors.tryton.client import Domain, Row, TrytonClient

MOVE, DEFERRED, INVOICE = "account.move", "account.invoice.deferred", "account.invoice"
FIELDS = (
    "number", "state", "date", "origin", "company.currency.code", "lines.account.code", "lines.debit", "lines.credit",
)  # fmt: skip


def find_journal(client: TrytonClient, request: PostJournal, call: Call) -> Written | None:
    """The posted entry with our key."""
    posted, _ = _by_key(client, request.key, call)
    return _written(client, posted) if posted else None


def post_journal(client: TrytonClient, request: PostJournal, call: Call) -> Written:
    """Post the entry on the first open day ≥ `document_on`. Refused for another currency than the company's, for codes the
    books lack, and when what it is about is not there or not finished."""
    posted, drafts = _by_key(client, request.key, call)
    if posted is None and not drafts:
        _create(client, request, call)
        posted, drafts = _by_key(client, request.key, call)
    for spare in drafts if posted else drafts[1:]:
        _discard(client, spare, call)
    if posted:
        return _written(client, posted)
    if not drafts:
        raise Unknown("the new entry is not to be found", code="not_visible")
    draft = drafts[0]
    if _sides(draft) != sorted((line.account, line.debit, line.credit) for line in request.lines):
        _discard(client, draft, call)
        raise Refused("the draft has other lines than were asked for", code="draft_differs")
    return _written(client, _post(client, request, draft, call))


def _create(client: TrytonClient, request: PostJournal, call: Call) -> None:
    values = {
        "company": client.settings.company,
        "journal": client.id_of(call, "account.journal", "code", request.journal or client.settings.journal),
        "description": request.key,
        "origin": _origin(client, request, call),
        "lines": [["create", [
            {
                "account": client.id_of(call, "account.account", "code", line.account), "debit": line.debit, "credit": line.credit,
            }
            for line in request.lines
        ]]],
    }  # fmt: skip
    _require_currency(client, request.currency, call)
    client.create(call, MOVE, values | _when(client, request.document_on, call))


def _when(client: TrytonClient, wanted: date, call: Call) -> Row:
    day = drafting.open_day(client, wanted, call, fresh=True)
    period = next(row["id"] for row in client.periods(call) if row["start_date"] <= day <= row["end_date"])
    return {"date": day, "period": period}


def _post(client: TrytonClient, request: PostJournal, draft: Row, call: Call) -> Row:
    """Press "post"; a draft whose period was closed meanwhile moves to the first day that is open."""
    try:
        client.press(call, MOVE, draft["id"], "post")
    except Refused:
        posted, drafts = _by_key(client, request.key, call)
        if posted:
            return posted
        if draft["id"] not in {row["id"] for row in drafts}:
            raise Busy("another call took this draft away in favour of its own", code="concurrent_call") from None
        when = _when(client, request.document_on, call)
        if when["date"] == draft["date"]:
            raise
        client.write(call, MOVE, draft["id"], when)
        client.press(call, MOVE, draft["id"], "post")
    row = client.read(call, MOVE, draft["id"], FIELDS)
    if row["state"] != "posted":
        raise Refused("the ERP does not let this entry be posted", code="not_posted")
    return row


def _discard(client: TrytonClient, draft: Row, call: Call) -> None:
    try:
        client.delete(call, MOVE, draft["id"])
    except Refused:
        raise Busy("another call has just posted this entry", code="concurrent_call") from None


def _by_key(client: TrytonClient, key: str, call: Call) -> tuple[Row | None, list[Row]]:
    """(the posted entry with this key, drafts with it, oldest first)."""
    domain: Domain = [["description", "=", key], ["company", "=", client.settings.company]]
    rows = client.search(call, MOVE, domain, FIELDS, order=[["id", "ASC"]])
    posted = next((row for row in rows if row["state"] == "posted"), None)
    return posted, [row for row in rows if row["state"] == "draft"]


def _origin(client: TrytonClient, request: PostJournal, call: Call) -> str | None:
    if not request.about:
        return None
    if request.about_kind in ("invoice", "credit_memo"):
        return f"{INVOICE},{client.read(call, INVOICE, int(request.about), ['state'])['id']}"
    line = request.about.partition(":")[2]
    if request.about_kind != "recognition" or not line.isdigit():
        raise Refused(f"an entry about {request.about_kind} {request.about} has no place in the ERP", code="unknown_origin")
    found = client.search(call, DEFERRED, [["invoice_line", "=", int(line)]], ["state"], limit=1)
    if not found:
        raise Refused(f"the ERP has no schedule of line {line}", code="unknown_origin")
    if found[0]["state"] != "closed":
        raise Refused("the schedule has not posted all of its moves yet", code="schedule_running")
    return f"{DEFERRED},{found[0]['id']}"


def _require_currency(client: TrytonClient, currency: str, call: Call) -> None:
    own = client.read(call, "company.company", client.settings.company, ["currency.code"])["currency"]["code"]
    if own != currency:
        raise Refused(f"the books are kept in {own}, not in {currency}", code="currency_differs")


def _sides(move: Row) -> list[tuple[str, Decimal, Decimal]]:
    return sorted((line["account"]["code"], line["debit"], line["credit"]) for line in move["lines"])


def _written(client: TrytonClient, move: Row) -> Written:
    facts = DocumentFacts(
        total=sum((line["debit"] for line in move["lines"]), Decimal(0)), currency=move["company"]["currency"]["code"],
        document_on=move["date"], state=move["state"],
    )  # fmt: skip
    return Written(external_id=str(move["id"]), number=move["number"] or "", facts=facts, url=client.url_of(MOVE, move["id"]))
