"""Who may do what: the matrix, enumerated against the pages and buttons there are."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.apps import apps
from django.contrib.auth.models import Group, Permission, User
from django.urls import reverse
from django.utils import timezone

from canonical.models import Transition
from connectors.models import Connection
from hub import roles
from hub.credits.models import BusinessCalendar, CreditPolicy, Delegation, SlaTerms
from hub.models import ReviewItem
from reconciliation.models import CloseTolerance, MendRule
from tests.backoffice import factories as make
from tests.backoffice.conftest import Login
from tests.backoffice.support import admins, buttons, list_url, name, page_url
from tests.credits import factories as credits
from tests.reconciliation import pages as reconciled

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize("role", roles.ROLES)
def test_a_role_has_what_the_matrix_grants_and_may_look_at_everything(role: str) -> None:
    has = {f"{p.content_type.app_label}.{p.codename}" for p in Group.objects.get(name=role).permissions.all()}
    acting = {permission for permission in has if not permission.split(".")[1].startswith("view_")}
    assert acting == roles.granted(role)
    assert {f"{m._meta.app_label}.view_{m._meta.model_name}" for m in (s.model for s in admins())} <= has


def test_the_auditor_is_granted_nothing_but_looking_and_taking_the_trail_along() -> None:
    assert roles.granted(roles.AUDITOR) == {"audit.export_auditentry"}


def test_every_permission_of_the_matrix_and_of_every_button_exists() -> None:
    everything = {f"{p.content_type.app_label}.{p.codename}" for p in Permission.objects.select_related("content_type")}
    assert set(roles.MATRIX) <= everything
    assert {permission for _, _, permission in buttons()} <= set(roles.MATRIX)


def test_installing_again_changes_nothing_and_takes_back_what_was_added_by_hand() -> None:
    group = Group.objects.get(name=roles.AUDITOR)
    before = set(group.permissions.values_list("pk", flat=True))
    group.permissions.add(Group.objects.get(name=roles.ENGINEER).permissions.get(codename="change_connection"))
    roles.install(apps.get_app_config("hub"))
    roles.install(apps.get_app_config("hub"))
    assert set(group.permissions.values_list("pk", flat=True)) == before
    assert Group.objects.filter(name__in=roles.ROLES).count() == len(roles.ROLES)


@pytest.fixture
def everything(people: dict[str, User], billing: Connection, erp: Connection) -> list[Any]:
    """One object of every kind there is a page for."""
    from canonical.models import CreditMemo, Invoice, LegalEntity, Party, Payment, Price, Product, Subscription
    from hub.models import RejectedDelivery

    run = make.story(billing, erp, 1, ending="refused")
    make.observation(billing)
    party, entity = Party.objects.get(), LegalEntity.objects.get()
    some = {"party": party, "currency": "EUR"}
    memo = CreditMemo.objects.create(**some, legal_entity=entity, status="issued", issued_on="2026-11-01", net=1, tax=0, total=1)
    subscription = Subscription.objects.create(**some, legal_entity=entity, status="active")
    price = Price.objects.create(product=Product.objects.get(), currency="EUR", unit_amount=10, interval="month")
    return [
        run,
        run.event,
        ReviewItem.objects.get(),
        billing,
        erp,
        Invoice.objects.get(),
        party,
        Product.objects.get(),
        price,
        memo,
        subscription,
        Payment.objects.create(**some, amount=1, status="succeeded"),
        entity,
        make.mapping(billing, erp, people[roles.FINANCE]),
        make.rule(people[roles.FINANCE]),
        RejectedDelivery.objects.create(connection=billing, day="2026-11-01", reason="stale", count=3),
        *billing.refs.all()[:1],
        billing.observation_set.get(),
        Group.objects.get(name=roles.AUDITOR),
        people[roles.AUDITOR],
        *credit_rows(people),
        *reconciliation_rows(entity, people[roles.SENIOR]),
    ]


def reconciliation_rows(entity: Any, drafter: User) -> list[Any]:
    """A scan, a break that it found, a rule by which such breaks may mend themselves, and what a close tolerates."""
    scan = reconciled.scan(entity)
    said = {"plan": "replay", "currency": "EUR", "limit": 10, "per_day": 100, "valid_from": "2026-01-01"}
    tolerance = CloseTolerance.objects.create(currency="EUR", amount=5, valid_from="2026-01-01", drafted_by=drafter)
    return [scan, reconciled.broken(scan), MendRule.objects.create(**said, drafted_by=drafter), tolerance]


def credit_rows(people: dict[str, User]) -> list[Any]:
    """One of each kind that belongs to credits."""
    now, draft = timezone.now(), {"valid_from": "2026-01-01", "drafted_by": people[roles.POLICY]}
    given = {"grantor": people[roles.SENIOR], "delegate": people[roles.FINANCE], "made_by": people[roles.SENIOR]}
    return [
        credits.rule(roles.FINANCE), credits.limit(roles.FINANCE), credits.rate("EUR", "1.1"), credits.credit("100"),
        BusinessCalendar.objects.create(name="office", **draft), SlaTerms.objects.create(plan="team", **draft),
        CreditPolicy.objects.create(name="credits", **draft),
        Delegation.objects.create(**given, starts_at=now, ends_at=now + timedelta(days=1), reason="on holiday"),
    ]  # fmt: skip


@pytest.mark.parametrize("role", [*roles.ROLES, "superuser"])
def test_every_page_opens_for_every_role(role: str, login: Login, everything: list[Any]) -> None:
    client = login(role)
    assert client.get(reverse("admin:index")).status_code == 200
    for site in admins():
        assert client.get(list_url(site.model)).status_code == 200, site
    for obj in everything:
        assert client.get(page_url(obj), follow=True).status_code == 200, obj
        assert client.get(page_url(obj, "history")).status_code == 200, obj


def test_every_kind_of_object_with_a_page_was_opened(everything: list[Any]) -> None:
    schedules = {"periodictask", "intervalschedule", "crontabschedule"}
    assert {site.model for site in admins() if site.model._meta.model_name not in schedules} == {type(obj) for obj in everything}


def test_nobody_from_outside_sees_a_page(client: Any, everything: list[Any]) -> None:
    for obj in everything:
        assert client.get(page_url(obj)).status_code == 302
    assert client.get(reverse("admin:find"), {"q": "in_1"}).status_code == 302


@pytest.mark.parametrize("role", roles.ROLES)
def test_a_button_is_refused_to_who_lacks_its_permission(role: str, login: Login, everything: list[Any]) -> None:
    client, of_kind = login(role), {type(obj): obj for obj in everything}
    for model, button, permission in buttons():
        if role in roles.MATRIX[permission]:
            continue
        answer = client.post(reverse(f"admin:{name(model)}_{button}", args=[of_kind[model].pk]), {"reason": "because I can"})
        assert answer.status_code == 403, (role, model, button)


def test_a_button_takes_no_get(login: Login, everything: list[Any]) -> None:
    client, of_kind = login("superuser"), {type(obj): obj for obj in everything}
    for model, button, _ in buttons():
        assert client.get(reverse(f"admin:{name(model)}_{button}", args=[of_kind[model].pk])).status_code == 405


def test_the_auditor_changes_nothing_by_any_form(login: Login, everything: list[Any]) -> None:
    client, moves = login(roles.AUDITOR), Transition.objects.count()
    for site in admins():
        assert client.post(reverse(f"admin:{name(site.model)}_add"), {}).status_code == 403
    for obj in everything:
        before = type(obj).objects.filter(pk=obj.pk).values().get()
        for data in ({"title": "mine", "name": "mine"}, {"_save": "1", "is_superuser": "on", "state": "resolved"}):
            client.post(page_url(obj), data)
        client.post(page_url(obj, "delete"), {"post": "yes"})
        assert type(obj).objects.filter(pk=obj.pk).values().get() == before
    assert Transition.objects.count() == moves


def test_a_page_of_history_cannot_be_used_to_write(login: Login, billing: Connection) -> None:
    version = billing.history.get()
    url = reverse("admin:connectors_connection_simple_history", args=[billing.pk, version.pk])
    for role in (roles.AUDITOR, roles.ENGINEER):
        assert login(role).get(url).status_code == 200
        assert login(role).post(url, {"title": "taken over", "settings": "{}"}).status_code == 405
    billing.refresh_from_db()
    assert billing.title == "Billing"


def test_an_administrator_makes_neither_themselves_nor_others_superusers(login: Login, people: dict[str, User]) -> None:
    client, target = login(roles.ADMINISTRATOR), people[roles.AUDITOR]
    data = {"username": target.username, "is_active": "on", "is_staff": "on", "is_superuser": "on", "user_permissions": ["1"]}
    assert client.post(page_url(target), data).status_code == 302
    target.refresh_from_db()
    assert not target.is_superuser
    assert not target.user_permissions.exists()
    above = people["superuser"]
    assert client.post(page_url(above), {"username": "mine", "is_active": "on"}).status_code == 403
    assert client.post(reverse("admin:auth_user_password_change", args=[above.pk]), {}).status_code == 403
