"""Delegation: dated, scoped, shown, never passed on, never beyond the grantor, and never for the grantor's own requests."""

from __future__ import annotations

import json
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.utils import timezone

from hub.audit.models import AuditEntry
from hub.credits import deciding, delegating
from hub.credits.changing import NotAllowed
from hub.credits.models import Approval, Credit, Delegation, Notice
from hub.roles import AGENT, CONTROLLER, FINANCE, SENIOR
from tests.credits import factories as make

pytestmark = pytest.mark.django_db


@pytest.fixture
def sam(db: None) -> User:
    make.rule(SENIOR)
    make.limit(SENIOR, "100", "150")
    make.limit(FINANCE)
    return make.person("sam", SENIOR)


@pytest.fixture
def fiona(db: None) -> User:
    return make.person("fiona", FINANCE)


def grant(grantor: User, delegate: User, **told: Any) -> Delegation:
    now = timezone.now()
    fields = {"starts_at": now - timedelta(hours=1), "ends_at": now + timedelta(days=7), "reason": "holiday", "by": grantor}
    return delegating.grant(grantor, delegate, **(fields | told))


def approve(credit: Credit, user: User) -> Credit:
    return deciding.approve(credit, user, revision=credit.revision, confirmed_at=None)


def why(credit: Credit, user: User) -> str:
    """Why not; and approving says the same."""
    reason = deciding.why_not(credit, user, at=timezone.now())
    if reason:
        with pytest.raises(NotAllowed) as problem:
            approve(credit, user)
        assert str(problem.value) == reason
    return reason


def test_a_delegate_decides_in_the_grantors_role_and_it_shows(sam: User, fiona: User) -> None:
    credit = make.credit()
    assert SENIOR in why(credit, fiona)
    delegation = grant(sam, fiona)
    assert delegating.acting_for(fiona, credit, timezone.now()) == [delegation]
    assert approve(credit, fiona).state == "approved"
    approval = Approval.objects.get()
    assert (approval.by, approval.on_behalf_of, approval.delegation, approval.role) == (fiona, sam, delegation, SENIOR)
    entry = AuditEntry.objects.get(action="credit.approved")
    assert json.loads(entry.content)["on_behalf_of"] == "sam"


def test_own_right_comes_first(sam: User, fiona: User) -> None:
    sue = make.person("sue", SENIOR)
    grant(sam, sue)
    approve(make.credit(), sue)
    assert Approval.objects.get().on_behalf_of is None


def test_both_are_told_and_it_is_audited(sam: User, fiona: User) -> None:
    delegation = grant(sam, fiona)
    assert {notice.to for notice in Notice.objects.filter(what="delegation granted")} == {sam, fiona}
    delegating.revoke(delegation, fiona)
    assert {notice.to for notice in Notice.objects.filter(what="delegation ended")} == {sam, fiona}
    audited = AuditEntry.objects.filter(object_kind="delegation", object_id=delegation.pk).order_by("seq")
    assert [entry.action for entry in audited] == ["delegation.granted", "delegation.revoked"]


def test_it_holds_between_its_dates_until_it_is_ended(sam: User, fiona: User) -> None:
    credit, now = make.credit(), timezone.now()
    grant(sam, fiona, starts_at=now + timedelta(hours=1))
    assert SENIOR in why(credit, fiona)
    assert delegating.acting_for(fiona, credit, now + timedelta(hours=2)) != []
    assert delegating.acting_for(fiona, credit, now + timedelta(days=8)) == []
    delegation = grant(sam, fiona)
    assert deciding.why_not(credit, fiona, at=now) == ""
    delegating.revoke(delegation, sam)
    assert SENIOR in why(credit, fiona)
    with pytest.raises(NotAllowed, match="already"):
        delegating.revoke(delegation, sam)


def test_it_reaches_as_far_as_its_entity_and_its_largest_credit(sam: User, fiona: User) -> None:
    make.rate("EUR", "2")
    grant(sam, fiona, legal_entity=make.entity("us"), most=Decimal("25"), most_currency="EUR")
    assert why(make.credit("50.00"), fiona) == ""
    assert SENIOR in why(make.credit("50.02"), fiona)
    assert SENIOR in why(make.credit("10", legal_entity=make.entity("de", "EUR")), fiona)
    make.rate("JPY", "0.01")
    assert SENIOR in why(make.credit("10", currency="JPY"), fiona)  # no rate into the currency of the largest credit


def test_the_grantors_limits_apply_and_are_used_up(sam: User, fiona: User) -> None:
    grant(sam, fiona)
    assert "one credit" in why(make.credit("100.01"), fiona)
    approve(make.credit("100"), fiona)
    over = make.credit("50.01")
    assert "one day" in why(over, sam)
    assert "one day" in why(over, fiona)
    approve(make.credit("50"), sam)


def test_it_is_not_passed_on(sam: User, fiona: User) -> None:
    frank = make.person("frank", FINANCE)
    grant(sam, fiona)
    grant(fiona, frank)
    assert SENIOR in why(make.credit(), frank)


def test_nobody_decides_own_requests_or_those_of_the_grantor(sam: User, fiona: User) -> None:
    grant(sam, fiona)
    assert "another person" in why(make.credit(made_by=fiona), fiona)
    assert SENIOR in why(make.credit(made_by=sam), fiona)
    assert SENIOR in why(make.credit(requested_by="sam@example.com"), fiona)


def test_one_right_counts_once_also_through_delegates(sam: User, fiona: User) -> None:
    make.rule(SENIOR, SENIOR, reason="uptime")
    frank = make.person("frank", FINANCE)
    grant(sam, fiona)
    grant(sam, frank)
    first, second = make.credit("10", reason="uptime"), make.credit("10", reason="uptime")
    approve(first, fiona)
    assert why(first, frank) and why(first, sam)
    approve(second, sam)
    assert why(second, fiona) and why(second, frank)


@pytest.mark.parametrize("who", ["recused", "inactive", "demoted"])
def test_a_grantor_who_may_not_decide_gives_nothing(who: str, sam: User, fiona: User) -> None:
    grant(sam, fiona)
    credit = make.credit()
    if who == "recused":
        deciding.recuse(credit, sam, note="a friend of mine")
    elif who == "inactive":
        User.objects.filter(pk=sam.pk).update(is_active=False)
    else:
        sam.groups.clear()
    assert SENIOR in why(credit, fiona)


def test_who_may_grant_what(sam: User, fiona: User) -> None:
    agent, carla, now = make.person("agent", AGENT), make.person("carla", CONTROLLER), timezone.now()
    wrong: list[tuple[User, User, dict[str, Any]]] = [
        (agent, fiona, {}),
        (sam, agent, {}),
        (sam, sam, {}),
        (sam, fiona, {"by": fiona}),
        (sam, carla, {"by": carla}),
        (sam, fiona, {"ends_at": now - timedelta(minutes=1)}),
        (sam, fiona, {"starts_at": now + timedelta(days=9)}),
        (sam, fiona, {"reason": " "}),
        (sam, fiona, {"most": Decimal(10)}),
        (sam, fiona, {"most": Decimal(0), "most_currency": "USD"}),
    ]
    for grantor, delegate, told in wrong:
        with pytest.raises(NotAllowed):
            grant(grantor, delegate, **told)
    assert not Delegation.objects.exists()
    assert grant(sam, fiona, by=carla).made_by == carla
    with pytest.raises(NotAllowed, match="Only the two"):
        delegating.revoke(Delegation.objects.get(), agent)
