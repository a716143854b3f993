"""restate: a document of the ERP that says something else than billing is taken back, and what billing says is posted anew.

Posted documents are never rewritten. Two writes, in this order, each once by its key: the reversal that a second person
approved, and a new document under a key of its own. Between them the invoice is read again; when billing no longer says what
was approved, a person is asked before anything more is posted. While the run goes on, nothing else of the invoice does: it has
the lane of the invoice.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from canonical import types, xref
from canonical.commands import Request, ReverseDocument, WriteReference, Written
from canonical.models import move
from canonical.record import Recorder
from canonical.types import CanonicalObject
from hub import booking, review
from hub.engine.flow import Blocked, Effect, Flow, Keep, Local, Read
from hub.flows import order_to_cash
from hub.flows.order_to_cash import erp, invoice, source
from hub.models import Run

NAME = "restate"
REVERSE, POST = "reverse", "post"
"""Names of the two steps that write to the ERP; invariants of money count by them."""


def reverse(run: Run) -> Request:
    """The reversal as it was approved."""
    return ReverseDocument.model_validate(run.context["reverse"])


def reversed_(run: Run, written: Written) -> None:
    """The ERP has taken it back: the invoice is to be posted again."""
    document = invoice(run)
    assert document is not None
    if document.state in ("posted", "confirmed"):
        move(document, "restate", by=NAME, note=f"{written.number} takes back {run.context['document']}", run_id=run.pk)


def read(run: Run, said: Sequence[CanonicalObject]) -> None:
    """Take the invoice as billing has it now; asks a person when that is not what was approved."""
    connection = source(run)
    recorder = Recorder(connection.pk, connection.legal_entity, provenance=f"run {run.pk}")
    recorder.record(said)
    for each in said:
        if isinstance(each, types.Invoice) and each.external_id == run.subject_id:
            recorder.renew(each)
    vars(run).pop(order_to_cash.DOCUMENT, None)
    document = invoice(run)
    assert document is not None
    run.amount, run.currency = document.total, document.currency
    approved, now = run.context["approved"], facts(document)
    changed = [name for name in approved if approved[name] != now[name]]
    if document.status != "void" and changed:
        raise Blocked(
            "refused", review.fingerprint(NAME, run.pk), f"{document}: billing says another {', '.join(changed)} than was approved",
            group=booking.ACCOUNTANT, approved=approved, now=now,
        )  # fmt: skip


def facts(document: Any) -> dict[str, str]:
    """What of an invoice is approved, in one spelling."""
    amounts = {name: f"{Decimal(getattr(document, name)).normalize() or Decimal(0):f}" for name in ("net", "tax", "total")}
    return {**amounts, "currency": document.currency, "party": str(document.party_id), "issued on": document.issued_on.isoformat()}


def post(run: Run) -> Request | None:
    """The invoice, under a key that no document had before."""
    document = invoice(run)
    if document is None or document.state != "mapped":
        return None
    return order_to_cash.posting_of(document, run.context["key"], source(run), erp(run))


def posted(run: Run, written: Written) -> None:
    """The new document is the invoice's from now on; the old id leads to it."""
    assert run.object_id is not None
    xref.replace(
        erp(run).pk, "invoice", written.external_id, "invoice", run.object_id, key=run.context["key"], number=written.number,
        provenance=f"{NAME} {run.pk}",
    )  # fmt: skip
    order_to_cash.posted(run, written)


def write_reference(run: Run) -> Request | None:
    """Show billing's people the new number."""
    document = invoice(run)
    if document is None or document.state != "posted":
        return None
    held = xref.external("invoice", document.pk, erp(run).pk)
    assert held is not None
    return WriteReference(
        key=f"{held.key}/reference", kind="invoice", external_id=run.subject_id,
        values={"tieout_erp_number": held.number, "tieout_erp_id": held.external_id or ""},
    )  # fmt: skip


def key_of(slug: str, external_id: str, times: int) -> str:
    """The key of the document of an invoice that is posted for the `times`-th time; matching reads over what follows `#`."""
    return f"{slug}/{external_id}#{times}"


FLOW = Flow(
    name=NAME,
    title="Take back and post anew",
    group=booking.ACCOUNTANT,
    steps=(
        Effect(REVERSE, "reverse_invoice", erp, reverse, reversed_, Keep("two people agreed on it; the new document follows")),
        Read("read", source, order_to_cash.what_to_read, order_to_cash.ask, read),
        Local("book", order_to_cash.book),
        Effect(
            "customer", "ensure_party", erp, order_to_cash.ensure_party, lambda run, written: None,
            Keep("a customer without documents harms nobody"),
            creates="party", owner=order_to_cash.owner_of_party, lane=lambda run: f"party:{order_to_cash.owner_of_party(run)[1]}",
        ),
        Effect(POST, "post_invoice", erp, post, posted, Keep("two people agreed on it; another mend takes it back")),
        Effect(
            "write_back", "write_reference", source, write_reference, order_to_cash.written_back,
            Keep("a note about the ERP stays true"),
        ),
    ),
)  # fmt: skip
"""An approved reversal → invoice read again, booked, posted under a new key, its number in billing."""
