"""The story of a run, in order: what came in, each step with its attempts, changes of state, people."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from canonical.models import Transition
from hub import flows
from hub.admin_ui import badge, link, pretty, tone
from hub.engine.flow import UNDO
from hub.models import Attempt, ReviewItem, Run, Step

FIRST, MOVED, STEP, ASKED, ANSWERED = range(5)
"""Order of what happened at the same instant, as within one transaction."""

MACHINES = {"engine", "order_to_cash", "observe", "support_case", "sweep", "schedule", "webhook"}


@dataclass(slots=True)
class Entry:
    """One thing that happened."""

    at: datetime
    rank: int
    title: str
    tone: str = "plain"
    icon: str = "radio_button_unchecked"
    state: str = ""
    by: str = ""
    note: str = ""
    to: str = ""
    facts: list[tuple[str, Any]] = field(default_factory=list)
    attempts: list[dict[str, Any]] = field(default_factory=list)
    texts: list[tuple[str, str]] = field(default_factory=list)


def timeline(run: Run) -> list[Entry]:
    """Everything that happened in a run, oldest first."""
    steps = list(run.steps.select_related("connection", "waiting_on").order_by("id"))
    attempts: dict[int, list[Attempt]] = defaultdict(list)
    for attempt in run.attempts.order_by("id"):
        attempts[attempt.step_id].append(attempt)
    entries = [_received(run), *(_step(step, attempts[step.pk]) for step in steps)]
    entries += [_moved(move) for move in Transition.objects.filter(run_id=run.pk).order_by("id")]
    entries += [entry for item in questions(run, steps) for entry in _asked(item)]
    found_at = max((step.ended_at for step in steps if step.ended_at), default=run.started_at)
    entries += [
        Entry(found_at, MOVED, note["title"], icon="sticky_note_2", note=note["text"]) for note in run.context.get("notes", [])
    ]
    return sorted(entries, key=lambda entry: (entry.at, entry.rank))


def questions(run: Run, steps: Iterable[Step]) -> list[ReviewItem]:
    """Review items about this run: those its steps wait for, and those that name it."""
    waiting = {step.waiting_on_id for step in steps if step.waiting_on_id}
    if not waiting and run.state != "parked" and not any(step.error_code for step in steps):
        return []
    named = ReviewItem.objects.filter(detail__run=run.pk, opened_at__gte=run.started_at)
    found = {item.pk: item for item in [*ReviewItem.objects.filter(pk__in=waiting), *named[:20]]}
    return list(found.values())


def progress(run: Run) -> list[tuple[str, str]]:
    """(step, tone) along the flow: what is done, where it stands, what is ahead or was not needed."""
    try:
        flow = flows.get(run.flow, run.version)
    except LookupError:
        return []
    states = dict(run.steps.values_list("name", "state"))
    ended = run.ended_at is not None
    shown = [("received", "good")]
    for spec in flow.steps:
        state = states.get(spec.name)
        shown.append((spec.name.replace("_", " "), tone(state) if state else "skipped" if ended else "ahead"))
    shown += [(name.replace(":", " ").replace("_", " "), tone(state)) for name, state in states.items() if name.startswith(UNDO)]
    return shown


def _received(run: Run) -> Entry:
    if run.event is None:
        return Entry(run.started_at, FIRST, f"Started by {run.started_by}", icon="play_arrow")
    event = run.event
    came = "Replayed by " + run.started_by if run.replay_of_id else f"Received as {event.get_origin_display().lower()}"
    facts = [("Event", link(event, event.external_id)), ("Type", event.kind), ("From", event.connection)]
    at = run.started_at if run.replay_of_id else event.received_at
    return Entry(at, FIRST, came, "good", "move_to_inbox", facts=facts)


def _step(step: Step, attempts: list[Attempt]) -> Entry:
    facts: list[tuple[str, Any]] = []
    if step.key:
        facts.append(("Key", step.key))
    if step.ended_at:
        facts.append(("Took", duration(max(0.0, (step.ended_at - step.created_at).total_seconds()))))
    if step.state in ("ready", "unknown"):
        facts.append(("Due", step.due_at))
    if step.waiting_on is not None and step.state == "waiting":
        facts.append(("Waits for", link(step.waiting_on)))
    note = step.error if step.state != "done" else ""
    texts = [("What is asked", pretty(step.request))] if step.request else []
    if step.result:
        texts.append(("What came of it", pretty(step.result)))
    return Entry(
        step.created_at,
        STEP,
        _words(step),
        tone(step.state),
        _icon(step),
        step.state,
        note=note,
        facts=facts,
        attempts=[_attempt(attempt) for attempt in attempts],
        texts=texts,
    )


def _words(step: Step) -> str:
    name = step.name.removeprefix(UNDO).replace("_", " ")
    where = f" · {step.connection}" if step.connection else ""
    return ("Undo: " if step.name.startswith(UNDO) else "") + name[:1].upper() + name[1:] + where


def _icon(step: Step) -> str:
    marks = {
        "done": "check_circle",
        "failed": "cancel",
        "waiting": "pan_tool",
        "unknown": "help",
        "running": "sync",
        "ready": "schedule",
    }
    return marks.get(step.state, "radio_button_unchecked")


def _attempt(attempt: Attempt) -> dict[str, Any]:
    exchanges = [
        {
            "line": f"{x.get('method', '')} {x.get('url', '')}",
            "status": x.get("status"),
            "ms": x.get("milliseconds"),
            "error": x.get("error", ""),
            "request": pretty(x.get("request") or ""),
            "response": pretty(x.get("response") or ""),
        }
        for x in attempt.exchanges
    ]
    return {
        "number": attempt.number,
        "outcome": badge(attempt.outcome, attempt.get_outcome_display().lower()),
        "at": attempt.at,
        "took": duration(attempt.milliseconds / 1000),
        "error": attempt.error,
        "code": attempt.error_code,
        "worker": attempt.worker,
        "exchanges": exchanges,
    }


def _moved(move: Transition) -> Entry:
    what = move.object_kind.replace("_", " ")
    title = f"{what[:1].upper()}{what[1:]} {move.source} → {move.target}" if move.source else f"{move.name.capitalize()} asked for"
    by = "" if move.by in MACHINES else move.by
    return Entry(move.at, MOVED, title, tone(move.target), "person" if by else "arrow_right_alt", by=by, note=move.note)


def _asked(item: ReviewItem) -> list[Entry]:
    facts = [("Question", link(item)), ("For", item.group)]
    asked = Entry(item.opened_at, ASKED, f"Asked: {item.get_cause_display()}", "wait", "contact_support", facts=facts)
    if item.resolved_at is None:
        return [asked]
    answered = Entry(
        item.resolved_at,
        ANSWERED,
        f"Answered: {item.answer}",
        "good",
        "how_to_reg",
        by=item.resolved_by,
        note=item.reason,
    )
    return [asked, answered]


def duration(seconds: float) -> str:
    """A span of time as people say it."""
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.1f} s"
