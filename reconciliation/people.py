"""What people may do to breaks, mends and closes, and how they are told that they may not."""

from __future__ import annotations

from datetime import date
from zoneinfo import ZoneInfo

from django.contrib.auth.models import User
from django.utils import timezone

from canonical.models import LegalEntity

WORK = "reconciliation.work_break"
APPROVE = "reconciliation.approve_mend"
PREPARE = "reconciliation.prepare_periodclose"
SIGN = "reconciliation.sign_periodclose"


class NotAllowed(Exception):
    """Refused, with the reason in words for people. Nothing has happened."""


def require(user: User, permission: str) -> None:
    """Raise NotAllowed for somebody who has left, or lacks the permission."""
    if not user.is_active or not user.has_perm(permission):
        raise NotAllowed(f"{user} may not do that: it takes the permission {permission}.")


def require_words(reason: str, what: str) -> None:
    """Raise NotAllowed when nothing was said."""
    if not reason.strip():
        raise NotAllowed(f"Say why {what}.")


def today(entity: LegalEntity) -> date:
    """The calendar day where the legal entity is."""
    return timezone.now().astimezone(ZoneInfo(entity.timezone)).date()
