"""Every partial outcome of a credit: what a person may do about it, and that doing it ends well, with nothing twice."""

from __future__ import annotations

import itertools
from decimal import Decimal
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import IntegrityError, transaction
from django.test import override_settings
from django.utils import timezone

from canonical import xref
from canonical.commands import Written
from canonical.models import ExternalRef
from connectors.clients import forget_clients
from connectors.vendors.stripe.fake import StripeTwin
from connectors.vendors.tryton.fake import TrytonTwin
from connectors.vendors.zendesk.fake import ZendeskTwin
from hub import review
from hub.audit.models import AuditEntry
from hub.credits import deciding, settling
from hub.credits.changing import NotAllowed
from hub.credits.models import Credit
from hub.engine import pump
from hub.engine.worker import Worker
from hub.models import Run, Step
from hub.roles import FINANCE, OPERATOR
from tests.credits.factories import person
from tests.flows.test_issue_to_credit import balance, billed, memos, notes, until_told
from tests.support.credits import Crediting
from tests.support.time import elapse, work

REASON = "agreed with finance"
ALLOWED = {
    # ERP, billing, case
    (False, False, False): {"retry", "cancel"},
    (False, False, True): {"retry", "cancel"},
    (False, True, False): {"retry", "cancel"},
    (False, True, True): {"retry", "cancel"},
    (True, False, False): {"retry", "as_balance", "reverse"},
    (True, False, True): {"retry", "as_balance", "reverse"},
    (True, True, False): {"retry", "close", "reverse"},
    (True, True, True): {"retry", "close", "reverse"},
}
STATES = {(False, False): "posting", (False, True): "posting", (True, False): "posted", (True, True): "mirrored"}
WAITS = {(False, False): "post", (False, True): "post", (True, False): "credit_note", (True, True): "tell"}


def allowed(credit: Credit) -> set[str]:
    credit.refresh_from_db()
    return {action.name for action in settling.allowed_actions(credit) if action.allowed}


def press(crediting: Crediting, credit: Credit, name: str, user: User | None = None) -> None:
    settling.act(credit, name, user or crediting.decider, note=REASON)
    work()
    credit.refresh_from_db()


@pytest.mark.parametrize("held", list(itertools.product([False, True], repeat=3)))
def test_every_outcome_has_its_actions(crediting: Crediting, held: tuple[bool, bool, bool]) -> None:
    in_erp, in_billing, on_case = held
    credit = crediting.ask(crediting.invoiced(), "10.00")
    crediting.approve(credit)
    systems = [(crediting.world.erp, "credit_memo", in_erp), (crediting.world.source, "credit_note", in_billing)]
    for connection, kind, is_there in [*systems, (crediting.support, "note", on_case)]:
        if is_there:
            xref.reserve(connection.pk, kind, "credit", credit.pk, f"test/{kind}", provenance="test")
            xref.bind(connection.pk, f"test/{kind}", Written(external_id=f"{kind}_1"))
    credit.refresh_from_db()
    for name, state in (("release", "posting"), ("post", "posted"), ("mirror", "mirrored")):
        if credit.state != STATES[in_erp, in_billing]:
            crediting.moved(credit, name)
            assert credit.state == state
    run = crediting.run_of(credit)
    item = review.open_item("refused", review.fingerprint("test", credit.pk), "refused", group="finance reviewer")
    where = WAITS[in_erp, in_billing] if not all(held) else "read_erp"
    run.steps.update(name=where, state="waiting", waiting_on=item)
    assert settling.outcome(credit) == settling.Outcome(*held)
    assert allowed(credit) == ALLOWED[held]
    for action in settling.allowed_actions(credit):
        assert action.allowed or action.why_not
        if not action.allowed:
            with pytest.raises(NotAllowed, match=r".+"):
                settling.act(credit, action.name, crediting.decider, note=REASON)


def test_only_approvers_settle_and_they_say_why(crediting: Crediting) -> None:
    credit = refused_by_billing(crediting)
    for user, note in ((person("operator", OPERATOR), REASON), (crediting.decider, "")):
        with pytest.raises(NotAllowed):
            settling.act(credit, "as_balance", user, note=note)


def refused_by_the_erp(crediting: Crediting, twin: TrytonTwin) -> tuple[Credit, dict[str, Any]]:
    """A credit whose account has gone from the ERP, and that account."""
    invoice = crediting.invoiced()
    accounts = twin.db.tables["account.account"]
    credit = crediting.ask(invoice, "10.00")
    hidden = next(row for row in accounts.values() if row["code"] == "4.2.2")
    hidden["code"] = "moved"
    forget_clients()
    crediting.approve(credit)
    work()
    assert (allowed(credit), settling.outcome(credit)) == ({"retry", "cancel"}, settling.Outcome(False, False, False))
    return credit, hidden


def test_what_the_erp_refused_is_tried_again(crediting: Crediting, tryton_twin: TrytonTwin) -> None:
    credit, hidden = refused_by_the_erp(crediting, tryton_twin)
    assert credit.invoice
    hidden["code"] = "4.2.2"
    press(crediting, credit, "retry")
    assert (credit.state, len(memos(crediting)), len(notes(crediting, credit.invoice))) == ("closed", 1, 1)


def test_what_the_erp_refused_is_cancelled_and_leaves_nothing_anywhere(crediting: Crediting, tryton_twin: TrytonTwin) -> None:
    credit, _ = refused_by_the_erp(crediting, tryton_twin)
    assert credit.invoice
    press(crediting, credit, "cancel")
    assert (credit.state, crediting.run_of(credit).state) == ("withdrawn", "closed")
    assert not memos(crediting) and not notes(crediting, credit.invoice)
    assert not ExternalRef.objects.filter(object_kind="credit", object_id=credit.pk, state="reserved").exists()
    assert AuditEntry.objects.filter(action="credit.settled.cancel").exists()


def test_a_credit_that_the_erp_may_hold_is_not_cancelled_by_anybody(crediting: Crediting, tryton_twin: TrytonTwin) -> None:
    credit, _ = refused_by_the_erp(crediting, tryton_twin)
    for state in ("ready", "unknown", "done"):
        Step.objects.filter(run=crediting.run_of(credit), name="post").update(state=state, waiting_on=None)
        with pytest.raises(IntegrityError, match="may get it"), transaction.atomic():
            Credit.objects.filter(pk=credit.pk).update(state="withdrawn")
    xref.bind(crediting.world.erp.pk, f"credit/{credit.uid}", Written(external_id="memo_1"))
    with pytest.raises(IntegrityError, match="may get it"), transaction.atomic():
        Credit.objects.filter(pk=credit.pk).update(state="withdrawn")


def test_a_rejected_reversal_does_not_stand_in_the_way_of_the_next(crediting: Crediting) -> None:
    credit = refused_by_billing(crediting)
    settling.act(credit, "reverse", crediting.decider, note=REASON)
    first = Credit.objects.get(reverses=credit)
    deciding.reject(first, person("second", FINANCE), revision=1, reason_code="not_due", note="the credit stays as it is")
    assert "reverse" in allowed(credit)
    settling.act(credit, "reverse", crediting.decider, note=REASON)
    second = Credit.objects.filter(reverses=credit).latest("pk")
    assert (second.state, credit.reversal) == ("pending", second)
    with pytest.raises(IntegrityError, match="one_live_reversal_per_credit"), transaction.atomic():
        crediting.take_back(credit)


def refused_by_billing(crediting: Crediting) -> Credit:
    """A credit whose invoice was voided in billing before the credit note."""
    invoice = crediting.invoiced()
    credit = crediting.ask(invoice, "10.00")
    crediting.world.billing.ask("POST", f"invoices/{billed(crediting, invoice)['id']}/void")
    crediting.approve(credit)
    work()
    credit.refresh_from_db()
    assert (credit.state, settling.outcome(credit)) == ("posted", settling.Outcome(True, False, False))
    return credit


def test_what_billing_does_not_take_as_credit_note_goes_to_the_balance(crediting: Crediting) -> None:
    credit = refused_by_billing(crediting)
    assert allowed(credit) == {"retry", "as_balance", "reverse"}
    assert credit.invoice
    press(crediting, credit, "as_balance")
    assert (credit.state, balance(crediting, credit.invoice), notes(crediting, credit.invoice)) == ("closed", -1200, [])
    assert len(memos(crediting)) == 1
    entry = AuditEntry.objects.filter(action="credit.settled.as_balance").get()
    assert entry.actor == "decider" and REASON in entry.content


def test_what_billing_does_not_take_can_be_taken_back_from_the_erp(crediting: Crediting) -> None:
    credit = refused_by_billing(crediting)
    settling.act(credit, "reverse", crediting.decider, note=REASON)
    reversal = Credit.objects.get(reverses=credit)
    assert allowed(credit) == {"retry", "as_balance"}
    settled_by(crediting, reversal)
    credit.refresh_from_db()
    assert (reversal.state, credit.state) == ("closed", "reversed")
    assert [Decimal(document["total"]) for document in memos(crediting)] == [Decimal(-12), Decimal(12)]


def settled_by(crediting: Crediting, reversal: Credit) -> None:
    """Somebody else approves the reversal."""
    with override_settings(UNDO_MINUTES=0):
        deciding.approve(reversal, person("second", FINANCE), revision=reversal.revision, confirmed_at=timezone.now())
    work()
    reversal.refresh_from_db()


def test_a_case_that_takes_nothing_more_does_not_keep_a_credit_open(crediting: Crediting, zendesk_twin: ZendeskTwin) -> None:
    credit = crediting.ask(crediting.invoiced(), "10.00")
    work()
    ticket(crediting, credit)["status"] = "closed"
    crediting.approve(credit)
    work_a_while()
    assert settling.outcome(credit) == settling.Outcome(True, True, False)
    assert allowed(credit) == {"retry", "close", "reverse"}
    settling.act(credit, "close", crediting.decider, note=REASON)
    work_a_while()
    assert allowed(credit) == {"note", "reverse"}
    ticket(crediting, credit)["status"] = "open"
    press(crediting, credit, "note")
    assert allowed(credit) == {"reverse"}
    assert [public for public, _ in crediting.ticket(credit)["comments"]] == [True]
    assert Run.objects.filter(flow="issue_to_credit").exclude(state="done").count() == 0


def work_a_while() -> None:
    """Some hours of work: the credit looks again and again whether its case shows it."""
    for _ in range(12):
        with Worker("test", threads=4) as worker:
            worker.drain(budget=30)
        elapse(600)
        pump.expire_leases()


def ticket(crediting: Crediting, credit: Credit) -> dict[str, Any]:
    assert credit.case_id is not None
    return crediting.desk.store.tickets[int(xref.id_of("support_case", credit.case_id, crediting.support.pk))]


def test_a_difference_found_at_the_end_can_be_left_as_it_stands(crediting: Crediting, stripe_twin: StripeTwin) -> None:
    credit = crediting.ask(crediting.invoiced(), "10.00", settlement="balance")
    crediting.approve(credit)
    until_told(crediting, credit)
    for entry in list(stripe_twin.store.tables["balance_transactions"]):
        entry["amount"] -= 1
    work()
    assert allowed(credit) == {"retry", "close", "reverse"}
    press(crediting, credit, "close")
    assert (credit.state, crediting.run_of(credit).state) == ("closed", "done")
