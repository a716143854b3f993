"""The demo's past: big enough, the same every time, made by the rules of the database, and quick."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import pytest
from django.contrib.auth.models import Group, User
from django.db import transaction
from django.db.models import Count, F, Q

from canonical.models import ExternalRef, SupportCase, Transition
from hub import roles
from hub.credits import history, policy, rows, sla
from hub.credits.models import Approval, Credit, CreditPolicy

pytestmark = pytest.mark.django_db
AT = datetime(2026, 11, 23, 12, tzinfo=UTC)


def person(name: str, *held: str) -> User:
    user = User.objects.create_user(name)
    user.groups.set(Group.objects.filter(name__in=held))
    return user


@pytest.fixture
def staff() -> tuple[User, User, Sequence[User]]:
    """Who drafts, who approves, and who reviews."""
    reviewers = [
        person("rosa", roles.FINANCE),
        person("felix", roles.FINANCE),
        person("sara", roles.SENIOR),
        person("carl", roles.CONTROLLER),
    ]
    return person("petra", roles.POLICY), person("paul", roles.POLICY), reviewers


def summary(staff: tuple[User, User, Sequence[User]], **more: int) -> history.Summary:
    return history.seed(*staff, at=AT, **{"cases": 150, **more})


def test_the_past_has_three_entities_and_five_currencies(staff: tuple[User, User, Sequence[User]]) -> None:
    found = summary(staff, cases=300)
    assert (found.entities, found.cases) == (3, 300)
    assert found.currencies == ("CHF", "EUR", "GBP", "JPY", "USD")
    assert found.credits > 60
    assert set(Credit.objects.values_list("state", flat=True)) == {"closed", "rejected"}
    assert set(Credit.objects.values_list("legal_entity__code", flat=True)) == {one[0] for one in history.ENTITIES}
    assert CreditPolicy.objects.filter(state="draft").count() == 1


def test_everything_was_decided_by_others_and_moved_step_by_step(staff: tuple[User, User, Sequence[User]]) -> None:
    summary(staff)
    closed = Credit.objects.filter(state="closed")
    given = Count("approvals", filter=Q(approvals__decision="approve", approvals__digest=F("digest")))
    assert all(credit.given == credit.approvals_needed for credit in closed.annotate(given=given))
    assert closed.filter(approvals_needed__gt=1).exists()
    assert not Approval.objects.filter(at__gt=AT).exists()
    for credit in closed[:5]:
        path = list(
            Transition.objects.filter(object_kind="credit", object_id=credit.pk).order_by("id").values_list("target", flat=True)
        )
        assert path == ["approved", "posting", "posted", "mirrored", "told", "closed"]
    assert ExternalRef.objects.filter(object_kind="credit", kind="credit_memo").count() == closed.count()
    assert {approval.role for approval in Approval.objects.all()} <= set(roles.LADDER)


def test_credits_are_what_the_rules_give_for_the_clock_of_their_case(staff: tuple[User, User, Sequence[User]]) -> None:
    summary(staff)
    checked = 0
    for credit in Credit.objects.filter(origin=Credit.Origin.SLA).select_related("case", "policy"):
        said = credit.calculation
        assert credit.case is not None and credit.policy is not None
        terms = rows.terms(credit.tier, credit.case.opened_at.date())
        assert terms is not None
        stored = sla.Assessment.from_json(said["assessment"])
        again = sla.assess(
            credit.case.clock.all(), opened_at=credit.case.opened_at, severity=credit.case.severity, terms=terms, at=stored.at
        )
        assert again == stored
        assert policy.decide(rows.load(credit.policy), policy.Facts.from_json(said["facts"])).amount == credit.net
        checked += 1
    assert checked > 20


def test_seeding_again_changes_nothing(staff: tuple[User, User, Sequence[User]]) -> None:
    first = summary(staff)
    counts = [model.objects.count() for model in (SupportCase, Credit, Approval, Transition, CreditPolicy)]
    assert summary(staff) == first
    assert [model.objects.count() for model in (SupportCase, Credit, Approval, Transition, CreditPolicy)] == counts


def test_the_same_arguments_tell_the_same_past(staff: tuple[User, User, Sequence[User]]) -> None:
    def told() -> list[object]:
        point = transaction.savepoint()
        summary(staff)
        past: list[object] = [
            list(SupportCase.objects.order_by("uid").values_list("uid", "subject", "opened_at", "resolved_at")),
            list(Credit.objects.order_by("uid").values_list("uid", "net", "currency", "reason", "state", "submitted_at")),
        ]
        transaction.savepoint_rollback(point)
        return past

    assert told() == told()


def test_without_somebody_senior_there_is_no_past(staff: tuple[User, User, Sequence[User]]) -> None:
    with pytest.raises(ValueError, match="senior"):
        history.seed(staff[0], staff[1], staff[2][:2], at=AT, cases=150)
    assert not SupportCase.objects.exists()
