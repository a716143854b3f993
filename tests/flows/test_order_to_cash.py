"""From a subscription in billing to a posted, paid invoice in the ERP: both are twins over real HTTP."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from canonical.models import ExternalRef, Invoice, Observation, Party
from hub import answers, inbox
from hub.models import InboxEvent, ReviewItem, Run
from tests.support.time import work
from tests.support.world import World, amount, map_code


def invoice_of(world: World, subscription: dict[str, Any]) -> dict[str, Any]:
    return dict(world.billing.ask("GET", f"invoices/{subscription['latest_invoice']}"))


def settle(world: World) -> None:
    """Deliver and work until billing has nothing more to announce, the echoes of our own writes included."""
    for _ in range(5):
        if not world.deliver():
            return
        work()
    raise AssertionError("billing and the hub talk for ever")


@pytest.mark.parametrize(
    ("currency", "net", "tax", "total"),
    [("eur", "98", "19.6", "117.6"), ("jpy", "10000", "2000", "12000"), ("kwd", "24.68", "4.936", "29.616")],
)
def test_an_open_invoice_is_posted_with_lines_tax_currency_and_due_date(
    world: World, currency: str, net: str, tax: str, total: str
) -> None:
    invoice = invoice_of(world, world.subscribe(currency, quantity=2))
    settle(world)
    (document,) = world.documents()
    assert (document["currency"], document["key"]) == (currency.upper(), f"stripe/{invoice['id']}")
    assert [amount(document[name]) for name in ("net", "tax", "total")] == [Decimal(x).normalize() for x in (net, tax, total)]
    assert document["party_code"] == f"stripe/{invoice['customer']}"
    assert world.payments() == []
    held = Invoice.objects.get()
    assert (held.state, held.issued_on.isoformat()) == ("confirmed", document["date"])
    assert held.due_on == held.issued_on + timedelta(days=14)


def test_the_erp_keeps_the_due_date_of_billing(world: World, tryton_twin: Any) -> None:
    world.subscribe()
    settle(world)
    (row,) = tryton_twin.db.tables["account.invoice"].values()
    assert row["payment_term_date"] == Invoice.objects.get().due_on
    (line,) = tryton_twin.db.lines(row)
    assert (line["quantity"], amount(str(line["unit_price"]))) == (1, Decimal(49))


@pytest.mark.parametrize(("mapped", "term"), [("net14", "NET14"), ("net30", None)])
def test_a_mapped_payment_term_is_used_and_an_unmapped_one_is_a_due_date(
    world: World, tryton_twin: Any, mapped: str, term: str | None
) -> None:
    map_code("payment_term", world.source, mapped, world.erp, term or "NET30")
    world.subscribe()
    settle(world)
    (row,) = tryton_twin.db.tables["account.invoice"].values()
    held = tryton_twin.db.tables["account.invoice.payment_term"].get(row["payment_term"])
    assert (held["name"] if held else None) == term
    assert row["payment_term_date"] == (None if term else Invoice.objects.get().due_on)


def test_the_erp_number_is_written_back_to_billing(world: World) -> None:
    subscription = world.subscribe()
    settle(world)
    (document,) = world.documents()
    invoice = invoice_of(world, subscription)
    assert invoice["metadata"]["tieout_erp_number"] == document["number"]
    kept = world.billing.ask("GET", f"customers/{subscription['customer']}")["metadata"]
    assert kept["tieout_erp_customer"] == str(document["party"])


def test_a_paid_invoice_is_paid_in_the_erp(world: World) -> None:
    world.subscribe(paid=True)
    settle(world)
    (document,) = world.documents()
    (payment,) = world.payments()
    assert (payment["invoice"], amount(payment["amount"])) == (document["id"], Decimal("58.8"))
    assert document["state"] == "paid"
    assert Invoice.objects.get().state == "settled"
    assert set(Run.objects.values_list("state", flat=True)) == {"done"}


def test_an_invoice_paid_later_is_paid_in_the_erp_once(world: World) -> None:
    invoice = invoice_of(world, world.subscribe())
    settle(world)
    world.billing.ask("POST", f"invoices/{invoice['id']}/pay")
    settle(world)
    assert len(world.documents()) == 1 and len(world.payments()) == 1


def test_what_billing_settled_with_a_credit_is_not_told_as_money_received(world: World) -> None:
    customer = world.customer(balance=-2000)
    world.subscribe(paid=True, customer=customer)
    settle(world)
    (document,) = world.documents()
    (payment,) = world.payments()
    assert amount(payment["amount"]) == Decimal("38.8") and amount(document["total"]) == Decimal("58.8")
    held = Invoice.objects.get()
    assert (held.status, held.state) == ("paid", "confirmed"), "20.00 are open in the ERP"
    for event in InboxEvent.objects.filter(disposition="run"):
        inbox.replay(event, by="ann")
    work()
    assert len(world.payments()) == 1


def test_a_voided_invoice_is_reversed_not_deleted(world: World) -> None:
    invoice = invoice_of(world, world.subscribe())
    settle(world)
    world.billing.ask("POST", f"invoices/{invoice['id']}/void")
    settle(world)
    original, reversal = world.documents()
    assert amount(original["total"]) == -amount(reversal["total"]) == Decimal("58.8")
    assert reversal["key"] == f"stripe/{invoice['id']}/reversal"
    assert Invoice.objects.get().state == "reversed"


def test_an_invoice_voided_before_the_erp_saw_it_is_never_posted(world: World) -> None:
    invoice = invoice_of(world, world.subscribe())
    world.billing.ask("POST", f"invoices/{invoice['id']}/void")
    settle(world)
    assert world.documents() == []
    assert Invoice.objects.get().state == "withdrawn"


def test_an_invoice_written_off_is_still_posted(world: World) -> None:
    invoice = invoice_of(world, world.subscribe())
    world.billing.ask("POST", f"invoices/{invoice['id']}/mark_uncollectible")
    settle(world)
    assert [amount(d["total"]) for d in world.documents()] == [Decimal("58.8")]


def test_events_in_any_order_end_the_same(world: World) -> None:
    invoice = invoice_of(world, world.subscribe(paid=True))
    events = world.new_events()
    for event in reversed(events):
        world.deliver(event)
        work()
    settle(world)
    (document,) = world.documents()
    assert document["key"] == f"stripe/{invoice['id']}" and document["state"] == "paid"
    assert len(world.payments()) == 1


def test_one_event_is_enough_when_all_others_are_lost(world: World) -> None:
    world.subscribe(paid=True)
    (only,) = [event for event in world.new_events() if event["type"] == "invoice.paid"]
    world.deliver(only)
    work()
    assert len(world.documents()) == 1 and len(world.payments()) == 1
    assert Invoice.objects.get().state == "settled"


def test_two_invoices_of_a_customer_make_one_customer_in_the_erp(world: World) -> None:
    customer = world.customer()
    world.subscribe(customer=customer)
    world.subscribe("eur", customer=customer)
    settle(world)
    assert len({document["party"] for document in world.documents()}) == 1 and len(world.documents()) == 2
    assert Party.objects.count() == 1


def test_replaying_every_event_has_no_new_effect(world: World) -> None:
    invoice = invoice_of(world, world.subscribe())
    settle(world)
    world.billing.ask("POST", f"invoices/{invoice['id']}/pay")
    settle(world)
    before = (world.documents(), world.payments(), Observation.objects.count(), ExternalRef.objects.count(), Party.objects.count())
    runs = [run for event in InboxEvent.objects.filter(disposition="run") for run in inbox.replay(event, by="ann")]
    assert len(runs) > 3
    work()
    after = (world.documents(), world.payments(), Observation.objects.count(), ExternalRef.objects.count(), Party.objects.count())
    assert after == before
    assert world.new_events() == [], "nothing was written to billing either"
    assert set(Run.objects.values_list("state", flat=True)) == {"done"}


def test_the_echo_of_our_own_write_is_not_answered(world: World, stripe_twin: Any) -> None:
    stripe_twin.honours_keys = False
    world.subscribe()
    settle(world)
    assert len(world.documents()) == 1


def test_an_invoice_a_person_gave_up_on_is_posted_when_billing_speaks_of_it_again(world: World, tryton_twin: Any) -> None:
    invoice = invoice_of(world, world.subscribe())
    tryton_twin.arm("status", match="POST /twin/rest/model/account.invoice$", status=400)
    world.deliver()
    work()
    item = ReviewItem.objects.get(state="open", cause="refused")
    answers.answer(item, "close", by="ann", reason="the period is being closed")
    assert world.documents() == [] and Invoice.objects.get().state == "mapped"
    world.billing.ask("POST", f"invoices/{invoice['id']}/pay")
    settle(world)
    assert Invoice.objects.get().state == "settled"
    assert len(world.documents()) == 1 and len(world.payments()) == 1


def test_a_negative_invoice_waits_for_a_person(world: World) -> None:
    customer = world.customer()
    draft = world.billing.ask(
        "POST", "invoices", customer=customer, currency="eur", collection_method="send_invoice", days_until_due=5
    )
    world.billing.ask("POST", "invoiceitems", customer=customer, invoice=draft["id"], amount=-500, currency="eur")
    world.billing.ask("POST", f"invoices/{draft['id']}/finalize")
    settle(world)
    assert ReviewItem.objects.get(state="open").group == "finance reviewer"
    assert world.documents() == []


def test_a_deleted_draft_troubles_nobody(world: World) -> None:
    draft = world.billing.ask("POST", "invoices", customer=world.customer(), currency="eur")
    world.billing.ask("DELETE", f"invoices/{draft['id']}")
    settle(world)
    assert not ReviewItem.objects.exists() and not Invoice.objects.exists()


def test_a_deleted_customer_keeps_its_name_here(world: World) -> None:
    customer = world.customer(name="Acme GmbH")
    settle(world)
    world.billing.ask("DELETE", f"customers/{customer}")
    settle(world)
    party = Party.objects.get()
    assert (party.name, party.deleted_at_source) == ("Acme GmbH", True)


def test_the_amount_at_stake_is_on_the_run(world: World) -> None:
    world.subscribe("kwd")
    settle(world)
    run = Run.objects.filter(flow="order_to_cash", subject_kind="invoice").first()
    assert run is not None
    assert (run.amount, run.currency) == (Decimal("14.808"), "KWD")
