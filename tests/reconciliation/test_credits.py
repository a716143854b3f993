"""Service credits three ways: on the case, in billing, in the ERP, and approved."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection

from connectors.models import Connection
from hub.credits.models import Credit
from reconciliation.matching import match
from reconciliation.models import Outcome, ReadingRow, Scan
from tests.credits import factories as make
from tests.reconciliation.books import scan_of
from tests.reconciliation.corpus import AS_OF

pytestmark = pytest.mark.django_db


@pytest.fixture
def credit() -> Credit:
    make.ground()
    owner = make.entity()
    desk = Connection.objects.create(slug="desk", connector="zendesk", legal_entity=owner, state="active")
    return in_state(make.credit("100", support=desk), "closed")


def in_state(credit: Credit, state: str, decided: timedelta = timedelta(days=2)) -> Credit:
    """The credit as the database has it in that state."""
    with connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        cursor.execute("ALTER TABLE credits_credit DISABLE TRIGGER USER")
        held = AS_OF - decided
        cursor.execute(
            "UPDATE credits_credit SET state = %s, decided_at = %s, held_until = %s WHERE id = %s", [state, held, held, credit.pk]
        )
        cursor.execute("ALTER TABLE credits_credit ENABLE TRIGGER USER")
    return Credit.objects.get(pk=credit.pk)


def compared(credit: Credit, *roles: str, **totals: str) -> list[tuple[str, Decimal]]:
    """(type, exposed) of what is found when these systems show it; `totals` gives one of them another amount."""
    scan: Scan = scan_of(credit.legal_entity)
    systems = {"support": credit.support, "billing": credit.billing, "erp": Connection.objects.get(role="erp")}
    for role in roles:
        total = Decimal(totals.get(role, "100"))
        said: dict[str, Any] = {
            "support": {"kind": "support_credit", "number": credit.number, "status": "credited"},
            "billing": {"kind": "credit_memo", "reference": f"credit/{credit.uid}", "status": "issued"},
            "erp": {"kind": "credit_memo", "reference": f"credit/{credit.uid}", "status": "issued"},
        }[role]
        ReadingRow.objects.create(
            scan=scan, connection=systems[role], external_id=f"{role}-1", currency="USD", net=total, tax=0, total=total,
            on=AS_OF.date(), updated_at=AS_OF - timedelta(days=1), **said,
        )  # fmt: skip
    match(scan)
    with connection.cursor() as cursor:
        cursor.execute("SELECT type, exposed FROM recon_candidate ORDER BY type")
        return list(cursor.fetchall())


ALL = ("support", "billing", "erp")


def test_a_credit_that_all_three_show_is_one_thing(credit: Credit) -> None:
    assert compared(credit, *ALL) == []
    outcomes = Outcome.objects.filter(pair="credits", fate="matched")
    assert sorted(outcomes.values_list("reading__connection__role", flat=True)) == sorted(ALL)
    assert len(set(outcomes.values_list("token", flat=True))) == 1


@pytest.mark.parametrize(
    "shown", [("support",), ("billing",), ("erp",), ("support", "billing"), ("support", "erp"), ("billing", "erp"), ()]
)
def test_a_credit_that_a_system_lacks_is_an_orphan(credit: Credit, shown: tuple[str, ...]) -> None:
    assert compared(credit, *shown) == [("orphan_credit", Decimal(100))]


@pytest.mark.parametrize("role", ALL)
def test_another_amount_in_one_of_three_is_a_break(credit: Credit, role: str) -> None:
    assert compared(credit, *ALL, **{role: "90"}) == [("amount", Decimal(10))]


def test_an_amount_nobody_approved_is_unapproved_though_all_agree(credit: Credit) -> None:
    assert compared(credit, *ALL, support="130", billing="130", erp="130") == [("unapproved", Decimal(30))]


@pytest.mark.parametrize("state", ["pending", "rejected", "expired", "withdrawn"])
def test_a_credit_that_was_given_before_it_was_approved_is_unapproved(credit: Credit, state: str) -> None:
    assert compared(in_state(credit, state), "billing") == [("unapproved", Decimal(100))]


@pytest.mark.parametrize(("days", "found"), [(2, []), (20, [("stale", Decimal(100))])])
def test_an_approved_credit_is_under_way_until_it_is_stale(credit: Credit, days: int, found: list[Any]) -> None:
    held = in_state(credit, "posting", timedelta(days=days))
    scan = scan_of(held.legal_entity)
    ReadingRow.objects.create(
        scan=scan, connection=held.support, kind="support_credit", external_id="case-1", number=held.number, status="approved",
        currency="USD", total=100, on=AS_OF.date(),
    )  # fmt: skip
    match(scan)
    with connection.cursor() as cursor:
        cursor.execute("SELECT type, exposed FROM recon_candidate")
        assert list(cursor.fetchall()) == found


def test_a_credit_decided_a_moment_ago_is_not_missed_yet(credit: Credit) -> None:
    assert compared(in_state(credit, "posted", timedelta(minutes=5)), "erp") == []


def test_a_credit_that_was_taken_back_is_missed_nowhere(credit: Credit) -> None:
    assert compared(in_state(credit, "reversed")) == []
