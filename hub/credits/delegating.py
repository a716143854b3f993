"""Somebody decides in somebody's place: dated, within a scope, shown on every decision, and never passed on."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal

from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from canonical.models import LegalEntity
from canonical.money import normal_currency
from hub.audit import chain as audit
from hub.credits import exchange, notices
from hub.credits.changing import NotAllowed, acting, is_maker, people
from hub.credits.models import Credit, Delegation
from hub.roles import CONTROLLER, LADDER


def in_force(at: datetime) -> Q:
    """Delegations that hold at a time."""
    return Q(starts_at__lte=at, ends_at__gt=at, revoked_at__isnull=True)


def acting_for(user: User, credit: Credit, at: datetime, *, lock: bool = False) -> list[Delegation]:
    """The delegations under which this user may decide about this credit, oldest first.

    Only what the grantor may do in their own right is delegated, so a delegation is never passed on. Credits the
    grantor asked for or changed last are not covered, nor those above `most`, converted at the rate of the day; without
    a rate it is not covered. The grantor's own limits apply besides, and are checked with the decision.
    """
    rows = Delegation.objects.filter(in_force(at), delegate=user).select_related("grantor", "legal_entity").order_by("pk")
    rows = rows.filter(Q(legal_entity=None) | Q(legal_entity=credit.legal_entity_id))
    if lock:
        rows = rows.select_for_update(of=("self",))
    return [row for row in rows if not is_maker(credit, row.grantor) and _covers(row, credit, at)]


def grant(
    grantor: User, delegate: User, *, starts_at: datetime, ends_at: datetime, reason: str, by: User,
    legal_entity: LegalEntity | None = None, most: Decimal | None = None, most_currency: str = "",
) -> Delegation:  # fmt: skip
    """Let `delegate` decide in `grantor`'s place from `starts_at` to `ends_at`. Both are told, and it is audited.

    The grantor grants it, or a controller who is not the delegate. Raises NotAllowed when one of the two has no role
    that decides about credits, or the times or the largest amount make no sense.
    """
    with transaction.atomic():
        active = people({grantor.pk, delegate.pk, by.pk}, lock=True)
        roles = {pk: person.roles for pk, person in active.items()}
        if grantor == delegate or any(not roles.get(each.pk, frozenset()) & set(LADDER) for each in (grantor, delegate)):
            raise NotAllowed("It takes two people who decide about credits.")
        if by != grantor and (CONTROLLER not in roles.get(by.pk, ()) or by == delegate):
            raise NotAllowed("Only the grantor, or a controller who is not the delegate, may delegate.")
        if not max(starts_at, timezone.now()) < ends_at:
            raise NotAllowed("A delegation ends after it begins, and in the future.")
        if not reason.strip():
            raise NotAllowed("Say why.")
        if most is not None:
            most_currency = _currency(most, most_currency)
        row = Delegation.objects.create(
            grantor=grantor, delegate=delegate, starts_at=starts_at, ends_at=ends_at, reason=reason[:200], made_by=by,
            legal_entity=legal_entity, most=most, most_currency=most_currency if most is not None else "",
        )  # fmt: skip
        terms = {
            "grantor": grantor.username, "delegate": delegate.username, "starts_at": starts_at, "ends_at": ends_at,
            "legal_entity": legal_entity, "most": most, "most_currency": row.most_currency,
        }  # fmt: skip
        text = f"{delegate} decides credits in {grantor}'s place from {starts_at:%Y-%m-%d %H:%M} to {ends_at:%Y-%m-%d %H:%M} UTC."
        _tell(row, "delegation granted", f"{text}\n\n{reason}")
        audit.append("delegation.granted", actor=by.username, obj=row, after=terms, note=reason, source="admin")
        return row


def revoke(delegation: Delegation, by: User) -> Delegation:
    """End a delegation now; either side may, and a controller. Both are told, and it is audited. Raises NotAllowed."""
    with transaction.atomic():
        _by, roles = acting(by)
        row = Delegation.objects.select_for_update(of=("self",)).select_related("grantor", "delegate").get(pk=delegation.pk)
        if by.pk not in (row.grantor_id, row.delegate_id) and CONTROLLER not in roles:
            raise NotAllowed("Only the two it is between, or a controller, may end a delegation.")
        if row.revoked_at is not None:
            raise NotAllowed("It was ended already.")
        row.revoked_at = timezone.now()
        row.save(update_fields=["revoked_at"])
        _tell(row, "delegation ended", f"{row.delegate} no longer decides credits in {row.grantor}'s place.")
        audit.append("delegation.revoked", actor=by.username, obj=row, after={"revoked_at": row.revoked_at}, source="admin")
        return row


def _covers(row: Delegation, credit: Credit, at: datetime) -> bool:
    if row.most is None:
        return True
    try:
        return bool(exchange.convert(credit.total, credit.currency, row.most_currency, at.date())[0] <= row.most)
    except exchange.NoRate:
        return False


def _currency(most: Decimal, code: str) -> str:
    try:
        currency = normal_currency(code)
    except ValueError:
        raise NotAllowed("Say in which currency the largest credit is meant.") from None
    if most <= 0:
        raise NotAllowed("The largest credit must be more than nothing.")
    return currency


def _tell(row: Delegation, what: str, text: str) -> None:
    for person in (row.grantor, row.delegate):
        notices.queue(person, what, f"Tieout: {what}: {row.delegate} for {row.grantor}", text)
