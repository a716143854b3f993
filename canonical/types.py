"""Our language: what billing, support and ERP systems say, in one vocabulary. Pure, typed, frozen, versioned.

Every object names itself by the `external_id` its own system gave it and refers to others of the same system by
theirs; `canonical.xref` ties them to what we hold. Amounts are Decimals in the document's currency and a whole
number of its minor units; days are calendar days of the legal entity; instants are aware UTC.
JSON Schemas of these types are published under docs/schema (`manage.py publish_schemas`).
"""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, ClassVar, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from canonical.money import is_exact, normal_currency

SCHEMA_VERSION = 1
"""Raised when a change of these types would break a reader; additions do not raise it."""

Currency = Annotated[str, AfterValidator(normal_currency)]
Text = Annotated[str, Field(max_length=2000)]
Id = Annotated[str, Field(min_length=1, max_length=255)]


class Frozen(BaseModel):
    """Base of everything here: immutable, no unknown fields, no silent float → Decimal rounding."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")


class CanonicalObject(Frozen):
    """One business object as one system described it."""

    kind: ClassVar[str]
    external_id: Id
    updated_at: datetime | None = None
    """The system's own modification time, where it tells one; orders observations."""


class Address(Frozen):
    """A postal address; the country is ISO 3166-1 alpha-2."""

    street: Text = ""
    city: Text = ""
    postal_code: Text = ""
    region: Text = ""
    country: Annotated[str, Field(pattern=r"^([A-Z]{2})?$")] = ""


class Party(CanonicalObject):
    """A customer account."""

    kind: ClassVar[str] = "party"
    name: Text
    email: Text = ""
    tax_id: Text = ""
    address: Address = Address()
    same_as: Text = ""
    """The billing system's id of this customer, when this system carries it."""
    deleted: bool = False


class Product(CanonicalObject):
    """Something sold. `family` groups products for accounting rules."""

    kind: ClassVar[str] = "product"
    name: Text
    family: Text = ""
    active: bool = True


class Price(CanonicalObject):
    """What a product costs: per `interval_count` × `interval`, or once when the interval is empty."""

    kind: ClassVar[str] = "price"
    product: Id
    currency: Currency
    unit_amount: Decimal | None
    """None for tiered prices, whose amount depends on the quantity. May carry fractions of a minor unit."""
    interval: Literal["", "day", "week", "month", "year"] = ""
    interval_count: int = 1
    usage_based: bool = False


class Contract(CanonicalObject):
    """The frame a customer signed: term and renewal, over one or more subscriptions."""

    kind: ClassVar[str] = "contract"
    party: Id
    starts_on: date
    ends_on: date | None = None
    renews: bool = True


class SubscriptionItem(Frozen):
    """One line of a subscription, with the billing period it is in now."""

    external_id: Id
    product: Id
    price: Id
    quantity: Decimal = Decimal(1)
    period_start: datetime | None = None
    period_end: datetime | None = None


class SubscriptionStatus(StrEnum):
    """A billing system's own states, reduced to what decides an obligation."""

    PENDING = "pending"
    ACTIVE = "active"
    PAST_DUE = "past_due"
    PAUSED = "paused"
    CANCELLED = "cancelled"


class Subscription(CanonicalObject):
    """A recurring agreement; `cancel_at` is when it will end, `ended_at` when it did."""

    kind: ClassVar[str] = "subscription"
    party: Id
    status: SubscriptionStatus
    currency: Currency
    items: tuple[SubscriptionItem, ...] = ()
    started_at: datetime | None = None
    cancel_at: datetime | None = None
    ended_at: datetime | None = None


class TaxAmount(Frozen):
    """Tax on one line. `code` is the billing system's id of the rate; the percentage is informational."""

    code: Id
    amount: Decimal
    percentage: Decimal | None = None


class InvoiceLine(Frozen):
    """`net` excludes tax and includes discounts. Service dates are the first and the last day served, inclusive."""

    external_id: Id
    description: Text = ""
    product: Id | None = None
    price: Id | None = None
    subscription: Id | None = None
    subscription_item: Id | None = None
    quantity: Decimal = Decimal(1)
    net: Decimal
    taxes: tuple[TaxAmount, ...] = ()
    service_from: date | None = None
    service_to: date | None = None
    proration: bool = False

    @property
    def tax(self) -> Decimal:
        """Tax of the line, all rates."""
        return sum((t.amount for t in self.taxes), Decimal(0))


class InvoiceStatus(StrEnum):
    """draft → open → paid | void | uncollectible, as in Stripe's invoice lifecycle."""

    DRAFT = "draft"
    OPEN = "open"
    PAID = "paid"
    VOID = "void"
    UNCOLLECTIBLE = "uncollectible"


class Document(CanonicalObject):
    """What invoices and credit memos share. total = net + tax, net = Σ line.net, tax = Σ line.tax: checked."""

    number: Text = ""
    party: Id
    currency: Currency
    issued_on: date
    lines: tuple[InvoiceLine, ...]
    net: Decimal
    tax: Decimal
    total: Decimal
    legal_entity: Text = ""
    """Code of the legal entity when the billing object names one; else the connection's."""

    @model_validator(mode="after")
    def _adds_up(self) -> Self:
        amounts = [self.net, self.tax, self.total, *(a for line in self.lines for a in (line.net, line.tax))]
        if not all(is_exact(amount, self.currency) for amount in amounts):
            raise ValueError(f"an amount is not a whole number of minor units of {self.currency}")
        net = sum((line.net for line in self.lines), Decimal(0))
        tax = sum((line.tax for line in self.lines), Decimal(0))
        if (net, tax, net + tax) != (self.net, self.tax, self.total):
            raise ValueError(
                f"lines say net {net} and tax {tax}; the document says net {self.net}, tax {self.tax}, total {self.total}"
            )
        return self


class Invoice(Document):
    """A demand for payment. `paid` is what has been received so far, in the invoice's currency."""

    kind: ClassVar[str] = "invoice"
    status: InvoiceStatus
    due_on: date | None = None
    paid: Decimal = Decimal(0)
    paid_at: datetime | None = None
    voided_at: datetime | None = None
    subscription: Id | None = None
    payment: Id | None = None
    """The billing system's id of the payment that settled it, where it tells one."""


class CreditMemo(Document):
    """A document that takes back part or all of an invoice. Amounts are positive."""

    kind: ClassVar[str] = "credit_memo"
    invoice: Id | None = None
    status: Literal["issued", "void"] = "issued"
    reason: Text = ""


class Payment(CanonicalObject):
    """A payment or, with `refund_of`, money given back. The amount is positive either way."""

    kind: ClassVar[str] = "payment"
    party: Id | None = None
    invoice: Id | None = None
    refund_of: Id | None = None
    currency: Currency
    amount: Decimal
    status: Literal["pending", "succeeded", "failed"]
    received_at: datetime | None = None


class Entitlement(CanonicalObject):
    """What a customer may use or was promised, from when to when, which plan says so, and where that is written."""

    kind: ClassVar[str] = "entitlement"
    party: Id
    feature: Text
    plan: Text = ""
    """Names the service terms (targets, calendar) and the tier that a credit policy goes by."""
    source: Text = ""
    """Where it is written: a subscription, a contract, the support platform."""
    active: bool
    valid_from: datetime
    valid_to: datetime | None = None


class ClockEvent(Frozen):
    """Something that moves the clock of a service promise, as the case's own history tells it.

    `first_reply` is the first public answer by staff. Between `paused` (waiting for the customer) and `resumed` the
    clock of the resolution stands still. `down` and `up` bound an outage that the case reports.
    """

    what: Literal["opened", "first_reply", "paused", "resumed", "resolved", "reopened", "severity", "down", "up"]
    at: datetime
    value: Text = ""
    """The new severity of `severity`, else a remark."""
    external_id: Text = ""
    """The support platform's id of the entry that says so."""


class PlatformSla(Frozen):
    """What the support platform's own SLA policies say of a promise: evidence beside our clock, never where an amount comes from.

    `target` is in minutes, of `policy` as the platform calls it; both are told by `applied`.
    """

    what: Literal["first_response", "resolution"]
    type: Literal["applied", "fulfilled", "breached"]
    at: datetime
    target: Decimal | None = None
    policy: Text = ""


class CaseNote(Frozen):
    """A note on a case that customers do not read. Its text is untrusted, and masked before it gets here.

    `external_id` is what the platform called a note of ours when it was posted. `is_answer`: an agent wrote it, and not the hub.
    """

    external_id: Id
    at: datetime
    by: Text = ""
    text: Text = ""
    is_answer: bool


class CreditRequest(Frozen):
    """An agent asks for a credit on the case. Untrusted until policy and people have decided.

    Without an amount the policy computes one. The amount excludes tax.
    """

    reason: Text
    amount: Decimal | None = None
    currency: Text = ""
    note: Text = ""
    by: Text = ""
    """The agent, as the support platform names them."""


class SupportCase(CanonicalObject):
    """A support case as the support platform tells it. Its text is untrusted, and masked before it gets here."""

    kind: ClassVar[str] = "support_case"
    party: Id | None = None
    """The organisation, by the support platform's id."""
    subject: Text
    description: Text = ""
    severity: Text = ""
    status: Literal["open", "pending", "resolved", "closed"]
    opened_at: datetime
    first_reply_at: datetime | None = None
    resolved_at: datetime | None = None
    clock: tuple[ClockEvent, ...] = ()
    """In the order of time."""
    platform_sla: tuple[PlatformSla, ...] = ()
    """In the order of time; empty where the platform counts no promises of its own."""
    notes: tuple[CaseNote, ...] = ()
    """The latest ones, oldest first, those of the hub included; empty where the platform keeps none that are told."""
    incident: Text = ""
    """The incident or problem several cases are about."""
    plan: Text = ""
    """The plan or tier the support platform believes the customer has."""
    subscription: Text = ""
    """Billing's id of the affected subscription, when the case names it."""
    credit: CreditRequest | None = None
    tags: tuple[Text, ...] = ()
    url: Text = ""
    deleted: bool = False


class UsageRecord(CanonicalObject):
    """A quantity used at an instant; `external_id` makes it count once."""

    kind: ClassVar[str] = "usage_record"
    party: Id
    meter: Text
    quantity: Decimal
    used_at: datetime


class ScheduleEntry(Frozen):
    """Revenue recognised (or to be) in one period, in the schedule's currency."""

    on: date
    amount: Decimal


class RevenueSchedule(CanonicalObject):
    """How one invoice line turns into revenue. Σ entries = amount."""

    kind: ClassVar[str] = "revenue_schedule"
    invoice: Id
    invoice_line: Id
    currency: Currency
    amount: Decimal
    entries: tuple[ScheduleEntry, ...]

    @model_validator(mode="after")
    def _adds_up(self) -> Self:
        if sum((e.amount for e in self.entries), Decimal(0)) != self.amount:
            raise ValueError("the entries do not add up to the schedule's amount")
        return self


OBJECTS: dict[str, type[CanonicalObject]] = {
    cls.kind: cls
    for cls in (
        Party, Product, Price, Contract, Subscription, Invoice, CreditMemo, Payment, Entitlement, SupportCase,
        UsageRecord, RevenueSchedule,
    )
}  # fmt: skip
"""Every published type by its kind."""
