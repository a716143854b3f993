"""Roles that must not meet in one person are refused wherever they are granted, and what is granted is audited."""

from __future__ import annotations

import json
from itertools import combinations

import pytest
from django.contrib.auth.models import Group, User
from django.core.exceptions import ValidationError
from django.db import transaction
from django.test import Client

from hub import roles
from hub.audit.models import AuditEntry
from hub.people.conflicts import clash, conflicts

TOXIC = {
    *(frozenset((approver, other)) for approver in roles.LADDER
      for other in (roles.AGENT, roles.POLICY, roles.OPERATOR, roles.ENGINEER, roles.ADMINISTRATOR)),
    *(frozenset((roles.AUDITOR, other)) for other in roles.ROLES if other != roles.AUDITOR),
    frozenset((roles.POLICY, roles.ADMINISTRATOR)),
}  # fmt: skip


@pytest.mark.parametrize(("one", "other"), [*combinations(roles.ROLES, 2)])
def test_the_conflict_matrix_is_what_it_should_be(one: str, other: str) -> None:
    assert bool(clash(one, other)) is (frozenset((one, other)) in TOXIC)
    assert clash(one, other) == clash(other, one)


def test_no_role_clashes_with_itself_and_unknown_groups_are_left_alone() -> None:
    assert conflicts([roles.FINANCE, roles.FINANCE, "book club"]) == []


@pytest.mark.django_db
def test_granting_a_clashing_role_is_refused_by_every_way() -> None:
    user = User.objects.create_user("ann")
    reviewer, operator = (Group.objects.get(name=name) for name in (roles.FINANCE, roles.OPERATOR))
    user.groups.add(reviewer)
    with pytest.raises(ValidationError, match="must not be one who operates"), transaction.atomic():
        user.groups.add(operator)
    with pytest.raises(ValidationError, match="must not be one who operates"), transaction.atomic():
        operator.user_set.add(user)
    with pytest.raises(ValidationError), transaction.atomic():
        user.groups.set([reviewer, operator])
    assert list(user.groups.all()) == [reviewer]
    user.groups.set([operator])
    assert list(user.groups.all()) == [operator], "one after the other is a change of job, not a clash"


@pytest.mark.django_db
def test_granted_and_taken_roles_are_audited_with_who_did_it() -> None:
    admin = User.objects.create_superuser("root", password="x")
    ann = User.objects.create_user("ann", password="x", is_staff=True)
    client = Client()
    client.force_login(admin)
    page = f"/admin/auth/user/{ann.pk}/change/"
    form = {"username": "ann", "is_active": "on", "is_staff": "on", "first_name": "", "last_name": "", "email": ""}
    group = Group.objects.get(name=roles.FINANCE)
    answer = client.post(page, {**form, "groups": [group.pk]})
    assert answer.status_code == 302, answer.content.decode()
    entry = AuditEntry.objects.get(action="user.role_granted")
    assert entry.actor == "root"
    assert json.loads(entry.content)["after"] == {"roles": [roles.FINANCE]}
    clash_answer = client.post(page, {**form, "groups": [group.pk, Group.objects.get(name=roles.POLICY).pk]})
    assert "writes the policies" in clash_answer.content.decode()
    client.post(page, {**form, "groups": []})
    assert AuditEntry.objects.filter(action="user.role_taken", actor="root").count() == 1
