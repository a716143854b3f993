"""The starter set: two people, everything in force, and nothing twice."""

from __future__ import annotations

from datetime import date

import pytest
from django.contrib.auth.models import User
from django.db.models import Q

from canonical.models import LegalEntity
from hub import rulebook
from hub.credits import starter
from hub.credits.models import ApprovalRule, ApproverLimit, BusinessCalendar, CreditPolicy, ExchangeRate, SlaTerms

pytestmark = pytest.mark.django_db
DATED = (BusinessCalendar, SlaTerms, CreditPolicy, ApprovalRule, ApproverLimit)


@pytest.fixture
def entity() -> LegalEntity:
    return LegalEntity.objects.create(code="us", name="US Inc", currency="USD", timezone="America/New_York")


@pytest.fixture
def pair() -> tuple[User, User]:
    return User.objects.create_user("petra"), User.objects.create_user("paul")


def test_everything_is_in_force_and_was_approved_by_another_person(entity: LegalEntity, pair: tuple[User, User]) -> None:
    starter.install(*pair, [entity], on=date(2025, 6, 1))
    for model in DATED:
        assert model._default_manager.exists()
        assert not model._default_manager.exclude(Q(state="active") & Q(drafted_by=pair[0]) & Q(approved_by=pair[1])).exists()
    assert BusinessCalendar.objects.get(name=starter.OFFICE).timezone == "America/New_York"
    assert set(SlaTerms.objects.values_list("calendar", flat=True)) == {starter.OFFICE, starter.EXTENDED, ""}
    assert ExchangeRate.objects.get(currency="EUR", to="USD").rate > 1


def test_installing_again_adds_nothing(entity: LegalEntity, pair: tuple[User, User]) -> None:
    counts = []
    for day in (date(2025, 6, 1), date(2025, 6, 1)):
        starter.install(*pair, [entity], on=day)
        counts.append([model._default_manager.count() for model in (*DATED, ExchangeRate)])
    assert counts[0] == counts[1]


def test_one_person_alone_installs_nothing(entity: LegalEntity, pair: tuple[User, User]) -> None:
    with pytest.raises(rulebook.NotApproved):
        starter.install(pair[0], pair[0], [entity], on=date(2025, 6, 1))
    assert not CreditPolicy.objects.exists()
