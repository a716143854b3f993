"""Service credits. What is approved is the hub's, so only what nobody approved can be made of readings alone."""

from __future__ import annotations

from tests.reconciliation.corpus.making import Case, case


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
