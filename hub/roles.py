"""Who may do what: five roles and one table. Installed as Django groups after every migration, idempotently.

Everybody on the staff sees everything (secrets are never shown to anyone). What differs is who may act. Actions
that are not plain add, change or delete have permissions of their own, declared here. Approving needs a second person besides
the role: maker and checker are told apart by the database.
"""

from __future__ import annotations

from typing import Any

from django.apps import AppConfig, apps

FINANCE, OPERATOR, ENGINEER = "finance reviewer", "operator", "integration engineer"
AUDITOR, ADMINISTRATOR = "auditor", "administrator"
ROLES = (FINANCE, OPERATOR, ENGINEER, AUDITOR, ADMINISTRATOR)

OURS = ("canonical", "connectors", "hub", "reconciliation")
VIEWED = (*OURS, "auth", "django_celery_beat")
"""Apps whose every object every role may view."""

ACTIONS = {
    "hub.answer_reviewitem": "Can answer review items of the own role",
    "hub.answer_any_reviewitem": "Can answer review items of every role",
    "hub.replay_inboxevent": "Can replay events",
    "hub.approve_accountingrule": "Can approve accounting rules of others",
    "hub.approve_codemapping": "Can approve code mappings of others",
    "connectors.operate_connection": "Can test, activate, pause and sweep connections",
    "connectors.revoke_connection": "Can revoke connections",
}
"""Permissions beyond Django's own, with their names."""

SCHEDULES = tuple(
    f"django_celery_beat.{verb}_{model}"
    for model in ("periodictask", "intervalschedule", "crontabschedule")
    for verb in ("add", "change", "delete")
)

MATRIX: dict[str, tuple[str, ...]] = {
    #                                 who, besides viewing
    "hub.answer_reviewitem":          (FINANCE, OPERATOR, ENGINEER, ADMINISTRATOR),
    "hub.answer_any_reviewitem":      (ADMINISTRATOR,),
    "hub.replay_inboxevent":          (OPERATOR, ENGINEER, ADMINISTRATOR),
    "hub.add_accountingrule":         (FINANCE,),
    "hub.change_accountingrule":      (FINANCE,),
    "hub.delete_accountingrule":      (FINANCE,),
    "hub.approve_accountingrule":     (FINANCE,),
    "hub.add_codemapping":            (FINANCE, ENGINEER),
    "hub.change_codemapping":         (FINANCE, ENGINEER),
    "hub.delete_codemapping":         (FINANCE, ENGINEER),
    "hub.approve_codemapping":        (FINANCE,),
    "connectors.operate_connection":  (OPERATOR, ENGINEER, ADMINISTRATOR),
    "connectors.add_connection":      (ENGINEER, ADMINISTRATOR),
    "connectors.change_connection":   (ENGINEER, ADMINISTRATOR),
    "connectors.revoke_connection":   (ADMINISTRATOR,),
    "canonical.add_legalentity":      (ENGINEER, ADMINISTRATOR),
    "canonical.change_legalentity":   (ENGINEER, ADMINISTRATOR),
    "auth.add_user":                  (ADMINISTRATOR,),
    "auth.change_user":               (ADMINISTRATOR,),
    **dict.fromkeys(SCHEDULES, (ENGINEER, ADMINISTRATOR)),
}  # fmt: skip
"""Permission → roles that have it. Nothing else is granted; groups changed by hand are put right by a migration."""


def granted(role: str) -> set[str]:
    """The acting permissions of a role ('app.codename')."""
    return {permission for permission, roles in MATRIX.items() if role in roles}


def install(sender: AppConfig, using: str = "default", **_: Any) -> None:
    """Make the groups and permissions what this module says. A receiver of `post_migrate`."""
    if sender.label not in OURS:
        return
    from django.contrib.auth.models import Group, Permission
    from django.contrib.contenttypes.models import ContentType

    for action, name in ACTIONS.items():
        app, codename = action.split(".")
        model = apps.get_model(app, codename.rpartition("_")[2])
        of_model = ContentType.objects.db_manager(using).get_for_model(model)
        Permission.objects.using(using).get_or_create(content_type=of_model, codename=codename, defaults={"name": name})
    every = Permission.objects.using(using).select_related("content_type")
    by_name = {f"{p.content_type.app_label}.{p.codename}": p for p in every}
    seen = {n for n in by_name if n.split(".")[0] in VIEWED and n.split(".")[1].startswith("view_")}
    for role in ROLES:
        group, _created = Group.objects.using(using).get_or_create(name=role)
        group.permissions.set(by_name[name] for name in seen | granted(role) if name in by_name)


def roles_of(user: Any) -> set[str]:
    """The roles a user has, read once per request."""
    known: set[str] | None = getattr(user, "_tieout_roles", None)
    if known is None:
        known = set(user.groups.values_list("name", flat=True))
        user._tieout_roles = known
    return known


def may_answer(user: Any, group: str) -> bool:
    """Whether a user may answer the questions of a role."""
    if user.has_perm("hub.answer_any_reviewitem"):
        return True
    return user.has_perm("hub.answer_reviewitem") and group in roles_of(user)
