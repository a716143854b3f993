"""What can be done about a credit that is in some systems and not in others: the one table, and carrying it out.

    ERP  billing  case    what a person may do
    no   any      any     try again: nothing but the ERP makes it count, and all that comes after is found, not repeated;
                          cancel it, once the ERP has refused it
    yes  no       any     try again; settle as balance, once billing has refused the credit note; take it back
    yes  yes      no      try again; close it as it stands; take it back
    yes  yes      yes     try the reading again; close it as it stands; take it back
    closed                take it back; post the customer's note, if it was left out

Settling as balance needs no new approval: the policy that was approved says "credit note on the invoice, else balance",
and amount, customer and accounts stay. Taking it back is a credit of its own, with an approval of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from django.contrib.auth.models import User
from django.db.models import Q
from django.utils import timezone

from canonical.models import ExternalRef, move
from connectors.models import Connection
from hub import answers
from hub.credits import opening, writing
from hub.credits.changing import NotAllowed, acting, changed, locked, require_note, said
from hub.credits.models import Credit
from hub.credits.models.credit import IN_BOOKS, OVER
from hub.credits.writing import BALANCE, CHARGE, CUSTOMER_NOTE, MEMO, NOTE, REVERSAL, VOID
from hub.flows import case_block, case_note, issue_to_credit
from hub.models import Run, Step
from hub.models.work import OPEN_RUN
from hub.roles import LADDER


@dataclass(frozen=True, slots=True)
class Outcome:
    """Which systems hold the credit; `case`: it is shown there and the customer was told, or there is none."""

    erp: bool
    billing: bool
    case: bool


@dataclass(frozen=True, slots=True)
class Action:
    """A button: its name for `act`, its words, and why it cannot be pressed now ('' when it can)."""

    name: str
    words: str
    why_not: str = ""

    @property
    def allowed(self) -> bool:
        """It can be pressed."""
        return not self.why_not


def outcome(credit: Credit) -> Outcome:
    """How far the credit has come in each system, by what they are known to hold."""
    erp = Connection.objects.filter(role="erp", legal_entity=credit.legal_entity).exclude(state="revoked").first()
    in_billing = writing.ref(credit, credit.billing, NOTE, BALANCE, VOID, CHARGE)
    return Outcome(writing.ref(credit, erp, MEMO, REVERSAL) is not None, in_billing is not None, _is_told(credit))


def allowed_actions(credit: Credit) -> list[Action]:
    """Every action there is for a credit, in the order of the buttons, each allowed or with the reason why not."""
    return [Action(name, words, why_not(credit)) for name, (words, why_not, _) in ACTIONS.items()]


def act(credit: Credit, name: str, user: User, *, note: str) -> Credit:
    """Do it, with a reason, and write it to the audit trail. Raises NotAllowed with the reason why not."""
    words, why_not, do = ACTIONS[name]
    with locked(credit) as row:
        actor, roles = acting(user)
        if roles.isdisjoint(LADDER):
            raise NotAllowed("Your roles do not settle credits.")
        require_note(note)
        if problem := why_not(row):
            raise NotAllowed(problem)
        before = said(row)
        do(row, actor, note)
        row.refresh_from_db()
        changed(row, f"settled.{name}", actor=actor.username, before=before, note=f"{words}: {note}")
    return row


# what waits ------------------------------------------------------------------------------------------------------


def _waiting(credit: Credit) -> Step | None:
    """The step that waits for a person: of the credit's own run, else of the run that shows its case."""
    own = Q(run__flow=issue_to_credit.NAME, run__subject_kind="credit", run__subject_id=credit.number)
    shown = Q(run__flow=case_block.NAME, run__connection=credit.support, run__object_id=credit.case_id)
    which = own | shown if credit.case_id and credit.support_id else own
    steps = Step.objects.filter(which, state="waiting", waiting_on__isnull=False).select_related("run", "waiting_on")
    return steps.order_by("run__subject_kind", "-id").first()


def _is_told(credit: Credit) -> bool:
    if case_block.case_id(credit) is None:
        return True
    if credit.reverses_id is None:
        return writing.ref(credit, credit.support, CUSTOMER_NOTE) is not None or _note_runs(credit, "done")
    return bool(credit.state == "closed")


def _note_runs(credit: Credit, *states: str) -> bool:
    runs = Run.objects.filter(flow=case_note.NAME, subject_kind="credit", subject_id=credit.number, context__question=None)
    return runs.filter(state__in=states).exists()


# the actions -----------------------------------------------------------------------------------------------------


def _no_retry(credit: Credit) -> str:
    step = _waiting(credit)
    if step is None or step.waiting_on is None:
        return "Nothing of it waits for a person."
    return "" if "retry" in answers.answers_of(step.waiting_on) else f"Answer the question first: {step.waiting_on.title}"


def _retry(credit: Credit, user: User, note: str) -> None:
    _answer(credit, "retry", user, note)


def _no_balance(credit: Credit) -> str:
    step = _waiting(credit)
    if step is None or step.name != "credit_note" or step.waiting_on is None or step.waiting_on.cause != "refused":
        return "Only when billing has refused the credit note."
    return ""


def _as_balance(credit: Credit, user: User, note: str) -> None:
    """The step builds its request anew, finds that none is needed, and the balance is next."""
    step = _waiting(credit)
    assert step is not None
    step.run.context[issue_to_credit.AS_BALANCE] = user.username
    step.run.save(update_fields=["context"])
    Step.objects.filter(pk=step.pk).update(request=None)
    ExternalRef.objects.filter(connection=credit.billing, key=step.key, state=ExternalRef.RESERVED).delete()
    _answer(credit, "retry", user, note)


def _no_cancel(credit: Credit) -> str:
    step = _waiting(credit)
    refused = step is not None and step.name in POSTING and step.waiting_on is not None and step.waiting_on.cause == "refused"
    return "" if credit.state == "posting" and refused else "Only when the ERP has refused it."


def _cancel(credit: Credit, user: User, note: str) -> None:
    """Nothing was posted, so nothing is taken back: the run ends, and the reference that was reserved for it is let go."""
    step = _waiting(credit)
    assert step is not None
    _answer(credit, "close", user, note)
    ExternalRef.objects.filter(connection=step.connection_id, key=step.key, state=ExternalRef.RESERVED).delete()
    move(credit, "withdraw", by=user.username, note=note)


POSTING = ("post", "take_back")
"""Steps that bring a credit into the ERP's books."""


def _no_reversal(credit: Credit) -> str:
    if credit.reverses_id is not None:
        return "It takes another one back itself."
    if credit.state not in IN_BOOKS:
        return "It is not in the books."
    asked = credit.reversals.exclude(state__in=OVER).first()
    return f"That is asked for already: {asked.number}, {asked.state}." if asked else ""


def _reverse(credit: Credit, user: User, note: str) -> None:
    opening.open_reversal(credit, by=user, reason="reversal", note=note, at=timezone.now())


def _no_close(credit: Credit) -> str:
    if credit.state not in ("mirrored", "told"):
        return "Only when ERP and billing hold it, and it is not closed."
    return "" if _waiting(credit) else "Nothing of it waits for a person: it will close by itself."


def _close(credit: Credit, user: User, note: str) -> None:
    """What could not be done stays undone; ERP and billing are read again all the same, where that has not been refused."""
    step = _waiting(credit)
    assert step is not None and step.waiting_on is not None
    is_reading = step.name in ("read_erp", "read_billing") and "accept" in answers.answers_of(step.waiting_on)
    run = Run.objects.filter(flow=issue_to_credit.NAME, subject_kind="credit", subject_id=credit.number).latest("id")
    run.context[issue_to_credit.AS_IT_STANDS] = user.username
    run.save(update_fields=["context"])
    move(credit, "close", by=user.username, note=note)
    if credit.reverses is not None and credit.reverses.state in IN_BOOKS:
        move(credit.reverses, "reverse", by=user.username, note=f"by {credit.number}")
    _answer(credit, "accept" if is_reading else "close", user, note)


def _no_note(credit: Credit) -> str:
    if credit.state != "closed" or credit.reverses_id is not None:
        return "Only for a credit that was closed without it."
    if _is_told(credit):
        return "The customer was told, or there is no case."
    return "It is on its way." if _note_runs(credit, *OPEN_RUN) else ""


def _note(credit: Credit, user: User, note: str) -> None:
    case_note.tell_customer(credit, by=user.username)


def _answer(credit: Credit, choice: str, user: User, note: str) -> None:
    step = _waiting(credit)
    assert step is not None and step.waiting_on is not None
    try:
        answers.answer(step.waiting_on, choice, by=user.username, reason=note)
    except answers.NotAllowed as problem:
        raise NotAllowed(str(problem)) from problem


ACTIONS: dict[str, tuple[str, Callable[[Credit], str], Callable[[Credit, User, str], None]]] = {
    "retry": ("Try again", _no_retry, _retry),
    "as_balance": ("Settle as customer balance", _no_balance, _as_balance),
    "cancel": ("Cancel it: nothing was posted", _no_cancel, _cancel),
    "close": ("Close as it stands", _no_close, _close),
    "note": ("Post the customer's note", _no_note, _note),
    "reverse": ("Take it back", _no_reversal, _reverse),
}
"""Name → words, why not ('' when allowed), and what is done."""
