"""What every change of a credit by a person shares: one transaction, the row's lock, and what is written about it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from django.contrib.auth.models import User
from django.db import IntegrityError, transaction

from hub.audit import chain as audit
from hub.credits.models import Credit
from hub.engine import store
from hub.models import Run
from hub.roles import AGENT, LADDER

CHANGED = "It has changed since you opened it: look at it again."
SHORTEST_NOTE = 10


class NotAllowed(Exception):
    """The person may not do this to this credit now; the message says why.

    `needs_confirmation`: proving anew who one is would help.
    """

    def __init__(self, message: str, *, needs_confirmation: bool = False) -> None:
        super().__init__(message)
        self.needs_confirmation = needs_confirmation


@contextmanager
def locked(credit: Credit, revision: int | None = None) -> Iterator[Credit]:
    """One transaction with the credit as it is now, its row locked; everything in the block happens, or nothing.

    Raises NotAllowed when it is no longer at the `revision` a page showed, and when the database refuses a change.
    """
    try:
        with transaction.atomic():
            row = Credit.objects.select_for_update(of=("self",)).select_related("approval_rule", "party").get(pk=credit.pk)
            if revision is not None and row.revision != revision:
                raise NotAllowed(CHANGED)
            yield row
    except IntegrityError as error:
        raise NotAllowed(f"The database refused it: {str(error).partition(chr(10))[0]}") from error


@dataclass(frozen=True, slots=True)
class Person:
    """An account as it is now, with its roles. Roles are groups; being a superuser gives none."""

    user: User
    roles: frozenset[str]


def people(ids: Iterable[int], *, lock: bool = False) -> dict[int, Person]:
    """Accounts that are active now, by id, with the roles they have now.

    `lock`: they stay active until the transaction ends, and whoever else decides in their name waits. Roles are not locked:
    one that is taken away at the same moment was still there when the decision was judged, or was not.
    """
    users = User.objects.filter(pk__in=set(ids), is_active=True).order_by("pk")
    if lock:
        users = users.select_for_update(no_key=True)
    found = list(users)
    members = User.groups.through._default_manager.filter(user_id__in=[user.pk for user in found])
    roles = list(members.values_list("user_id", "group__name"))
    return {user.pk: Person(user, frozenset(role for pk, role in roles if pk == user.pk)) for user in found}


def acting(user: User) -> tuple[User, frozenset[str]]:
    """The user and the roles as they are now, locked. Raises NotAllowed for an account that is not active."""
    person = people([user.pk], lock=True).get(user.pk)
    if person is None:
        raise NotAllowed("Your account is not active.")
    return person.user, person.roles


def is_maker(credit: Credit, user: User) -> bool:
    """Whether they asked for it, made it, or changed it last; also as an agent of the support platform."""
    names = {user.username.casefold(), user.email.casefold()} - {""}
    return user.pk in credit.makers or credit.requested_by.casefold() in names


def require_change(credit: Credit, user: User, roles: frozenset[str]) -> None:
    """Raise NotAllowed unless they may change or withdraw it: approvers any, agents what they asked for themselves."""
    if roles.isdisjoint(LADDER) and not (AGENT in roles and is_maker(credit, user)):
        raise NotAllowed("Your roles do not let you change this credit.")


def require_state(credit: Credit, *states: str) -> None:
    """Raise NotAllowed unless it is in one of these states."""
    if credit.state not in states:
        raise NotAllowed(f"It is {credit.state.replace('_', ' ')} by now.")


def require_note(note: str) -> None:
    """Raise NotAllowed for a note that explains nothing."""
    if len(note.strip()) < SHORTEST_NOTE:
        raise NotAllowed(f"Say why, in {SHORTEST_NOTE} characters or more.")


def said(credit: Credit) -> dict[str, Any]:
    """What an audit entry tells of a credit before and after a change."""
    names = ("state", "revision", "net", "tax", "total", "currency", "settlement", "invoice_id", "waiting_role", "digest")
    return {name: getattr(credit, name) for name in names}


def changed(
    credit: Credit, action: str, *, actor: str, before: Mapping[str, Any], role: str = "", on_behalf_of: str = "",
    reason_code: str = "", note: str = "", source: str = "admin", more: Mapping[str, Any] | None = None,
) -> None:  # fmt: skip
    """Let the credit's run judge again, and write `credit.<action>` to the audit trail. The last thing in a change."""
    store.wake("credit", credit.number)
    now = said(credit)
    differs = [name for name in now if now[name] != before.get(name)]
    run = Run.objects.filter(subject_kind="credit", subject_id=credit.number).order_by("-id").first()
    rules = [row.label for row in (credit.approval_rule, credit.policy) if row is not None]
    audit.append(
        f"credit.{action}", actor=actor, obj=credit, role=role, on_behalf_of=on_behalf_of, reason_code=reason_code, note=note,
        before={name: before.get(name) for name in differs}, after={name: now[name] for name in differs} | dict(more or {}),
        policy=" ".join(rules), correlation_id=run.correlation_id if run else None, source=source,
    )  # fmt: skip
