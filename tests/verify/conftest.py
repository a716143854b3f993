"""A small hub in good order: one invoice of each kind, worked as the engine would, for tests to damage."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

import pytest
from django.contrib.auth.models import User
from django.db import connection as database

from canonical.models import ExternalRef, Invoice, InvoiceLine, LegalEntity, Party, move
from connectors.models import Connection
from hub import review
from hub.models import AccountingRule, Attempt, InboxEvent, Run, Step
from tests.facts import open_facts


@dataclass
class Hub:
    """What the tests reach for."""

    entity: LegalEntity
    billing: Connection
    erp: Connection
    invoice: Invoice
    event: InboxEvent
    run: Run
    step: Step


@pytest.fixture
def hub(transactional_db: None) -> Hub:
    entity = LegalEntity.objects.create(code="acme", name="Acme", currency="EUR")
    billing = Connection.objects.create(slug="stripe", connector="stripe", legal_entity=entity, state="active")
    erp = Connection.objects.create(slug="erp", connector="tryton", legal_entity=entity, state="active")
    drafter, approver = User.objects.create(username="rosa"), User.objects.create(username="felix")
    AccountingRule.objects.create(
        legal_entity=entity, revenue_account="4.2.2", valid_from=date(2026, 1, 1), drafted_by=drafter, approved_by=approver,
        state="active",
    )  # fmt: skip
    party = Party.objects.create(name="Ann")
    body = b'{"id": "evt_1"}'
    event = InboxEvent.objects.create(
        connection=billing, external_id="evt_1", kind="invoice.paid", origin="webhook", disposition="run", body=body,
        body_digest=hashlib.sha256(body).hexdigest(),
    )  # fmt: skip
    invoice = an_invoice(entity, party, "in_1", "11.90")
    run = Run.objects.create(
        flow="order_to_cash", lane="invoice:1:in_1", connection=billing, event=event, subject_kind="invoice", subject_id="in_1",
        object_id=invoice.pk, state="done", ended_at="2026-11-01T00:00Z",
    )  # fmt: skip
    step = a_posting(run, erp, "stripe/in_1", "11.90")
    ExternalRef.objects.create(
        connection=erp, kind="invoice", object_kind="invoice", object_id=invoice.pk, external_id="7", number="INV/7",
        key="stripe/in_1", provenance="test",
    )  # fmt: skip
    for name in ("map", "post", "confirm"):
        move(invoice, name, by="test")
    return Hub(entity, billing, erp, invoice, event, run, step)


def an_invoice(entity: LegalEntity, party: Party, external_id: str, total: str, **more: object) -> Invoice:
    """An open invoice in EUR with one line."""
    net = Decimal(total) - Decimal("1.90")
    invoice = Invoice.objects.create(
        number=external_id, party=party, legal_entity=entity, status="open", currency="EUR", issued_on=date(2026, 11, 1),
        net=net, tax="1.90", total=total, **more,
    )  # fmt: skip
    InvoiceLine.objects.create(invoice=invoice, external_id="il_1", position=0, net=net, tax="1.90")
    return invoice


def a_posting(run: Run, erp: Connection, key: str, total: str, name: str = "post") -> Step:
    """A post step that was done, with its one attempt."""
    step = Step.objects.create(
        run=run, name=name, lane=run.lane, connection=erp, key=key, state="done", attempts=1,
        request={"total": total, "currency": "EUR"}, result={"facts": {"total": total, "currency": "EUR"}},
    )  # fmt: skip
    Attempt.objects.create(step=step, run=run, connection=erp, number=1, outcome="done")
    return step


def a_question(hub: Hub) -> review.ReviewItem:
    """An open review item."""
    return review.open_item("refused", review.fingerprint("test"), "a question", source=hub.erp)


def sql(*statements: str) -> None:
    """What somebody with direct access to the database would do."""
    with open_facts(), database.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)
