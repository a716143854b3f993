"""Writing to Stripe. Each write carries our key twice: as Idempotency-Key, which Stripe forgets after a day or more,
and in metadata, where `find` looks for it for ever.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any, Literal

from pydantic import Field

from canonical.commands import DocumentFacts, Request, WriteReference, Written
from canonical.types import Currency, Id, Text
from connectors.sdk.contract import Command, WriteSafety
from connectors.sdk.errors import BadPayload, Refused, Unknown
from connectors.sdk.http import Call
from connectors.vendors.stripe.client import Stripe, path_of
from connectors.vendors.stripe.fields import currency_of, from_stripe, instant, ref, to_stripe, units, words
from connectors.vendors.stripe.reads import OURS

KEY = f"{OURS}key"
_COLLECTIONS = {
    "party": "customers",
    "product": "products",
    "price": "prices",
    "subscription": "subscriptions",
    "invoice": "invoices",
    "credit_memo": "credit_notes",
}


class CreditLine(Request):
    """One line of a credit note: part of an invoice line when `invoice_line` names one, else an amount of its own."""

    key: Id = "line"
    invoice_line: Id | None = None
    description: Text = ""
    amount: Decimal = Field(gt=0)
    """Without exclusive tax, in the credit note's currency."""
    tax_codes: tuple[Id, ...] = ()
    """Stripe's tax rates, for a line of its own; an invoice line brings those it was billed with."""


class CreateCreditNote(Request):
    """Credit an invoice. On an open one it lowers what is due; on a paid one `to_balance` says where the money goes."""

    invoice: Id
    currency: Currency
    lines: tuple[CreditLine, ...] = Field(min_length=1)
    to_balance: Decimal = Decimal(0)
    """How much of the total, tax included, becomes the customer's credit for coming invoices."""
    reason: Literal["duplicate", "fraudulent", "order_change", "product_unsatisfactory"] | None = None
    note: Text = ""


class CreditCustomerBalance(Request):
    """Give the customer a credit that coming invoices use up, without a document."""

    party: Id
    currency: Currency
    amount: Decimal = Field(gt=0)
    note: Text = ""


def write_reference(client: Stripe, request: WriteReference, call: Call) -> Written:
    """Store our facts as metadata; keys get our prefix. Stripe keeps 50 keys of 40 characters, values of 500.

    Refused also when the answer does not show them: an object that forgets metadata has been seen (localstripe).
    """
    obj = client.post(call, _reference_path(request), {"metadata": _ours(request)}, request.key)
    if not _kept(obj, request):
        raise Refused(f"the {request.kind} does not keep what was written to it", code="not_kept")
    return Written(external_id=obj["id"], number=words(obj, "number"))


def find_reference(client: Stripe, request: WriteReference, call: Call) -> Written | None:
    """The object, when its metadata says all we wanted to write."""
    obj = client.get(call, _reference_path(request))
    return Written(external_id=obj["id"], number=words(obj, "number")) if _kept(obj, request) else None


def _kept(obj: dict[str, Any], request: WriteReference) -> bool:
    kept = obj.get("metadata") or {}
    return all(kept.get(key) == value for key, value in _ours(request).items())


def _reference_path(request: WriteReference) -> str:
    collection = _COLLECTIONS.get(request.kind)
    if collection is None:
        raise Refused(f"a {request.kind} takes no references here", code="kind")
    return path_of(collection, request.external_id)


def _ours(request: WriteReference) -> dict[str, str]:
    return {name if name.startswith(OURS) else OURS + name: value for name, value in request.values.items()}


def create_credit_note(client: Stripe, request: CreateCreditNote, call: Call) -> Written:
    """Issue it (https://docs.stripe.com/api/credit_notes/create). Refused when it exceeds what can be credited."""
    params = {
        "invoice": request.invoice,
        "lines": [_credit_line(line, request.currency) for line in request.lines],
        "reason": request.reason,
        "memo": request.note or None,
        "credit_amount": _minor(request.to_balance, request.currency) or None,
        "metadata": {KEY: request.key},
    }
    return _read_back(_credit_note, client.post(call, "/v1/credit_notes", params, request.key))


def find_credit_note(client: Stripe, request: CreateCreditNote, call: Call) -> Written | None:
    """The credit note of this invoice that carries our key."""
    notes = client.all(call, "/v1/credit_notes", invoice=request.invoice)
    return next((_read_back(_credit_note, note) for note in notes if _carries(note, request.key)), None)


def credit_customer_balance(client: Stripe, request: CreditCustomerBalance, call: Call) -> Written:
    """A customer balance transaction; Stripe's sign is what the customer owes, so a credit is negative there."""
    params = {
        "amount": -_minor(request.amount, request.currency),
        "currency": request.currency.lower(),
        "description": request.note or None,
        "metadata": {KEY: request.key},
    }
    return _balance(client.post(call, path_of("customers", request.party) + "/balance_transactions", params, request.key))


def find_balance_credit(client: Stripe, request: CreditCustomerBalance, call: Call) -> Written | None:
    """The balance transaction of this customer that carries our key."""
    entries = client.all(call, path_of("customers", request.party) + "/balance_transactions")
    return next((_read_back(_balance, entry) for entry in entries if _carries(entry, request.key)), None)


def _carries(obj: dict[str, Any], key: str) -> bool:
    return (obj.get("metadata") or {}).get(KEY) == key


def _minor(amount: Decimal, currency: str) -> int:
    try:
        return to_stripe(amount, currency)
    except ValueError as error:
        raise Refused(str(error), code="amount") from None


def _credit_line(line: CreditLine, currency: str) -> dict[str, Any]:
    amount = _minor(line.amount, currency)
    if line.invoice_line:
        return {"type": "invoice_line_item", "invoice_line_item": line.invoice_line, "amount": amount}
    rates = list(line.tax_codes) or None
    own = {"description": line.description or "Credit", "quantity": 1, "unit_amount": amount, "tax_rates": rates}
    return {"type": "custom_line_item", **own}


def _read_back(read: Callable[[dict[str, Any]], Written], obj: dict[str, Any]) -> Written:
    """What was written; an answer we cannot read leaves open what it says."""
    try:
        return read(obj)
    except BadPayload as error:
        raise Unknown(str(error), code="unreadable_answer") from None


def _credit_note(obj: dict[str, Any]) -> Written:
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


def _balance(obj: dict[str, Any]) -> Written:
    currency = currency_of(obj)
    amount = -from_stripe(units(obj, "amount"), currency)
    facts = DocumentFacts(party=ref(obj, "customer"), total=amount, currency=currency, state=words(obj, "type"))
    return Written(external_id=obj["id"], facts=facts)


COMMANDS = {
    command.name: command
    for command in (
        Command("write_reference", WriteReference, write_reference, find_reference, WriteSafety.UPSERT),
        Command("create_credit_note", CreateCreditNote, create_credit_note, find_credit_note, WriteSafety.KEY, money=True),
        Command(
            "credit_customer_balance",
            CreditCustomerBalance,
            credit_customer_balance,
            find_balance_credit,
            WriteSafety.KEY,
            money=True,
        ),
    )
}
