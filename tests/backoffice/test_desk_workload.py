"""The workload page: what waits by age, turn, customer; who decided how much and how fast; what passed without a person."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from hub import roles
from hub.credits import deciding, delegating, matrix, workload
from hub.credits.models import Credit
from hub.roles import CONTROLLER, FINANCE, SENIOR
from tests.backoffice.conftest import Login
from tests.credits import factories as make

pytestmark = pytest.mark.django_db
PAGE = "/admin/desk/workload/"


def test_what_waits_is_told_by_age_turn_and_customer_and_each_age_leads_to_its_credits(login: Login) -> None:
    make.ground()
    make.rate("EUR", "1.1")
    for days, net, currency, customer in (
        (0, "10", "USD", "Ada"),
        (2, "20", "USD", "Ada"),
        (2, "2000", "EUR", "Bob"),
        (40, "30000", "USD", "Cy"),
    ):
        make.credit(net, currency=currency, at=make.ago(days=days, minutes=5), party=make.party(customer))
    deciding.withdraw(make.credit("7"), make.person("sam", SENIOR), note="it was a mistake")
    client = login(roles.FINANCE)
    context = client.get(PAGE).context
    assert [(row["count"], row["money"]) for row, *_ in context["ages"]] == [
        (1, "10.00 USD"), (2, "2,000.00 EUR · 20.00 USD"), (0, ""), (0, ""), (1, "30,000.00 USD"),
    ]  # fmt: skip
    for row, _, query, _ in context["ages"]:
        assert len(client.get(f"/admin/desk/?{query}").context["rows"]) == row["count"]
    assert [(row["name"], row["count"]) for row in context["roles"]] == [(FINANCE, 3), (SENIOR, 1), (CONTROLLER, 0)]
    assert [(row["name"], row["count"]) for row, _ in context["customers"]] == [("Cy", 1), ("Bob", 1), ("Ada", 2)]
    waiting = {one.name: one.waiting for one, *_ in context["reviewers"]}
    assert (waiting["finance"], waiting["senior"], waiting["controller"]) == (3, 4, 4)


def test_decisions_count_for_who_took_them_with_money_and_the_median_time() -> None:
    make.ground()
    fiona, frank, sam = make.person("fiona", FINANCE), make.person("frank", FINANCE), make.person("sam", SENIOR)
    at = timezone.now()
    delegating.grant(sam, frank, starts_at=at, ends_at=at + timedelta(days=1), reason="away", by=sam)
    for hours, net in ((1, "100"), (3, "200"), (50, "300")):
        deciding.approve(make.credit(net, at=make.ago(hours=hours)), fiona, revision=1, confirmed_at=None)
    deciding.reject(make.credit(), frank, revision=1, reason_code="not_due", note="the target was kept")
    large = make.credit("5000", tax=Decimal(10))
    deciding.approve(large, fiona, revision=1, confirmed_at=None)
    deciding.approve(large, frank, revision=1, confirmed_at=None)
    found = {one.name: one for one in workload.by_reviewer(workload.by_role(at), make.ago(days=7))}
    assert (found["fiona"].approved, found["fiona"].for_others, dict(found["fiona"].money)) == (4, 0, {"USD": Decimal(5610)})
    assert found["fiona"].median is not None and timedelta(hours=2) <= found["fiona"].median < timedelta(hours=2, minutes=5)
    assert (found["frank"].approved, found["frank"].rejected, found["frank"].for_others) == (1, 1, 1)
    assert (found["sam"].decided, found["sam"].median) == (0, None)
    assert workload.pace(make.ago(days=7))[0] == 6 and workload.pace(timezone.now()) == (0, None)


def test_what_passed_alone_and_what_its_sample_came_to_is_told_by_month() -> None:
    rule = make.rule(sample_percent=50)
    make.limit(FINANCE)
    fiona, sam = make.person("fiona", FINANCE), make.person("sam", SENIOR)
    made = [make.computed(party=make.party(f"customer {n}")) for n in range(30)]
    looked_at = [credit for credit in made if matrix.sampled(credit, rule.sample_percent)]
    assert 3 <= len(looked_at) < 30
    for credit in made:
        deciding.admit(credit)
    fine, changed, refused, *rest = looked_at
    deciding.approve(fine, fiona, revision=1, confirmed_at=None)
    deciding.edit(changed, sam, revision=1, net=Decimal(9), reason_note="one less than computed")
    deciding.approve(changed, fiona, revision=2, confirmed_at=None)
    deciding.reject(refused, fiona, revision=1, reason_code="not_due", note="the target was kept")
    make.credit("10", requested_by="agent@support")
    (month,) = workload.passed_alone(timezone.now())
    assert (month.passed, month.passed_money) == (30 - len(looked_at), Decimal(10) * (30 - len(looked_at)))
    assert month.passed == Credit.objects.filter(state="approved", approvals_needed=0).count()
    assert (month.sampled, month.sampled_money) == (len(looked_at), Decimal(10) * len(looked_at) - 1)
    assert (month.approved, month.changed, month.refused, month.undecided) == (1, 1, 1, len(rest))


def test_the_page_costs_the_same_with_more_people_and_credits_and_needs_the_right_to_see_credits(
    login: Login, people: dict[str, User]
) -> None:
    make.ground()
    client = login(roles.FINANCE)

    def statements() -> int:
        with CaptureQueriesContext(connection) as seen:
            assert client.get(PAGE).status_code == 200
        return len(seen)

    make.credit()
    statements()
    before = statements()
    for n in range(5):
        fiona = make.person(f"fiona{n}", FINANCE)
        make.credit(party=make.party(f"customer {n}"))
        deciding.approve(make.credit(party=make.party(f"other {n}")), fiona, revision=1, confirmed_at=None)
    assert statements() == before
    people[roles.FINANCE].groups.clear()
    assert client.get(PAGE).status_code == 403
