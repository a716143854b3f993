"""Credit notes and customer balances. Our key travels in the metadata, where `find` looks for it for ever."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

from canonical.commands import AdjustBalance, CreditDocumentLine, DocumentFacts, IssueCreditNote, VoidCreditNote, Written
from connectors.sdk.errors import BadPayload, Refused, Unknown
from connectors.sdk.http import Call
from connectors.vendors.stripe.client import Stripe, path_of
from connectors.vendors.stripe.fields import currency_of, from_stripe, instant, many, part, ref, to_stripe, units, words
from connectors.vendors.stripe.reads import OURS

KEY = f"{OURS}key"
Params = dict[str, Any]


def issue_credit_note(client: Stripe, request: IssueCreditNote, call: Call) -> Written:
    """Issue it (https://docs.stripe.com/api/credit_notes/create). Stripe lowers what is due first, not below zero; what is
    left of the note becomes the customer's balance.

    Refused when it exceeds what can be credited, and when the invoice is not the customer's or in another currency.
    """
    found = find_credit_note(client, request, call)
    if found is not None:
        # The note has changed the invoice that the division below is read from.
        return found
    invoice = client.get(call, path_of("invoices", request.invoice))
    invoice = client.complete(call, invoice, "lines", path_of("invoices", request.invoice) + "/lines")
    if (ref(invoice, "customer"), currency_of(invoice)) != (request.party, request.currency):
        raise Refused("the invoice has another customer or currency", code="document_differs")
    billed = {str(line.get("id")): line for line in many(invoice, "lines")}
    is_automatic = bool(part(invoice, "automatic_tax").get("enabled"))
    rest = max(_minor(request.total, request.currency) - units(invoice, "amount_remaining"), 0)
    params = {
        "invoice": request.invoice,
        "lines": [_line(line, billed.get(line.invoice_line or ""), request.currency, is_automatic) for line in request.lines],
        "memo": request.note or None,
        "credit_amount": rest or None,
        "metadata": {KEY: request.key},
    }
    # Divided otherwise, it is another request to Stripe, which refuses it under the key of a refused one.
    key = f"{request.key}/{rest}" if rest else request.key
    return _read_back(_note, client.post(call, "/v1/credit_notes", params, key))


def find_credit_note(client: Stripe, request: IssueCreditNote, call: Call) -> Written | None:
    """The credit note of this invoice that carries our key."""
    notes = client.all(call, "/v1/credit_notes", invoice=request.invoice)
    return next((_read_back(_note, note) for note in notes if _carries(note, request.key)), None)


def void_credit_note(client: Stripe, request: VoidCreditNote, call: Call) -> Written:
    """Void the note while its invoice is open, which is as long as Stripe allows it
    (https://docs.stripe.com/invoicing/integration/programmatic-credit-notes); after that charge the customer's balance.
    """
    found = find_void(client, request, call)
    if found is not None:
        return found
    note = client.get(call, path_of("credit_notes", request.document))
    invoice = client.get(call, path_of("invoices", ref(note, "invoice") or ""))
    if words(invoice, "status") == "open":
        voided = client.post(call, path_of("credit_notes", request.document) + "/void", {}, request.key)
        return _read_back(_note, voided)
    charged = client.post(call, _entries(request.party), _entry(request, -request.total, words(note, "number")), request.key)
    return _read_back(_taken_back, charged)


def find_void(client: Stripe, request: VoidCreditNote, call: Call) -> Written | None:
    """The note when it is void, or the balance transaction that carries our key."""
    note = client.get(call, path_of("credit_notes", request.document))
    if words(note, "status") == "void":
        return _read_back(_note, note)
    return _entry_with(client, request.party, request.key, _taken_back, call)


def adjust_balance(client: Stripe, request: AdjustBalance, call: Call) -> Written:
    """A customer balance transaction; Stripe's sign is what the customer owes, so a credit is negative there."""
    entry = client.post(call, _entries(request.party), _entry(request, request.amount, request.note), request.key)
    return _read_back(_balance, entry)


def find_balance_entry(client: Stripe, request: AdjustBalance, call: Call) -> Written | None:
    """The balance transaction of this customer that carries our key."""
    return _entry_with(client, request.party, request.key, _balance, call)


def _line(line: CreditDocumentLine, billed: Mapping[str, Any] | None, currency: str, is_automatic: bool) -> Params:
    """A part of the billed line; a line of its own where there is none, or a discount would be taken off again."""
    if billed is None and line.invoice_line:
        raise Refused(f"the invoice has no line {line.invoice_line}", code="document_differs")
    taxes = _shares(line, _taxes(billed), currency) if billed else []
    gross = _minor(line.net, currency) + sum(tax["amount"] for tax, is_included in taxes if is_included)
    told: Params = {"tax_amounts": [tax for tax, _ in taxes] or None} if not is_automatic else {}
    if billed and not many(billed, "discount_amounts") and not many(billed, "pretax_credit_amounts"):
        return {"type": "invoice_line_item", "invoice_line_item": line.invoice_line, "amount": gross, **told}
    told = told if billed else {"tax_rates": list(line.tax_codes) or None}
    return {"type": "custom_line_item", "description": line.description or "Credit", "quantity": 1, "unit_amount": gross, **told}


def _taxes(billed: Mapping[str, Any]) -> list[tuple[str, int, bool]]:
    """(rate, amount, included in the line's amount) of a billed line, in the new shape or the old one."""
    if "taxes" in billed:
        new = many(billed, "taxes")
        return [
            (ref(part(t, "tax_rate_details"), "tax_rate") or "", units(t, "amount"), t.get("tax_behavior") == "inclusive")
            for t in new
        ]
    return [(ref(t, "tax_rate") or "", units(t, "amount"), bool(t.get("inclusive"))) for t in many(billed, "tax_amounts")]


def _shares(line: CreditDocumentLine, taxes: list[tuple[str, int, bool]], currency: str) -> list[tuple[Params, bool]]:
    """The tax that is asked for, by the rates the line was billed with; rounding goes to the last one."""
    asked, net = _minor(line.tax, currency), _minor(line.net, currency)
    billed, left, shares = sum(amount for _, amount, _ in taxes), asked, []
    for n, (rate, amount, is_included) in enumerate(taxes, 1):
        share = left if n == len(taxes) else asked * amount // billed if billed else 0
        left -= share
        shares.append(({"amount": share, "tax_rate": rate, "taxable_amount": net}, is_included))
    if left:
        raise Refused(f"line {line.invoice_line} was billed without tax", code="tax_differs")
    return shares


def _entries(party: str) -> str:
    return path_of("customers", party) + "/balance_transactions"


def _entry(request: AdjustBalance | VoidCreditNote, amount: Decimal, description: str) -> Params:
    return {
        "amount": -_minor(amount, request.currency),
        "currency": request.currency.lower(),
        "description": description or None,
        "metadata": {KEY: request.key},
    }


def _entry_with(client: Stripe, party: str, key: str, read: Callable[[Mapping[str, Any]], Written], call: Call) -> Written | None:
    entries = client.all(call, _entries(party))
    return next((_read_back(read, entry) for entry in entries if _carries(entry, key)), None)


def _carries(obj: Mapping[str, Any], key: str) -> bool:
    return bool(part(obj, "metadata").get(KEY) == key)


def _minor(amount: Decimal, currency: str) -> int:
    try:
        return to_stripe(amount, currency)
    except ValueError as error:
        raise Refused(str(error), code="amount") from None


def _read_back(read: Callable[[Mapping[str, Any]], Written], obj: Mapping[str, Any]) -> Written:
    """What was written; an answer we cannot read leaves open what it says."""
    try:
        return read(obj)
    except BadPayload as error:
        raise Unknown(str(error), code="unreadable_answer") from None


def _note(obj: Mapping[str, Any]) -> Written:
    currency = currency_of(obj)
    issued = instant(obj, "effective_at") or instant(obj, "created")
    facts = DocumentFacts(
        party=ref(obj, "customer"),
        total=from_stripe(units(obj, "total"), currency),
        currency=currency,
        document_on=issued.date() if issued else None,
        state=words(obj, "status"),
    )
    return Written(external_id=obj["id"], number=words(obj, "number"), facts=facts, url=words(obj, "pdf"))


def _balance(obj: Mapping[str, Any]) -> Written:
    currency = currency_of(obj)
    amount = -from_stripe(units(obj, "amount"), currency)
    facts = DocumentFacts(party=ref(obj, "customer"), total=amount, currency=currency, state=words(obj, "type"))
    return Written(external_id=obj["id"], facts=facts)


def _taken_back(obj: Mapping[str, Any]) -> Written:
    """The charge that takes a credit note back, as positive as a void one."""
    written = _balance(obj)
    return written.model_copy(update={"facts": written.facts.model_copy(update={"total": -(written.facts.total or 0)})})
