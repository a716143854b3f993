"""What becomes of a case's credit when the case changes afterwards: reopened, lowered in severity, judged anew.

| the credit is | and now |
|---|---|
| undecided, computed | it is worked out anew; another amount is a new revision without approvals, nothing is a withdrawal |
| undecided, changed by a person | it is flagged: the person's amount stands until a person decides |
| stopped | as undecided; an amount is for whoever says that it is no duplicate |
| approved, in the undo window | the approval is undone, and then it is undecided |
| being posted | it is flagged |
| in the books | nothing due any more: its reversal is proposed, for approval; another amount: it is flagged |
| over | nothing |

The credit of a case that was deleted, opened again or given to another customer, or whose request was taken off, is flagged
and stays as it is.
"""

from __future__ import annotations

from datetime import datetime

from django.db import transaction

from canonical.models import Party, move
from hub.credits import changing, claiming, duplicates, matrix, notices, opening
from hub.credits.models import Credit
from hub.credits.models.credit import IN_BOOKS, OVER, UNDECIDED
from hub.credits.opening import Claim, Computed
from hub.credits.refusing import NotOpened, NotReady

BY = "support_case"
"""Who changes a credit when its case changes."""


def reassess(credit: Credit, *, at: datetime) -> str:
    """Make a credit follow its case as it is now. Returns what was done, for people; '' when nothing had to be.

    Only credits that a case asked for follow it. Raises NotReady and Blocked, as opening does.
    """
    with transaction.atomic():
        opening.hold(Party(pk=credit.party_id))
        row = Credit.objects.select_for_update(of=("self",)).select_related("case", "party", "support").get(pk=credit.pk)
        if row.state in (*OVER, "split") or row.reverses_id or row.split_from_id or row.case is None or row.support is None:
            return ""
        case = row.case
        if case.deleted_at_source:
            return _flag(row, "The case was deleted in the support platform.")
        if row.origin == Credit.Origin.SLA and case.status not in claiming.OVER:
            return _flag(row, "The case was opened again: what was missed is judged when it is resolved.")
        if row.origin == Credit.Origin.AGENT and case.credit is None:
            return _flag(row, "The agent has taken the request off the case.")
        if case.party_id != row.party_id:
            return _flag(row, f"The case is one of {case.party or 'nobody'} now.")
        claim, computed, why = _anew(row, at)
        amount = computed.decision.amount if computed else None
        if computed and (amount, computed.decision.currency, computed.decision.reason) == (row.computed, row.currency, row.reason):
            return ""
        if row.edited_by_id is not None and row.state in UNDECIDED:
            return _flag(row, f"The case would give {amount or 'nothing'} now, and a person has changed the credit: {why}")
        if row.state == "approved":
            _undo(row, at, why)
        if row.state in UNDECIDED:
            return _follow(row, claim, computed, at, why) if claim and computed else _withdraw(row, why)
        if row.state in IN_BOOKS and computed is None:
            return _reverse(row, why, at)
        return _flag(row, f"The case would give {amount or 'nothing'} now: {why}")


def _anew(row: Credit, at: datetime) -> tuple[Claim | None, Computed | None, str]:
    """The claim as the case makes it now, what it comes to, and why it differs; None for what is no more."""
    assert row.case is not None and row.support is not None
    ask = claiming.missed if row.origin == Credit.Origin.SLA else claiming.asked_for
    try:
        claim = ask(row.case, row.support, at=at)
        if claim is None:
            return None, None, "every promise was kept, as the case tells it now"
        computed = opening.compute(claim, at=row.submitted_at, besides=row, booked_at=at)
    except NotReady:
        raise
    except NotOpened as nothing:
        return None, None, str(nothing)
    return claim, computed, "; ".join(computed.decision.explanation)


def _follow(row: Credit, claim: Claim, computed: Computed, at: datetime, why: str) -> str:
    """A new revision with the new amount; every approval of the one before is void. What was sent back is handed in."""
    before, columns = changing.said(row), {**computed.columns(claim), "note": claim.note, "evidence": claim.evidence}
    for name, value in columns.items():
        setattr(row, name, value)
    if row.state != "stopped" and duplicates.find(row) is not None:
        row.refresh_from_db()
        return _flag(row, f"The case would give a credit for another reason now, and has one already: {why}")
    row.revision += 1
    opening.prepare(row, at=at)
    row.save(update_fields=[*columns, "revision", "flags", "payload", "digest", *matrix.FIELDS])
    if row.state == "returned":
        move(row, "resubmit", by=BY, note="the agent changed the request")
    if row.state == "pending":
        notices.tell_turn(row, "was changed with its case and waits for your decision.")
    changing.changed(row, "edited", actor=BY, before=before, note=why, source="hub")
    return f"{row.number} follows the case: {row.total.normalize():f} {row.currency}."


def _withdraw(row: Credit, why: str) -> str:
    before = changing.said(row)
    row.waiting_role, row.due_at = "", None
    move(row, "withdraw", by=BY, note=why, save=["waiting_role", "due_at"])
    notices.tell_requester(row, "withdrawn", f"was withdrawn, as nothing is due any more: {why}")
    changing.changed(row, "withdrawn", actor=BY, before=before, note=why, source="hub")
    return f"{row.number} is withdrawn: {why}"


def _undo(row: Credit, at: datetime, why: str) -> None:
    """Void the approval while nothing is posted: it was given for another case than the one there is now."""
    before = changing.said(row)
    row.revision, row.held_until, row.decided_at = row.revision + 1, None, None
    opening.prepare(row, at=at)
    move(row, "undo", by=BY, note=why, save=["revision", "held_until", "decided_at", "flags", *matrix.FIELDS])
    changing.changed(row, "undone", actor=BY, before=before, note=why, source="hub")


def _reverse(row: Credit, why: str, at: datetime) -> str:
    try:
        reversal = opening.open_reversal(row, by=None, reason="reassessed", note=f"Nothing is due any more: {why}", at=at)
    except NotReady:
        raise
    except NotOpened:  # it has one already, and people have decided about that, or will
        return ""
    return f"{reversal.number} would take back {row.number}, and waits for approval."


def _flag(row: Credit, text: str) -> str:
    """Tell whoever looks at it that its case has changed; the newest change stands for those before."""
    kept = [flag for flag in row.flags if flag["flag"] != "changed"]
    flags = [*kept, {"flag": "changed", "text": text}]
    if flags == row.flags:
        return ""
    row.flags = flags
    row.save(update_fields=["flags"])
    return f"{row.number}: {text}"
