"""What the hub asks of a system, and what it hears back: the words of every write. Pure, frozen.

A request carries everything the call needs, ERP codes included, so that a worker performs it without looking
anything up and its digest can be approved. `key` is the idempotency key: one per business intention, for ever.
"""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Any, ClassVar, Self

from pydantic import Field, model_validator

from canonical.money import is_exact, round_money
from canonical.types import Address, Currency, Frozen, Id, Text


class Request(Frozen):
    """Base of all requests. Amounts are written with exactly the currency's digits, however they were given."""

    key: Id

    @model_validator(mode="before")
    @classmethod
    def _in_minor_units(cls, given: Any) -> Any:
        if not isinstance(given, dict) or not given.get("currency"):
            return given
        currency = given["currency"]
        exact = {name: _exact(given[name], currency) for name in ("total", "amount") if name in given}
        if lines := given.get("lines"):
            exact["lines"] = tuple(
                line.model_copy(update={name: _exact(getattr(line, name), currency) for name in line.AMOUNTS})
                if isinstance(line, PostingLine | JournalLine)
                else line
                for line in lines
            )
        return {**given, **exact}


def _exact(amount: Any, currency: str) -> Any:
    """The database keeps four digits of every amount; an ERP wants as many as the currency has. Others stay as they are."""
    return round_money(amount, currency) if isinstance(amount, Decimal) and is_exact(amount, currency) else amount


class EnsureParty(Request):
    """Find the customer by `code` (unique in the ERP) or create it; bring name and address up to date."""

    code: Id
    name: Text
    email: Text = ""
    tax_id: Text = ""
    address: Address = Address()


class PostingLine(Frozen):
    """One line of a document, with the accounting decided: codes as the ERP's own books name them."""

    AMOUNTS: ClassVar[tuple[str, ...]] = ("net", "tax")
    description: Text
    product_code: Text = ""
    revenue_account: Id
    deferred_account: Text = ""
    tax_codes: tuple[Id, ...] = ()
    quantity: Decimal = Decimal(1)
    net: Decimal
    tax: Decimal = Decimal(0)
    service_from: date | None = None
    service_to: date | None = None
    dimensions: dict[str, str] = Field(default_factory=dict)
    rule: Text = ""
    """Id and version of the accounting rule that decided this line."""
    credits: Text = ""
    """Of a credit: billing's id of the invoice line it takes from."""


class PostDocument(Request):
    """What PostInvoice and PostCreditMemo share. total = Σ net + Σ tax, checked; amounts are positive for both."""

    party: Id
    """The ERP's id of the customer."""
    number: Text = ""
    """The billing system's number, for people."""
    currency: Currency
    document_on: date
    lines: tuple[PostingLine, ...]
    total: Decimal
    journal: Text = ""
    note: Text = ""

    @model_validator(mode="after")
    def _adds_up(self) -> Self:
        if sum((line.net + line.tax for line in self.lines), Decimal(0)) != self.total:
            raise ValueError("the lines do not add up to the document's total")
        if not is_exact(self.total, self.currency):
            raise ValueError(f"{self.total} is not a whole number of minor units of {self.currency}")
        return self


class PostInvoice(PostDocument):
    """Create and post a customer invoice, in the first open period on or after `document_on`."""

    due_on: date | None = None
    payment_term: Text = ""


class PostCreditMemo(PostDocument):
    """Create and post a credit memo, linked to the ERP invoice it credits, or on account when None."""

    invoice: Id | None = None


class ReverseDocument(Request):
    """Post the document that takes all of `document` (an ERP id) back; never edit or delete the original."""

    document: Id
    document_on: date
    total: Decimal
    currency: Currency
    party: Id
    reason: Text = ""


class JournalLine(Frozen):
    """One side of a journal entry: one of `debit` and `credit` is positive, and the other is zero."""

    AMOUNTS: ClassVar[tuple[str, ...]] = ("debit", "credit")
    account: Id
    """Code in the ERP."""
    debit: Decimal = Field(default=Decimal(0), ge=0)
    credit: Decimal = Field(default=Decimal(0), ge=0)

    @model_validator(mode="after")
    def _has_one_side(self) -> Self:
        if (self.debit > 0) == (self.credit > 0):
            raise ValueError("a line of a journal entry is either debit or credit")
        return self


class PostJournal(Request):
    """Post a balanced entry in the ledger, in the company's currency, in the first open period on or after `document_on`.

    Σ debit = Σ credit = total, checked. What it corrects is named by kind and id as readings name them
    (`connectors` extracts), so that the ERP's own ledger shows the correction there; both empty for an entry of its own.
    Another entry with the sides exchanged takes it back.
    """

    currency: Currency
    document_on: date
    lines: tuple[JournalLine, ...] = Field(min_length=2)
    total: Decimal = Field(gt=0)
    journal: Text = ""
    about_kind: Text = ""
    about: Text = ""
    note: Text = ""

    @model_validator(mode="after")
    def _balances(self) -> Self:
        debit = sum((line.debit for line in self.lines), Decimal(0))
        credit = sum((line.credit for line in self.lines), Decimal(0))
        if not debit == credit == self.total:
            raise ValueError(f"debit {debit} and credit {credit} do not both come to {self.total}")
        if not is_exact(self.total, self.currency):
            raise ValueError(f"{self.total} is not a whole number of minor units of {self.currency}")
        return self


class RegisterPayment(Request):
    """Record that `amount` was received for the ERP invoice `invoice` on `paid_on`."""

    invoice: Id
    party: Id
    amount: Decimal
    currency: Currency
    paid_on: date
    reference: Text = ""


class WriteReference(Request):
    """Store our facts (ERP number, id, state) on the object, where people of that system see them."""

    kind: Id
    external_id: Id
    values: dict[str, str]


class CreditDocumentLine(Frozen):
    """One line of a credit in billing. `net` excludes tax; `tax` is what the credited line was taxed with, in proportion."""

    invoice_line: Id | None = None
    """Billing's id of the line that is credited; None for a line of its own."""
    description: Text = ""
    net: Decimal
    tax: Decimal = Decimal(0)
    tax_codes: tuple[Id, ...] = ()
    """Billing's ids of the tax rates, for a line of its own."""


class IssueCreditNote(Request):
    """Credit an invoice in billing. What the invoice no longer owes becomes the customer's balance.

    total = Σ net + Σ tax of the lines, checked.
    """

    party: Id
    """Billing's id of the customer."""
    invoice: Id
    """Billing's id of the invoice."""
    currency: Currency
    lines: tuple[CreditDocumentLine, ...] = Field(min_length=1)
    total: Decimal = Field(gt=0)
    note: Text = ""

    @model_validator(mode="after")
    def _adds_up(self) -> Self:
        if sum((line.net + line.tax for line in self.lines), Decimal(0)) != self.total:
            raise ValueError("the lines do not add up to the credit note's total")
        return self


class VoidCreditNote(Request):
    """Take a credit note of billing back."""

    document: Id
    """Billing's id of the credit note."""
    party: Id
    total: Decimal
    currency: Currency


class AdjustBalance(Request):
    """Change what billing holds for the customer: a positive amount is credit for coming invoices, a negative one
    takes such credit back."""

    party: Id
    amount: Decimal
    currency: Currency
    note: Text = ""


class WriteCase(Request):
    """Show the state of a credit on the case: one block that the hub keeps and rewrites in place, fields and tags.

    Doing it again changes nothing; a later write replaces what an earlier one showed.
    """

    case: Id
    """The support platform's id of the case."""
    block: Text
    """Plain text for the agents; replaces the block written before."""
    values: dict[str, str] = Field(default_factory=dict)
    """Fields: `credit_state`, `credit_number`, `credit_amount`, `credit_currency`; a connector maps them to its own."""
    tags: tuple[Text, ...] = ()
    """Tags to have; other tags that begin with `tieout_` are taken off, `tieout_credit_request` of the agents apart."""


class PostNote(Request):
    """Add one comment to the case, once: a second call with the key finds the first one's."""

    case: Id
    text: Text
    public: bool = False
    """True: the customer reads it. False: for the agents alone."""


class DocumentFacts(Frozen):
    """What a system says a document is, read back after the write. None: that system does not tell."""

    party: Id | None = None
    net: Decimal | None = None
    tax: Decimal | None = None
    total: Decimal | None = None
    currency: Currency | None = None
    document_on: date | None = None
    due_on: date | None = None
    state: Text = ""


class Written(Frozen):
    """The answer to a write: the id and number the system gave, and what it holds now."""

    external_id: Id
    number: Text = ""
    facts: DocumentFacts = DocumentFacts()
    url: Text = ""
