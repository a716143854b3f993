"""What is written into a draft: codes resolved to ids, lines, taxes, and the day that the books allow."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Any

from canonical.commands import PostDocument, PostingLine, ReverseDocument
from connectors.sdk.errors import Refused
from connectors.sdk.http import Call
from connectors.vendors.tryton import mapping
from connectors.vendors.tryton.client import Domain, Row, TrytonClient

Values = dict[str, Any]
ORIGINAL_LINES = (
    "lines.type", "lines.amount", "lines.quantity", "lines.unit_price", "lines.unit", "lines.product", "lines.account",
    "lines.taxes", "lines.description", "lines.taxes_date", "lines.defer_from", "lines.defer_to", "account", "invoice_address",
    "journal",
)  # fmt: skip


def new_document(client: TrytonClient, request: PostDocument, sign: int, call: Call) -> Values:
    """The draft of an invoice (sign 1) or a credit memo (sign -1). Refused('unknown_…') for codes the books lack."""
    fields = ["account_receivable", "addresses.id"]
    party = client.read(call, "party.party", int(request.party), fields)
    if not party["addresses"]:
        raise Refused("the customer has no address in the ERP", code="no_address")
    currency = client.id_of(call, "currency.currency", "code", request.currency)
    credited = _credited_lines(client, getattr(request, "invoice", None), call)
    lines = []
    for line in request.lines:
        values = _line(client, line, sign, currency, call)
        values["origin"] = _origin(credited, values)
        lines.append(values)
    term, due_on = getattr(request, "payment_term", ""), getattr(request, "due_on", None)
    return {
        **_head(client, request.key, int(request.party), currency, open_day(client, request.document_on, call)),
        "invoice_address": party["addresses"][0]["id"],
        "account": party["account_receivable"] or client.configuration(call)["default_account_receivable"],
        "journal": client.id_of(call, "account.journal", "code", request.journal or client.settings.journal),
        "payment_term": client.id_of(call, "account.invoice.payment_term", "name", term) if term else None,
        # Without a term Tryton asks for everything on this day, which is how a given due date is kept exactly.
        "payment_term_date": None if term else due_on or request.document_on,
        "description": request.number or None,
        "comment": request.note or None,
        "lines": [["create", lines]],
    }


def _head(client: TrytonClient, key: str, party: int, currency: int, on: date) -> Values:
    shared = {"type": "out", "company": client.settings.company, "reference": key, "party": party, "currency": currency}
    return {**shared, "invoice_date": on, "accounting_date": on}


def _line(client: TrytonClient, line: PostingLine, sign: int, currency: int, call: Call) -> Values:
    quantity, price = mapping.quantity_and_price(line, sign)
    values: Values = {
        "type": "line",
        "company": client.settings.company,
        "currency": currency,
        "account": client.id_of(call, "account.account", "code", line.revenue_account),
        "description": line.description,
        "quantity": quantity,
        "unit_price": price,
        "taxes": [["add", [client.id_of(call, "account.tax", "name", code) for code in line.tax_codes]]],
    }
    if line.product_code:
        values["product"], values["unit"] = client.product(call, line.product_code)
    if defers(line):
        deferred = client.configuration(call)["deferred_account_revenue"]
        if not deferred or deferred["code"] != line.deferred_account:
            raise Refused(f"the ERP does not defer to account {line.deferred_account}", code="deferred_account")
        values |= {"defer_from": line.service_from, "defer_to": line.service_to}
    return values


def defers(line: PostingLine) -> bool:
    """A schedule needs a product and more than one day."""
    has_span = line.service_from and line.service_to and line.service_from < line.service_to
    return bool(line.deferred_account and line.product_code and has_span)


def _credited_lines(client: TrytonClient, invoice: str | None, call: Call) -> Sequence[Row]:
    if invoice is None:
        return ()
    row = client.read(call, "account.invoice", int(invoice), ["state", "lines.product", "lines.account", "lines.type"])
    if row["state"] not in ("posted", "paid"):
        raise Refused(f"invoice {invoice} is {row['state']}; only a posted one can be credited", code="not_posted")
    return [line for line in row["lines"] if line["type"] == "line"]


def _origin(credited: Sequence[Row], values: Values) -> str | None:
    """The line that is credited: the one with this product and account, else the first."""
    if not credited:
        return None
    sold = (values.get("product"), values["account"])
    alike = [line for line in credited if (line["product"], line["account"]) == sold]
    return f"account.invoice.line,{(alike or credited)[0]['id']}"


def original_of(client: TrytonClient, request: ReverseDocument, call: Call) -> Row:
    """The posted document to reverse, with its lines; Refused unless it is what the request says."""
    row = client.read(call, "account.invoice", int(request.document), (*mapping.DOCUMENT, *ORIGINAL_LINES))
    facts = mapping.document_facts(row)
    if row["state"] not in ("posted", "paid"):
        raise Refused(f"the document is {row['state']}", code="not_posted")
    if (facts.party, facts.currency, facts.total) != (request.party, request.currency, abs(request.total)):
        message = f"the document is {facts.total} {facts.currency} for party {facts.party}"
        raise Refused(message, code="document_differs")
    if any(tax["manual"] for tax in row["taxes"]):
        raise Refused("the document has taxes entered by hand; credit it in Tryton", code="manual_taxes")
    return row


def reversal(client: TrytonClient, request: ReverseDocument, original: Row, call: Call) -> Values:
    """The draft that takes back every line of `original`, an invoice or a credit memo, schedules included: each of them
    is met by its opposite over the same days, so that no period keeps anything (Tryton's own wizard leaves them out)."""
    currency = client.id_of(call, "currency.currency", "code", request.currency)
    copied = ("type", "unit_price", "unit", "product", "account", "description", "defer_from", "defer_to")
    lines = [
        {
            **{field: line[field] for field in copied},
            "company": client.settings.company,
            "currency": currency,
            "quantity": None if line["quantity"] is None else -_whole(line["quantity"]),
            "taxes": [["add", line["taxes"]]],
            # The rates of the original's day, also when they have changed since.
            "taxes_date": line["taxes_date"] or original["invoice_date"],
            "origin": f"account.invoice.line,{line['id']}",
        }
        for line in original["lines"]
    ]
    day = open_day(client, request.document_on, call)
    return {
        **_head(client, request.key, original["party"], currency, day),
        **{field: original[field] for field in ("invoice_address", "account", "journal")},
        "payment_term_date": day,
        "description": request.reason or None,
        "lines": [["create", lines]],
    }


def _whole(quantity: Any) -> int | float:
    """A quantity as Tryton gave it, for sending back: whole ones as such."""
    return int(quantity) if quantity == int(quantity) else float(quantity)


# days ----------------------------------------------------------------------------------------------------


def open_day(client: TrytonClient, wanted: date, call: Call, *, fresh: bool = False) -> date:
    """The first day ≥ `wanted` in an open period; Refused('no_open_period') when there is none."""
    for period in client.periods(call, fresh=fresh):
        if period["state"] == "open" and period["end_date"] >= wanted:
            day: date = max(wanted, period["start_date"])
            return day
    raise Refused(f"no open accounting period on or after {wanted}", code="no_open_period")


def allowed_day(client: TrytonClient, wanted: date, numbering: str, call: Call) -> date:
    """The first open day ≥ `wanted` after which nothing is numbered yet: Tryton numbers in the order of dates."""
    day = open_day(client, wanted, call, fresh=True)
    while True:
        until = mapping.last_day_of_year(client.periods(call), day)
        domain: Domain = [
            ["type", "=", "out"], ["company", "=", client.settings.company], ["number", "!=", None],
            ["sequence_type_cache", "=", numbering], ["invoice_date", ">", day], ["invoice_date", "<=", until],
        ]  # fmt: skip
        order = [["invoice_date", "DESC"]]
        newest = client.search(call, "account.invoice", domain, ["invoice_date"], order=order, limit=1)
        if not newest:
            return day
        day = open_day(client, newest[0]["invoice_date"], call)
