"""case_block: what a case shows of its credits, kept as it is now.

One block belongs to all credits of a case, so one run at a time writes it: whoever changes a credit asks for the block to
be shown, and a run begins when none is going on and what was shown last is not what there is to show. It is read back
before it counts, and then every credit of the case looks again.
"""

from __future__ import annotations

from typing import Any

from canonical import xref
from canonical.commands import WriteCase, Written
from canonical.models import SupportCase
from connectors.models import Connection
from connectors.sdk.contract import Connector
from connectors.sdk.http import Call
from hub import inbox, review
from hub.credits import writing
from hub.credits.models import Credit
from hub.engine import settle, store
from hub.engine.flow import Blocked, Effect, Flow, Keep, Read
from hub.models import Run
from hub.models.work import OPEN_RUN
from hub.roles import FINANCE

NAME = "case_block"


def show(credit: Credit) -> bool:
    """True when the credit's case shows its credits as they are (or there is no case); else sees to it that it will.

    Inside a transaction. The case stays locked until its end, so that a run that has just shown it cannot go unnoticed.
    """
    case = case_id(credit)
    if case is None:
        return True
    assert credit.case_id is not None and credit.support is not None
    SupportCase.objects.select_for_update().get(pk=credit.case_id)
    wanted = settle.digest(block(credit.case_id, case))
    last = Run.objects.filter(flow=NAME, connection=credit.support, object_id=credit.case_id).order_by("-id").first()
    if last is not None and last.state in OPEN_RUN:
        return False
    if last is None or last.context["digest"] != wanted:
        inbox.start(
            FLOW, connection=credit.support, subject_kind="support_case", subject_id=case, by="credits",
            context={"digest": wanted}, object_id=credit.case_id,
        )  # fmt: skip
        return False
    return True


def case_id(credit: Credit) -> str | None:
    """What the support platform calls the credit's case; None for a credit without one."""
    if credit.case_id is None or credit.support is None:
        return None
    known = xref.external("support_case", credit.case_id, credit.support.pk)
    return known.external_id if known else None


def block(case_pk: int, case: str) -> WriteCase:
    """What there is to show now."""
    credits = list(
        Credit.objects.filter(case=case_pk).select_related("billing", "reverses", "legal_entity").order_by("pk")
    )  # fmt: skip
    entities = {credit.legal_entity_id for credit in credits}
    erps = Connection.objects.filter(role="erp", legal_entity__in=entities).exclude(state="revoked").order_by("-pk")
    return writing.case_block(case, credits, {erp.legal_entity_id: erp for erp in erps if erp.legal_entity_id})


def support(run: Run) -> Connection:
    """The support platform."""
    assert run.connection is not None
    return run.connection


def write(run: Run) -> WriteCase:
    """The block as it was when the run began: a later change is a later run's."""
    assert run.object_id is not None
    return block(run.object_id, run.subject_id)


def written(run: Run, answer: Written) -> None:
    """It is read back before it counts."""


def what_to_read(run: Run) -> dict[str, Any]:
    """The block that was written, to be looked for again."""
    return {"request": run.steps.get(name="write").request}


def ask(connector: Connector, client: Any, request: dict[str, Any], call: Call) -> bool:
    """Whether the case shows the block."""
    command = connector.commands["write_case"]
    assert command.find is not None
    return command.find(client, command.request.model_validate(request["request"]), call) is not None


def read(run: Run, is_shown: bool | None) -> None:
    """The credits that wait for it may go on; blocks when the case does not keep it and nobody has accepted that."""
    if is_shown is False:
        raise Blocked(
            "mismatch", review.fingerprint(NAME, run.connection_id, run.subject_id),
            f"Case {run.subject_id} does not show what was written to it", group=FINANCE, case=run.subject_id,
        )  # fmt: skip
    assert run.object_id is not None
    SupportCase.objects.select_for_update().get(pk=run.object_id)
    for credit in Credit.objects.filter(case=run.object_id):
        store.wake("credit", credit.number)


FLOW = Flow(
    name=NAME,
    title="Credits shown on a case",
    group=FINANCE,
    lane=lambda run: f"case:{run.connection_id}:{run.subject_id}",
    steps=(
        Effect("write", "write_case", support, write, written, Keep("it shows what is, and is rewritten when that changes")),
        Read("read", support, what_to_read, ask, read),
    ),
)
"""A credit changed → its case shows it."""
