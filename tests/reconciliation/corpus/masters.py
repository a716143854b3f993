"""Customers, and the revenue that schedules recognise: breaks, and what looks like them and is none."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Any

from tests.reconciliation.corpus.making import Case, case


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
