"""case_note: one comment on a case, once: a reviewer's question to the agents, or the customer's note when it was left out."""

from __future__ import annotations

from django.db.models import QuerySet

from canonical.commands import PostNote, Written
from hub import inbox
from hub.credits import writing
from hub.credits.models import Credit, CreditComment
from hub.engine.flow import Effect, Flow, Keep
from hub.flows.case_block import case_id, support
from hub.models import Run
from hub.models.work import OPEN_RUN
from hub.roles import FINANCE

NAME = "case_note"


def post_questions(credit: Credit) -> None:
    """Put every question to the agents that is not on the case yet there. Inside the transaction that holds the credit."""
    asked = list(credit.comments.filter(what=CreditComment.What.QUESTION))
    known = set(_runs(credit).values_list("context__question", flat=True)) if asked else set()
    for comment in (comment for comment in asked if comment.pk not in known):
        _start(credit, {"question": comment.pk}, by=comment.by)


def tell_customer(credit: Credit, *, by: str) -> Run | None:
    """Post the customer's note when it has not been; None when that is going on, or there is no case."""
    if _runs(credit).filter(context__question=None, state__in=OPEN_RUN).exists():
        return None
    return _start(credit, {"question": None}, by=by)


def _runs(credit: Credit) -> QuerySet[Run]:
    return Run.objects.filter(flow=NAME, subject_kind="credit", subject_id=credit.number)


def _start(credit: Credit, context: dict[str, int | None], *, by: str) -> Run | None:
    if case_id(credit) is None:
        return None
    return inbox.start(
        FLOW, connection=credit.support, subject_kind="credit", subject_id=credit.number, by=by, context=context,
        object_id=credit.pk,
    )  # fmt: skip


def write(run: Run) -> PostNote:
    """The note."""
    assert run.object_id is not None
    credit = Credit.objects.select_related("billing", "invoice", "support").get(pk=run.object_id)
    case = case_id(credit)
    assert case is not None
    question = run.context["question"]
    if question is None:
        return writing.customer_note(credit, case)
    return writing.question(CreditComment.objects.select_related("credit").get(pk=question), case)


def written(run: Run, answer: Written) -> None:
    """It is on the case, under this id: what agents write after it is the answer."""
    run.context = {**run.context, "note": answer.external_id}


FLOW = Flow(
    name=NAME,
    title="Note on a case",
    group=FINANCE,
    lane=lambda run: f"note:{run.subject_id}",
    steps=(Effect("post", "post_note", support, write, written, Keep("what was said stays said")),),
)
"""A question was asked about a credit → the agents read it on the case."""
