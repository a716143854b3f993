"""The person who answers what the hub asks, once the fire is out: looks into the books, and says what is there."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from django.contrib.auth.models import User
from django.db.models import Count, Max
from django.db.models.functions import Now

from hub import answers
from hub.models import ReviewItem, Run, Step

NAME = "otto"


def answer_questions(erp_books: Mapping[str, Any]) -> Counter[str]:
    """Answer what a person can answer from the books; returns how many questions of each cause."""
    answered: Counter[str] = Counter()
    by = User.objects.get(username=NAME).get_username()
    for item in ReviewItem.objects.filter(state="open").order_by("id"):
        if item.cause in ("quarantined", "misconfigured"):
            answers.answer(item, "retry", by=by, reason="the fire is out")
        elif item.cause == "unknown_outcome":
            _answer_unknown(item, erp_books, by)
        else:
            continue
        answered[item.cause] += 1
    return answered


def _answer_unknown(item: ReviewItem, books: Mapping[str, Any], by: str) -> None:
    step = Step.objects.get(waiting_on=item)
    held: Iterable[Any] = (row for row in (*books["documents"], *books["payments"]) if row["key"] == step.key)
    there = next(iter(held), None)
    if there is None:
        answers.answer(item, "absent", by=by, reason="it is not in the books")
    else:
        answers.answer(item, "found", by=by, external_id=str(there["id"]), number=str(there.get("number") or ""))


def is_idle() -> bool:
    """True when nothing is left that a machine could do."""
    able = Step.objects.filter(state__in=["ready", "running", "unknown"])
    return not able.exclude(run__lane__in=Run.objects.filter(state="parked").values("lane")).exists()


def what_is_left() -> str:
    """The open steps in a line: how many of each, and in how many seconds the last of them is due."""
    open_steps = Step.objects.filter(state__in=["ready", "running", "unknown"])
    rows = open_steps.values_list("name", "state").annotate(number=Count("id"), due_in=Max("due_at") - Now()).order_by("-due_in")
    return ", ".join(f"{n} × {name} {state} (≤ {due.total_seconds():.0f} s)" for name, state, n, due in rows) or "nothing"
