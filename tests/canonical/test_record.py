"""What we keep of what systems say."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import IntegrityError, transaction

from canonical.models import (
    ExternalRef,
    Invoice,
    InvoiceLine,
    LegalEntity,
    Observation,
    Party,
    Payment,
    Product,
    Subscription,
    move,
)
from canonical.record import NotRecorded, Recorder
from connectors.models import Connection
from tests.canonical import said
from tests.support.threads import at_once
from tests.support.world import billing_connection

WITH_ALL = (said.party(), said.product())


def test_an_answer_is_recorded_whatever_the_order_of_its_objects(recorder: Recorder) -> None:
    ids = recorder.record([said.invoice(), said.product(), said.party()])
    invoice = Invoice.objects.get(pk=ids["invoice", "in_1"])
    assert (invoice.party_id, invoice.total, invoice.status, invoice.state) == (
        ids["party", "cus_1"],
        Decimal(120),
        "open",
        "recorded",
    )
    line = invoice.lines.get()
    assert (line.product_id, line.net, line.tax) == (ids["product", "prod_1"], Decimal(100), Decimal(20))
    assert line.taxes == [{"code": "txr_1", "amount": "20.00", "percentage": None}]


def test_saying_it_again_changes_nothing(recorder: Recorder) -> None:
    first = recorder.record([said.invoice(), *WITH_ALL])
    kept = Observation.objects.count()
    assert recorder.record([said.invoice(), *WITH_ALL]) == first
    assert Observation.objects.count() == kept == 3
    assert Invoice.objects.count() == ExternalRef.objects.filter(kind="invoice").count() == 1


def test_saying_something_new_is_one_more_observation_of_the_same_object(recorder: Recorder) -> None:
    recorder.record([said.invoice(), *WITH_ALL])
    recorder.record([said.invoice(status="paid", paid=Decimal(120)), *WITH_ALL])
    assert Invoice.objects.get().status == "paid"
    assert Observation.objects.filter(kind="invoice").count() == 2


def test_going_back_to_an_earlier_state_is_news(recorder: Recorder) -> None:
    for name in ("Acme", "Acme 2", "Acme"):
        recorder.record([said.party(name=name)])
    assert Party.objects.get().name == "Acme"
    assert Observation.objects.count() == 3


def test_an_answer_older_than_what_we_hold_is_kept_and_changes_nothing(recorder: Recorder) -> None:
    recorder.record([said.product(name="New", updated_at=said.NOW)])
    recorder.record([said.product(name="Old", updated_at=said.NOW - timedelta(seconds=1))])
    assert Product.objects.get().name == "New"
    assert list(Observation.objects.order_by("id").values_list("said__name", flat=True)) == ["New", "Old"]


def test_an_answer_of_the_same_instant_is_applied(recorder: Recorder) -> None:
    for name in ("One", "Two"):
        recorder.record([said.product(name=name, updated_at=said.NOW)])
    assert Product.objects.get().name == "Two"


def test_lines_follow_billing_until_the_erp_holds_them(recorder: Recorder) -> None:
    recorder.record([said.invoice(), *WITH_ALL])
    two = said.invoice(said.line("il_2", "50.00", "10.00"), said.line("il_3", "5.00", "1.00"))
    recorder.record([two, *WITH_ALL])
    invoice = Invoice.objects.get()
    assert list(invoice.lines.values_list("external_id", flat=True)) == ["il_2", "il_3"]
    move(invoice, "map", by="test")
    move(invoice, "post", by="test")
    recorder.record([said.invoice(said.line("il_9", "1.00", "0")), *WITH_ALL])
    assert list(invoice.lines.values_list("external_id", flat=True)) == ["il_2", "il_3"]
    assert Observation.objects.filter(kind="invoice").count() == 3, "what billing says now is kept, for reconciliation"


def test_an_item_that_left_the_subscription_is_ended_and_not_deleted(recorder: Recorder) -> None:
    recorder.record([said.subscription(), *WITH_ALL])
    recorder.record([said.subscription(items=()), *WITH_ALL])
    assert list(Subscription.objects.get().items.values_list("external_id", "ended")) == [("si_1", True)]


def test_what_is_referred_to_and_was_never_described_is_named(recorder: Recorder) -> None:
    with pytest.raises(NotRecorded) as gap, transaction.atomic():
        recorder.record([said.invoice(), said.party()])
    assert (gap.value.kind, gap.value.external_id) == ("product", "prod_1")
    assert not Invoice.objects.exists() and not Party.objects.exists()


@pytest.mark.parametrize("payment_first", [True, False])
def test_a_payment_and_its_invoice_find_each_other_whichever_came_first(recorder: Recorder, payment_first: bool) -> None:
    answers: list[list[Any]] = [[said.payment(invoice="in_1")], [said.invoice(), *WITH_ALL]]
    for answer in answers if payment_first else answers[::-1]:
        recorder.record(answer)
    recorder.record([said.payment(invoice="in_1")])
    assert Payment.objects.get().invoice == Invoice.objects.get()


def test_an_invoice_that_names_its_payment_is_tied_to_it(recorder: Recorder) -> None:
    recorder.record([said.payment()])
    recorder.record([said.invoice(payment="pi_1"), *WITH_ALL])
    assert Payment.objects.get().invoice == Invoice.objects.get()


def test_an_invoice_is_tied_to_its_subscription_once_that_is_known(recorder: Recorder) -> None:
    bill = said.invoice(subscription="sub_1")
    recorder.record([bill, *WITH_ALL])
    assert Invoice.objects.get().subscription is None
    recorder.record([said.subscription(), *WITH_ALL])
    recorder.record([bill, *WITH_ALL])
    assert Invoice.objects.get().subscription == Subscription.objects.get()
    assert Observation.objects.filter(kind="invoice").count() == 1


def test_days_are_those_of_the_legal_entity(recorder: Recorder) -> None:
    late = datetime(2026, 12, 31, 23, 30, tzinfo=UTC)
    recorder.record([said.invoice(status="paid", paid=Decimal(120), paid_at=late), *WITH_ALL])
    assert Invoice.objects.get().paid_on == date(2027, 1, 1), "it is New Year's Day in Auckland already"


def test_a_document_may_name_another_legal_entity(recorder: Recorder) -> None:
    other = LegalEntity.objects.create(code="other", name="Other", currency="USD")
    recorder.record([said.invoice(legal_entity="other"), *WITH_ALL])
    assert Invoice.objects.get().legal_entity == other
    with pytest.raises(NotRecorded, match="legal entity nobody"):
        recorder.record([said.invoice(external_id="in_2", legal_entity="nobody"), *WITH_ALL])


def test_two_systems_may_use_the_same_id(recorder: Recorder, entity: LegalEntity) -> None:
    other = billing_connection(slug="other", entity=entity)
    recorder.record([said.party()])
    Recorder(other.pk, entity, "test").record([said.party()])
    assert Party.objects.count() == 2


def test_a_deleted_customer_keeps_its_name(recorder: Recorder) -> None:
    recorder.record([said.party()])
    recorder.record([said.party(name="", deleted=True)])
    assert Party.objects.values_list("name", "deleted_at_source").get() == ("Acme", True)


@pytest.mark.django_db(transaction=True)
def test_many_first_sights_at_once_make_one_object(entity: LegalEntity, source: Connection) -> None:
    def record(n: int) -> int:
        with transaction.atomic():
            return Recorder(source.pk, entity, "test").record([said.party(), said.product()])["party", "cus_1"]

    assert len(set(at_once(12, record, threads=6))) == 1
    assert Party.objects.count() == Product.objects.count() == 1


def test_the_database_refuses_a_document_that_does_not_add_up(recorder: Recorder) -> None:
    recorder.record([said.invoice(), *WITH_ALL])
    with pytest.raises(IntegrityError, match="invoice_total_is_net_plus_tax"), transaction.atomic():
        Invoice.objects.update(total=Decimal("120.01"))


def test_amounts_come_back_as_exactly_as_they_went_in(recorder: Recorder) -> None:
    recorder.record([said.invoice(said.line(net="12.345", tax="0.617"), currency="KWD"), *WITH_ALL])
    assert InvoiceLine.objects.values_list("net", "tax").get() == (Decimal("12.345"), Decimal("0.617"))
