"""A missing mapping is one question for all it blocks, and its answer lets go on exactly those."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal
from typing import Any
from unittest import mock

import pytest
from django.db import transaction
from django.utils import timezone

from canonical import types
from canonical.models import Invoice, LegalEntity
from connectors.clients import forget_clients
from connectors.models import Connection
from connectors.sdk.contract import Connector
from hub import booking, flows, inbox, review
from hub.flows import order_to_cash
from hub.models import AccountingRule, CodeMapping, ReviewItem, Run, Step
from hub.rulebook import NotApproved, approve
from tests.canonical import said
from tests.support.threads import at_once
from tests.support.time import work
from tests.support.world import LONG_AGO, drafted, map_code, people, rule_for

DAY = date(2026, 11, 1)


class Shop:
    """Invoices that billing tells of; the ERP is not reached, because booking comes before."""

    def __init__(self, source: Connection, erp: Connection) -> None:
        self.source, self.erp = source, erp
        self.told: dict[str, list[types.CanonicalObject]] = {}

    def sells(self, number: int, product: str, currency: str = "EUR", net: str = "100", on: date = DAY) -> Run:
        """An invoice over one product has been issued."""
        external_id = f"in_{number}"
        one = said.line(net=net, tax="0", product=product)
        self.told[external_id] = [
            said.invoice(one, external_id=external_id, currency=currency, issued_on=on),
            said.party(),
            said.product(external_id=product, name=product),
        ]
        flow = flows.current("order_to_cash")
        return inbox.start(flow, connection=self.source, subject_kind="invoice", subject_id=external_id, by="test")

    def read(self, connector: Connector, client: Any, request: dict[str, Any], call: Any) -> Sequence[types.CanonicalObject]:
        return self.told[request["id"]]


@pytest.fixture
def shop(transactional_db: None) -> Iterator[Shop]:
    """A shop whose flow ends before the ERP: what is mapped is done."""
    entity = LegalEntity.objects.create(code="main", name="Main", currency="EUR")
    source = Connection(
        slug="stripe", connector="stripe", legal_entity=entity, state="active", settings={"base_url": "http://127.0.0.1:9"}
    )
    source.set_credentials({"api_key": "sk_test_nobody"})
    source.save()
    made = Shop(source, Connection.objects.create(slug="tryton", connector="tryton", legal_entity=entity, state="active"))
    booked_only = replace(
        order_to_cash.FLOW, version=99, steps=(replace(order_to_cash.READ, ask=made.read), *order_to_cash.FLOW.steps[1:2])
    )
    flows.register(booked_only)
    rule_for(entity)
    yield made
    flows.forget(booked_only)
    forget_clients()


def open_items() -> list[ReviewItem]:
    return list(ReviewItem.objects.filter(state="open").order_by("id"))


def approved_mapping(shop: Shop, product: str, **told: Any) -> int:
    """Draft and approve the mapping of a product as two people do; returns how many steps went on."""
    _, checker = people()
    codes = {"source_code": product, "target_code": "PLAN", "valid_from": LONG_AGO, **told}
    return approve(drafted(CodeMapping, what="product", source=shop.source, target=shop.erp, **codes), checker)


def test_300_invoices_blocked_by_one_mapping_are_one_question_and_heal_together(shop: Shop) -> None:
    for n in range(300):
        shop.sells(n, "prod_new", ("EUR", "JPY", "KWD")[n % 3], ("100", "5000", "12.345")[n % 3])
    others = [shop.sells(1000 + n, "prod_other") for n in range(5)]
    work()
    item, other = sorted(open_items(), key=lambda item: item.occurrences, reverse=True)
    assert (item.cause, item.occurrences, item.group) == ("missing_mapping", 300, "finance reviewer")
    assert review.blocked_runs(item).count() == 300
    assert review.money_blocked(item) == {"EUR": Decimal(10_000), "JPY": Decimal(500_000), "KWD": Decimal("1234.5")}
    assert review.blocked_runs(other).count() == 5

    assert approved_mapping(shop, "prod_new") == 300
    work()
    assert Run.objects.filter(state="done").count() == 300
    assert Invoice.objects.filter(state="mapped").count() == 300
    item.refresh_from_db()
    other.refresh_from_db()
    assert (item.state, item.answer, item.resolved_by) == ("resolved", "healed", "checker")
    assert other.state == "open"
    for run in others:
        (waiting,) = run.steps.filter(state="waiting")
        assert waiting.waiting_on == other and waiting.attempts == 1, "what waits for something else is not touched"


def test_two_missing_things_are_two_questions_one_after_the_other(shop: Shop) -> None:
    AccountingRule.objects.filter(state="active").update(state="retired")
    run = shop.sells(1, "prod_1")
    work()
    assert [item.detail["what"] for item in open_items()] == ["accounting_rule"]
    _, checker = people()
    entity = shop.source.legal_entity
    assert approve(drafted(AccountingRule, legal_entity=entity, revenue_account="4.2.2"), checker) == 1
    work()
    assert [item.detail["what"] for item in open_items()] == ["product"]
    assert approved_mapping(shop, "prod_1") == 1
    work()
    run.refresh_from_db()
    assert run.state == "done" and not open_items()


@pytest.mark.parametrize(
    "beside",
    [
        {"source_code": "prod_2"}, {"what": "tax"}, {"valid_from": DAY + timedelta(days=1)}, {"valid_to": DAY - timedelta(days=1)},
    ],
)  # fmt: skip
def test_a_mapping_that_says_something_else_heals_nothing(shop: Shop, beside: dict[str, Any]) -> None:
    shop.sells(1, "prod_1")
    work()
    _, checker = people()
    told = {
        "what": "product",
        "source": shop.source,
        "source_code": "prod_1",
        "target": shop.erp,
        "target_code": "PLAN",
        "valid_from": LONG_AGO,
    }
    assert approve(drafted(CodeMapping, **{**told, **beside}), checker) == 0
    assert len(open_items()) == 1 and Step.objects.get(name="book").attempts == 1


@pytest.mark.parametrize("told", [{"region": "FR"}, {"product_family": "services"}])
def test_a_rule_for_another_region_or_family_heals_nothing(shop: Shop, told: dict[str, Any]) -> None:
    AccountingRule.objects.filter(state="active").update(state="retired")
    shop.sells(1, "prod_1")
    work()
    row = drafted(AccountingRule, legal_entity=shop.source.legal_entity, revenue_account="4.2.2", **told)
    assert approve(row, people()[1]) == 0
    assert len(open_items()) == 1


def test_a_mapping_from_a_later_day_heals_the_later_documents(shop: Shop) -> None:
    early, late = shop.sells(1, "prod_1", on=DAY), shop.sells(2, "prod_1", on=DAY + timedelta(days=20))
    work()
    assert len(open_items()) == 1
    assert approved_mapping(shop, "prod_1", valid_from=DAY + timedelta(days=10)) == 2
    work()
    early.refresh_from_db()
    late.refresh_from_db()
    assert (early.state, late.state) == ("open", "done")
    (item,) = open_items()
    assert list(review.blocked_runs(item)) == [early]


def test_the_maker_cannot_approve_and_nothing_heals(shop: Shop) -> None:
    shop.sells(1, "prod_1")
    work()
    maker, _ = people()
    row = drafted(CodeMapping, what="product", source=shop.source, source_code="prod_1", target=shop.erp, target_code="PLAN")
    with pytest.raises(NotApproved):
        approve(row, maker)
    assert len(open_items()) == 1


def test_no_document_begins_to_wait_after_its_mapping_was_approved(shop: Shop) -> None:
    """Work and approval at the same moment: whoever comes first, nobody waits for what is there."""
    for n in range(12):
        shop.sells(n, "prod_1")

    def either(n: int) -> None:
        work() if n else approved_mapping(shop, "prod_1")

    at_once(2, either, threads=2)
    work()
    assert set(Run.objects.values_list("state", flat=True)) == {"done"}
    assert not open_items()


def test_a_subscription_over_an_unmapped_product_asks_before_its_first_invoice(shop: Shop) -> None:
    shop.told["sub_1"] = [said.subscription(started_at=timezone.now() - timedelta(days=900)), said.party(), said.product()]
    inbox.start(flows.current("order_to_cash"), connection=shop.source, subject_kind="subscription", subject_id="sub_1", by="test")
    work()
    (item,) = open_items()
    assert (item.detail["what"], item.detail["source_code"]) == ("product", "prod_1")
    assert approved_mapping(shop, "prod_1", valid_from=timezone.now().date()) == 1, (
        "a code is needed from now on, not since it began"
    )
    work()
    assert Run.objects.get().state == "done"


def test_a_cancelled_subscription_asks_for_nothing(shop: Shop) -> None:
    shop.told["sub_1"] = [said.subscription(status="cancelled"), said.party(), said.product()]
    inbox.start(flows.current("order_to_cash"), connection=shop.source, subject_kind="subscription", subject_id="sub_1", by="test")
    work()
    assert Run.objects.get().state == "done" and not open_items()


def test_healing_twice_heals_once(shop: Shop) -> None:
    shop.sells(1, "prod_1")
    work()
    row = map_code("product", shop.source, "prod_1", shop.erp, "PLAN")
    with transaction.atomic():
        assert [booking.heal_with(row, by="ann"), booking.heal_with(row, by="ann")] == [1, 0]
    with mock.patch.object(booking, "book", wraps=booking.book) as booked:
        work()
    assert booked.call_count == 1
