"""A credit that was given already is stopped, with a link to the first one."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta
from typing import Any

import pytest
from django.db import IntegrityError, transaction

from canonical.models import move
from connectors import registry
from hub.audit.models import AuditEntry
from hub.credits import deciding, duplicates, opening
from hub.credits.models import Credit
from hub.credits.opening import open_credit
from hub.models import Run
from hub.roles import FINANCE
from tests.credits import company as scene
from tests.credits import factories
from tests.credits.company import NOW, OPENED, Company

HOUR = timedelta(hours=1)
MONTH = {"period_start": date(2026, 10, 1), "period_end": date(2026, 10, 31)}


@pytest.fixture
def company(db: None) -> Iterator[Company]:
    yield scene.found()
    registry.CONNECTORS.pop("test-a", None)


def test_the_same_case_and_reason_is_stopped_with_a_link_to_the_first(company: Company) -> None:
    case = company.case(late=HOUR)
    first, second = (open_credit(company.missed(case), at=NOW) for _ in range(2))
    second.refresh_from_db()
    assert (second.state, second.duplicate_of, second.duplicate_why) == ("stopped", first, "the same case and reason")
    assert AuditEntry.objects.filter(action="credit.stopped", object_id=second.pk).exists()
    assert Run.objects.filter(subject_kind="credit", subject_id=second.number).exists(), "so that the ticket can say so"


def test_another_reason_on_the_same_case_is_none(company: Company) -> None:
    case = company.case(late=HOUR)
    open_credit(company.missed(case), at=NOW)
    assert open_credit(company.asked(case=case), at=NOW).state == "pending"


def test_the_same_incident_is_one_credit_per_customer(company: Company) -> None:
    other, _ = company.customer("Other")
    first = open_credit(company.missed(company.case(late=HOUR, incident="INC-1")), at=NOW)
    second = open_credit(company.missed(company.case(late=HOUR, incident="INC-1")), at=NOW)
    assert (second.state, second.duplicate_of) == ("stopped", first) and "INC-1" in second.duplicate_why
    assert open_credit(company.missed(company.case(late=HOUR, incident="INC-1", party=other)), at=NOW).state == "pending"
    assert open_credit(company.missed(company.case(late=HOUR, incident="INC-2")), at=NOW).state == "pending"


def test_the_same_period_is_one_credit_per_customer_and_reason(company: Company) -> None:
    first = open_credit(company.asked(**MONTH), at=NOW)
    second = open_credit(company.asked("55", **MONTH), at=NOW)
    assert (second.state, second.duplicate_of) == ("stopped", first) and "2026-10-01" in second.duplicate_why
    later = {"period_start": date(2026, 11, 1), "period_end": date(2026, 11, 30)}
    assert open_credit(company.asked("33", **later), at=NOW).state == "pending"


def test_the_availability_of_a_month_is_credited_once(company: Company) -> None:
    def outage(hours: int) -> Credit:
        case = company.case()
        moments = ("opened", OPENED), ("first_reply", OPENED), ("down", OPENED), ("up", OPENED + hours * HOUR)
        company.clock(case, *moments, ("resolved", OPENED + 6 * HOUR))
        return open_credit(company.missed(case), at=NOW)

    first, second = outage(4), outage(5)
    assert (first.reason, first.period_start, first.period_end) == ("uptime", date(2026, 11, 1), date(2026, 11, 30))
    assert (second.state, second.duplicate_of) == ("stopped", first) and "period" in second.duplicate_why


@pytest.mark.parametrize("end", ["reject", "expire", "withdraw"])
def test_what_is_over_stops_nothing(end: str, company: Company) -> None:
    case = company.case(late=HOUR)
    move(open_credit(company.missed(case), at=NOW), end, by="test")
    assert open_credit(company.missed(case), at=NOW).state == "pending"


def test_a_third_one_names_the_first(company: Company) -> None:
    case = company.case(late=HOUR)
    first, _second, third = (open_credit(company.missed(case), at=NOW) for _ in range(3))
    assert third.duplicate_of == first


def test_a_split_credit_still_stops_others(company: Company) -> None:
    case = company.case(late=HOUR)
    first = open_credit(company.missed(case), at=NOW)
    deciding.split(first, factories.person("rosa", FINANCE), parts=[first.net - 40, first.net - 60], note="two cost centres")
    assert open_credit(company.missed(case), at=NOW).duplicate_of == first


def test_a_duplicate_that_was_allowed_is_decided_beside_the_first(company: Company) -> None:
    case = company.case(late=HOUR)
    open_credit(company.missed(case), at=NOW)
    stopped = open_credit(company.missed(case), at=NOW)
    allowed = deciding.allow_duplicate(stopped, factories.person("felix", FINANCE), note="two outages in one case")
    assert allowed.state == "pending" and allowed.approvals_needed >= 1


def test_a_reversal_is_no_duplicate(company: Company) -> None:
    first = scene.post(scene.approve(open_credit(company.missed(company.case(late=HOUR)), at=NOW)))
    assert opening.open_reversal(first, by=None, reason="not_due", note="", at=NOW).state == "pending"


def test_near_ones_are_of_the_same_customer_currency_and_month(company: Company) -> None:
    other, _ = company.customer("Other")
    near = [open_credit(company.asked(amount), at=NOW) for amount in ("100", "100.50")]
    open_credit(company.asked("103"), at=NOW)
    open_credit(company.asked("100", party=other), at=NOW)
    old = open_credit(company.asked("99.99"), at=NOW - 31 * 24 * HOUR)
    assert duplicates.near(near[0]) == [near[1]]
    assert duplicates.near(old) == []


@pytest.mark.parametrize("told", [{"case": True}, {"incident": "INC-1"}], ids=["case", "incident"])
def test_two_of_the_same_moment_are_one_and_a_stopped_one(
    told: dict[str, Any], company: Company, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second looks before the first is there; the database refuses it, and it looks again."""
    case = company.case(late=HOUR)
    given = {"case": case} if "case" in told else told
    first = open_credit(company.asked("10", **given), at=NOW)
    look, early = duplicates.find, [True]
    monkeypatch.setattr(duplicates, "find", lambda credit: None if early and early.pop() else look(credit))
    second = open_credit(company.asked("10", **given), at=NOW)
    assert (second.state, second.duplicate_of) == ("stopped", first)


def test_the_database_itself_refuses_a_second_one(company: Company) -> None:
    case = company.case(late=HOUR)
    open_credit(company.missed(case), at=NOW)
    stopped = open_credit(company.missed(case), at=NOW)
    with pytest.raises(IntegrityError), transaction.atomic():
        Credit.objects.filter(pk=stopped.pk).update(state="pending")
