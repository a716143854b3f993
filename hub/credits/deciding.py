"""Deciding about a credit: approve, refuse, undo, and the doors to everything else people do to one.

Every function takes the credit as its page showed it, locks the row, reads the person anew under that lock, and writes
decision, state, mails, the wake-up of the credit's run and one audit entry in one transaction. NotAllowed says in words
for people why something was refused; then nothing has happened.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from django.conf import settings
from django.contrib.auth.models import User
from django.utils import timezone

from canonical.models import move
from hub.credits import authority, matrix, notices
from hub.credits.authority import Authority
from hub.credits.changing import NotAllowed, acting, changed, is_maker, locked, require_note, require_state, said
from hub.credits.editing import allow_duplicate, edit, resubmit, split, withdraw
from hub.credits.models import Approval, Credit
from hub.credits.questions import answer, ask, asked, comment, recuse
from hub.roles import LADDER

__all__ = [
    "REASON_CODES", "STEP_UP_SECONDS", "NotAllowed", "admit", "allow_duplicate", "answer", "approve", "approve_many", "ask",
    "asked", "comment", "edit", "recuse", "reject", "resubmit", "send_back", "split", "undo", "why_not", "withdraw",
]  # fmt: skip

STEP_UP_SECONDS = 300
"""How long ago a person may have proved who they are, where the rule asks for it."""
AT_ONCE = 50
"""Credits that may be approved together."""
REASON_CODES: dict[str, str] = {
    "not_due": "No credit is due",
    "wrong_amount": "The amount is wrong",
    "wrong_customer": "Wrong customer or invoice",
    "duplicate": "Given already",
    "no_evidence": "The evidence is missing or does not show it",
    "outside_policy": "Outside the policy",
    "caused_by_customer": "Caused by the customer",
    "wrong_reason": "Filed under the wrong reason",
    "needs_other_settlement": "To be settled in another way",
    "other": "Another reason, see the note",
}
"""Why a credit is refused or sent back."""


def why_not(credit: Credit, user: User, *, at: datetime, confirmed_at: datetime | None = None) -> str:
    """Why this user may not approve it now; '' when they may. Locks nothing: `approve` judges again.

    Whether they proved who they are lately is judged only when `confirmed_at` is given: not having done so yet is
    asked for after the click.
    """
    try:
        require_state(credit, "pending")
        authority.find(credit, user, at=at)
        if confirmed_at is not None:
            _require_confirmation(credit, confirmed_at, at)
    except NotAllowed as problem:
        return str(problem)
    return ""


def approve(
    credit: Credit, user: User, *, revision: int, note: str = "", reason_code: str = "", confirmed_at: datetime | None,
    source: str = "admin",
) -> Credit:  # fmt: skip
    """Approve what the credit says at `revision`. The last approval there has to be starts the undo window.

    Raises NotAllowed, with `needs_confirmation` when the rule asks for a fresh proof of who they are.
    """
    with locked(credit, revision) as row:
        at, before = timezone.now(), said(row)
        require_state(row, "pending")
        right = authority.find(row, user, at=at, lock=True)
        _require_confirmation(row, confirmed_at, at)
        turn = matrix.stage(row, len(authority.given(row)))
        assert turn is not None
        _record(row, user, right, Approval.Decision.APPROVE, turn[0], at, reason_code, note, confirmed_at)
        matrix.next_stage(row, len(authority.given(row)), at=at)
        if row.waiting_role:
            row.save(update_fields=["waiting_role", "due_at", "escalations"])
            notices.tell_turn(row)
        else:
            _hold(row, at, by=user.username, note=note)
            notices.tell_requester(row, "approved", "was approved.")
        changed(
            row, "approved", actor=user.username, before=before, role=right.role, on_behalf_of=right.principal,
            reason_code=reason_code, note=note, source=source, more={"stage": turn[0], "confirmed_at": confirmed_at},
        )  # fmt: skip
    return row


def admit(credit: Credit, *, by: str = "approval rule") -> Credit:
    """Let a credit pass for which its rule asks nobody; one that somebody must decide about stays as it is.

    Called once, after it was opened. It is held for the undo window like any other.
    """
    with locked(credit) as row:
        if row.state != "pending" or row.approvals_needed or row.stages or matrix.needs_a_person(row):
            if row.state == "pending":
                notices.tell_turn(row)
            return row
        before = said(row)
        _hold(row, timezone.now(), by=by, note="passed without a person")
        changed(row, "passed", actor=by, before=before, note="the rule asks for nobody", source="hub")
    return row


def reject(credit: Credit, user: User, *, revision: int, reason_code: str, note: str) -> Credit:
    """Refuse it for good. Needs a code of REASON_CODES and a note. Raises NotAllowed."""
    return _refuse(credit, user, "reject", "rejected", revision, reason_code, note)


def send_back(credit: Credit, user: User, *, revision: int, reason_code: str, note: str) -> Credit:
    """Let the requester mend it and submit it again. Needs a code of REASON_CODES and a note. Raises NotAllowed."""
    return _refuse(credit, user, "send_back", "returned", revision, reason_code, note)


def undo(credit: Credit, user: User, *, note: str) -> Credit:
    """Take an approval back inside the undo window: every approval of it is void, and it waits to be decided anew.

    For those who approved it; where nobody had to, for everybody who approves credits and did not make it. Raises
    NotAllowed.
    """
    with locked(credit) as row:
        at, before = timezone.now(), said(row)
        require_state(row, "approved")
        if row.held_until is None or at >= row.held_until:
            raise NotAllowed("The undo window is over.")
        actor, roles = acting(user)
        approvers = {approval.by_id for approval in authority.given(row)}
        if roles.isdisjoint(LADDER) or (actor.pk not in approvers if approvers else is_maker(row, actor)):
            raise NotAllowed("Only somebody who approved it can undo that.")
        row.revision += 1
        row.held_until = row.decided_at = None
        if row.stages:
            matrix.restart(row, at=at)
        else:
            matrix.assign(row, at=at)
        move(row, "undo", by=actor.username, note=note, save=["revision", *matrix.FIELDS, "held_until", "decided_at"])
        notices.tell_turn(row, "its approval was undone; it waits for your decision.")
        changed(row, "undone", actor=actor.username, before=before, note=note)
    return row


def approve_many(credits: Sequence[Credit], user: User, *, confirmed_at: datetime | None) -> list[tuple[Credit, str]]:
    """Approve up to 50 as the page showed them, each decided singly; with each, '' or why it was not approved.

    Raises NotAllowed when they are more.
    """
    if len(credits) > AT_ONCE:
        raise NotAllowed(f"At most {AT_ONCE} at once.")
    results = []
    for credit in credits:
        try:
            results.append((approve(credit, user, revision=credit.revision, confirmed_at=confirmed_at), ""))
        except NotAllowed as problem:
            results.append((credit, str(problem)))
    return results


def _refuse(credit: Credit, user: User, name: str, done: str, revision: int, reason_code: str, note: str) -> Credit:
    with locked(credit, revision) as row:
        at, before = timezone.now(), said(row)
        require_state(row, "pending", "needs_info", *(("returned", "stopped") if name == "reject" else ()))
        if reason_code not in REASON_CODES:
            raise NotAllowed("Choose a reason.")
        require_note(note)
        right = authority.find(row, user, at=at, limits=False, lock=True)
        turn = matrix.stage(row, len(authority.given(row)))
        assert turn is not None
        _record(row, user, right, Approval.Decision(name), turn[0], at, reason_code, note, None)
        row.waiting_role, row.due_at = "", None
        save = ["waiting_role", "due_at"]
        if name == "reject":
            row.decided_at = at
            save.append("decided_at")
        move(row, name, by=user.username, note=note, save=save)
        notices.tell_requester(row, done, f"was {done}: {REASON_CODES[reason_code]}. {note}")
        changed(
            row, done, actor=user.username, before=before, role=right.role, on_behalf_of=right.principal,
            reason_code=reason_code, note=note,
        )  # fmt: skip
    return row


def _require_confirmation(credit: Credit, confirmed_at: datetime | None, at: datetime) -> None:
    if credit.approval_rule is None or not credit.approval_rule.step_up:
        return
    if confirmed_at is None or not timedelta() <= at - confirmed_at <= timedelta(seconds=STEP_UP_SECONDS):
        raise NotAllowed("Confirm who you are first.", needs_confirmation=True)


def _record(
    credit: Credit, user: User, right: Authority, decision: Approval.Decision, stage: int, at: datetime, reason_code: str,
    note: str, confirmed_at: datetime | None,
) -> None:  # fmt: skip
    if reason_code and reason_code not in REASON_CODES:
        raise NotAllowed("Choose a reason.")
    Approval.objects.create(
        credit=credit, revision=credit.revision, digest=credit.digest, stage=stage, decision=decision, by=user, role=right.role,
        on_behalf_of=right.on_behalf_of, delegation=right.delegation, total=credit.total, currency=credit.currency,
        reporting_amount=credit.reporting_amount, reason_code=reason_code, note=note, confirmed_at=confirmed_at, at=at,
    )  # fmt: skip


def _hold(credit: Credit, at: datetime, *, by: str, note: str) -> None:
    """Approved: from now on held until the undo window is over."""
    credit.held_until, credit.decided_at = at + timedelta(minutes=settings.UNDO_MINUTES), at
    credit.waiting_role, credit.due_at = "", None
    save = ["held_until", "decided_at", "waiting_role", "due_at", "escalations"]
    move(credit, "approve", by=by, note=note, save=save)
