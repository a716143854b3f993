"""Breaks on twins of the real systems: what is proposed, who may approve it, and that the next scan is clean."""

# ruff: noqa: F811  (fixtures of another package, taken over by name)

from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.contrib.auth.models import User

from canonical import xref
from canonical.models import ExternalRef, Invoice, Transition
from connectors.models import Connection
from connectors.vendors.tryton import fake_deferring
from hub import answers, inbox
from hub.audit.models import AuditEntry
from hub.credits import writing
from hub.flows import order_to_cash
from hub.models import AccountingRule, ReviewItem, Run
from reconciliation.invariants import check
from reconciliation.mending import approve, plans, propose, settle_mends, variance_trend
from reconciliation.mending.plan import side
from reconciliation.models import Break
from tests.flows.conftest import crediting, stripe_twin, tryton_twin, world, zendesk_twin  # noqa: F401
from tests.reconciliation.mends import INVOICE, MOVE_LINE, entered, erased, kinds, mended, open_breaks, scanned, settle
from tests.support.credits import Crediting
from tests.support.time import work
from tests.support.world import World, rule_for

pytestmark = pytest.mark.usefixtures("world")


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
