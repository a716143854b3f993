"""People of the roles that work with breaks and closes."""

from __future__ import annotations

from django.contrib.auth.models import Group, User

from hub import roles


def person(name: str, role: str) -> User:
    """Somebody of a role, with what the matrix grants it; tables emptied by a test before this one are filled again."""
    from django.apps import apps

    if not Group.objects.filter(name=role).exists():
        roles.install(apps.get_app_config("reconciliation"))
    user, _ = User.objects.get_or_create(username=name, defaults={"is_staff": True})
    user.groups.set([Group.objects.get(name=role)])
    return User.objects.get(pk=user.pk)
