"""Talking about a credit: comments, stepping back, and questions to the agent, during which the time to decide stands still."""

from __future__ import annotations

from datetime import datetime

from django.contrib.auth.models import User
from django.utils import timezone

from canonical.models import move
from hub.credits import matrix, notices
from hub.credits.changing import NotAllowed, acting, changed, locked, require_state, said
from hub.credits.models import Credit, CreditComment
from hub.roles import LADDER

What = CreditComment.What


def asked(credit: Credit) -> CreditComment | None:
    """The question that waits for an answer, None when none does."""
    if credit.state != "needs_info":
        return None
    return credit.comments.filter(what=What.QUESTION).order_by("-id").first()


def ask(credit: Credit, user: User, *, text: str) -> Credit:
    """Ask the agent something; the credit waits for the answer. Raises NotAllowed."""
    with locked(credit) as row:
        actor, _roles = _approver(user)
        require_state(row, "pending")
        _say(row, What.QUESTION, actor, text)
        before = said(row)
        move(row, "ask", by=actor.username, note=text)
        notices.tell_requester(row, "question", f"{actor} asks: {text}")
        changed(row, "asked", actor=actor.username, before=before, note=text)
    return row


def answer(
    credit: Credit, *, by: str, text: str, external_id: str = "", to: CreditComment | None = None, source: str = "admin"
) -> Credit:  # fmt: skip
    """Write down the agent's answer, and let the decision go on with the time that was left when it was asked.

    `external_id` names the note it came in: the same note answers once (constraint). `to` is the question it answers: when
    another one is asked by now, or none, nothing happens. Without it, what comes when nothing is asked is kept too.
    `source` is where it was given: `admin`, or `support` for a note on the case.
    """
    with locked(credit) as row:
        if external_id and row.comments.filter(what=What.ANSWER, external_id=external_id).exists():
            return row
        question, before = asked(row), said(row)
        if to is not None and to != question:
            return row
        CreditComment.objects.create(credit=row, what=What.ANSWER, by=by, text=text, external_id=external_id)
        if question is not None:
            resume(row, question.at)
            move(row, "resubmit", by=by, note=text, save=["due_at"])
            notices.tell_turn(row, f"{by} answered: {text}", what="answer")
        changed(row, "answered", actor=by, before=before, note=text, source=source)
    return row


def comment(credit: Credit, user: User, *, text: str) -> Credit:
    """Say something about it, for good. Raises NotAllowed for an account without a role."""
    with locked(credit) as row:
        actor, roles = acting(user)
        if not roles:
            raise NotAllowed("Your account has no role.")
        _say(row, What.COMMENT, actor, text)
        changed(row, "commented", actor=actor.username, before=said(row), note=text)
    return row


def recuse(credit: Credit, user: User, *, note: str) -> Credit:
    """Step back from deciding about it, for good. Raises NotAllowed when they have decided already."""
    with locked(credit) as row:
        actor, _roles = _approver(user)
        if row.approvals.filter(by=actor, revision=row.revision).exists():
            raise NotAllowed("You have decided about it already.")
        if row.comments.filter(what=What.RECUSAL, user=actor).exists():
            raise NotAllowed("You have recused yourself already.")
        _say(row, What.RECUSAL, actor, note)
        if row.state == "pending" and not notices.turn(row, row.waiting_role):
            row.waiting_role = LADDER[-1]
            row.save(update_fields=["waiting_role"])
            notices.tell_turn(row, "nobody else of the role is left to decide.")
        changed(row, "recused", actor=actor.username, before=said(row), note=note)
    return row


def resume(credit: Credit, asked_at: datetime) -> None:
    """Give a credit the business time that was left at `asked_at`, from now on; the caller saves `due_at`."""
    rule, now = credit.approval_rule, timezone.now()
    if credit.due_at is None or rule is None:
        return
    left = matrix.calendar_of(rule, now.date()).minutes(asked_at, credit.due_at)
    credit.due_at = matrix.calendar_of(rule, now.date()).after(now, left / 60)


def _approver(user: User) -> tuple[User, frozenset[str]]:
    actor, roles = acting(user)
    if roles.isdisjoint(LADDER):
        raise NotAllowed("Your roles do not decide about credits.")
    return actor, roles


def _say(credit: Credit, what: str, user: User, text: str) -> None:
    if not text.strip():
        raise NotAllowed("Say something.")
    CreditComment.objects.create(credit=credit, what=what, by=user.username, user=user, text=text)
