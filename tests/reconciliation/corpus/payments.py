"""Payments: breaks, and what looks like them and is none."""

from __future__ import annotations

from datetime import timedelta

from tests.reconciliation.corpus.making import AS_OF, Case, case


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
