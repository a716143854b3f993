"""What a person does with a break besides mending it: take it, say something about it, say why it is there."""

from __future__ import annotations

from django.contrib.auth.models import User
from django.db import transaction

from canonical.models import move
from hub.audit import chain as audit
from reconciliation.models import Break, BreakNote
from reconciliation.people import WORK, NotAllowed, require, require_words

LONGEST = 4000


def take(break_: Break, user: User) -> Break:
    """Make a person the owner of an open break; who had it before loses it. Raises NotAllowed."""
    with transaction.atomic():
        row = _locked(break_, user)
        before = row.owner.get_username() if row.owner else ""
        row.owner = user
        row.save(update_fields=["owner"])
        audit.append("break.taken", actor=user.username, obj=row, before={"owner": before}, after={"owner": user.username})
    return row


def comment(break_: Break, user: User, text: str) -> BreakNote:
    """Say something that stays with the break. Raises NotAllowed without words."""
    require(user, WORK)
    require_words(text, "what there is to know")
    return BreakNote.objects.create(item=break_, by=user.username, text=text.strip()[:LONGEST])


def explain(break_: Break, user: User, cause: str, note: str) -> Break:
    """Say why it is there: a cause in a few words, and what it is judged by. The break is `explained` from then on.

    Raises NotAllowed without both, and for a break that is closed or being mended.
    """
    require_words(cause, "it is there")
    require_words(note, "you think so")
    with transaction.atomic():
        row = _locked(break_, user)
        if row.state == "repairing":
            raise NotAllowed("It is being mended: wait for what comes of it.")
        before = row.cause
        row.cause = cause.strip()[:40]
        row.evidence = [*row.evidence, {"text": f"{user.username}: {note.strip()[:500]}", "kind": "", "id": None}]
        if row.state in ("open", "reopened"):
            move(row, "explain", by=user.username, note=row.cause, save=["cause", "evidence"])
        else:
            row.save(update_fields=["cause", "evidence"])
        BreakNote.objects.create(item=row, by=user.username, text=f"{row.cause}: {note.strip()[:LONGEST]}")
        audit.append(
            "break.explained", actor=user.username, obj=row, before={"cause": before}, after={"cause": row.cause}, note=note
        )
    return row


def _locked(break_: Break, user: User) -> Break:
    require(user, WORK)
    row = Break.objects.select_for_update(of=("self",)).select_related("owner").get(pk=break_.pk)
    if row.state == "closed":
        raise NotAllowed(f"It is closed: {row.closed_how}.")
    return row
