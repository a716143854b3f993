"""Changing a credit that is not decided: every change is a new revision, voids the approvals, and makes the editor a maker."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from decimal import Decimal
from types import EllipsisType
from typing import Any
from zoneinfo import ZoneInfo

from django.contrib.auth.models import User
from django.utils import timezone

from canonical.models import Invoice, move
from canonical.money import is_exact
from hub.credits import exchange, matrix, notices, payload, posting, questions
from hub.credits.changing import NotAllowed, acting, changed, is_maker, locked, require_change, require_note, require_state, said
from hub.credits.models import Credit, CreditPolicy
from hub.credits.models.credit import UNDECIDED
from hub.engine.flow import Blocked
from hub.roles import LADDER


def edit(
    credit: Credit, user: User, *, revision: int, net: Decimal | None = None, settlement: str | None = None,
    invoice: Invoice | EllipsisType | None = ..., reason_note: str,
) -> Credit:  # fmt: skip
    """Change the net amount, how it is settled, or the invoice it credits, of what it says at `revision`; book it anew.

    Amounts are in the credit's currency; with None as the invoice the booking chooses one, or books on account. Who must
    approve it is decided anew, too. Raises NotAllowed, also when somebody changed it since that revision was read.
    """
    with locked(credit, revision) as row:
        at, before = timezone.now(), said(row)
        require_state(row, *UNDECIDED)
        require_note(reason_note)
        actor, roles = acting(user)
        require_change(row, actor, roles)
        if row.reverses_id:
            raise NotAllowed("A reversal takes back exactly what was given.")
        if settlement is not None and settlement not in CreditPolicy.Settlement.values:
            raise NotAllowed("It can be settled by credit note or by balance.")
        if (net, settlement, invoice) == (None, None, ...):
            raise NotAllowed("Nothing was changed.")
        row.settlement = settlement or row.settlement
        if not isinstance(invoice, EllipsisType):
            row.invoice = invoice
        _book(row, row.net if net is None else net)
        row.revision, row.edited_by = row.revision + 1, actor
        payload.seal(row)
        _assign(row)
        row.save(
            update_fields=[
                "settlement", "invoice", "net", "tax", "total", "lines", "payload", "digest", "revision", "edited_by",
                "calculation", *matrix.FIELDS,
            ]
        )  # fmt: skip
        if row.state == "pending":
            notices.tell_turn(row, "was changed and waits for your decision.")
        changed(row, "edited", actor=actor.username, before=before, note=reason_note, more={"at": at})
    return row


def split(credit: Credit, user: User, *, parts: Sequence[Decimal], note: str) -> list[Credit]:
    """Make several credits of one, by net amounts that add up to it. Each is decided, posted and told on its own.

    Who must approve a part is decided by the amount of the whole. Raises NotAllowed.
    """
    with locked(credit) as row:
        before = said(row)
        require_state(row, "pending")
        require_note(note)
        actor, roles = acting(user)
        require_change(row, actor, roles)
        if row.reverses_id:
            raise NotAllowed("A reversal takes back exactly what was given.")
        if len(parts) < 2 or sum(parts) != row.net:
            raise NotAllowed(f"The parts must be two or more, and add up to {row.net.normalize():f} {row.currency}.")
        row.waiting_role, row.due_at, row.decided_at = "", None, timezone.now()
        move(row, "split", by=actor.username, note=note, save=["waiting_role", "due_at", "decided_at"])
        made = [_part(row, net, actor) for net in parts]
        changed(row, "split", actor=actor.username, before=before, note=note, more={"parts": [part.number for part in made]})
        for part in made:
            changed(part, "opened", actor=actor.username, before={}, note=f"part of {row.number}: {note}")
    return made


def withdraw(credit: Credit, user: User, *, note: str) -> Credit:
    """Cancel it before anything is posted. Raises NotAllowed."""
    with locked(credit) as row:
        before = said(row)
        require_state(row, *UNDECIDED, "approved")
        actor, roles = acting(user)
        require_change(row, actor, roles)
        row.waiting_role, row.due_at = "", None
        move(row, "withdraw", by=actor.username, note=note, save=["waiting_role", "due_at"])
        notices.tell_requester(row, "withdrawn", f"was withdrawn by {actor}. {note}")
        changed(row, "withdrawn", actor=actor.username, before=before, note=note)
    return row


def resubmit(credit: Credit, user: User, *, note: str) -> Credit:
    """Hand in anew what was sent back, as a new revision; or end the waiting for an answer. Raises NotAllowed."""
    with locked(credit) as row:
        at, before, save = timezone.now(), said(row), ["due_at"]
        require_state(row, "returned", "needs_info")
        actor, roles = acting(user)
        require_change(row, actor, roles)
        question = questions.asked(row)
        if question is not None:
            questions.resume(row, question.at)
        else:
            row.revision += 1
            matrix.restart(row, at=at)
            save = ["revision", *matrix.FIELDS]
        move(row, "resubmit", by=actor.username, note=note, save=save)
        notices.tell_turn(row, "was submitted again and waits for your decision.")
        changed(row, "resubmitted", actor=actor.username, before=before, note=note)
    return row


def allow_duplicate(credit: Credit, user: User, *, note: str) -> Credit:
    """Say that a stopped credit is no duplicate after all; it then waits for approval by a person. Raises NotAllowed."""
    with locked(credit) as row:
        before = said(row)
        require_state(row, "stopped")
        require_note(note)
        actor, roles = acting(user)
        if roles.isdisjoint(LADDER) or is_maker(row, actor):
            raise NotAllowed("Another person, who decides about credits, must say that it is no duplicate.")
        row.duplicate_allowed = f"{actor.username}: {note}"
        row.revision += 1
        _assign(row)
        move(row, "resubmit", by=actor.username, note=note, save=["duplicate_allowed", "revision", *matrix.FIELDS])
        notices.tell_turn(row)
        changed(row, "duplicate_allowed", actor=actor.username, before=before, note=note, more={"was": row.duplicate_why})
    return row


def _book(credit: Credit, net: Decimal) -> None:
    """Write amounts and posting lines for a net amount."""
    if net <= 0 or not is_exact(net, credit.currency):
        raise NotAllowed(f"{net} is no amount of {credit.currency} that can be given.")
    try:
        preview = posting.preview(
            party=credit.party, legal_entity=credit.legal_entity, billing=credit.billing, invoice=credit.invoice,
            subscription=credit.subscription, currency=credit.currency, net=net, reason=credit.reason, besides=credit,
            on=timezone.now().astimezone(ZoneInfo(credit.legal_entity.timezone)).date(),
        )  # fmt: skip
    except (posting.NotBookable, Blocked) as problem:
        raise NotAllowed(f"It cannot be booked like that: {problem}") from problem
    credit.net, credit.tax, credit.total, credit.lines = net, preview.tax, preview.total, preview.lines
    credit.invoice, credit.calculation = preview.invoice, credit.calculation | {"posting": list(preview.explanation)}


def _assign(credit: Credit) -> None:
    try:
        matrix.assign(credit, at=timezone.now())
    except (matrix.NoRule, exchange.NoRate) as problem:
        raise NotAllowed(str(problem)) from problem


def _part(whole: Credit, net: Decimal, actor: User) -> Credit:
    from hub.flows import issue_to_credit  # the flow is made of these functions

    own = {
        "id", "uid", "created_at", "state", "split_from", "requested", "computed", "revision", "edited_by", "held_until",
        "decided_at", "duplicate_of", "duplicate_why", "duplicate_allowed",
    }  # fmt: skip
    kept: dict[str, Any] = {
        field.attname: getattr(whole, field.attname) for field in Credit._meta.concrete_fields if field.name not in own
    }
    part = Credit(**kept, uid=uuid.uuid4(), split_from=whole, edited_by=actor)
    _book(part, net)
    payload.seal(part)
    _assign(part)
    part.save(force_insert=True)
    notices.tell_turn(part)
    issue_to_credit.start(part, by=actor.username)
    return part
