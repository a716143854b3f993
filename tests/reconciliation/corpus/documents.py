"""Invoices and credit memos: breaks, and what looks like them and is none."""

from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal
from typing import Any

from tests.reconciliation.corpus.making import AS_OF, Case, case


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
