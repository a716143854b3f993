"""Closing a month of a legal entity: the gates, the picture that is signed, and what has changed since.

One person prepares, another signs. A red gate needs a reason when the close is prepared. What is signed is what was
prepared: when the books or the gates have changed meanwhile, it is prepared again. Signing freezes content and hash (a
trigger sees to it); a later change shows as a difference, and reopening takes two people again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.contrib.auth.models import User
from django.db import transaction
from django.utils import timezone

from canonical.models import move
from hub.audit import chain as audit
from reconciliation import people
from reconciliation.closing.gates import Gate, judge, last_scan
from reconciliation.closing.picture import content
from reconciliation.models import PeriodClose
from reconciliation.people import NotAllowed

__all__ = [
    "Difference",
    "Gate",
    "NotAllowed",
    "ask_reopening",
    "content",
    "difference",
    "digest",
    "prepare",
    "reopen",
    "send_back",
    "sign",
]  # fmt: skip

COMPARED = ("totals", "breaks")
"""Parts of the content whose change is a difference; the others say when and how it was looked at."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One entry of a signed part that says something else now. `before` or `now` is None where it was not there."""

    part: str
    name: str
    before: Mapping[str, Any] | None
    now: Mapping[str, Any] | None


def digest(told: Mapping[str, Any]) -> str:
    """SHA-256 of the canonical JSON (sorted keys, no blanks, UTF-8)."""
    return hashlib.sha256(audit.canonical(told).encode()).hexdigest()


def prepare(close: PeriodClose, user: User, reasons: Mapping[str, str] | None = None) -> PeriodClose:
    """Take the picture that the second person is to sign. `reasons`: gate → why it may be red. Raises NotAllowed.

    A close that was prepared before is prepared anew.
    """
    people.require(user, people.PREPARE)
    with transaction.atomic():
        row = _locked(close)
        if row.state == "prepared":
            move(row, "send_back", by=user.username, note="prepared again")
        _require(row, "open", "reopened")
        given = {name: words.strip() for name, words in (reasons or {}).items() if words.strip()}
        judged = judge(row.legal_entity, row.period)
        row.content = {**content(row.legal_entity, row.period), "gates": [gate.json() for gate in judged], "reasons": given}
        _require_reasons(judged, given)
        row.hash, row.scan = digest(row.content), last_scan(row.legal_entity, row.period)
        row.prepared_by, row.prepared_at = user, timezone.now()
        row.signed_by = row.signed_at = row.reopening_asked_by = row.reopened_by = None
        row.reopening_reason = ""
        move(row, "prepare", by=user.username, save=[*PREPARED])
        audit.append("periodclose.prepared", actor=user.username, obj=row, after={"hash": row.hash, "reasons": given})
    return row


PREPARED = (
    "content", "hash", "scan", "prepared_by", "prepared_at", "signed_by", "signed_at", "reopening_asked_by", "reopened_by",
    "reopening_reason",
)  # fmt: skip


def send_back(close: PeriodClose, user: User, reason: str) -> PeriodClose:
    """The second person does not sign it as it is. Raises NotAllowed."""
    people.require(user, people.SIGN)
    people.require_words(reason, "it is not signed")
    with transaction.atomic():
        row = _locked(close)
        _require(row, "prepared")
        move(row, "send_back", by=user.username, note=reason)
        audit.append("periodclose.sent_back", actor=user.username, obj=row, note=reason)
    return row


def sign(close: PeriodClose, user: User) -> PeriodClose:
    """Freeze what another person prepared. Raises NotAllowed, also when it is no longer what there is."""
    people.require(user, people.SIGN)
    with transaction.atomic():
        row = _locked(close)
        _require(row, "prepared")
        if row.prepared_by_id == user.pk:
            raise NotAllowed("You prepared it: another person has to sign it.")
        if row.hash != digest(row.content):
            raise NotAllowed("What was prepared is not what its hash says: prepare it again.")
        changed = difference(row)
        if changed:
            raise NotAllowed(f"{len(changed)} entries have changed since it was prepared ({changed[0].name}): prepare it again.")
        _require_reasons(judge(row.legal_entity, row.period), row.content["reasons"])
        row.signed_by, row.signed_at = user, timezone.now()
        move(row, "sign", by=user.username, note=row.hash, save=["signed_by", "signed_at"])
        audit.append(
            "periodclose.signed", actor=user.username, obj=row,
            after={"hash": row.hash, "prepared_by": str(row.prepared_by), "scan": row.scan_id, "reasons": row.content["reasons"]},
        )  # fmt: skip
    return row


def difference(close: PeriodClose) -> list[Difference]:
    """What control totals and breaks say now, where it is not what was prepared or signed."""
    now = content(close.legal_entity, close.period)
    found = []
    for part in COMPARED:
        before, after = _by_name(close.content.get(part, [])), _by_name(now[part])
        found += [
            Difference(part, name, before.get(name), after.get(name))
            for name in sorted({*before, *after})
            if before.get(name) != after.get(name)
        ]
    return found


def _by_name(entries: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {entry["name"]: entry for entry in entries}


def ask_reopening(close: PeriodClose, user: User, reason: str) -> PeriodClose:
    """Ask a second person to reopen a signed close. Raises NotAllowed."""
    people.require(user, people.PREPARE)
    people.require_words(reason, "it has to change")
    with transaction.atomic():
        row = _locked(close)
        _require(row, "signed")
        row.reopening_asked_by, row.reopening_reason = user, reason.strip()
        row.save(update_fields=["reopening_asked_by", "reopening_reason"])
        audit.append("periodclose.reopening_asked", actor=user.username, obj=row, note=row.reopening_reason)
    return row


def reopen(close: PeriodClose, user: User) -> PeriodClose:
    """Agree to what another person asked for: it may be prepared again. What was signed stays in the history."""
    people.require(user, people.SIGN)
    with transaction.atomic():
        row = _locked(close)
        _require(row, "signed")
        if row.reopening_asked_by_id is None:
            raise NotAllowed("Nobody has asked for its reopening.")
        if row.reopening_asked_by_id == user.pk:
            raise NotAllowed("You asked for it: another person has to agree.")
        row.reopened_by = user
        move(row, "reopen", by=user.username, note=row.reopening_reason, save=["reopened_by"])
        audit.append(
            "periodclose.reopened", actor=user.username, obj=row, before={"hash": row.hash}, note=row.reopening_reason,
            after={"asked_by": str(row.reopening_asked_by)},
        )  # fmt: skip
    return row


def _locked(close: PeriodClose) -> PeriodClose:
    return PeriodClose.objects.select_for_update(of=("self",)).select_related("legal_entity").get(pk=close.pk)


def _require(close: PeriodClose, *states: str) -> None:
    if close.state not in states:
        raise NotAllowed(f"It is {close.state}.")


def _require_reasons(judged: list[Gate], reasons: Mapping[str, str]) -> None:
    bare = [gate.words for gate in judged if not gate.is_green and not reasons.get(gate.name)]
    if bare:
        raise NotAllowed(f"Red, and nobody said why that may be: {'; '.join(bare)}.")
