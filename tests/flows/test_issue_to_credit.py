"""From an approved credit to agreement of ERP, billing and case: all three are twins over real HTTP."""

from __future__ import annotations

import json
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection as database
from django.test import override_settings
from django.utils import timezone

from canonical import xref
from canonical.models import Invoice, Transition
from connectors.vendors.stripe.fake import StripeTwin
from connectors.vendors.tryton.fake import TrytonTwin
from hub import answers, flows, inbox
from hub.audit.models import AuditEntry
from hub.credits import deciding, posting, questions
from hub.credits.models import Credit, CreditComment
from hub.engine import store
from hub.engine.worker import Worker
from hub.flows import issue_to_credit
from hub.models import AccountingRule, ReviewItem, Run
from tests.support.credits import Crediting
from tests.support.time import elapse, work
from tests.support.world import LONG_AGO, amount


def memos(crediting: Crediting) -> list[dict[str, Any]]:
    """The ERP's own books: documents whose key is a credit's."""
    return [document for document in crediting.world.documents() if document["key"].startswith("credit/")]


def notes(crediting: Crediting, invoice: Invoice) -> list[dict[str, Any]]:
    """Billing's own books: credit notes of an invoice."""
    return list(crediting.world.billing.ask("GET", "credit_notes", invoice=billed(crediting, invoice)["id"])["data"])


def billed(crediting: Crediting, invoice: Invoice) -> dict[str, Any]:
    """Billing's own invoice."""
    found = crediting.world.billing.ask("GET", "invoices", limit=100)["data"]
    return next(each for each in found if each["number"] == invoice.number)


def balance(crediting: Crediting, invoice: Invoice) -> int:
    """The customer's balance in billing; below zero it is the customer's credit."""
    return int(crediting.world.billing.ask("GET", f"customers/{billed(crediting, invoice)['customer']}")["balance"])


def done(crediting: Crediting, credit: Credit) -> Credit:
    """Approve it and let everything happen."""
    crediting.approve(credit)
    work()
    credit.refresh_from_db()
    told = list(ReviewItem.objects.filter(state="open").values_list("title", flat=True))
    assert (credit.state, told) == ("closed", [])
    assert crediting.run_of(credit).state == "done"
    return credit


# the way it goes -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("currency", "net", "tax", "total"),
    [("eur", "10.03", "2.01", "12.04"), ("jpy", "1003", "201", "1204"), ("kwd", "1.003", "0.201", "1.204")],
)
def test_an_approved_credit_is_the_same_to_the_cent_in_all_three_systems(
    crediting: Crediting, currency: str, net: str, tax: str, total: str
) -> None:
    invoice = crediting.invoiced(currency)
    credit = crediting.ask(invoice, net)
    work()
    assert crediting.ticket(credit)["state"] == "waiting"
    assert memos(crediting) == []
    done(crediting, credit)
    (memo,) = memos(crediting)
    assert [amount(memo[name]) for name in ("net", "tax", "total")] == [-Decimal(x).normalize() for x in (net, tax, total)]
    (note,) = notes(crediting, invoice)
    assert Decimal(note["total"]).scaleb({"eur": -2, "jpy": 0, "kwd": -3}[currency]) == Decimal(total)
    ticket = crediting.ticket(credit)
    assert (ticket["state"], ticket["number"], ticket["amount"], ticket["currency"]) == (
        "credited", memo["number"], total, currency.upper(),
    )  # fmt: skip
    assert f"{Decimal(total):,}" in ticket["block"] and memo["number"] in ticket["block"] and note["number"] in ticket["block"]
    ((public, text),) = ticket["comments"]
    assert public and f"{Decimal(total):,}" in text and credit.number in text
    states = Transition.objects.filter(object_kind="credit", object_id=credit.pk).order_by("id").values_list("target", flat=True)
    assert list(states) == ["approved", "posting", "posted", "mirrored", "told", "closed"]


def test_a_credit_on_an_open_invoice_lowers_what_is_due(crediting: Crediting) -> None:
    invoice = crediting.invoiced()
    done(crediting, crediting.ask(invoice, "10.00"))
    assert (billed(crediting, invoice)["amount_remaining"], balance(crediting, invoice)) == (5880 - 1200, 0)


def test_a_credit_on_a_paid_invoice_becomes_the_customers_balance(crediting: Crediting) -> None:
    invoice = crediting.invoiced(paid=True)
    done(crediting, crediting.ask(invoice, "10.00"))
    assert balance(crediting, invoice) == -1200


def test_a_credit_settled_as_balance_needs_no_credit_note(crediting: Crediting) -> None:
    invoice = crediting.invoiced()
    done(crediting, crediting.ask(invoice, "10.00", settlement="balance"))
    assert (notes(crediting, invoice), balance(crediting, invoice)) == ([], -1200)


def test_a_credit_without_an_invoice_is_on_account_and_bears_no_tax(crediting: Crediting) -> None:
    invoice = crediting.invoiced()
    credit = crediting.ask(invoice, "60.00", taken_from=None)
    assert (credit.invoice, credit.tax) == (None, 0)
    done(crediting, credit)
    (memo,) = memos(crediting)
    assert (amount(memo["total"]), balance(crediting, invoice)) == (Decimal(-60), -6000)


def test_a_credit_without_a_case_tells_nobody(crediting: Crediting) -> None:
    credit = crediting.ask(crediting.invoiced(), "10.00", case=False)  # type: ignore[arg-type]
    done(crediting, credit)
    assert {step.name for step in crediting.run_of(credit).steps.all()}.isdisjoint({"ticket", "tell"})


def test_the_deferred_part_of_a_line_gets_a_schedule_of_its_own(crediting: Crediting, tryton_twin: TrytonTwin) -> None:
    deferring(crediting)
    invoice = crediting.invoiced()
    line = invoice.lines.get()
    assert line.service_from and line.service_to
    days = (line.service_to - line.service_from).days + 1
    credit = crediting.ask(invoice, "10.00", on=line.service_from + timedelta(days=10))
    now, later = (Decimal(each["net"]) for each in credit.lines)
    assert (now + later, later) == (Decimal("10.00"), (Decimal(10) * (days - 10) / days).quantize(Decimal("0.01")))
    done(crediting, credit)
    schedules = tryton_twin.db.tables["account.invoice.deferred"].values()
    # a schedule is in the currency of the books; its line is in that of the document
    lines = tryton_twin.db.tables["account.invoice.line"]
    assert [lines[row["invoice_line"]]["amount"] for row in schedules] == [Decimal("49.00"), -later]


def deferring(crediting: Crediting) -> None:
    """From now on lines are deferred."""
    AccountingRule.objects.filter(legal_entity=crediting.world.entity).update(state="retired")
    maker, checker = (User.objects.get(username=name) for name in ("maker", "checker"))
    AccountingRule.objects.create(
        legal_entity=crediting.world.entity, revenue_account="4.2.2", deferred_account="2.2.2", valid_from=LONG_AGO,
        state="active", drafted_by=maker, approved_by=checker, approved_at=timezone.now(), version=2,
    )  # fmt: skip


# deciding --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("verb", "shown"), [("reject", "rejected"), ("withdraw", "withdrawn"), ("expire", "expired")])
def test_a_credit_that_is_not_given_is_shown_as_such_and_posts_nothing(crediting: Crediting, verb: str, shown: str) -> None:
    credit = crediting.ask(crediting.invoiced(), "10.00")
    work()
    crediting.moved(credit, verb)
    work()
    ticket = crediting.ticket(credit)
    assert (ticket["state"], ticket["comments"], memos(crediting)) == (shown, [], [])
    assert crediting.run_of(credit).state == "done"


def test_nothing_is_posted_inside_the_undo_window_and_undoing_waits_for_a_new_decision(crediting: Crediting) -> None:
    credit = crediting.ask(crediting.invoiced(), "10.00")
    crediting.approve(credit, minutes=15)
    work_once()
    assert memos(crediting) == [] and crediting.ticket(credit)["state"] == "approved"
    with override_settings(UNDO_MINUTES=15):
        deciding.undo(credit, crediting.decider, note="the wrong customer")
    elapse(3600)
    work_once()
    credit.refresh_from_db()
    assert (credit.state, memos(crediting)) == ("pending", [])
    done(crediting, credit)
    assert len(memos(crediting)) == 1


def test_an_approved_credit_is_posted_when_its_window_is_over(crediting: Crediting) -> None:
    credit = crediting.ask(crediting.invoiced(), "10.00")
    crediting.approve(credit, minutes=15)
    work_once()
    step = crediting.run_of(credit).steps.get(name="approval")
    assert step.state == "ready" and timedelta(minutes=14) < step.due_at - timezone.now() <= timedelta(minutes=15)
    Credit.objects.filter(pk=credit.pk).update(held_until=timezone.now())
    elapse(15 * 60)
    work()
    credit.refresh_from_db()
    assert credit.state == "closed"


def work_once() -> None:
    """Everything that is due now."""
    with Worker("test", threads=4) as worker:
        worker.drain(budget=30)


def test_a_question_is_put_to_the_agents_once(crediting: Crediting) -> None:
    credit = crediting.ask(crediting.invoiced(), "10.00")
    CreditComment.objects.create(credit=credit, what="question", by="decider", text="How long was it down?")
    crediting.moved(credit, "ask")
    work()
    for _ in range(2):
        store.wake("credit", credit.number)
        work()
    ((public, text),) = crediting.ticket(credit)["comments"]
    assert not public and "How long was it down?" in text


def test_credits_of_one_case_share_one_block(crediting: Crediting) -> None:
    invoice = crediting.invoiced()
    first = crediting.ask(invoice, "10.00")
    second = crediting.ask(invoice, "5.00", case=first.case, reason="first_response")
    done(crediting, second)
    crediting.moved(first, "reject")
    work()
    shown = crediting.ticket(first)
    assert shown["block"].count("\n") == 1 and "rejected" in shown["block"] and "credited" in shown["block"]
    assert (shown["state"], shown["tags"]) == ("credited", ["tieout_credit_credited"])


def test_a_credit_has_one_run(crediting: Crediting) -> None:
    credit = crediting.ask(crediting.invoiced(), "10.00")
    assert issue_to_credit.start(credit, by="again") == crediting.run_of(credit)
    assert Run.objects.filter(flow="issue_to_credit").count() == 1


def test_a_row_that_says_something_else_than_was_approved_is_never_posted(crediting: Crediting) -> None:
    credit = crediting.ask(crediting.invoiced(), "10.00")
    crediting.approve(credit, minutes=15)
    Credit.objects.filter(pk=credit.pk).update(held_until=timezone.now())
    rewritten(credit, [{**credit.lines[0], "revenue_account": "1.1.1"}])
    elapse(15 * 60)
    work()
    (item,) = ReviewItem.objects.filter(state="open")
    assert (item.group, memos(crediting)) == ("finance reviewer", [])
    answers.answer(item, "retry", by="decider")
    work()
    assert memos(crediting) == []
    rewritten(credit, credit.lines)
    answers.answer(ReviewItem.objects.get(state="open"), "retry", by="decider")
    work()
    credit.refresh_from_db()
    assert credit.state == "closed"


def rewritten(credit: Credit, lines: list[dict[str, Any]]) -> None:
    """The lines are others, written past every guard of the database."""
    with database.cursor() as cursor:
        cursor.execute("ALTER TABLE credits_credit DISABLE TRIGGER USER")
        cursor.execute("UPDATE credits_credit SET lines = %s WHERE id = %s", [json.dumps(lines), credit.pk])
        cursor.execute("ALTER TABLE credits_credit ENABLE TRIGGER USER")


# afterwards ------------------------------------------------------------------------------------------------------


def test_a_credit_that_billing_changed_behind_our_back_is_not_closed(crediting: Crediting, stripe_twin: StripeTwin) -> None:
    invoice = crediting.invoiced()
    credit = crediting.ask(invoice, "10.00")
    crediting.approve(credit)
    until_told(crediting, credit)
    (note,) = stripe_twin.store.tables["credit_notes"]
    note["total"] += 1
    note["lines"]["data"][0]["amount"] += 1
    work()
    credit.refresh_from_db()
    (item,) = ReviewItem.objects.filter(state="open")
    assert (credit.state, item.cause, item.group) == ("told", "mismatch", "finance reviewer")
    assert item.detail["wanted_and_held"]["total"] == ["12.0000", "12.01"]
    answers.answer(item, "accept", by="decider", reason="a cent is written off")
    work()
    credit.refresh_from_db()
    assert credit.state == "closed"


def until_told(crediting: Crediting, credit: Credit) -> None:
    """Work one step after the other until the customer was told."""
    for _ in range(40):
        with Worker("test", threads=1) as worker:
            worker.batch = 1
            for claimed in worker._claim(0) + worker._landed(block=True):
                worker._settle([claimed])
        credit.refresh_from_db()
        if credit.state == "told":
            return
    raise AssertionError(credit.state)


@pytest.mark.parametrize("paid", [False, True])
@pytest.mark.parametrize("settlement", ["credit_note", "balance"])
def test_an_approved_reversal_takes_a_credit_back_everywhere(crediting: Crediting, paid: bool, settlement: str) -> None:
    invoice = crediting.invoiced(paid=paid)
    due = billed(crediting, invoice)["amount_remaining"]
    credit = done(crediting, crediting.ask(invoice, "10.00", settlement=settlement))
    reversal = crediting.take_back(credit)
    work()
    credit.refresh_from_db()
    assert credit.state == "closed", "nothing is taken back before it was approved"
    done(crediting, reversal)
    credit.refresh_from_db()
    assert credit.state == "reversed"
    memo, taken_back = memos(crediting)
    assert amount(memo["total"]) == -amount(taken_back["total"]) == Decimal(-12)
    assert (billed(crediting, invoice)["amount_remaining"], balance(crediting, invoice)) == (due, 0)
    ticket = crediting.ticket(credit)
    assert (ticket["state"], len(ticket["comments"])) == ("reversed", 1)
    assert "taken back" in ticket["block"] and reversal.number in ticket["block"]
    assert posting.left_on(invoice) == (invoice.net, invoice.total)


def test_a_credit_that_waits_calls_no_system_itself(crediting: Crediting) -> None:
    credit = crediting.ask(crediting.invoiced(), "10.00")
    work()
    assert not crediting.run_of(credit).attempts.filter(connection__isnull=False).exists()


# an answer on the case --------------------------------------------------------------------------------------------


def test_an_agents_note_after_the_question_is_the_answer_once(crediting: Crediting) -> None:
    credit = crediting.ask(crediting.invoiced(), "10.00")
    desk = crediting.desk.store
    ticket = int(xref.id_of("support_case", credit.case_id or 0, crediting.support.pk))
    with crediting.desk.lock:
        agent, customer = desk.user("Alma", role="agent")["id"], desk.user("Cuno")["id"]
        desk.reply(ticket, agent, "Before anybody asked.", public=False)

    asker = desk.tickets[ticket]["requester_id"]
    xref.link(crediting.support.pk, "party", f"user:{asker}", "party", credit.party_id, provenance="test")

    def reads(times: int = 1) -> str:
        for _ in range(times):
            inbox.start(flows.current("support_case"), connection=crediting.support, subject_kind="support_case",
                        subject_id=str(ticket), by="test")  # fmt: skip
            work()
        credit.refresh_from_db()
        return credit.state

    CreditComment.objects.create(credit=credit, what="question", by="decider", text="How long was it down?")
    crediting.moved(credit, "ask")
    work()
    with crediting.desk.lock:
        desk.reply(ticket, customer, "All day!")
        desk.reply(ticket, agent, "We are looking.", public=True)
    assert reads() == "needs_info", "what the customer reads is no answer to a reviewer"
    with crediting.desk.lock:
        desk.reply(ticket, agent, "Two hours, see 4242 4242 4242 4242.", public=False)
        desk.reply(ticket, agent, "By the way.", public=False)
    stale = questions.asked(credit)
    assert reads(3) == "pending"
    questions.answer(credit, by="Alma", text="to a question that is answered", external_id="other", to=stale, source="support")
    (answer,) = credit.comments.filter(what="answer")
    assert (answer.by, answer.text.split(",")[0]) == ("Alma", "Two hours") and "4242 4242 4242" not in answer.text
    entry = AuditEntry.objects.get(action="credit.answered")
    assert (entry.actor, json.loads(entry.content)["source"]) == ("Alma", "support")
