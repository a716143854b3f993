"""The writes. Tryton knows no idempotency keys, so every document goes through the same three states:

1. a draft with our key in `reference` (not money yet, and deletable);
2. the draft, read back, is what was asked for to the last minor unit, or it does not go on;
3. posted by id, which Tryton does at most once.

A second call, or one after a crash anywhere, finds the posted document or goes on with the draft; spare drafts are
deleted. Two calls at the same moment both look again after creating and agree on the older draft (see `_discard`).
A call that lands late therefore leaves a draft at worst, which the next call removes. A reversal goes on to be
reconciled with its original (see `settling`), which Tryton does at most once as well. Payments have no draft: they
carry our key in the description of their move, and rest on looking first.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date
from decimal import Decimal

from canonical.commands import (
    DocumentFacts,
    EnsureParty,
    PostCreditMemo,
    PostDocument,
    PostInvoice,
    RegisterPayment,
    ReverseDocument,
    Written,
)
from connectors.sdk.errors import Busy, Refused, Unknown
from connectors.sdk.http import Call
from connectors.vendors.tryton import drafting, mapping, settling
from connectors.vendors.tryton.client import Domain, Row, TrytonClient

# parties -------------------------------------------------------------------------------------------------


def find_party(client: TrytonClient, request: EnsureParty, call: Call) -> Written | None:
    """The customer with this code; codes are unique in Tryton."""
    row = _party_by_code(client, request.code, call)
    return _party_written(client, row) if row else None


def ensure_party(client: TrytonClient, request: EnsureParty, call: Call) -> Written:
    """Create the customer, or bring the one with its code up to date. Two at once are settled by the unique code."""
    country = _country(client, request.address.country, call)
    row = _party_by_code(client, request.code, call)
    if row is None:
        try:
            client.create(call, "party.party", mapping.new_party_values(request, country))
        except Refused:
            if _party_by_code(client, request.code, call) is None:
                raise
        row = _party_by_code(client, request.code, call)
        if row is None:
            raise Unknown("the new customer is not to be found", code="not_visible")
    if changes := mapping.changed_party_values(request, row, country):
        client.write(call, "party.party", row["id"], changes)
    return _party_written(client, row)


def _party_by_code(client: TrytonClient, code: str, call: Call) -> Row | None:
    found = client.search(call, "party.party", [["code", "=", code]], mapping.PARTY, limit=1)
    return found[0] if found else None


def _party_written(client: TrytonClient, row: Row) -> Written:
    party, url = str(row["id"]), client.url_of("party.party", row["id"])
    return Written(external_id=party, number=row["code"], facts=DocumentFacts(party=party), url=url)


def _country(client: TrytonClient, code: str, call: Call) -> int | None:
    if not code:
        return None
    try:
        return client.id_of(call, "country.country", "code", code)
    except Refused:
        return None


# documents -----------------------------------------------------------------------------------------------


def find_document(client: TrytonClient, request: PostDocument | ReverseDocument, call: Call) -> Written | None:
    """The posted document with our key. A draft, a schedule not started, or a reversal that has still to settle its
    original is not there yet: `run` goes on with it."""
    posted, _ = _by_key(client, request.key, call)
    if posted is None:
        return None
    if isinstance(request, ReverseDocument):
        if settling.fitting(client, int(request.document), posted["id"], call):
            return None
    elif not _has_schedule(request):
        return _written(client, posted)
    if _draft_deferrals(client, posted["id"], call):
        return None
    return _written(client, posted)


def post_invoice(client: TrytonClient, request: PostInvoice, call: Call) -> Written:
    """Post a customer invoice on the first day ≥ `document_on` that an open period and the numbering allow."""
    return _post(client, request, 1, lambda: drafting.new_document(client, request, 1, call), call)


def post_credit_memo(client: TrytonClient, request: PostCreditMemo, call: Call) -> Written:
    """Post a credit note, each line tied to the line of `invoice` that it credits, or on account without one.

    A line with a service period gets a schedule below zero, which lowers what is recognised over those days.
    """
    return _post(client, request, -1, lambda: drafting.new_document(client, request, -1, call), call)


def reverse_invoice(client: TrytonClient, request: ReverseDocument, call: Call) -> Written:
    """Post the opposite of all of `document`, an invoice or a credit memo, as Tryton's credit wizard writes it, but with
    our key from the start and with the schedules; and reconcile the two as far as nothing was before it."""
    original = drafting.original_of(client, request, call)
    nets = [-line["amount"] for line in original["lines"] if line["type"] == "line"]
    wanted = _Wanted(request.key, request.party, request.currency, request.document_on, nets, -original["tax_amount"])
    posted = _post_wanted(client, wanted, lambda: drafting.reversal(client, request, original, call), call)
    if any(line["defer_from"] for line in original["lines"]):
        _start_deferrals(client, posted["id"], call)
    settling.settle(client, original["id"], posted["id"], call)
    return _written(client, posted)


class _Wanted:
    """What a document has to be before it is posted: signed as in Tryton."""

    def __init__(self, key: str, party: str, currency: str, on: date, nets: Sequence[Decimal], tax: Decimal) -> None:
        self.key, self.party, self.currency, self.on = key, party, currency, on
        self.net, self.tax, self.lines = sum(nets, Decimal(0)), tax, len(nets)
        self.numbering = "credit_note" if max(nets, default=Decimal(0)) <= 0 and self.net + tax < 0 else "invoice"
        """Which of Tryton's sequences will number it."""

    def accepts(self, row: Row) -> bool:
        """True when the draft is this document, its tax apart."""
        is_ours = (str(row["party"]), row["currency"]["code"]) == (self.party, self.currency)
        return is_ours and row["untaxed_amount"] == self.net


def _post(client: TrytonClient, request: PostDocument, sign: int, new: Callable[[], drafting.Values], call: Call) -> Written:
    nets = [sign * line.net for line in request.lines]
    tax = sign * sum((line.tax for line in request.lines), Decimal(0))
    wanted = _Wanted(request.key, request.party, request.currency, request.document_on, nets, tax)
    posted = _post_wanted(client, wanted, new, call)
    if _has_schedule(request):
        _start_deferrals(client, posted["id"], call)
    return _written(client, posted)


def _post_wanted(client: TrytonClient, wanted: _Wanted, new: Callable[[], drafting.Values], call: Call) -> Row:
    """The posted document with this key: the one that is there, or a draft brought to the end."""
    posted, drafts = _by_key(client, wanted.key, call)
    if posted is None and not drafts:
        client.create(call, "account.invoice", new())
        posted, drafts = _by_key(client, wanted.key, call)
    spare = drafts if posted else drafts[1:]
    for draft in spare:
        _discard(client, draft, call)
    if posted:
        return posted
    if not drafts:
        raise Unknown("the new draft is not to be found", code="not_visible")
    draft = drafts[0]
    if not wanted.accepts(draft):
        message = f"the draft has party {draft['party']}, net {draft['untaxed_amount']} {draft['currency']['code']}"
        _discard(client, draft, call)
        raise Refused(f"{message}, not {wanted.party}, {wanted.net} {wanted.currency}", code="draft_differs")
    _settle_tax(client, wanted, draft, call)
    return _post_draft(client, wanted, draft, call)


def _settle_tax(client: TrytonClient, wanted: _Wanted, draft: Row, call: Call) -> None:
    """Billing's tax is what the customer was asked for: carry its rounding over, refuse more than rounding."""
    difference = wanted.tax - draft["tax_amount"]
    if not difference:
        return
    if not draft["taxes"] or not mapping.within(draft["tax_amount"], wanted.tax, wanted.lines, wanted.currency):
        _discard(client, draft, call)
        raise Refused(f"the ERP computes tax {draft['tax_amount']}, billing says {wanted.tax}", code="tax_differs")
    largest = max(draft["taxes"], key=lambda tax: abs(tax["amount"]))
    change = ["write", [largest["id"]], {"amount": largest["amount"] + difference}]
    client.write(call, "account.invoice", draft["id"], {"taxes": [change]})


def _post_draft(client: TrytonClient, wanted: _Wanted, draft: Row, call: Call) -> Row:
    """Press "post"; a refusal over the date moves the draft to the first day that is allowed."""
    on = draft["invoice_date"]
    for _ in range(3):
        try:
            client.press(call, "account.invoice", draft["id"], "post")
            break
        except Refused:
            posted, drafts = _by_key(client, wanted.key, call)
            if posted:
                return posted
            if draft["id"] not in {row["id"] for row in drafts}:
                raise Busy("another call took this draft away in favour of its own", code="concurrent_call") from None
            day = drafting.allowed_day(client, wanted.on, wanted.numbering, call)
            if day == on:
                raise
            client.write(call, "account.invoice", draft["id"], {"invoice_date": day, "accounting_date": day})
            on = day
    row = client.read(call, "account.invoice", draft["id"], mapping.DOCUMENT)
    if not row["number"]:
        raise Refused("the ERP does not let this draft be posted", code="not_posted")
    return row


def _discard(client: TrytonClient, draft: Row, call: Call) -> None:
    """Delete a draft before posting another. That Tryton refuses this for a posted document is what makes two
    simultaneous calls safe: at least one of them sees both drafts, and only one of delete and post can win."""
    try:
        client.delete(call, "account.invoice", draft["id"])
    except Refused:
        raise Busy("another call has just posted this document", code="concurrent_call") from None


def _by_key(client: TrytonClient, key: str, call: Call) -> tuple[Row | None, list[Row]]:
    """(the document that was posted with this key, even if it was cancelled since; drafts with it, oldest first)."""
    domain: Domain = [["reference", "=", key], ["type", "=", "out"], ["company", "=", client.settings.company]]
    rows = client.search(call, "account.invoice", domain, mapping.DOCUMENT, order=[["id", "ASC"]])
    posted = next((row for row in rows if row["number"]), None)
    return posted, [row for row in rows if not row["number"] and row["state"] != "cancelled"]


def _written(client: TrytonClient, row: Row) -> Written:
    return mapping.document_written(row, client.url_of("account.invoice", row["id"]))


# schedules -----------------------------------------------------------------------------------------------


def _has_schedule(request: PostDocument) -> bool:
    return any(drafting.defers(line) for line in request.lines)


def _start_deferrals(client: TrytonClient, invoice: int, call: Call) -> None:
    """Let Tryton write its revenue schedule. The invoice stands whether or not this succeeds; a schedule that is
    missing or wrong is reconciliation's to find, because a failure here must not undo the invoice."""
    for deferral in _draft_deferrals(client, invoice, call):
        try:
            client.press(call, "account.invoice.deferred", deferral["id"], "run")
        except (Refused, Unknown):
            continue


def _draft_deferrals(client: TrytonClient, invoice: int, call: Call) -> list[Row]:
    domain: Domain = [["invoice_line.invoice", "=", invoice], ["state", "=", "draft"]]
    return client.search(call, "account.invoice.deferred", domain, ["id"])


# payments ------------------------------------------------------------------------------------------------

PAYMENT = (
    "number", "state", "date", "lines.account", "lines.party", "lines.debit", "lines.credit",
    "lines.amount_second_currency", "lines.second_currency.code", "company.currency.code",
)  # fmt: skip


def find_payment(client: TrytonClient, request: RegisterPayment, call: Call) -> Written | None:
    """The move that carries our key and pays this invoice."""
    domain: Domain = [["description", "=", request.key], ["origin", "=", f"account.invoice,{request.invoice}"]]
    moves = client.search(call, "account.move", domain, PAYMENT, order=[["id", "ASC"]], limit=1)
    return _payment_written(client, moves[0]) if moves else None


def register_payment(client: TrytonClient, request: RegisterPayment, call: Call) -> Written:
    """Book what was received, in full or in part, with Tryton's payment wizard. Refused('overpayment') beyond it."""
    found = find_payment(client, request, call)
    if found:
        return found
    fields = ("state", "party", "currency.code", "amount_to_pay")
    invoice = client.read(call, "account.invoice", int(request.invoice), fields)
    if invoice["state"] not in ("posted", "paid"):
        raise Refused(f"the invoice is {invoice['state']}", code="not_posted")
    if (str(invoice["party"]), invoice["currency"]["code"]) != (request.party, request.currency):
        raise Refused("the invoice has another customer or currency", code="document_differs")
    if request.amount > invoice["amount_to_pay"]:
        raise Refused(f"{invoice['amount_to_pay']} {request.currency} is left to pay", code="overpayment")
    _pay(client, request, call)
    written = find_payment(client, request, call)
    if written is None:
        raise Unknown("the payment is not to be found", code="not_visible")
    return written


def _pay(client: TrytonClient, request: RegisterPayment, call: Call) -> None:
    record = int(request.invoice)
    about = {"active_model": "account.invoice", "active_id": record, "active_ids": [record]}
    wizard = "wizard.account.invoice.pay"
    method = client.id_of(call, "account.invoice.payment.method", "name", client.settings.payment_method)
    day = drafting.open_day(client, request.paid_on, call)
    session = client.rpc(call, f"{wizard}.create", context=about, write=False)[0]
    view = client.rpc(call, f"{wizard}.execute", session, {}, "start", context=about, write=False)["view"]
    start = {name: value for name, value in view["defaults"].items() if not name.endswith(".")}
    start |= {"amount": request.amount, "payment_method": method, "date": day, "description": request.key}
    answer = client.rpc(call, f"{wizard}.execute", session, {"start": start}, "choice", context=about)
    if answer.get("view"):
        # Less than what is due: Tryton asks whether the rest is to be written off. It is not.
        ask = {name: value for name, value in answer["view"]["defaults"].items() if not name.endswith(".")}
        form = {"start": start, "ask": ask | {"type": "partial"}}
        client.rpc(call, f"{wizard}.execute", session, form, "pay", context=about)
    client.rpc(call, f"{wizard}.delete", session, context=about, write=False)


def _payment_written(client: TrytonClient, move: Row) -> Written:
    (line,) = [line for line in move["lines"] if line["party"]]
    foreign = line["second_currency"]
    amount = line["amount_second_currency"] if foreign else line["debit"] - line["credit"]
    facts = DocumentFacts(
        party=str(line["party"]),
        total=abs(amount),
        currency=foreign["code"] if foreign else move["company"]["currency"]["code"],
        document_on=move["date"],
        state=move["state"],
    )
    url = client.url_of("account.move", move["id"])
    return Written(external_id=str(move["id"]), number=move["number"] or "", facts=facts, url=url)
