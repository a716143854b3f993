"""What a system says it holds, flat enough to be compared by the million: one reading is one object as of one time. Pure.

Readings are for reconciliation alone. They are read fresh from the system, never from what the hub remembers.
"""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from typing import Literal

from pydantic import Field

from canonical.types import Currency, Frozen, Id, Text

ReadingKind = Literal[
    "invoice", "credit_memo", "payment", "subscription", "recognition", "party", "product", "support_credit"
]  # fmt: skip


class Reading(Frozen):
    """One object of one system. Amounts are positive, in `currency`, and None where the kind has none.

    | kind | total | status |
    |---|---|---|
    | invoice | what it demands, tax included | draft, open, paid, void, uncollectible |
    | credit_memo | what it takes back, tax included; also credit of a customer's balance (`extra.form` = balance) | issued, void |
    | payment | what was received (status refunded: given back) | pending, succeeded, failed, refunded |
    | subscription | what one month of it is worth (`net`; total is the same) | pending, active, past_due, paused, cancelled |
    | recognition | revenue recognised so far of one invoice line (`net` is the line's amount) | running, done |
    | party, product | | active, gone |
    | support_credit | what the case shows as credited | the case's own word |
    """

    kind: ReadingKind
    external_id: Id
    number: Text = ""
    reference: Text = ""
    """The key of ours that it carries, if we made it."""
    same_as: tuple[Id, ...] = ()
    """Ids and numbers of its counterparts that it carries itself."""
    party: Text = ""
    """The customer, by this system's id."""
    about: Text = ""
    """The document it belongs to, by this system's id: of a credit memo, payment or recognition its invoice."""
    currency: Currency | None = None
    net: Decimal | None = None
    tax: Decimal | None = None
    total: Decimal | None = None
    on: date | None = None
    service_from: date | None = None
    service_to: date | None = None
    status: Text = ""
    updated_at: datetime | None = None
    extra: dict[str, str] = Field(default_factory=dict)


class Window(Frozen):
    """What is read: everything changed after `since` (everything there is, without one) and known at `until`."""

    since: datetime | None = None
    until: datetime


class Total(Frozen):
    """How many objects a system says it has in one currency, and what they come to (0 for kinds without amounts)."""

    currency: Text = ""
    count: int
    amount: Decimal = Decimal(0)
