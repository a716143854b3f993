"""The figures of the dashboards: right for books that are known, and what the shown query says."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection as database
from django.utils import timezone

from canonical.models import LegalEntity
from hub import roles
from hub.models import Attempt, Run, Step
from reconciliation.figures import QUESTIONS, figure, figures
from reconciliation.models import Break, PeriodClose
from tests.credits.factories import credit, rule
from tests.reconciliation import vendor
from tests.reconciliation.staff import person
from tests.reconciliation.world import billed, connection, entity, fill, scan

Books = dict[str, vendor.Books]


def value(name: str) -> Any:
    return figure(name, entity()).value


def test_every_figure_says_what_its_shown_query_says_and_needs_no_data(books: Books) -> None:
    for filled in (False, True):
        if filled:
            fill(3)
            books["billing"].put(billed(9))
            scan()
        found = figures(entity())
        assert [each.name for each in found] == [question.name for question in QUESTIONS]
        for each in found:
            with database.cursor() as cursor:
                cursor.execute(each.sql)
                rows = cursor.fetchall()
            shown = each.value if isinstance(each.value, list) else [each.value]
            told = [tuple(row.values()) if isinstance(row, dict) else (row,) for row in shown]
            assert rows == told or (rows == [] and told == [(None,)]), each.name


def test_agreement_is_the_share_of_what_matched_by_documents_and_by_money(books: Books) -> None:
    fill(3)
    books["billing"].put(billed(9, "240.00"))
    scan()
    by_count = {row["pair"]: row for row in value("agreement_by_count")}
    assert (by_count["invoices"]["share"], by_count["invoices"]["documents"]) == (Decimal("85.71"), 7)  # 6 of 7
    (money,) = [row for row in value("agreement_by_money") if row["pair"] == "invoices"]
    assert (money["share"], money["amount"], money["currency"]) == (Decimal("75.00"), 960, "EUR")  # 720 of 960


def test_only_the_last_scan_of_a_day_counts(books: Books) -> None:
    fill(1)
    scan()
    books["billing"].put(billed(9))
    scan()
    (row,) = [row for row in value("agreement_by_count") if row["pair"] == "invoices"]
    assert row["documents"] == 3


def test_the_rate_of_matching_is_of_the_last_scan_and_unknown_before_the_first(books: Books) -> None:
    assert value("auto_match_rate") is None
    fill(2)
    scan()
    assert value("auto_match_rate") == 100
    books["billing"].put(billed(9))
    last = scan()
    told = value("auto_match_rate")
    assert last.counts["breaks"]["new"] == 1 and 0 < told < 100


def test_breaks_are_counted_by_type_and_age_with_their_money_and_closed_ones_are_not(books: Books) -> None:
    fill(1)
    last = scan()
    for n, (type_, exposed, days) in enumerate((("amount", 5, 0), ("amount", 7, 3), ("tax", 2, 40))):
        made = Break.objects.create(
            legal_entity=entity(), pair="invoices", type=type_, fingerprint=f"{n:064}", title="off", currency="EUR",
            exposed=exposed, first_scan=last, last_scan=last,
        )  # fmt: skip
        Break.objects.filter(pk=made.pk).update(opened_at=timezone.now() - timedelta(days=days))
    Break.objects.create(
        legal_entity=entity(), pair="invoices", type="fx", fingerprint="9" * 64, title="gone", first_scan=last, last_scan=last,
        state="closed", closed_at=timezone.now(), closed_how="accepted",
    )  # fmt: skip
    assert [(row["type"], row["breaks"], row["exposed"]) for row in value("breaks_by_type")] == [("amount", 2, 12), ("tax", 1, 2)]
    ages = [(row["age"], row["breaks"]) for row in value("breaks_by_age")]
    assert ages == [("1: up to a day", 1), ("2: up to a week", 1), ("4: older", 1)]


def test_touches_avoided_are_the_writes_of_runs_that_needed_nobody(books: Books) -> None:
    person("ann", roles.FINANCE)

    def a_run(by: str, outcome: str, code: str = "") -> None:
        run = Run.objects.create(
            flow="order_to_cash", lane=f"{by}{outcome}{code}", connection=connection("billing"), state="done",
            ended_at=timezone.now(), started_by=by,
        )  # fmt: skip
        told = {"run": run, "lane": run.lane, "state": "done", "connection": connection("erp")}
        read, post = Step.objects.create(**told, name="read"), Step.objects.create(**told, name="post", key="k")
        for number, (step, how) in enumerate(((read, "done"), (post, outcome)), start=1):
            Attempt.objects.create(step=step, run=run, number=number, outcome=how, error_code=code)

    a_run("webhook", "done")
    a_run("sweep", "busy")
    a_run("webhook", "blocked", "gate")
    a_run("webhook", "blocked", "blocked")
    a_run("ann", "done")
    assert value("touches_avoided") == 3


def test_the_time_to_close_runs_from_the_end_of_the_month(books: Books) -> None:
    ann, carla = person("ann", roles.SENIOR), person("carla", roles.CONTROLLER)
    PeriodClose.objects.create(
        legal_entity=entity(), period=date(2026, 10, 1), state="signed", hash="x", prepared_by=ann, signed_by=carla,
        signed_at=datetime(2026, 11, 4, 12, tzinfo=UTC),
    )  # fmt: skip
    assert value("time_to_close") == [{"period": date(2026, 10, 1), "days": Decimal("3.5")}]


@pytest.mark.django_db
def test_credits_are_counted_as_far_as_they_came() -> None:
    rule(roles.FINANCE)
    made = credit("100")
    found = figure("credits", LegalEntity.objects.get(pk=made.legal_entity_id)).value
    assert isinstance(found, list)
    (row,) = found
    assert (row["requested"], row["approved"], row["posted"], row["mirrored"]) == (1, 0, 0, 0)
    assert row["requested_amount"] == made.total


def test_a_figure_nobody_has_is_an_error(books: Books) -> None:
    with pytest.raises(LookupError):
        figure("happiness", entity())
