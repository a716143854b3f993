"""Closing a month: what keeps it open, who signs, and that a later change shows."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
import time_machine
from django.contrib.auth.models import User
from django.db import IntegrityError, transaction

from canonical.models import Invoice, Party
from hub import roles, rulebook
from hub.audit.models import AuditEntry
from hub.models import Run, Step
from reconciliation import closing
from reconciliation.closing import NotAllowed, ask_reopening, difference, gates, picture, prepare, reopen, sign
from reconciliation.closing.gates import judge
from reconciliation.models import Break, CloseTolerance, PeriodClose, Scan
from tests.reconciliation import vendor
from tests.reconciliation.staff import person
from tests.reconciliation.world import billed, booked, connection, entity, fill, scan

Books = dict[str, vendor.Books]
OCTOBER, NOVEMBER = date(2026, 10, 1), date(2026, 11, 1)
OLD = datetime(2026, 10, 20, tzinfo=UTC)


@pytest.fixture
def ann(books: Books) -> User:
    return person("ann", roles.SENIOR)


def october(invoices: int = 3) -> None:
    """A month that agrees."""
    fill(0)
    for number in range(invoices):
        vendor.BOOKS["billing"].put(billed(number, on=date(2026, 10, 5), updated_at=OLD))
        vendor.BOOKS["erp"].put(booked(number, on=date(2026, 10, 5), updated_at=OLD))


@pytest.fixture
def close(books: Books) -> PeriodClose:
    october()
    scan()
    return PeriodClose.objects.create(legal_entity=entity(), period=OCTOBER)


def red(period: date = OCTOBER) -> dict[str, str]:
    return {gate.name: gate.why for gate in judge(entity(), period) if not gate.is_green}


def test_a_month_that_agrees_is_green_and_its_totals_are_those_of_the_sources(close: PeriodClose) -> None:
    assert red() == {}
    totals = closing.content(entity(), OCTOBER)["totals"]
    assert [(t["source"], t["kind"], t["currency"], t["count"], t["total"]) for t in totals] == [
        ("billing", "invoice", "EUR", 3, "360"), ("erp", "invoice", "EUR", 3, "360"),
    ]  # fmt: skip


def test_without_a_scan_after_its_end_a_month_is_not_swept(close: PeriodClose) -> None:
    assert list(red(NOVEMBER)) == ["swept"]
    Scan.objects.update(state="failed")
    assert list(red()) == ["swept", "fresh"]


def test_a_lost_page_keeps_the_month_open(books: Books) -> None:
    october()
    books["billing"].lost = {"in_001"}
    scan()
    assert "billing/invoice" in red()["swept"]


def test_a_scan_of_the_day_before_yesterday_is_not_fresh_and_neither_is_one_that_failed_since(close: PeriodClose) -> None:
    with time_machine.travel(datetime.now(UTC) + timedelta(hours=27), tick=True):
        assert list(red()) == ["fresh"]
    now = datetime.now(UTC)
    Scan.objects.create(legal_entity=entity(), state="failed", as_of=now, ended_at=now, started_by="test")
    assert "1 failed since" in red()["fresh"]


def test_a_call_whose_outcome_nobody_knows_keeps_it_open(close: PeriodClose) -> None:
    told = {"subject_id": "in_9", "amount": 12, "currency": "EUR"}
    run = Run.objects.create(flow="order_to_cash", lane="x", connection=connection("billing"), **told)
    Step.objects.create(run=run, name="post", lane="x", state="unknown", connection=connection("erp"))
    (gate,) = [gate for gate in judge(entity(), OCTOBER) if not gate.is_green]
    assert (gate.name, gate.count, {c: int(m) for c, m in gate.money.items()}) == ("unknown", 1, {"EUR": 12})
    assert "in_9" in gate.why


@pytest.mark.parametrize(("on", "status", "names"), [
    (date(2026, 10, 31), "open", ["unposted"]), (date(2026, 11, 1), "open", []), (date(2026, 10, 31), "void", []),
])  # fmt: skip
def test_an_invoice_of_the_month_that_the_erp_lacks_keeps_it_open(
    close: PeriodClose, on: date, status: str, names: list[str]
) -> None:
    party = Party.objects.create(name="Acme")
    Invoice.objects.create(
        number="F-1", party=party, legal_entity=entity(), status=status, currency="EUR", issued_on=on, net=10, tax=2, total=12
    )
    assert list(red()) == names


def break_of(period: date | None, **told: Any) -> Break:
    last = Scan.objects.latest("pk")
    fields = {"title": "off", "currency": "EUR", "exposed": 5, "type": "amount", "fingerprint": "1" * 64, **told}
    return Break.objects.create(legal_entity=entity(), pair="invoices", period=period, first_scan=last, last_scan=last, **fields)


@pytest.mark.parametrize(("period", "names"), [(OCTOBER, ["breaks"]), (None, ["breaks"]), (NOVEMBER, [])])
def test_open_breaks_of_the_month_and_of_none_keep_it_open(close: PeriodClose, period: date | None, names: list[str]) -> None:
    break_of(period)
    assert list(red()) == names


def test_breaks_within_an_approved_tolerance_do_not(close: PeriodClose, ann: User, carla: User) -> None:
    break_of(OCTOBER)
    five = CloseTolerance.objects.create(currency="EUR", amount=5, valid_from=date(2026, 1, 1), drafted_by=ann)
    assert list(red()) == ["breaks"], "a draft tolerates nothing"
    with pytest.raises(rulebook.NotApproved):
        rulebook.approve(five, ann)
    rulebook.approve(five, carla)
    assert red() == {} and picture.content(entity(), OCTOBER)["parameters"]["close_tolerated"] == {"EUR": "5"}
    break_of(OCTOBER, fingerprint="2" * 64, exposed=Decimal("0.01"))
    assert list(red()) == ["breaks"]


def test_the_tolerance_of_an_entity_goes_before_that_of_all(close: PeriodClose, ann: User, carla: User) -> None:
    break_of(OCTOBER)
    for of, amount in ((entity(), 1), (None, 5)):
        said = {"legal_entity": of, "currency": "EUR", "amount": amount, "valid_from": date(2026, 1, 1), "drafted_by": ann}
        rulebook.approve(CloseTolerance.objects.create(**said), carla)
    assert list(red()) == ["breaks"]
    assert gates.tolerated(entity()) == {"EUR": Decimal(1)}


# signing ---------------------------------------------------------------------------------------------------------------


def test_a_second_person_signs_and_the_hash_is_of_what_was_prepared(close: PeriodClose, ann: User, carla: User) -> None:
    signed = sign(prepare(close, ann), carla)
    assert (signed.state, signed.prepared_by, signed.signed_by) == ("signed", ann, carla)
    signed.refresh_from_db()
    assert signed.hash == closing.digest(signed.content)
    trail = AuditEntry.objects.filter(object_kind="periodclose").order_by("seq").values_list("action", "actor")
    assert list(trail) == [("periodclose.prepared", "ann"), ("periodclose.signed", "carla")]


def test_nobody_signs_what_they_prepared(close: PeriodClose, carla: User) -> None:
    prepared = prepare(close, carla)
    with pytest.raises(NotAllowed, match="another person"):
        sign(prepared, carla)
    with pytest.raises(IntegrityError, match="close_maker_is_not_checker"), transaction.atomic():
        PeriodClose.objects.filter(pk=close.pk).update(signed_by=carla)


def test_signing_takes_a_controller_and_preparing_somebody_of_finance(close: PeriodClose, ann: User) -> None:
    with pytest.raises(NotAllowed, match="prepare_periodclose"):
        prepare(close, person("otto", roles.OPERATOR))
    with pytest.raises(NotAllowed, match="sign_periodclose"):
        sign(prepare(close, ann), person("sam", roles.SENIOR))


def test_a_red_gate_needs_a_reason_when_it_is_prepared_and_still_has_it_when_it_is_signed(
    close: PeriodClose, ann: User, carla: User
) -> None:
    break_of(OCTOBER)
    with pytest.raises(NotAllowed, match="nobody said why"):
        prepare(close, ann)
    with pytest.raises(NotAllowed, match="nobody said why"):
        prepare(close, ann, {"swept": "wrong gate", "breaks": " "})
    signed = sign(prepare(close, ann, {"breaks": "agreed with the auditor"}), carla)
    assert signed.content["reasons"] == {"breaks": "agreed with the auditor"}


def test_a_gate_that_turns_red_before_the_signature_refuses_it(close: PeriodClose, ann: User, carla: User) -> None:
    prepared = prepare(close, ann)
    run = Run.objects.create(flow="order_to_cash", lane="x", connection=connection("billing"))
    Step.objects.create(run=run, name="post", lane="x", state="unknown", connection=connection("erp"))
    with pytest.raises(NotAllowed, match="nobody said why"):
        sign(prepared, carla)


def test_what_changed_since_it_was_prepared_is_not_signed(close: PeriodClose, ann: User, carla: User) -> None:
    prepared = prepare(close, ann)
    vendor.BOOKS["billing"].put(billed(7, on=date(2026, 10, 9), updated_at=OLD))
    vendor.BOOKS["erp"].put(booked(7, on=date(2026, 10, 9), updated_at=OLD))
    scan()
    with pytest.raises(NotAllowed, match="prepare it again"):
        sign(prepared, carla)
    assert sign(prepare(prepared, ann), carla).state == "signed"


def test_a_further_scan_of_the_same_books_changes_nothing(close: PeriodClose, ann: User, carla: User) -> None:
    prepared = prepare(close, ann)
    scan()
    assert difference(prepared) == []
    assert sign(prepared, carla).state == "signed"


def test_what_changes_after_the_signature_shows_as_a_difference(close: PeriodClose, ann: User, carla: User) -> None:
    signed = sign(prepare(close, ann), carla)
    vendor.BOOKS["billing"].put(billed(0, "121.00", on=date(2026, 10, 5), updated_at=OLD))
    scan()
    found = {(each.part, each.name): each for each in difference(signed)}
    moved = found["totals", "billing/invoice/EUR/open"]
    assert (moved.before or {})["total"] == "360" and (moved.now or {})["total"] == "361"
    (broken,) = [each for (part, _), each in found.items() if part == "breaks"]
    assert broken.before is None and (broken.now or {})["exposed"] == "1"


def test_a_signed_close_cannot_be_changed_even_in_the_database(close: PeriodClose, ann: User, carla: User) -> None:
    signed = sign(prepare(close, ann), carla)
    for change in ({"content": {}}, {"hash": "0" * 64}, {"state": "open"}):
        with pytest.raises(IntegrityError, match="is signed"), transaction.atomic():
            PeriodClose.objects.filter(pk=signed.pk).update(**change)
    with pytest.raises(IntegrityError, match="is signed"), transaction.atomic():
        PeriodClose.objects.filter(pk=signed.pk).delete()


def test_reopening_takes_two_people_and_a_reason_and_what_was_signed_stays_known(
    close: PeriodClose, ann: User, carla: User
) -> None:
    signed = sign(prepare(close, ann), carla)
    with pytest.raises(NotAllowed, match="Nobody has asked"):
        reopen(signed, carla)
    with pytest.raises(NotAllowed, match="Say why"):
        ask_reopening(signed, carla, " ")
    ask_reopening(signed, carla, "a late invoice")
    with pytest.raises(NotAllowed, match="another person"):
        reopen(signed, carla)
    again = reopen(signed, person("cora", roles.CONTROLLER))
    assert again.state == "reopened"
    prepare(again, carla)
    assert sign(again, person("cora", roles.CONTROLLER)).state == "signed"
    assert signed.history.filter(state="signed", signed_by=carla).exists()
    entry = AuditEntry.objects.get(action="periodclose.reopened")
    assert signed.hash in entry.content and "a late invoice" in entry.content
