"""Who may do what: the roles and one table. Installed as Django groups after every migration, idempotently.

Everybody on the staff sees everything (secrets are never shown to anyone). What differs is who may act. Actions
that are not plain add, change or delete have permissions of their own, declared here. Approving needs a second person besides
the role: maker and checker are told apart by the database.
"""

from __future__ import annotations

from typing import Any

from django.apps import AppConfig, apps

AGENT = "support agent"
FINANCE, SENIOR, CONTROLLER = "finance reviewer", "senior finance reviewer", "controller"
POLICY = "policy admin"
OPERATOR, ENGINEER = "operator", "integration engineer"
AUDITOR, ADMINISTRATOR = "auditor", "administrator"
ROLES = (AGENT, FINANCE, SENIOR, CONTROLLER, POLICY, OPERATOR, ENGINEER, AUDITOR, ADMINISTRATOR)
LADDER = (FINANCE, SENIOR, CONTROLLER)
"""Roles that approve credits, lowest first; each may stand in for those before it."""

OURS = ("canonical", "connectors", "hub", "audit", "credits", "reconciliation")
VIEWED = (*OURS, "auth", "django_celery_beat")
"""Apps whose every object every role may view."""

ACTIONS = {
    "hub.answer_reviewitem": "Can answer review items of the own role",
    "hub.answer_any_reviewitem": "Can answer review items of every role",
    "hub.replay_inboxevent": "Can replay events",
    "hub.approve_accountingrule": "Can approve accounting rules of others",
    "hub.approve_codemapping": "Can approve code mappings of others",
    "credits.request_credit": "Can ask for credits, change and withdraw own ones",
    "credits.decide_credit": "Can decide credits of others, as far as the own limits go",
    "credits.approve_businesscalendar": "Can approve business calendars of others",
    "credits.approve_slaterms": "Can approve SLA terms of others",
    "credits.approve_creditpolicy": "Can approve credit policies of others",
    "credits.approve_approvalrule": "Can approve approval rules of others",
    "credits.approve_approverlimit": "Can approve approver limits of others",
    "reconciliation.start_scan": "Can start and end reconciliations",
    "reconciliation.work_break": "Can work breaks and propose their mends",
    "reconciliation.approve_mend": "Can approve mends that others proposed",
    "reconciliation.approve_mendrule": "Can approve rules by which breaks mend themselves, drafted by others",
    "reconciliation.approve_closetolerance": "Can approve what breaks may expose at a close, drafted by others",
    "reconciliation.prepare_periodclose": "Can prepare the close of a period and ask for its reopening",
    "reconciliation.sign_periodclose": "Can sign closes that others prepared, and reopen them",
    "audit.export_auditentry": "Can export the audit trail",
    "connectors.operate_connection": "Can test, activate, pause and sweep connections",
    "connectors.revoke_connection": "Can revoke connections",
}
"""Permissions beyond Django's own, with their names."""

SCHEDULES = tuple(
    f"django_celery_beat.{verb}_{model}"
    for model in ("periodictask", "intervalschedule", "crontabschedule")
    for verb in ("add", "change", "delete")
)

DRAFTED = tuple(
    f"credits.{verb}_{model}"
    for model in ("businesscalendar", "slaterms", "creditpolicy", "creditrule", "approvalrule", "approverlimit")
    for verb in ("add", "change", "delete")
)
"""What a policy admin writes, and another person approves."""

RECONCILING = tuple(
    f"reconciliation.{verb}_{model}" for model in ("mendrule", "closetolerance") for verb in ("add", "change", "delete")
)
"""What mends itself, and what a close tolerates: drafted by a senior, approved by a controller."""

MATRIX: dict[str, tuple[str, ...]] = {
    #                                 who, besides viewing
    "hub.answer_reviewitem":          (*LADDER, OPERATOR, ENGINEER, ADMINISTRATOR),
    "hub.answer_any_reviewitem":      (ADMINISTRATOR,),
    "hub.replay_inboxevent":          (OPERATOR, ENGINEER, ADMINISTRATOR),
    "hub.add_accountingrule":         LADDER,
    "hub.change_accountingrule":      LADDER,
    "hub.delete_accountingrule":      LADDER,
    "hub.approve_accountingrule":     LADDER,
    "hub.add_codemapping":            (*LADDER, ENGINEER),
    "hub.change_codemapping":         (*LADDER, ENGINEER),
    "hub.delete_codemapping":         (*LADDER, ENGINEER),
    "hub.approve_codemapping":        LADDER,
    "credits.request_credit":         (AGENT, *LADDER),
    "credits.decide_credit":          LADDER,
    "credits.add_delegation":         LADDER,
    "credits.change_delegation":      LADDER,
    **dict.fromkeys(DRAFTED, (POLICY,)),
    "credits.add_exchangerate":       (POLICY,),
    "credits.approve_businesscalendar": (POLICY, CONTROLLER),
    "credits.approve_slaterms":       (POLICY, CONTROLLER),
    "credits.approve_creditpolicy":   (POLICY, CONTROLLER),
    "credits.approve_approvalrule":   (POLICY, CONTROLLER),
    "credits.approve_approverlimit":  (POLICY, CONTROLLER),
    "reconciliation.start_scan":      (*LADDER, OPERATOR, ENGINEER),
    "reconciliation.work_break":      (*LADDER, OPERATOR),
    "reconciliation.approve_mend":    (SENIOR, CONTROLLER),
    **dict.fromkeys(RECONCILING, (SENIOR, CONTROLLER)),
    "reconciliation.approve_mendrule": (CONTROLLER,),
    "reconciliation.approve_closetolerance": (CONTROLLER,),
    "reconciliation.prepare_periodclose": LADDER,
    "reconciliation.sign_periodclose": (CONTROLLER,),
    "audit.export_auditentry":        (AUDITOR, CONTROLLER),
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
