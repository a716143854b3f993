"""Lists stay fast: as many queries for many rows as for few, no count of millions, no endless paging."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection as database
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from canonical.models import CreditMemo, Invoice, Observation, Party, Payment, Price, Product, Subscription
from connectors.models import Connection
from hub import roles
from hub.admin_ui import COUNTED, PAGES, FastPaginator
from hub.models import AccountingRule, CodeMapping, InboxEvent, RejectedDelivery, ReviewItem, Run, Step
from tests.backoffice import factories as make
from tests.backoffice.conftest import Login
from tests.backoffice.support import admins, list_url

pytestmark = pytest.mark.django_db


def rows(count: int, billing: Connection, erp: Connection, maker: User) -> None:
    """Some more of everything that grows, each with relations of its own."""
    entity, first = make.entity(), Run.objects.count() + 1
    numbers = range(first, first + count)
    money = {"currency": "EUR", "net": 1, "tax": 0, "total": 1, "issued_on": "2026-11-01", "status": "open", "legal_entity": entity}
    parties = Party.objects.bulk_create(Party(name=f"Customer {n}") for n in numbers)
    products = Product.objects.bulk_create(Product(name=f"Product {n}") for n in numbers)
    Price.objects.bulk_create(Price(product=p, currency="EUR") for p in products)
    bills = Invoice.objects.bulk_create(Invoice(number=f"A-{p.pk}", party=p, **money) for p in parties)
    CreditMemo.objects.bulk_create(CreditMemo(party=p, **money) for p in parties)
    Subscription.objects.bulk_create(Subscription(party=p, legal_entity=entity, status="active", currency="EUR") for p in parties)
    Payment.objects.bulk_create(Payment(party=b.party, invoice=b, amount=1, currency="EUR", status="paid") for b in bills)
    for n, bill in zip(numbers, bills, strict=True):
        make.ref(billing, "invoice", bill.pk, f"in_{n}")
    events = InboxEvent.objects.bulk_create(
        InboxEvent(
            connection=billing,
            external_id=f"evt_{n}",
            origin="webhook",
            disposition="run",
            subject_kind="invoice",
            subject_id=f"in_{n}",
            body=b"{}",
            body_digest="",
        )
        for n in numbers
    )
    runs = Run.objects.bulk_create(
        Run(
            flow="order_to_cash",
            lane=f"l{n}",
            connection=billing,
            event=e,
            subject_kind="invoice",
            subject_id=f"in_{n}",
            amount=1,
            currency="EUR",
        )
        for n, e in zip(numbers, events, strict=True)
    )
    items = ReviewItem.objects.bulk_create(
        ReviewItem(
            cause="refused", fingerprint=f"f{n}", title=f"No {n}", group=roles.FINANCE, connection=erp, event=e, assignee=maker
        )
        for n, e in zip(numbers, events, strict=True)
    )
    Step.objects.bulk_create(
        Step(run=r, name="post", lane=r.lane, state="waiting", connection=erp, waiting_on=i)
        for r, i in zip(runs, items, strict=True)
    )
    CodeMapping.objects.bulk_create(
        CodeMapping(
            what="tax", source=billing, source_code=f"t{n}", target=erp, target_code="T", valid_from="2026-01-01", drafted_by=maker
        )
        for n in numbers
    )
    AccountingRule.objects.bulk_create(
        AccountingRule(legal_entity=entity, product=p, revenue_account="4", valid_from="2026-01-01", drafted_by=maker)
        for p in products
    )
    RejectedDelivery.objects.bulk_create(
        RejectedDelivery(connection=billing, day="2026-11-01", reason=f"r{n}", count=1) for n in numbers
    )
    Observation.objects.bulk_create(
        Observation(connection=billing, kind="invoice", external_id=f"in_{n}", digest=f"d{n}", said={}) for n in numbers
    )
    for n in numbers[:60]:
        make.user(f"user{n}", roles.FINANCE)


def queries(client: Any, url: str, **query: str) -> int:
    with CaptureQueriesContext(
        database,
    ) as captured:
        assert client.get(url, query).status_code == 200
    return len(captured)


def test_no_list_asks_more_for_200_rows_than_for_5(
    login: Login, billing: Connection, erp: Connection, people: dict[str, User]
) -> None:
    client = login(roles.AUDITOR)
    rows(5, billing, erp, people[roles.FINANCE])
    urls = [*(list_url(site.model) for site in admins()), reverse("admin:index")]
    few = {url: queries(client, url) for url in urls}  # warms content types and the like
    few = {url: queries(client, url) for url in urls}
    rows(195, billing, erp, people[roles.FINANCE])
    many = {url: queries(client, url) for url in urls}
    assert many == few
    assert max(many.values()) <= 20, many


def test_searching_and_filtering_a_list_asks_no_more_either(
    login: Login, billing: Connection, erp: Connection, people: dict[str, User]
) -> None:
    client = login(roles.AUDITOR)
    rows(5, billing, erp, people[roles.FINANCE])
    asked = [
        ("hub_run", {"q": "in_"}),
        ("hub_inboxevent", {"q": "evt_"}),
        ("hub_reviewitem", {"state": "open"}),
        ("canonical_invoice", {"q": "in_"}),
    ]

    def count() -> list[int]:
        return [queries(client, reverse(f"admin:{name}_changelist"), **query) for name, query in asked]

    count()
    few = count()
    rows(45, billing, erp, people[roles.FINANCE])
    assert count() == few


def test_the_list_of_events_does_not_read_their_bodies(login: Login, billing: Connection) -> None:
    make.event(billing, "evt_1")
    with CaptureQueriesContext(database) as captured:
        login(roles.AUDITOR).get(list_url(InboxEvent))
    assert not [q["sql"] for q in captured if '"body"' in q["sql"]]


def test_a_whole_large_table_is_estimated_and_a_part_is_counted_to_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hub.admin_ui._estimate", lambda table: 3_000_000)
    whole = FastPaginator(Run.objects.order_by("-id"), 50)
    with CaptureQueriesContext(database) as captured:
        assert whole.count == 3_000_000
        assert whole.num_pages == PAGES
    assert len(captured) == 0
    with CaptureQueriesContext(database) as captured:
        assert FastPaginator(Run.objects.filter(state="done").order_by("-id"), 50).count == 0
    assert f"LIMIT {COUNTED + 1}" in captured[0]["sql"]


def test_a_small_table_is_counted_exactly(billing: Connection, erp: Connection) -> None:
    make.story(billing, erp, 1)
    assert FastPaginator(Run.objects.order_by("-id"), 50).count == 1


def test_no_list_sorts_by_a_column_without_an_index(
    login: Login, billing: Connection, erp: Connection, people: dict[str, User]
) -> None:
    rows(1, billing, erp, people[roles.FINANCE])
    for model in (Run, InboxEvent):
        assert set(login(roles.AUDITOR).get(list_url(model)).context["cl"].queryset.query.order_by) == {"-pk"}
        assert not login(roles.AUDITOR).get(list_url(model)).context["cl"].sortable_by
