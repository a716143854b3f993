"""A labelled corpus: cases made from a seed, each with the break that must be found in it, or none.

Cases of every type of break, size and currency, and for each what looks like it and is none. Two seeds choose other
customers, amounts, dates, currencies and proportions. It is what shows that matching finds everything and nothing else.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

from canonical.money import from_minor, quantum
from connectors.models import Connection
from reconciliation.models import ReadingRow, Scan

CURRENCIES = ("EUR", "USD", "GBP", "JPY", "KWD", "CHF")
AS_OF = datetime(2026, 6, 15, 12, tzinfo=UTC)
CLOSED_UNTIL = date(2026, 3, 31)
"""The books of the corpus are closed until this day."""


@dataclass(frozen=True, slots=True)
class Label:
    """A break that must be found: in this pair, of this type, and about just these ids."""

    pair: str
    type: str
    ids: frozenset[str]


def ids_in(*said: Any) -> frozenset[str]:
    """All ids that what a break shows of its sides names."""
    found: set[str] = set()
    for value in said:
        if isinstance(value, dict):
            found |= {str(value["id"])} if "id" in value else set()
            found |= set(value.get("ids") or ())
            found |= ids_in(*(inner for name, inner in value.items() if name not in ("id", "ids")))
        elif isinstance(value, list):
            found |= ids_in(*value)
    return frozenset(found)


@dataclass
class Corpus:
    """Readings of one scan and the labels of the breaks in them."""

    scan: Scan
    billing: Connection
    erp: Connection
    support: Connection
    seed: int
    rows: list[ReadingRow] = field(default_factory=list)
    labels: set[Label] = field(default_factory=set)
    cases: int = 0

    def __post_init__(self) -> None:
        self.rng = random.Random(self.seed)

    def fill(self, few: int = 7, many: int = 14) -> Corpus:
        """Make `few` to `many` cases of every kind, in random order, and store their readings."""
        kinds = [make for make in CASES for _ in range(self.rng.randint(few, many))]
        self.rng.shuffle(kinds)
        for make in kinds:
            self.cases += 1
            make(Case(self))
        self.rng.shuffle(self.rows)
        ReadingRow.objects.bulk_create(self.rows, batch_size=1000)
        return self


class Case:
    """One case: a customer of its own, a currency, an amount, a day; and the readings it adds."""

    def __init__(self, corpus: Corpus) -> None:
        self.corpus, self.rng, self.n = corpus, corpus.rng, corpus.cases
        self.currency = self.rng.choice(CURRENCIES)
        self.unit = quantum(self.currency)
        self.net, self.tax = self.amount(), Decimal(0)
        self.tax = (self.net * self.rng.choice([0, 7, 19, 20]) / 100).quantize(self.unit)
        self.on = date(2026, 4, 3) + timedelta(days=self.rng.randrange(20))
        self.cus, self.erp_party = f"cus_{corpus.seed}_{self.n}", f"{corpus.seed % 97}{self.n:05d}"
        self.add(corpus.billing, "party", self.cus, extra={"name": f"Customer {self.n}"})
        self.add(corpus.erp, "party", self.erp_party, number=f"{self.slug}/{self.cus}", reference=f"{self.slug}/{self.cus}")
        self.made = 0

    @property
    def slug(self) -> str:
        return self.corpus.billing.slug

    @property
    def total(self) -> Decimal:
        return self.net + self.tax

    def amount(self) -> Decimal:
        """From a few minor units to millions, seldom round."""
        return from_minor(self.rng.randrange(5_000, 10 ** self.rng.choice([5, 6, 8])), self.currency)

    def add(self, connection: Connection, kind: str, external_id: str, **said: Any) -> str:
        """A reading; returns its id."""
        said.setdefault("status", "active" if kind in ("party", "product") else "open")
        said.setdefault("updated_at", AS_OF - timedelta(days=20))
        if kind == "payment":
            said |= {"net": None, "tax": None}
        self.corpus.rows.append(
            ReadingRow(scan=self.corpus.scan, connection=connection, kind=kind, external_id=external_id, **said)
        )
        return external_id

    def fresh_id(self) -> str:
        self.made += 1
        return f"{self.corpus.seed}-{self.n}-{self.made}"

    def money(self, total: Decimal | None = None, **said: Any) -> dict[str, Any]:
        """Amounts, currency and day, unless `said` says otherwise."""
        net, tax = (self.net, self.tax) if total is None else (total, Decimal(0))
        return {"currency": self.currency, "net": net, "tax": tax, "total": net + tax, "on": self.on, **said}

    def billed(self, kind: str = "invoice", **said: Any) -> str:
        """A document in billing."""
        name = {"invoice": "in", "credit_memo": "cn", "payment": "pi"}[kind] + "_" + self.fresh_id()
        status = {"invoice": "open", "credit_memo": "issued", "payment": "succeeded"}[kind]
        number = {} if kind == "payment" else {"number": f"B-{name}"}
        return self.add(self.corpus.billing, kind, name, **{"party": self.cus, "status": status, **number, **self.money(**said)})

    def posted(self, key: str = "", kind: str = "invoice", **said: Any) -> str:
        """A document in the ERP; `key` is billing's id of its counterpart."""
        name, status = self.fresh_id(), {"invoice": "open", "credit_memo": "issued", "payment": "succeeded"}[kind]
        reference = f"{self.slug}/{key}" if key else ""
        of = {"party": self.erp_party, "status": status, "number": f"E-{name}", "reference": reference}
        return self.add(self.corpus.erp, kind, name, **{**of, **self.money(**said)})

    def breaks(self, pair: str, type_: str, *ids: str) -> None:
        """Label: this must be found."""
        self.corpus.labels.add(Label(pair, type_, frozenset(ids)))

    def paid(self) -> tuple[str, str]:
        """An invoice that both have, for payments to be about."""
        invoice = self.billed()
        return invoice, self.posted(invoice)


CASES: list[Callable[[Case], None]] = []


def case(make: Callable[[Case], None]) -> Callable[[Case], None]:
    """Add a kind of case."""
    CASES.append(make)
    return make


# invoices and credit memos ---------------------------------------------------------------------------------------


@case
def missing_in_the_erp(c: Case) -> None:
    kind = c.rng.choice(["invoice", "credit_memo"])
    c.breaks(f"{kind}s", "missing_right", c.billed(kind))


@case
def missing_in_billing(c: Case) -> None:
    kind = c.rng.choice(["invoice", "credit_memo"])
    c.billed()  # so that the customer is wanted in the ERP
    c.posted(c.corpus.rows[-1].external_id)
    c.breaks(f"{kind}s", "missing_left", c.posted(kind=kind, total=c.amount() + c.total * 3))


@case
def posted_twice(c: Case) -> None:
    kind = c.rng.choice(["invoice", "credit_memo"])
    there = c.billed(kind)
    c.posted(there, kind)
    first = c.corpus.rows[-1]
    again = c.posted(c.rng.choice([there, ""]), kind, on=c.on)
    # Of two that carry the same key and amount the later number is the second one.
    if not c.corpus.rows[-1].reference or first.number < c.corpus.rows[-1].number:
        c.breaks(f"{kind}s", "duplicate", again)
    else:
        c.breaks(f"{kind}s", "duplicate", first.external_id)


@case
def billed_twice(c: Case) -> None:
    number = f"TWICE-{c.n}"
    there = c.billed(number=number)
    c.posted(there)
    c.breaks("invoices", "duplicate", c.billed(number=number))


@case
def another_amount(c: Case) -> None:
    kind = c.rng.choice(["invoice", "credit_memo"])
    off = c.amount() if c.rng.random() < 0.5 else -min(c.amount(), c.net - c.unit * 20)
    there = c.billed(kind, total=c.net)
    c.breaks(f"{kind}s", "amount", there, c.posted(there, kind, total=c.net + (off if abs(off) > c.unit else c.unit * 100)))


@case
def another_tax(c: Case) -> None:
    there = c.billed(net=c.net, tax=c.tax, total=c.total)
    more = c.unit * c.rng.randint(3, 40) * c.rng.choice([1, -1])
    tax = c.tax + more if c.tax + more >= 0 else c.tax - more
    c.breaks("invoices", "tax", there, c.posted(there, net=c.net, tax=tax, total=c.net + tax))


@case
def tax_moved_within_the_total(c: Case) -> None:
    there = c.billed()
    part = c.unit * c.rng.randint(2, 30)
    here = c.posted(there)
    c.corpus.rows[-1].tax += part
    c.corpus.rows[-1].net -= part
    c.breaks("invoices", "tax", there, here)


@case
def rounding(c: Case) -> None:
    lines = c.rng.randint(1, 12)
    there = c.billed(extra={"lines": str(lines)})
    off = c.unit * c.rng.randint(1, lines) * c.rng.choice([1, -1])
    here = c.posted(there)
    c.corpus.rows[-1].net += off
    c.corpus.rows[-1].total += off
    c.breaks("invoices", "rounding", there, here)


@case
def another_currency(c: Case) -> None:
    there = c.billed()
    other = c.rng.choice([code for code in ("EUR", "USD", "GBP", "CHF") if code != c.currency])
    c.breaks("invoices", "fx", there, c.posted(there, currency=other, net=Decimal(100), tax=Decimal(0), total=Decimal(100)))


@case
def another_rate(c: Case) -> None:
    there = c.billed(extra={"rate": "1.0842"})
    c.breaks("invoices", "fx", there, c.posted(there, extra={"rate": f"1.0{c.rng.randint(100, 800)}"}))


@case
def another_month(c: Case) -> None:
    there = c.billed()
    c.breaks("invoices", "period", there, c.posted(there, on=c.on + timedelta(days=c.rng.choice([-35, 31, 60]))))


@case
def void_there_posted_here(c: Case) -> None:
    there = c.billed(status="void")
    c.breaks("invoices", "status", there, c.posted(there))


@case
def taken_back_here_open_there(c: Case) -> None:
    there = c.billed(status=c.rng.choice(["open", "paid"]))
    here = c.posted(there, status="void")
    c.posted(f"{there}/reversal", "credit_memo", about=here)
    c.breaks("invoices", "status", there, here)


@case
def still_a_draft(c: Case) -> None:
    there = c.billed()
    c.breaks("invoices", "status", there, c.posted(there, status="draft"))


@case
def another_customer(c: Case) -> None:
    there = c.billed()
    stranger = c.add(c.corpus.erp, "party", f"x{c.fresh_id()}")
    c.breaks("invoices", "party", there, c.posted(there, party=stranger))


@case
def taken_back_without_a_reason(c: Case) -> None:
    """A reversal in the ERP of an invoice that billing never had."""
    there = c.billed()
    here = c.posted(there)
    c.breaks("credit_memos", "missing_left", c.posted(kind="credit_memo", about=here, total=c.unit * c.rng.randint(2, 4000)))


@case
def alike_and_agreed(c: Case) -> None:
    for kind in ("invoice", "credit_memo"):
        for _ in range(c.rng.randint(1, 3)):  # equal amounts, same customer, same day: each has its own counterpart
            c.posted(c.billed(kind), kind)


@case
def void_on_both_sides(c: Case) -> None:
    there = c.billed(status="void")
    if c.rng.random() < 0.5:
        c.posted(there, status="void")
    else:
        here = c.posted(there, status="void")
        c.posted(c.rng.choice([f"{there}/reversal", ""]), "credit_memo", about=here, on=c.on + timedelta(days=40))


@case
def never_to_be_posted(c: Case) -> None:
    c.billed(status="draft")
    c.billed(status="void")
    c.billed(net=Decimal(0), tax=Decimal(0), total=Decimal(0), status="paid")


@case
def drafts_of_the_erp(c: Case) -> None:
    c.posted(status="draft")
    c.posted("in_gone", status="void")


@case
def issued_a_moment_ago(c: Case) -> None:
    c.billed(updated_at=AS_OF - timedelta(minutes=c.rng.randint(1, 50)), on=AS_OF.date())


@case
def moved_to_the_open_period(c: Case) -> None:
    there = c.billed(on=date(2026, c.rng.randint(1, 3), c.rng.randint(1, 28)))
    c.posted(there, on=date(2026, 4, c.rng.randint(1, 9)))


@case
def a_few_days_later(c: Case) -> None:
    c.posted(c.billed(), on=c.on + timedelta(days=c.rng.randint(0, 5)))


@case
def posted_by_hand_without_a_key(c: Case) -> None:
    how = c.rng.randrange(4)
    there = c.billed(on=c.on)
    row = c.corpus.rows[-1]
    said: dict[str, Any] = {}
    if how == 0:
        said = {"number": row.number, "on": c.on + timedelta(days=c.rng.randint(0, 7))}
    elif how == 1:
        said = {"same_as": [there]}
    elif how == 2:
        said = {"on": c.on + timedelta(days=c.rng.randint(1, 5))}
    c.posted(**said)


@case
def split_in_the_erp(c: Case) -> None:
    there, keyed = c.billed(), c.rng.random() < 0.5
    whole, parts = c.total, c.rng.randint(2, 4)
    for n in range(parts):
        part = whole if n == parts - 1 else (whole / (parts + 1)).quantize(c.unit)
        whole -= part
        c.posted(there if keyed else "", net=part, tax=Decimal(0), total=part)
    if keyed:
        for row in c.corpus.rows[-parts:]:
            row.tax = None
    else:
        for row in [row for row in c.corpus.rows[-parts - 1 :] if row.kind == "invoice"]:
            row.tax = None


@case
def several_for_several(c: Case) -> None:
    amounts = [c.amount() + c.unit * n for n in range(3)]
    for amount in amounts:
        c.billed(total=amount)
    moved = c.unit * c.rng.randint(7, 49)
    for amount in (amounts[0] + moved, amounts[1] + moved, amounts[2] - 2 * moved):
        c.posted(total=amount)


@case
def credited_in_full(c: Case) -> None:
    """Tryton calls the invoice void then; billing calls it open or paid, and both have the credit note."""
    there = c.billed(status=c.rng.choice(["open", "paid"]))
    here = c.posted(there, status="void")
    note = c.billed("credit_memo", about=there)
    c.posted(note, "credit_memo", about=here)


# payments --------------------------------------------------------------------------------------------------------


@case
def payment_missing_in_the_erp(c: Case) -> None:
    invoice, _ = c.paid()
    c.breaks("payments", "missing_right", c.billed("payment", about=invoice))


@case
def payment_missing_in_billing(c: Case) -> None:
    _, here = c.paid()
    c.breaks("payments", "missing_left", c.posted(kind="payment", about=here))


@case
def payment_registered_twice(c: Case) -> None:
    invoice, here = c.paid()
    c.billed("payment", about=invoice)
    c.posted(f"{invoice}/payment", "payment", about=here, on=c.on)
    c.breaks("payments", "duplicate", c.posted("", "payment", about=here, on=c.on + timedelta(days=2)))


@case
def payment_of_another_amount(c: Case) -> None:
    invoice, here = c.paid()
    got = c.billed("payment", about=invoice)
    c.breaks(
        "payments", "amount", got, c.posted(f"{invoice}/payment", "payment", about=here, total=c.total - c.unit * 1000 - c.unit)
    )


@case
def payment_given_back(c: Case) -> None:
    invoice, here = c.paid()
    got = c.billed("payment", about=invoice, status="refunded")
    c.breaks("payments", "status", got, c.posted(f"{invoice}/payment", "payment", about=here))


@case
def payment_long_pending(c: Case) -> None:
    invoice, _ = c.paid()
    c.breaks(
        "payments", "stale", c.billed("payment", about=invoice, status="pending", on=AS_OF.date() - timedelta(days=15 + c.n % 40))
    )


@case
def paid_in_parts(c: Case) -> None:
    invoice, here = c.paid()
    part = (c.total / 3).quantize(c.unit)
    for amount in (part, c.total - part):
        c.billed("payment", about=invoice, total=amount)
    c.posted(f"{invoice}/payment", "payment", about=here)


@case
def payments_that_are_none(c: Case) -> None:
    invoice, here = c.paid()
    c.billed("payment", about=invoice, status="failed")
    c.billed("payment", about=invoice, status="pending", on=AS_OF.date() - timedelta(days=c.rng.randint(0, 10)))
    c.billed("payment", about=invoice)
    c.posted(c.rng.choice([f"{invoice}/payment", ""]), "payment", about=here)
    c.billed("payment", about=invoice, status="refunded", total=c.unit * 77)


# customers and revenue -------------------------------------------------------------------------------------------


@case
def customer_missing_in_the_erp(c: Case) -> None:
    name = c.add(c.corpus.billing, "party", f"cus_lone{c.fresh_id()}")
    there = c.billed(party=name)
    c.posted(there, party="")
    c.breaks("customers", "missing_right", name)


@case
def customer_twice_in_the_erp(c: Case) -> None:
    again = c.add(c.corpus.erp, "party", f"again{c.fresh_id()}", reference=f"{c.slug}/{c.cus}")
    c.breaks("customers", "duplicate", c.cus, c.erp_party, again)


@case
def customers_nobody_needs(c: Case) -> None:
    c.add(c.corpus.billing, "party", f"cus_idle{c.fresh_id()}")
    c.add(c.corpus.erp, "party", f"supplier{c.fresh_id()}")
    c.add(c.corpus.support, "party", f"org{c.fresh_id()}")


def recognised(c: Case, total: Decimal, status: str, **said: Any) -> str:
    return c.add(
        c.corpus.erp, "recognition", f"{c.fresh_id()}:1", currency=c.currency, net=c.net, total=total, status=status,
        **{"service_from": date(2025, 6, 1), "service_to": date(2026, 5, 31), **said},
    )  # fmt: skip


@case
def recognised_more_or_less(c: Case) -> None:
    off = c.unit * c.rng.randint(1, 9) * c.rng.choice([1, -1])
    c.breaks("recognition", "recognition", recognised(c, c.net + off, "done"))


@case
def recognised_rightly(c: Case) -> None:
    recognised(c, c.net, "done")
    recognised(c, c.net - c.unit * 3, "running", service_to=date(2026, 12, 31))


@case
def recognition_that_stands_still(c: Case) -> None:
    c.breaks("recognition", "stale", recognised(c, c.net - c.unit * 30, "running", service_to=date(2026, 4, 30)))


# subscriptions ---------------------------------------------------------------------------------------------------

FIRST, LAST = date(2026, 6, 1), date(2026, 6, 30)


def subscribed(c: Case, **said: Any) -> str:
    worth = {"currency": c.currency, "net": c.net, "total": c.net, "service_from": FIRST, "service_to": LAST, "status": "active"}
    return c.add(c.corpus.billing, "subscription", f"sub_{c.fresh_id()}", **{"party": c.cus, **worth, **said})


def period(c: Case, subscription: str, first: date, last: date, **said: Any) -> tuple[str, str]:
    served: dict[str, Any] = {"on": first, "service_from": first, "service_to": last}
    there = c.billed(**served, extra={"subscription": subscription, **said})
    return there, c.posted(there, **served)


@case
def upgraded_and_not_posted(c: Case) -> None:
    sub = subscribed(c, net=c.net * 2, total=c.net * 2)
    period(c, sub, FIRST, LAST)
    c.breaks("subscriptions", "plan_change", sub)


@case
def upgraded_and_posted_for_the_rest_of_the_period(c: Case) -> None:
    sub = subscribed(c, net=c.net * 2, total=c.net * 2)
    period(c, sub, FIRST, LAST)
    period(c, sub, FIRST + timedelta(days=5), LAST, proration="true")


@case
def upgraded_and_only_something_else_was_posted(c: Case) -> None:
    sub = subscribed(c, net=c.net * 2, total=c.net * 2)
    period(c, sub, FIRST, LAST)
    period(c, sub, FIRST, LAST, proration="other")
    c.breaks("subscriptions", "plan_change", sub)


@case
def same_plan(c: Case) -> None:
    sub = subscribed(c)
    period(c, sub, date(2026, 5, 1), date(2026, 5, 31))
    period(c, sub, FIRST, LAST)


@case
def gap_between_periods(c: Case) -> None:
    sub = subscribed(c)
    period(c, sub, date(2026, 4, 1), date(2026, 4, c.rng.randint(20, 28)))
    period(c, sub, FIRST, LAST)
    c.breaks("subscriptions", "gap", sub)


@case
def overlapping_periods(c: Case) -> None:
    sub = subscribed(c)
    period(c, sub, date(2026, 5, 1), FIRST + timedelta(days=c.rng.randint(0, 9)))
    period(c, sub, FIRST, LAST)
    c.breaks("subscriptions", "gap", sub)


@case
def part_of_a_period(c: Case) -> None:
    sub = subscribed(c)
    period(c, sub, FIRST, LAST)
    period(c, sub, FIRST + timedelta(days=5), LAST, proration="true")


@case
def recognised_after_the_end(c: Case) -> None:
    ended = date(2026, 5, c.rng.randint(2, 28))
    sub = subscribed(c, status="cancelled", extra={"ended_at": f"{ended}T08:00:00+00:00"})
    _, here = period(c, sub, date(2026, 1, 1), date(2026, 12, 31))
    line = recognised(c, (c.net / 3).quantize(c.unit), "running", about=here, service_to=date(2026, 12, 31))
    c.breaks("subscriptions", "obligation", sub, line)


@case
def posted_after_the_end(c: Case) -> None:
    sub = subscribed(c, status="cancelled", extra={"ended_at": "2026-05-31T23:00:00+00:00"})
    period(c, sub, date(2026, 5, 1), date(2026, 5, 31))
    c.breaks("subscriptions", "obligation", c.posted(on=FIRST, service_from=FIRST, service_to=LAST, total=c.total + c.unit * 9))


@case
def cancelled_at_the_end_of_its_period(c: Case) -> None:
    sub = subscribed(c, status="cancelled", extra={"ended_at": "2026-07-01T00:00:00+00:00"})
    _, here = period(c, sub, FIRST, LAST)
    recognised(c, (c.net / 2).quantize(c.unit), "running", about=here, service_from=FIRST, service_to=LAST)


# service credits: what is approved is the hub's, so only what nobody approved can be made of readings alone --------


@case
def credit_nobody_approved(c: Case) -> None:
    number, where = f"CR-9{c.corpus.seed % 1000:03d}{c.n:05d}", c.rng.randrange(3)
    if where == 0:
        name = c.add(c.corpus.support, "support_credit", f"case{c.fresh_id()}", number=number, status="credited", **c.money())
    elif where == 1:
        name = c.billed("credit_memo", extra={"form": "balance"})
    else:
        name = c.posted(kind="credit_memo", number=number)
    c.breaks("credits", "unapproved", name)


@case
def credit_that_is_only_asked_for(c: Case) -> None:
    word = c.rng.choice(["waiting", "rejected", "withdrawn", ""])
    c.add(c.corpus.support, "support_credit", f"case{c.fresh_id()}", status=word, **c.money())
    c.billed("credit_memo", extra={"form": "balance"}, status="void")


def found(candidates: Iterable[tuple[str, str, Any, Any]]) -> set[Label]:
    """What a match found, in the words of labels; `candidates` are (pair, type, left, right)."""
    return {Label(pair, type_, ids_in(left, right)) for pair, type_, left, right in candidates}
