"""Roles that one person must not have together (segregation of duties), refused when they are granted.

Who approves credits does not ask for them as an agent, write the policy they are decided by, operate the machine that
posts them, or hand out roles; an auditor acts in nothing.
"""

from __future__ import annotations

from collections.abc import Collection
from itertools import combinations
from typing import Any

from django.contrib.auth.models import Group, User
from django.core.exceptions import ValidationError
from django.db import transaction
from simple_history.models import HistoricalRecords

from hub import roles
from hub.audit import chain as audit

WHY = {
    roles.AGENT: "asks for credits",
    roles.POLICY: "writes the policies credits are decided by",
    roles.OPERATOR: "operates what posts them",
    roles.ENGINEER: "configures what posts them",
    roles.ADMINISTRATOR: "grants roles",
}
"""What a role does that nobody who approves credits may do."""


def clash(one: str, other: str) -> str:
    """Why two roles must not meet in one person; '' when they may."""
    if roles.AUDITOR in (one, other):
        return "an auditor takes part in nothing that is audited"
    for approver, role in ((one, other), (other, one)):
        if approver in roles.LADDER and role in WHY:
            return f"who approves credits must not be one who {WHY[role]}"
    if {one, other} == {roles.POLICY, roles.ADMINISTRATOR}:
        return "who writes policies must not be one who grants roles"
    return ""


def conflicts(names: Collection[str]) -> list[str]:
    """A sentence for every pair of these roles that must not meet."""
    found = []
    for one, other in combinations(sorted(set(names)), 2):
        if one in roles.ROLES and other in roles.ROLES and (why := clash(one, other)):
            found.append(f"“{one}” and “{other}”: {why}.")
    return found


def guard(
    sender: Any, instance: User | Group, action: str, reverse: bool, pk_set: set[int] | None, **_: Any,
) -> None:  # fmt: skip
    """A receiver of `m2m_changed` of users and groups: refuses clashing roles, audits what was granted and taken."""
    if action not in ("pre_add", "post_add", "post_remove", "pre_clear") or (action != "pre_clear" and not pk_set):
        return
    with transaction.atomic():
        for user, groups in _affected(instance, reverse, pk_set):
            had = set(user.groups.values_list("name", flat=True))
            if action == "pre_add":
                if trouble := conflicts(had | groups):
                    raise ValidationError([f"{user}: {sentence}" for sentence in trouble])
                continue
            taken = action in ("post_remove", "pre_clear")
            audit.append(
                "user.role_taken" if taken else "user.role_granted", actor=_actor(), obj=user, source="admin",
                before={"roles": sorted(had | groups if taken else had - groups)},
                after={"roles": sorted(had - groups if taken else had)},
            )  # fmt: skip


def _affected(instance: User | Group, reverse: bool, pk_set: set[int] | None) -> list[tuple[User, set[str]]]:
    """The users whose roles change, with the roles that come or go."""
    if isinstance(instance, User):
        groups = instance.groups.all() if pk_set is None else Group.objects.filter(pk__in=pk_set)
        return [(instance, set(groups.values_list("name", flat=True)))]
    users = instance.user_set.all() if pk_set is None else User.objects.filter(pk__in=pk_set)
    return [(user, {instance.name}) for user in users]


def _actor() -> str:
    request = getattr(HistoricalRecords.context, "request", None)
    user = getattr(request, "user", None)
    return user.get_username() if user is not None and user.is_authenticated else "hub"
