"""How a booking rule comes into force: one person drafts, another approves; a change is a new version from a day on."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, TypeVar

from django.db import transaction
from django.forms.models import model_to_dict
from django.utils import timezone

from canonical.models import move
from hub import booking
from hub.audit import chain as audit
from hub.models import AccountingRule, CodeMapping
from hub.models.rules import DatedRule

Rule = TypeVar("Rule", bound=DatedRule)


class NotApproved(Exception):
    """The row cannot come into force like this; the message says why."""


def why_not(row: DatedRule, user: Any) -> str:
    """Why this user may not approve this row, '' when nothing speaks against it (permission aside)."""
    if row.state != "draft":
        return f"It is {row.state} already."
    if row.drafted_by_id == user.pk:
        return "You drafted it: another person must approve it."
    return ""


def approve(row: DatedRule, user: Any) -> int:
    """Put a draft in force and end the version it replaces the day before. Returns how many waiting steps go on.

    Raises NotApproved.
    """
    with transaction.atomic():
        row = type(row)._default_manager.select_for_update(of=("self",)).select_related("replaces").get(pk=row.pk)
        problem = why_not(row, user)
        if problem:
            raise NotApproved(problem)
        by = user.get_username()
        if row.replaces is not None and row.replaces.state == "active":
            _retire(row.replaces, row, by)
        row.approved_by, row.approved_at = user, timezone.now()
        move(row, "approve", by=by, save=["approved_by", "approved_at"])
        healed = booking.heal_with(row, by=by) if isinstance(row, AccountingRule | CodeMapping) else booking.heal_set_up(by=by)
        audit.append(
            f"{row._meta.model_name}.approved", actor=by, obj=row, policy=row.label, source="admin",
            before=_said(row.replaces) if row.replaces else {}, after=_said(row),
        )  # fmt: skip
        return healed


def _said(row: Any) -> dict[str, Any]:
    """What a version says, its parts included, as text."""
    own = {name: str(getattr(row, name)) for name in (*row.SCOPE, *row.SAYS, "valid_from", "valid_to")}
    return own | {part: [model_to_dict(one, exclude=["id"]) for one in getattr(row, part).all()] for part in row.PARTS}


def _retire(old: Any, new: Any, by: str) -> None:
    """End `old` the day before `new` begins; it stays in force for earlier days, and is retired when none are left."""
    if new.valid_from <= old.valid_from:
        move(old, "retire", by=by, note=f"replaced by version {new.version}")
        return
    last = new.valid_from - timedelta(days=1)
    if old.valid_to is None or last < old.valid_to:
        old.valid_to = last
        old.save(update_fields=["valid_to"])


def draft_new_version(row: Rule, user: Any) -> Rule:
    """A draft that says what `row` says and replaces it from today, or the draft there is already."""
    with transaction.atomic():
        row = type(row)._default_manager.select_for_update(of=("self",)).get(pk=row.pk)
        following = type(row)._default_manager.filter(replaces=row).first()
        if following is not None:
            if following.state != "draft":
                raise NotApproved(f"Version {following.version} has replaced it already: draft from that one.")
            return following
        if row.state == "draft":
            raise NotApproved("It is a draft itself: change it.")
        said = {name: getattr(row, name) for name in (*row.SCOPE, *row.SAYS)}
        today = timezone.now().date()
        draft = type(row)._default_manager.create(
            **said,
            version=row.version + 1,
            replaces=row,
            valid_from=max(today, row.valid_from),
            drafted_by=user,
        )
        for part in row.PARTS:
            for one in getattr(row, part).all():
                one.pk, one._state.adding = None, True
                setattr(one, getattr(row, part).field.name, draft)
                one.save()
        return draft
