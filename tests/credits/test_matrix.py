"""The matrix: which rule, to the cent around every threshold, and never nobody by mistake."""

from __future__ import annotations

import itertools
import uuid
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from unittest import mock

import pytest
from django.contrib.auth.models import User
from django.utils import timezone

from hub import rulebook
from hub.credits import deciding, matrix
from hub.credits.exchange import NoRate
from hub.credits.matrix import Facts, NoRule
from hub.credits.models import ApprovalRule, BusinessCalendar, Credit
from hub.roles import CONTROLLER, FINANCE, SENIOR
from tests.credits import factories as make
from tests.support.world import approved, people

RATES = {"EUR": "1.08", "GBP": "1.27", "JPY": "0.0066", "KWD": "3.25"}


def bands(**told: Any) -> list[ApprovalRule]:
    """Rules that are not saved: 0 to 100 nobody, to 1,000 finance, above both."""
    ladder: list[tuple[str, str | None, list[str]]] = [
        ("0", "100", []), ("100", "1000", [FINANCE]), ("1000", None, [FINANCE, SENIOR]),
    ]  # fmt: skip
    return [
        ApprovalRule(
            pk=n, currency="USD", at_least=Decimal(low), below=None if high is None else Decimal(high),
            stages=[{"role": role, "count": 1} for role in roles], **told,
        )
        for n, (low, high, roles) in enumerate(ladder, 1)
    ]  # fmt: skip


def facts(amount: str, currency: str = "USD", **told: Any) -> Facts:
    fields = {"legal_entity": 1, "reason": "goodwill", "tier": "", "currency": currency, **told}
    return Facts(amounts={"USD": Decimal(amount)}, **fields)


@pytest.mark.parametrize(
    ("amount", "stages"),
    [("0.01", 0), ("99.99", 0), ("100", 1), ("100.01", 1), ("999.99", 1), ("1000", 2), ("1000.01", 2), ("99999999", 2)],
)
def test_a_band_holds_its_lower_end_and_not_its_upper(amount: str, stages: int) -> None:
    assert len(matrix.choose(bands(), facts(amount)).stages) == stages


def test_the_most_specific_rule_wins_whatever_the_order() -> None:
    def one(pk: int, **told: Any) -> ApprovalRule:
        return ApprovalRule(pk=pk, currency=told.pop("currency", "USD"), at_least=0, **told)

    rules = [
        one(1), one(2, currency="EUR"), one(3, tier="gold"), one(4, reason="goodwill"), one(5, reason="goodwill", tier="gold"),
        one(6, legal_entity_id=1), one(7, legal_entity_id=1, tier="gold"), one(8, legal_entity_id=2, reason="goodwill"),
        one(9, legal_entity_id=1, version=2, tier="gold"),
    ]  # fmt: skip
    cases = [
        ({"legal_entity": 1, "tier": "gold"}, 9), ({"legal_entity": 1}, 6), ({"legal_entity": 2}, 8),
        ({"legal_entity": 3, "tier": "gold"}, 5), ({"legal_entity": 3}, 4), ({"legal_entity": 3, "reason": "uptime"}, 2),
        ({"legal_entity": 3, "reason": "uptime", "tier": "gold"}, 3),
    ]  # fmt: skip
    for (told, wanted), order in itertools.product(cases, (rules, rules[::-1])):
        known = Facts(**{"reason": "goodwill", "tier": "", "currency": "EUR", **told},
                      amounts={"USD": Decimal(5), "EUR": Decimal(5)})  # type: ignore[arg-type]  # fmt: skip
        assert matrix.choose(order, known).pk == wanted


def test_no_rule_is_an_error_for_people_and_never_nobody() -> None:
    for rules in ([], bands(reason="uptime"), bands(legal_entity_id=7), bands()[:2]):
        with pytest.raises(NoRule, match="says who must approve goodwill of 5000 USD"):
            matrix.choose(rules, facts("5000"))


@pytest.mark.django_db
@pytest.mark.parametrize("currency", sorted(RATES))
def test_thresholds_are_those_of_the_converted_amount_in_every_currency(currency: str) -> None:
    make.rule(below="100", reason="resolution")
    make.rule(FINANCE, at_least="100", below="1000")
    make.rule(FINANCE, SENIOR, at_least="1000")
    make.rate(currency, RATES[currency])
    unit = Decimal(1) if currency == "JPY" else Decimal("0.001") if currency == "KWD" else Decimal("0.01")
    for threshold, below, above in ((100, 0, 1), (1000, 1, 2)):
        first = (Decimal(threshold) / Decimal(RATES[currency])).quantize(unit)
        while round(first * Decimal(RATES[currency]), 2) >= threshold:
            first -= unit
        while round(first * Decimal(RATES[currency]), 2) < threshold:
            first += unit
        assert len(make.computed(str(first), currency=currency).stages) == above
        assert len(make.computed(str(first - unit), currency=currency).stages) == below


@pytest.mark.django_db
def test_without_a_rate_nothing_is_submitted() -> None:
    make.rule(below="100")
    with pytest.raises(NoRate):
        make.computed("1", currency="EUR")
    make.rule(FINANCE, currency="EUR")
    with pytest.raises(NoRate):
        make.computed("1", currency="EUR")


@pytest.mark.django_db
def test_an_error_of_the_rule_engine_lets_nobody_pass() -> None:
    make.rule()
    make.person("fiona", FINANCE)
    for broken in ([{"role": "king", "count": 1}], [{"role": FINANCE, "count": 0}], [{"role": FINANCE}]):
        with mock.patch.object(matrix, "choose", return_value=ApprovalRule(stages=broken)), pytest.raises(NoRule):
            make.computed("1")
    with mock.patch.object(matrix, "choose", side_effect=RuntimeError("broken")), pytest.raises(RuntimeError):
        make.computed("1")
    assert not Credit.objects.exists()


@pytest.mark.django_db
def test_a_calendar_that_is_not_in_force_is_an_error_for_people() -> None:
    make.rule(FINANCE, calendar="nowhere")
    with pytest.raises(NoRule, match="nowhere"):
        make.credit()


@pytest.mark.django_db
def test_deadlines_run_in_business_hours_and_expiry_in_days() -> None:
    hours = {day: [["09:00", "17:00"]] for day in ("mon", "tue", "wed", "thu", "fri")}
    approved(BusinessCalendar, name="office", timezone="Europe/Berlin", hours=hours, holidays=["2026-11-23"])
    make.rule(FINANCE, calendar="office", decide_hours=8, expire_days=20)
    friday = datetime(2026, 11, 20, 15, 0, tzinfo=UTC)  # 16:00 in Berlin; Monday is a holiday
    credit = make.credit(at=friday)
    assert credit.due_at == datetime(2026, 11, 24, 15, 0, tzinfo=UTC)
    assert credit.expires_at == friday + timedelta(days=20)


@pytest.mark.django_db
def test_what_is_in_flight_keeps_its_rule() -> None:
    old = make.rule(FINANCE)
    make.limit(FINANCE)
    credit = make.credit()
    petra, paul = people()
    draft = rulebook.draft_new_version(old, petra)
    draft.stages = [{"role": CONTROLLER, "count": 2}]
    draft.save()
    rulebook.approve(draft, paul)
    assert [stage["role"] for stage in make.credit().stages] == [CONTROLLER]
    done = deciding.approve(credit, make.person("fiona", FINANCE), revision=1, confirmed_at=None)
    assert done.state == "approved" and done.approval_rule == old


@pytest.mark.django_db
def test_a_share_of_those_that_need_nobody_is_looked_at_and_always_the_same_ones() -> None:
    make.rule(sample_percent=20)
    uids = [uuid.UUID(int=n * 7919) for n in range(1000)]
    looked_at = [uid for uid in uids if matrix.sampled(Credit(uid=uid), 20)]
    assert looked_at == [uid for uid in uids if matrix.sampled(Credit(uid=uid), 20)]
    assert 150 < len(looked_at) < 250
    assert not any(matrix.sampled(Credit(uid=uid), 0) for uid in uids)
    assert all(matrix.sampled(Credit(uid=uid), 100) for uid in uids)
    picked = make.computed("1", uid=looked_at[0])
    assert (picked.stages, picked.approvals_needed, picked.waiting_role) == (matrix.BY_HAND, 1, FINANCE)
    assert picked.due_at is not None


def test_priority_ranks_money_age_and_the_end_of_the_period() -> None:
    noon = datetime(2026, 11, 20, 12, tzinfo=UTC)
    plain = matrix.priority(Decimal(1000), noon)
    assert matrix.priority(Decimal(2000), noon) > plain
    assert matrix.priority(Decimal(1000), noon - timedelta(minutes=1)) > plain
    ten_days_later_with_ten_times_the_money = matrix.priority(Decimal(10009), noon + timedelta(days=10)) - plain
    assert abs(ten_days_later_with_ten_times_the_money) < Decimal("0.01")
    last, first = datetime(2026, 11, 30, 23, 59, tzinfo=UTC), datetime(2026, 12, 1, tzinfo=UTC)
    assert matrix.priority(Decimal(1), last) - matrix.priority(Decimal(1), first) > 10


# limits ----------------------------------------------------------------------------------------------------------


def test_of_a_limit_row(db: None) -> None:
    """The row of the credit's currency counts, then that of the reporting currency, then any; none approves nothing."""
    fiona = make.person("fiona", FINANCE)
    make.rule(FINANCE)
    make.rate("EUR", "2")
    credit = make.credit("100", currency="EUR")
    now = timezone.now()
    assert "No limit is in force" in deciding.why_not(credit, fiona, at=now)
    make.rate("EUR", "1", to="GBP")
    make.limit(FINANCE, "99.99", currency="GBP")
    assert "GBP" in deciding.why_not(credit, fiona, at=now)
    make.limit(FINANCE, "199.99")
    assert "200.00 USD" in deciding.why_not(credit, fiona, at=now)
    make.limit(FINANCE, "100", currency="EUR")
    assert deciding.why_not(credit, fiona, at=now) == ""
    make.limit(FINANCE, "1", currency="EUR", valid_from=date(2099, 1, 1), version=3)
    assert deciding.why_not(credit, fiona, at=now) == ""


@pytest.fixture
def limited(db: None) -> User:
    """Somebody who may approve 100 USD, 250 a day, and 300 for one customer."""
    make.rule(FINANCE)
    make.limit(FINANCE, "100", "250", "300")
    for currency, worth in RATES.items():
        make.rate(currency, worth)
    return make.person("fiona", FINANCE)


def why(user: User, net: str, currency: str = "USD", **told: Any) -> str:
    return deciding.why_not(make.credit(net, currency=currency, **told), user, at=timezone.now())


@pytest.mark.parametrize(
    ("currency", "fits", "too_much"),
    [("USD", "100.00", "100.01"), ("EUR", "92.59", "92.60"), ("GBP", "78.74", "78.75"), ("JPY", "15152", "15153"),
     ("KWD", "30.770", "30.771")],
)  # fmt: skip
def test_the_limit_of_a_credit_to_the_smallest_unit(limited: User, currency: str, fits: str, too_much: str) -> None:
    assert why(limited, fits, currency) == ""
    assert "for one credit" in why(limited, too_much, currency, party=make.party("another"))


@pytest.mark.parametrize(("last", "problem"), [("50", ""), ("50.01", "for one day")])
def test_the_limit_of_a_day_sums_all_currencies(limited: User, last: str, problem: str) -> None:
    for net, currency, customer in (("100", "USD", "a"), ("80", "EUR", "b"), ("2060", "JPY", "c")):  # 100 + 86.40 + 13.60
        credit = make.credit(net, currency=currency, party=make.party(customer))
        deciding.approve(credit, limited, revision=1, confirmed_at=None)
    said = why(limited, last, party=make.party("d"))
    assert problem in said and (said == "") == (problem == "")


def test_yesterdays_undone_and_withdrawn_approvals_use_up_nothing(limited: User) -> None:
    for n, end in enumerate(("undo", "withdraw")):
        credit = make.credit("100", party=make.party(f"customer {n}"))
        done = deciding.approve(credit, limited, revision=1, confirmed_at=None)
        getattr(deciding, end)(done, limited, note="a mistake")
    assert why(limited, "100", party=make.party("x")) == ""
    with mock.patch.object(deciding.timezone, "now", return_value=timezone.now() - timedelta(days=1)):
        for n in range(2):
            credit = make.credit("100", party=make.party(f"yesterday {n}"))
            deciding.approve(credit, limited, revision=1, confirmed_at=None)
    assert why(limited, "100", party=make.party("y")) == ""


@pytest.mark.parametrize(("last", "problem"), [("100", ""), ("100.01", "one customer")])
def test_the_limit_of_a_customer_counts_what_stands_whoever_decides(limited: User, last: str, problem: str) -> None:
    make.limit(FINANCE, "200", "1000", "300", version=2)
    other = make.person("frank", FINANCE)
    decided, _waiting = make.credit("120"), make.credit("80")
    deciding.approve(decided, other, revision=1, confirmed_at=None)
    said = why(limited, last)
    assert problem in said and (said == "") == (problem == "")
    for credit in Credit.objects.all():
        deciding.withdraw(credit, other, note="not needed")
    assert why(limited, "200") == ""  # what was refused or taken back stands no more


def test_credits_decided_more_than_thirty_days_ago_count_no_more(limited: User) -> None:
    for days, counts in ((31, False), (29, True)):
        with mock.patch.object(deciding.timezone, "now", return_value=make.ago(days=days)):
            for n in range(3):
                credit = make.credit("80", party=make.party(f"{days} days"), at=make.ago(days=days))
                deciding.approve(credit, make.person(f"frank{n}", FINANCE), revision=1, confirmed_at=None)
        assert ("one customer" in why(limited, "61", party=make.party(f"{days} days"))) == counts


def test_asking_in_twenty_parts_is_no_way_around(limited: User) -> None:
    """T25: 1,000 asked for as 20 requests of 50 is above the 300 of a customer for each of them."""
    parts = [make.credit("50") for _ in range(20)]
    assert all("1000.00 USD" in deciding.why_not(part, limited, at=timezone.now()) for part in parts)


def test_splitting_into_twenty_parts_is_no_way_around(limited: User) -> None:
    """T25: neither for the stages, which are those of the whole, nor for the limits."""
    make.rule(SENIOR, CONTROLLER, at_least="1000")
    make.limit(SENIOR)
    make.limit(CONTROLLER)
    whole = make.credit("1000")
    parts = deciding.split(whole, make.person("carla", CONTROLLER), parts=[Decimal(50)] * 20, note="one for each week")
    assert {tuple(stage["role"] for stage in part.stages) for part in parts} == {(SENIOR, CONTROLLER)}
    assert {deciding.why_not(part, limited, at=timezone.now()) for part in parts} == {f"It waits for a {SENIOR}."}


def test_a_higher_role_of_the_same_person_suffices_where_the_lower_does_not(limited: User) -> None:
    make.limit(SENIOR)
    both = make.person("both", FINANCE, SENIOR)
    credit = make.credit("100.01")
    deciding.approve(credit, both, revision=1, confirmed_at=None)
    assert credit.approvals.get().role == SENIOR
