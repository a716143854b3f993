"""Breaks on twins of the real systems: what is proposed, who may approve it, and that the next scan is clean."""

# ruff: noqa: F811  (fixtures of another package, taken over by name)

from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import IntegrityError, transaction

from canonical import xref
from canonical.commands import PostInvoice
from canonical.models import ExternalRef, Invoice, Transition
from connectors.clients import client_for
from connectors.models import Connection
from connectors.sdk.http import Call
from connectors.vendors.tryton import fake_deferring
from hub import answers, inbox, roles, rulebook
from hub.audit.models import AuditEntry
from hub.credits import writing
from hub.flows import order_to_cash
from hub.models import AccountingRule, ReviewItem, Run
from reconciliation import concluding, scanning
from reconciliation.automatic import auto_mend
from reconciliation.invariants import check, mends
from reconciliation.mending import NotAllowed, approve, plans, propose, refuse, settle_mends, variance_trend
from reconciliation.models import Break, Mend, MendRule, Scan
from reconciliation.plan import side
from tests.flows.conftest import crediting, stripe_twin, tryton_twin, world, zendesk_twin  # noqa: F401
from tests.reconciliation.staff import person
from tests.support.credits import Crediting
from tests.support.time import work
from tests.support.world import World, rule_for

pytestmark = pytest.mark.usefixtures("world")


@pytest.fixture
def ann(world: World) -> User:
    return person("ann", roles.FINANCE)


@pytest.fixture
def carla(world: World) -> User:
    return person("carla", roles.CONTROLLER)


def settle(world: World) -> None:
    for _ in range(5):
        if not world.deliver():
            return
        work()


def scanned(world: World) -> Scan:
    """A full scan; what is younger than an hour counts, as nothing is under way."""
    scan = scanning.begin(world.entity, full=True, by="test")
    work()
    with_no_grace = scan.as_of.replace(year=scan.as_of.year + 1)
    Scan.objects.filter(pk=scan.pk).update(as_of=with_no_grace)
    concluding.conclude_all()
    Scan.objects.filter(pk=scan.pk).update(as_of=scan.as_of)
    scan.refresh_from_db()
    assert scan.state == "done", scan.failure
    return scan


INVOICE, MOVE_LINE = "account.invoice", "account.move.line"


def erased(twin: Any, pk: int) -> None:
    """Take a posted document out of the ERP's database, as only an administrator of that can."""
    with twin.lock:
        row = twin.db.tables[INVOICE][pk]
        twin.db._assign(INVOICE, row, {"state": "draft"})
        twin.db.delete(INVOICE, row)
        twin.db.ledger = [entry for entry in twin.db.ledger if entry["id"] != pk]


def entered(world: World, key: str) -> Any:
    """Post what the hub has posted once more, under another key: by hand, so to say."""
    step = Run.objects.filter(steps__name="post").get().steps.get(name="post")
    request = PostInvoice.model_validate({**(step.request or {}), "key": key})
    return world.erp.spec.commands["post_invoice"].run(client_for(world.erp), request, Call())


def open_breaks(pair: str = "") -> list[Break]:
    rows = Break.objects.exclude(state="closed").order_by("pk")
    return list(rows.filter(pair=pair) if pair else rows)


def kinds(break_: Break) -> dict[str, str]:
    """Plan → why it cannot be taken."""
    return {plan.plan: plan.why_not for plan in plans(break_)}


def allowed(world: World, *, is_draft: bool = False, **said: Any) -> MendRule:
    """A rule in force that lets replays up to 1,000 EUR happen by themselves."""
    drafter, approver = person("dora", roles.CONTROLLER), person("cleo", roles.CONTROLLER)
    given = {"plan": "replay", "currency": "EUR", "limit": "1000", "per_day": "20000", "valid_from": date(2026, 1, 1)}
    rule = MendRule.objects.create(**{**given, **said}, drafted_by=drafter)
    if not is_draft:
        rulebook.approve(rule, approver)
    return MendRule.objects.get(pk=rule.pk)


def mended(break_: Break, plan: str, ann: User, carla: User) -> Mend:
    mend = approve(propose(break_, plan, ann, "month end"), carla)
    work()
    settle_mends()
    mend.refresh_from_db()
    return mend


def test_what_never_reached_the_erp_is_worked_again_and_the_next_scan_is_clean(world: World, ann: User, carla: User) -> None:
    world.subscribe()
    settle(world)
    invoice = world.subscribe()["latest_invoice"]
    world.new_events()  # lost on the way
    scanned(world)
    (lost,) = open_breaks("invoices")
    assert (lost.type, lost.left["id"]) == ("missing_right", invoice)
    assert kinds(lost) == {"replay": "", "accept": ""}
    before = len(world.documents())
    mend = mended(lost, "replay", ann, carla)
    assert (mend.state, mend.run.state if mend.run else "") == ("done", "done")
    assert len(world.documents()) == before + 1
    lost.refresh_from_db()
    assert lost.state == "repairing"
    scanned(world)
    assert open_breaks() == []
    lost.refresh_from_db()
    assert (lost.state, lost.closed_how) == ("closed", "no longer found")


def test_a_mend_is_audited_step_by_step_with_who_and_what(world: World, ann: User, carla: User) -> None:
    world.subscribe()
    world.new_events()
    scanned(world)
    (lost,) = open_breaks("invoices")
    mend = mended(lost, "replay", ann, carla)
    trail = AuditEntry.objects.filter(object_kind="mend", object_id=mend.pk).order_by("seq")
    assert list(trail.values_list("action", "actor")) == [
        ("mend.proposed", "ann"), ("mend.approved", "carla"), ("mend.done", "reconciliation"),
    ]  # fmt: skip
    moves = Transition.objects.filter(object_kind="mend", object_id=mend.pk).order_by("id")
    assert list(moves.values_list("name", "by")) == [("apply", "carla"), ("finish", "reconciliation")]


def test_a_document_deleted_in_the_erp_is_posted_again_under_its_key_and_stays_ours(
    world: World, tryton_twin: Any, ann: User, carla: User
) -> None:
    invoice = world.subscribe()["latest_invoice"]
    settle(world)
    (document,) = world.documents()
    erased(tryton_twin, document["id"])
    scanned(world)
    (gone,) = open_breaks("invoices")
    assert (gone.type, gone.cause) == ("missing_right", "gone from the ERP")
    known = kinds(gone)
    assert known["post"] == "" and "is gone" in known["replay"]
    (post,) = [plan for plan in plans(gone) if plan.plan == "post"]
    assert "58.80 EUR" in post.effects[0] and "account 4.2.2: 49.00 net and 9.80 tax VAT20" in post.effects
    mend = mended(gone, "post", ann, carla)
    assert mend.state == "done"
    (again,) = world.documents()
    assert again["key"] == f"stripe/{invoice}" and again["id"] != document["id"]
    held = Invoice.objects.get()
    assert xref.id_of("invoice", held.pk, world.erp.pk) == str(again["id"])
    assert xref.find(world.erp.pk, "invoice", str(document["id"])) == held.pk, "the old id leads to the same invoice"
    scanned(world)
    assert open_breaks("invoices") == []
    assert [finding.named for finding in check() if finding.count] == []


def test_a_credit_note_that_never_reached_finance_is_posted_with_the_accounts_of_its_invoice(
    world: World, ann: User, carla: User
) -> None:
    invoice = world.billing.ask("GET", f"invoices/{world.subscribe()['latest_invoice']}")
    settle(world)
    line = {"type": "invoice_line_item", "invoice_line_item": invoice["lines"]["data"][0]["id"], "amount": 1000}
    note = world.billing.ask("POST", "credit_notes", invoice=invoice["id"], lines=[line])
    world.new_events()
    scanned(world)
    (lost,) = [each for each in open_breaks() if each.left.get("id") == note["id"] or note["id"] in str(each.left)]
    assert lost.pair == "credit_memos" and kinds(lost)["post"] == ""
    mended(lost, "post", ann, carla)
    memo = next(document for document in world.documents() if document["key"] == f"stripe/{note['id']}")
    assert (note["total"], Decimal(memo["total"])) == (1200, Decimal(-12)), "a memo is negative in the ERP's own books"
    scanned(world)
    assert open_breaks("credit_memos") == []


def test_a_credit_note_nobody_approved_is_voided_in_billing_by_two_people(world: World, ann: User, carla: User) -> None:
    invoice = world.billing.ask("GET", f"invoices/{world.subscribe()['latest_invoice']}")
    settle(world)
    line = {"type": "invoice_line_item", "invoice_line_item": invoice["lines"]["data"][0]["id"], "amount": 1000}
    note = world.billing.ask("POST", "credit_notes", invoice=invoice["id"], lines=[line])
    settle(world)
    scanned(world)
    (given,) = open_breaks("credit_memos")
    assert kinds(given) == {"post": "", "reverse": "", "accept": ""}
    mend = mended(given, "reverse", ann, carla)
    assert (mend.state, mend.amount) == ("done", Decimal(12)), list(Run.objects.filter(pk=mend.run_id).values("state"))
    assert world.billing.ask("GET", f"credit_notes/{note['id']}")["status"] == "void"
    settle(world)
    scanned(world)
    assert open_breaks() == []


def test_an_approved_credit_whose_memo_is_gone_is_posted_again_as_it_was_approved(
    crediting: Crediting, tryton_twin: Any, ann: User, carla: User
) -> None:
    world = crediting.world
    Connection.objects.filter(pk=crediting.support.pk).update(legal_entity=world.entity)
    made = crediting.ask(crediting.invoiced(), "10")
    crediting.approve(made)
    work()
    settle(world)
    (memo,) = [document for document in world.documents() if document["key"] == writing.key(made)]
    erased(tryton_twin, memo["id"])
    scanned(world)
    (gone,) = open_breaks("credits")
    assert gone.type == "orphan_credit" and kinds(gone)["post"] == ""
    assert mended(gone, "post", ann, carla).state == "done"
    (again,) = [document for document in world.documents() if document["key"] == writing.key(made)]
    assert again["total"] == memo["total"] and again["id"] != memo["id"]
    scanned(world)
    left = open_breaks("credits")
    assert all(side(each, "erp") for each in left), "only the case may be missing: Zendesk's export lags by a minute"


def test_the_surplus_of_two_documents_is_taken_back_by_a_further_one(
    world: World, tryton_twin: Any, ann: User, carla: User
) -> None:
    invoice = world.subscribe()["latest_invoice"]
    settle(world)
    (first,) = world.documents()
    second = entered(world, "by hand")
    tryton_twin.db._assign(INVOICE, tryton_twin.db.tables[INVOICE][int(second.external_id)], {"reference": f"stripe/{invoice}"})
    scanned(world)
    (twice,) = [each for each in open_breaks() if each.type == "duplicate"]
    assert kinds(twice)["reverse"] == ""
    assert mended(twice, "reverse", ann, carla).state == "done"
    scanned(world)
    assert [str(each) for each in open_breaks()] == []
    held = Invoice.objects.get()
    assert held.state == "confirmed" and xref.id_of("invoice", held.pk, world.erp.pk) == str(first["id"]), "ours is untouched"


def test_rounding_goes_to_the_variance_account_and_shows_in_its_trend(
    world: World, tryton_twin: Any, ann: User, carla: User
) -> None:
    world.subscribe()
    settle(world)
    (document,) = world.documents()
    row = tryton_twin.db.tables[INVOICE][document["id"]]
    for name in ("tax_amount", "total_amount", "total_amount_cache"):
        row[name] -= Decimal("0.01")
    scanned(world)
    (off,) = open_breaks("invoices")
    assert off.type == "rounding", off.title
    assert "No accounting rule" in kinds(off)["write_off"]
    rule_for(world.entity, product_family="variance")
    (plan,) = [plan for plan in plans(off) if plan.plan == "write_off"]
    assert plan.why_not == "" and any("account 4.2.2" in line for line in plan.effects)
    mend = mended(off, "write_off", ann, carla)
    off.refresh_from_db()
    assert (mend.state, off.state, off.closed_how) == ("done", "closed", "written off")
    (month,) = variance_trend(world.entity, 3)
    assert (month["currency"], month["count"], month["net"]) == ("EUR", 1, mend.amount)
    scanned(world)
    assert open_breaks() == [], "neither the written-off pair nor the variance document is a break"


def test_what_the_erp_says_otherwise_is_taken_back_and_posted_anew_in_this_order(
    world: World, tryton_twin: Any, ann: User, carla: User
) -> None:
    invoice = world.subscribe()["latest_invoice"]
    settle(world)
    (first,) = world.documents()
    row = tryton_twin.db.tables[INVOICE][first["id"]]
    for name, more in {
        "untaxed_amount": 5,
        "tax_amount": 1,
        "total_amount": 6,
        "total_amount_cache": 6,
        "amount_to_pay": 6,
    }.items():
        row[name] += Decimal(more)
    tryton_twin.db.get(MOVE_LINE, row["lines_to_pay"][0])["amount"] += Decimal(6)
    tryton_twin.db.get("account.invoice.tax", row["taxes"][0])["amount"] += Decimal(1)
    for name in ("amount", "unit_price"):
        tryton_twin.db.get("account.invoice.line", row["lines"][0])[name] += Decimal(5)
    scanned(world)
    (off,) = open_breaks("invoices")
    assert off.type == "amount" and kinds(off)["restate"] == "", off.title
    (plan,) = [plan for plan in plans(off) if plan.plan == "restate"]
    assert "64.8 EUR" in plan.effects[0] and "58.8 EUR" in plan.effects[2]
    mend = mended(off, "restate", ann, carla)
    assert mend.state == "done", list(mend.run.attempts.values_list("step__name", "outcome", "error")) if mend.run else ""
    keys = [document["key"] for document in world.documents()]
    assert keys == [f"stripe/{invoice}", f"stripe/{invoice}/reversal", f"stripe/{invoice}#2"]
    again = world.documents()[2]
    assert Decimal(again["total"]) == Decimal("58.80")
    held = Invoice.objects.get()
    assert held.state == "confirmed" and xref.id_of("invoice", held.pk, world.erp.pk) == str(again["id"])
    shown = world.billing.ask("GET", f"invoices/{invoice}")["metadata"]
    assert shown["tieout_erp_number"] == again["number"]
    scanned(world)
    assert open_breaks() == []
    assert [finding.named for finding in check() if finding.count] == []


def test_what_is_voided_after_it_was_posted_anew_is_taken_back_by_its_own_key(
    world: World, tryton_twin: Any, ann: User, carla: User
) -> None:
    """So that the reversal of the first document is not found in its place."""
    invoice = world.subscribe()["latest_invoice"]
    settle(world)
    (first,) = world.documents()
    tryton_twin.db.tables[INVOICE][first["id"]]["invoice_date"] = date(2026, 1, 15)
    scanned(world)
    (off,) = open_breaks("invoices")
    assert off.type == "period"
    assert mended(off, "restate", ann, carla).state == "done"
    world.billing.ask("POST", f"invoices/{invoice}/void")
    settle(world)
    assert [document["key"] for document in world.documents()][3:] == [f"stripe/{invoice}#2/reversal"]
    scanned(world)
    assert open_breaks() == []


def test_a_restatement_that_was_ended_half_way_is_not_mistaken_and_is_brought_to_its_end(
    world: World, stripe_twin: Any, tryton_twin: Any, ann: User, carla: User
) -> None:
    external = world.subscribe()["latest_invoice"]
    settle(world)
    (first,) = world.documents()
    tryton_twin.db.tables[INVOICE][first["id"]]["invoice_date"] = date(2026, 1, 15)
    scanned(world)
    (off,) = open_breaks("invoices")
    mend = approve(propose(off, "restate", ann, "wrong month"), carla)
    invoice = stripe_twin.store.get("invoices", external)
    before = invoice["total"], invoice["subtotal"], invoice["lines"]["data"][0]["amount"]
    more(invoice, 100)
    work()
    assert mend.run is not None
    (question,) = ReviewItem.objects.filter(state="open")
    assert "another net, total than was approved" in question.title
    assert [document["key"] for document in world.documents()] == [f"stripe/{external}", f"stripe/{external}/reversal"]
    answers.answer(question, "close", by="carla", reason="look again")
    more(invoice, -100)
    assert (invoice["total"], invoice["subtotal"], invoice["lines"]["data"][0]["amount"]) == before
    settle_mends()
    inbox.start(order_to_cash.FLOW, connection=world.source, subject_kind="invoice", subject_id=external, by="test")
    work()
    (question,) = ReviewItem.objects.filter(state="open")
    assert "posted anew from its break" in question.title and len(world.documents()) == 2
    answers.answer(question, "close", by="carla", reason="from the break")
    scanned(world)
    (half,) = open_breaks("invoices")
    assert kinds(half)["restate"] == "", (half.type, half.title)
    assert mended(half, "restate", ann, carla).state == "done"
    assert [document["key"] for document in world.documents()][2:] == [f"stripe/{external}#2"]
    scanned(world)
    assert open_breaks() == []


def more(invoice: Any, cents: int) -> None:
    """Billing says so much more of an invoice, its tax apart."""
    (line,) = invoice["lines"]["data"]
    line.update(amount=line["amount"] + cents, subtotal=line["subtotal"] + cents)
    names = ("subtotal", "subtotal_excluding_tax", "total", "total_excluding_tax", "amount_due", "amount_remaining")
    invoice.update({name: invoice[name] + cents for name in names})


def test_the_two_cents_of_a_schedule_are_corrected_in_the_ledger_and_the_next_scan_is_clean(
    world: World, tryton_twin: Any, ann: User, carla: User
) -> None:
    off, schedule = two_cents(world, tryton_twin)
    assert (off.left_amount, off.right_amount) == (Decimal("1200"), Decimal("1200.02"))
    assert kinds(off)["adjust"] == ""
    mend = mended(off, "adjust", ann, carla)
    assert (mend.state, mend.amount, mend.currency) == ("done", Decimal("0.02"), "USD")
    (entry,) = tryton_twin.books()["journals"]
    assert entry["lines"] == {"4.2.2": "0.02", "2.2.2": "-0.02"}
    assert entry["about"] == f"account.invoice.deferred,{schedule}"
    scanned(world)
    assert open_breaks("recognition") == []
    off.refresh_from_db()
    assert (off.state, off.closed_how) == ("closed", "no longer found")


def two_cents(world: World, twin: Any) -> tuple[Break, int]:
    """A year of 1,200.00 of which the ERP's own module recognises 1,200.02; its schedule."""
    AccountingRule.objects.filter(legal_entity=world.entity).update(state="draft")
    AccountingRule.objects.filter(legal_entity=world.entity).delete()
    rule_for(world.entity, deferred_account="2.2.2")
    world.sells("usd", 120_000)
    first = twin.db.today.replace(day=1)
    world.subscribe("usd")
    settle(world)
    (schedule,) = twin.db.tables["account.invoice.deferred"].values()
    with twin.lock:  # over twelve months, begun a year ago
        begins = first.replace(year=first.year - 1)
        ends = first - timedelta(days=1)
        line = twin.db.get("account.invoice.line", schedule["invoice_line"])
        line |= {"defer_from": begins, "defer_to": ends}
        schedule |= {"start_date": begins, "end_date": ends, "state": "draft", "moves": []}
        fake_deferring.start(twin.db, schedule)
    Invoice.objects.get().lines.update(service_from=begins, service_to=ends)
    scanned(world)
    (off,) = open_breaks("recognition")
    return off, schedule["id"]


def test_documents_that_lost_each_other_are_linked_and_nothing_is_posted(
    world: World, tryton_twin: Any, ann: User, carla: User
) -> None:
    invoice = world.subscribe()["latest_invoice"]
    settle(world)
    (document,) = world.documents()
    ref = ExternalRef.objects.get(connection=world.erp, kind="invoice")
    other = entered(world, "by hand")
    erased(tryton_twin, document["id"])
    scan = scanned(world)
    Break.objects.exclude(state="closed").update(state="closed", closed_at=scan.as_of, closed_how="test")
    of_both = {"legal_entity": world.entity, "pair": "invoices", "currency": "EUR", "exposed": "58.8", "first_scan": scan}
    here = Break.objects.create(
        **of_both, last_scan=scan, type="missing_right", fingerprint="1" * 64, title="only in billing",
        left={"system": "stripe", "kind": "invoice", "id": invoice, "total": "58.8", "currency": "EUR"},
    )  # fmt: skip
    Break.objects.create(
        **of_both, last_scan=scan, type="missing_left", fingerprint="2" * 64, title="only in the ERP",
        right={"system": "tryton", "kind": "invoice", "id": other.external_id, "number": other.number, "status": "open"},
    )  # fmt: skip
    here.refresh_from_db()
    assert kinds(here)["relink"] == ""
    mend = mended(here, "relink", ann, carla)
    assert mend.state == "done" and mend.run is None and len(world.documents()) == 1
    assert xref.id_of("invoice", ref.object_id, world.erp.pk) == other.external_id
    ref.refresh_from_db()
    assert ref.state == "superseded" and ref.superseded_by is not None
    scanned(world)
    assert open_breaks("invoices") == []


def test_what_only_a_person_can_decide_says_so(lost: Break) -> None:
    said = {"system": "tryton", "kind": "recognition", "id": "1/2026-11", "net": "100", "total": "20"}
    lost.type, lost.pair, lost.right = "obligation", "subscriptions", {"items": [said]}
    known = kinds(lost)
    assert "a person decides" in known["reverse"] and known["accept"] == ""


def test_a_document_made_in_the_erp_by_hand_is_taken_back_by_whoever_made_it(lost: Break) -> None:
    lost.type, lost.left = "missing_left", {}
    told = {"status": "open", "total": "5", "currency": "EUR", "party": "1"}
    lost.right = {"system": "tryton", "kind": "invoice", "id": "77", **told}
    assert "never posted invoice 77" in kinds(lost)["reverse"]


# two people, and what they may -----------------------------------------------------------------------------------------


@pytest.fixture
def lost(world: World) -> Break:
    world.subscribe()
    world.new_events()
    scanned(world)
    (found,) = open_breaks("invoices")
    return found


def test_nobody_approves_what_they_proposed(lost: Break, carla: User) -> None:
    mend = propose(lost, "accept", carla, "known")
    with pytest.raises(NotAllowed, match="another person"):
        approve(mend, carla)
    with pytest.raises(IntegrityError, match="mend_maker_is_not_checker"), transaction.atomic():
        Mend.objects.filter(pk=mend.pk).update(approved_by=carla)


def test_approving_takes_the_right_and_so_does_proposing(lost: Break, ann: User) -> None:
    with pytest.raises(NotAllowed, match="approve_mend"):
        approve(propose(lost, "accept", ann, "known"), person("fred", roles.FINANCE))
    with pytest.raises(NotAllowed, match="work_break"):
        propose(lost, "accept", person("otto", roles.AUDITOR), "known")


def test_money_is_not_moved_without_a_reason_nor_twice_at_once(lost: Break, ann: User) -> None:
    with pytest.raises(NotAllowed, match="Say why"):
        propose(lost, "accept", ann, "  ")
    propose(lost, "accept", ann, "known")
    with pytest.raises(NotAllowed, match="under way"):
        propose(lost, "replay", ann, "")
    with pytest.raises(NotAllowed, match="does not fit"):
        propose(lost, "write_off", ann, "small")


def test_what_was_accepted_is_closed_and_stays_closed(lost: Break, ann: User, carla: User, world: World) -> None:
    approve(propose(lost, "accept", ann, "the customer is a test"), carla)
    lost.refresh_from_db()
    assert (lost.state, lost.closed_how) == ("closed", "accepted")
    scanned(world)
    assert open_breaks("invoices") == []


def test_an_approval_is_for_what_was_shown(lost: Break, ann: User, carla: User) -> None:
    mend = propose(lost, "replay", ann, "")
    Break.objects.filter(pk=lost.pk).update(exposed=lost.exposed + 1)
    with pytest.raises(NotAllowed, match="changed since"):
        approve(mend, carla)
    mend.refresh_from_db()
    assert (mend.state, mend.run) == ("proposed", None)


def test_a_refused_mend_did_nothing_and_another_may_be_proposed(lost: Break, ann: User, carla: User) -> None:
    refused = refuse(propose(lost, "replay", ann, ""), carla, "wait for the sweep")
    assert refused.state == "refused" and refused.run is None
    lost.refresh_from_db()
    assert lost.state in ("open", "explained")
    assert propose(lost, "accept", ann, "then so").state == "proposed"


def test_a_proposal_about_a_break_that_closed_is_refused_by_itself(lost: Break, ann: User, world: World) -> None:
    mend = propose(lost, "accept", ann, "known")
    inbox.start(order_to_cash.FLOW, connection=world.source, subject_kind="invoice", subject_id=lost.left["id"], by="test")
    work()
    scanned(world)
    assert settle_mends() == 1
    mend.refresh_from_db()
    assert mend.state == "refused"


def test_a_mend_that_did_not_help_reopens_its_break(lost: Break, ann: User, carla: User, world: World) -> None:
    mended(lost, "replay", ann, carla)
    Break.objects.filter(pk=lost.pk).update(last_scan=Scan.objects.create(
        legal_entity=world.entity, state="done", as_of=Mend.objects.get().ended_at.replace(year=2100), ended_at="2100-01-01T00:00Z",
        started_by="test",
    ))  # fmt: skip
    settle_mends()
    lost.refresh_from_db()
    assert lost.state == "reopened"


def test_small_breaks_of_an_allowed_kind_mend_themselves_once(lost: Break, world: World) -> None:
    rule = allowed(world)
    (mend,) = auto_mend(lost.last_scan)
    assert (mend.is_automatic, mend.plan, mend.state) == (True, "replay", "applying")
    assert auto_mend(lost.last_scan) == []
    work()
    settle_mends()
    scanned(world)
    assert open_breaks("invoices") == [] and len(world.documents()) == 1
    entry = AuditEntry.objects.get(action="mend.applied")
    assert f"mendrule:{rule.pk}/v1" in entry.content and "up to 1000 EUR" in entry.content
    assert [finding.named for finding in check() if finding.count] == []


def test_what_no_rule_allows_waits_for_a_person(lost: Break, world: World) -> None:
    assert auto_mend(lost.last_scan) == [], "without a rule nothing mends itself"
    for said in (
        {"limit": "58.79"}, {"currency": "USD"}, {"plan": "post"}, {"type": "amount"}, {"is_draft": True},
        {"valid_from": date(2100, 1, 1)}, {"valid_to": date(2026, 1, 31)},
    ):  # fmt: skip
        rule = allowed(world, **said)
        assert auto_mend(lost.last_scan) == [], said
        MendRule.objects.filter(pk=rule.pk).update(
            state="retired", approved_by=rule.approved_by or person("cleo", roles.CONTROLLER)
        )
    rule = allowed(world, limit="58.80", per_day="58.80")
    Mend.objects.create(item=entered_before(lost), plan="replay", amount=1, currency="EUR", is_automatic=True, rule=rule)
    assert auto_mend(lost.last_scan) == [], "one euro of the day is spent"
    assert not lost.mends.exists()


def test_the_most_specific_rule_decides_alone(lost: Break, world: World) -> None:
    allowed(world)
    strict = allowed(world, limit="10", legal_entity=world.entity)
    assert auto_mend(lost.last_scan) == []
    MendRule.objects.filter(pk=strict.pk).update(state="retired")
    assert len(auto_mend(lost.last_scan)) == 1


def test_a_rule_is_approved_by_another_person_and_never_edited_afterwards(world: World) -> None:
    rule = allowed(world)
    with pytest.raises(IntegrityError, match="draft a new version"), transaction.atomic():
        MendRule.objects.filter(pk=rule.pk).update(limit=5000)
    draft = allowed(world, is_draft=True, type="amount")
    with pytest.raises(rulebook.NotApproved):
        rulebook.approve(draft, draft.drafted_by)
    with pytest.raises(IntegrityError, match="mend_rule_maker_is_not_checker"), transaction.atomic():
        MendRule.objects.filter(pk=draft.pk).update(approved_by=draft.drafted_by)
    with pytest.raises(IntegrityError, match="may_happen_by_themselves"), transaction.atomic():
        MendRule.objects.filter(pk=draft.pk).update(plan="reverse")


def test_verify_names_a_mend_that_no_rule_allowed_and_a_day_that_was_too_much(lost: Break, world: World) -> None:
    rule = allowed(world)
    (mend,) = auto_mend(lost.last_scan)
    both = ["self_mends_stay_within_a_day", "self_mends_were_allowed"]
    for told, broken in (
        ({"amount": 5000}, both[1:]), ({"amount": 20_001}, both), ({"amount": 9, "currency": "USD"}, both[1:]),
        ({"currency": "EUR", "at": rule.approved_at - timedelta(days=1)}, both[1:]), ({"at": mend.at}, []),
    ):  # fmt: skip
        Mend.objects.filter(pk=mend.pk).update(**told)
        assert sorted(finding.invariant.name for finding in check(mends.INVARIANTS) if finding.count) == broken, told


def entered_before(lost: Break) -> Break:
    """Another break, that was mended earlier today."""
    return Break.objects.create(
        legal_entity=lost.legal_entity, pair="invoices", type="missing_right", fingerprint="9" * 64, title="another",
        currency="EUR", exposed=1, first_scan=lost.first_scan, last_scan=lost.last_scan,
    )  # fmt: skip
