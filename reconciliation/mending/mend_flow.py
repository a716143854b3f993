"""mend: one write to a system that a second person approved, through the engine like every other.

The request was shown when the mend was proposed and is frozen in the run's context; `becomes` says what the document
that comes of it is to us.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from canonical import xref
from canonical.commands import (
    EnsureParty,
    PostCreditMemo,
    PostInvoice,
    PostJournal,
    RegisterPayment,
    Request,
    ReverseDocument,
    VoidCreditNote,
    Written,
)
from canonical.models import Invoice, move
from connectors.models import Connection
from hub.engine.flow import Effect, Flow, Keep
from hub.models import Run
from hub.roles import FINANCE

NAME = "mend"
COMMANDS: dict[str, type[Request]] = {
    "post_invoice": PostInvoice, "post_credit_memo": PostCreditMemo, "register_payment": RegisterPayment,
    "reverse_invoice": ReverseDocument, "post_journal": PostJournal, "ensure_party": EnsureParty,
    "void_credit_note": VoidCreditNote,
}  # fmt: skip
"""What a mend may ask of a system."""
OF_THE_FIRST = 4
"""Commands that version 1 of the flow knew."""


def system(run: Run) -> Connection:
    """The system that is written to."""
    assert run.connection is not None
    return run.connection


def asked(command: str) -> Callable[[Run], Request | None]:
    """The frozen request, in the step of its command."""
    return lambda run: COMMANDS[command].model_validate(run.context["request"]) if run.context["command"] == command else None


def written(run: Run, answer: Written) -> None:
    """The ERP holds it: say so in the cross-reference and on the document."""
    becomes: dict[str, Any] | None = run.context["becomes"]
    if becomes is None:
        return
    xref.replace(
        system(run).pk, becomes["kind"], answer.external_id, becomes["object_kind"], becomes["object_id"],
        key=run.context["request"]["key"], number=answer.number, provenance=f"{NAME} {run.subject_id}",
    )  # fmt: skip
    if becomes["object_kind"] == "invoice":
        tell_invoice(becomes["object_id"], becomes["kind"], by=NAME, note=f"{answer.number} ({answer.external_id})", run_id=run.pk)


def tell_invoice(pk: int, kind: str, *, by: str, note: str, run_id: int | None = None) -> None:
    """Move an invoice to where a document of the ERP puts it, if it is not there yet."""
    document = Invoice.objects.get(pk=pk)
    if kind == "invoice" and document.state in ("recorded", "mapped"):
        move(document, "post", by=by, note=note, run_id=run_id)
    if kind == "reversal" and document.state in ("posted", "confirmed", "settled"):
        move(document, "reverse", by=by, note=note, run_id=run_id)


KEPT = Keep("two people agreed on it; another mend takes it back")


def _flow(version: int, commands: Sequence[str]) -> Flow:
    return Flow(
        name=NAME, title="Mend a break", group=FINANCE, version=version, lane=lambda run: str(run.context["lane"]),
        steps=tuple(Effect(command, command, system, asked(command), written, KEPT) for command in commands),
    )  # fmt: skip


FIRST = _flow(1, list(COMMANDS)[:OF_THE_FIRST])
"""For runs that began with it."""
FLOW = _flow(2, list(COMMANDS))
"""An approved write → the system's document, known to be ours."""
