"""Answers of people to questions: which there are, and what each does to the steps that wait."""

from __future__ import annotations

from collections.abc import Callable

from django.db import transaction
from django.db.models.functions import Now
from django.utils import timezone

from canonical.models import move, record_transition
from hub import flows, inbox
from hub.audit import chain as audit
from hub.engine.flow import Effect, Undo
from hub.engine.settle import begin_undo
from hub.models import ReviewItem, Step

ANSWERS: dict[str, dict[str, str]] = {
    "missing_mapping": {"retry": "Try again now", "close": "End these runs without posting"},
    "refused": {"retry": "Try again", "close": "End the run as it is", "compensate": "Undo what was done"},
    "unknown_outcome": {
        "found": "It is there: I give its id",
        "absent": "It is not there: call again",
        "close": "End the run as it is",
    },
    "mismatch": {
        "accept": "Accept the document as it is",
        "retry": "Read it again",
        "reverse": "Take it back, and undo what was done before",
    },
    "quarantined": {"retry": "Try again", "close": "End the run as it is", "compensate": "Undo what was done"},
    "not_understood": {"retry": "Read it again", "close": "Set it aside"},
    "conflict": {"process": "Process the second content too", "close": "Keep the first"},
    "misconfigured": {"retry": "It is mended: resume the connection", "close": "Leave it paused"},
}
"""Allowed answers by cause, with the words of their buttons."""


class NotAllowed(Exception):
    """The answer is not one of this item's, lacks what it needs, or the item is answered already."""


def answers_of(item: ReviewItem) -> dict[str, str]:
    """The answers this item allows now: none once it is resolved."""
    if item.state != "open":
        return {}
    allowed = ANSWERS[item.cause]
    return allowed if _can_be_undone(item) else {name: words for name, words in allowed.items() if name not in UNDOING}


UNDOING = ("compensate", "reverse")


def _can_be_undone(item: ReviewItem) -> bool:
    """Whether the flows that wait have effects that can be taken back at all."""
    waiting = Step.objects.filter(waiting_on=item, state="waiting").values_list("run__flow", "run__version").distinct()
    return any(isinstance(spec, Effect) and isinstance(spec.undo, Undo) for name in waiting for spec in _steps(*name))


def _steps(name: str, version: int) -> tuple[object, ...]:
    try:
        return flows.get(name, version).steps
    except LookupError:  # a run of another release
        return ()


def answer(item: ReviewItem, choice: str, *, by: str, reason: str = "", external_id: str = "", number: str = "") -> None:
    """Carry out a person's answer, with everything it changes, in one transaction. Raises NotAllowed."""
    with transaction.atomic():
        item = ReviewItem.objects.select_for_update().get(pk=item.pk)
        if choice not in answers_of(item):
            raise NotAllowed(f"{item} does not allow {choice!r} (any more)")
        if choice not in ("retry", "found") and len(reason.strip()) < 5:
            raise NotAllowed("say why, in a few words")
        if choice == "found" and not external_id.strip():
            raise NotAllowed("give the id of the document you found")
        steps = _waiting_steps(item)
        for step in steps:
            _HANDLERS[choice](step, by, reason, external_id.strip(), number.strip())
        _answer_without_step(item, choice, by, reason)
        _resolve(item, choice, by, reason)
        audit.append(
            "reviewitem.answered", actor=by, obj=item, role=item.group, note=reason,
            before={"cause": item.cause, "steps": [step.pk for step in steps]},
            after={"answer": choice, "external_id": external_id, "number": number},
        )  # fmt: skip


def heal(item: ReviewItem, *, by: str) -> int:
    """The cause is gone: let exactly what it blocked go on. Returns how many steps."""
    with transaction.atomic():
        item = ReviewItem.objects.select_for_update().get(pk=item.pk)
        if item.state != "open":
            return 0
        steps = _waiting_steps(item)
        for step in steps:
            _retry(step, by, "the cause is gone", "", "")
        _resolve(item, "healed", by, "the cause is gone")
        return len(steps)


def _waiting_steps(item: ReviewItem) -> list[Step]:
    """What waits for an item, locked; each knows the item without asking for it again."""
    steps = list(Step.objects.select_for_update().filter(waiting_on=item, state="waiting").select_related("run"))
    for step in steps:
        step.waiting_on = item
    return steps


def _resolve(item: ReviewItem, choice: str, by: str, reason: str) -> None:
    item.answer, item.reason, item.resolved_by, item.resolved_at = choice, reason, by, timezone.now()
    move(
        item,
        "resolve",
        by=by,
        note=f"{choice}: {reason}".strip(": "),
        save=["answer", "reason", "resolved_by", "resolved_at"],
    )


def _retry(step: Step, by: str, reason: str, external_id: str, number: str) -> None:
    step.tries = step.crashes = step.lookups = 0
    step.tried_since = timezone.now()
    assert step.waiting_on is not None
    # A call given up after failing again and again may have landed, and its key may have expired at the vendor: look first.
    may_have_landed = step.waiting_on.cause == ReviewItem.Cause.QUARANTINED and step.key
    _release(step, "lose" if may_have_landed else "again", by, reason)


def _absent(step: Step, by: str, reason: str, external_id: str, number: str) -> None:
    step.lookups = 0
    _release(step, "again", by, reason)


def _found(step: Step, by: str, reason: str, external_id: str, number: str) -> None:
    step.result = {"external_id": external_id, "number": number, "answered_by": by}
    _release(step, "again", by, reason)


def _accept(step: Step, by: str, reason: str, external_id: str, number: str) -> None:
    step.result = {**(step.result or {}), "answered_by": by}
    _release(step, "again", by, reason)


def _reverse(step: Step, by: str, reason: str, external_id: str, number: str) -> None:
    step.result = {**(step.result or {}), "answered_by": by, "then": "undo"}
    _release(step, "again", by, reason)


def _release(step: Step, name: str, by: str, reason: str) -> None:
    """Let a waiting step go on. What it waited for stays on its timeline."""
    note = f"{step.waiting_on}: {reason}".rstrip(": ")
    getattr(step, name)()
    step.waiting_on, step.due_at = None, Now()
    step.save(update_fields=["state", "waiting_on", "due_at", "tries", "tried_since", "crashes", "lookups", "result"])
    record_transition(step, name, "waiting", by=by, note=note, run_id=step.run_id)
    if step.run.state == "parked":
        move(step.run, "resume", by=by, note=reason, run_id=step.run_id)


def _close(step: Step, by: str, reason: str, external_id: str, number: str) -> None:
    _give_up(step, by, reason)
    step.run.ended_at = timezone.now()
    if step.run.state == "open":
        move(step.run, "park", by=by, note=reason, run_id=step.run_id)
    move(step.run, "close", by=by, note=reason, run_id=step.run_id, save=["ended_at"])


def _give_up(step: Step, by: str, reason: str) -> None:
    note = f"{step.waiting_on}: {reason}".rstrip(": ")
    step.fail()
    step.waiting_on, step.ended_at = None, timezone.now()
    step.save(update_fields=["state", "waiting_on", "ended_at"])
    record_transition(step, "fail", "waiting", by=by, note=note, run_id=step.run_id)


def _compensate(step: Step, by: str, reason: str, external_id: str, number: str) -> None:
    _give_up(step, by, reason)
    begin_undo(step.run, step.name, by=by, note=reason)


def _answer_without_step(item: ReviewItem, choice: str, by: str, reason: str) -> None:
    """What an answer means for items about a connection or a delivery rather than a step."""
    if item.cause == "misconfigured" and choice == "retry" and item.connection and item.connection.state == "paused":
        move(
            item.connection, "activate", by=by, note=reason,
            save=["pause_reason", "not_before", "failures_in_row"],
        )  # fmt: skip
    if item.event is not None and choice in ("retry", "process"):
        inbox.reprocess(item.event, by=by)


_HANDLERS: dict[str, Callable[[Step, str, str, str, str], None]] = {
    "retry": _retry, "absent": _absent, "found": _found, "accept": _accept, "close": _close, "compensate": _compensate,
    "reverse": _reverse,
}  # fmt: skip
