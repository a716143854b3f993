"""issue_to_credit: a credit is decided, posted in the ERP, mirrored in billing, shown on its case, told, read again, closed.

The run waits for the decision, and takes the approved credit out of its undo window under the credit's lock. From there
on every step fails and is retried alone, in its own state; what was posted is taken back by an approved reversal only,
which is a credit of its own and goes the same way. Steps that are not needed get no row.
"""

from __future__ import annotations

from typing import Any

from django.utils import timezone

from canonical.commands import DocumentFacts, Request, Written
from canonical.models import ExternalRef, move
from canonical.types import CreditMemo, Invoice
from connectors.models import Connection
from connectors.sdk.contract import Connector
from connectors.sdk.http import Call
from hub import booking, inbox, review
from hub.credits import writing
from hub.credits.models import Credit
from hub.credits.models.credit import IN_BOOKS, UNDECIDED
from hub.credits.writing import BALANCE, CHARGE, CUSTOMER_NOTE, MEMO, NOTE, REVERSAL, VOID
from hub.engine.flow import Blocked, Effect, Flow, Gate, Keep, Local, Read
from hub.engine.perform import differences
from hub.flows import case_block, case_note, customers
from hub.models import Run
from hub.models.work import OPEN_RUN
from hub.roles import FINANCE

NAME = "issue_to_credit"
LOOK_AGAIN = 60.0
"""Seconds after which a credit looks again whether its case shows it, should nobody have told it."""
AS_BALANCE = "as_balance"
"""In a run's context: a person chose the balance after billing had refused the credit note."""
AS_IT_STANDS = "as_it_stands"
"""In a run's context: a person closed the credit although its case does not show it."""


def start(credit: Credit, *, by: str) -> Run:
    """Begin the run of a credit; the one that is open, when there is one. Inside the transaction that made the credit."""
    going = Run.objects.filter(flow=NAME, subject_kind="credit", subject_id=credit.number, state__in=OPEN_RUN).first()
    if going is not None:
        return going
    return inbox.start(
        FLOW, connection=credit.billing, subject_kind="credit", subject_id=credit.number, by=by, object_id=credit.pk,
        amount=credit.total, currency=credit.currency,
    )  # fmt: skip


def credit_of(run: Run) -> Credit:
    """The credit as it is now."""
    assert run.object_id is not None
    related = ("billing", "support", "party", "legal_entity", "invoice", "subscription", "case", "reverses")
    return Credit.objects.select_related(*related).get(pk=run.object_id)


def billing(run: Run) -> Connection:
    """The billing system."""
    assert run.connection is not None
    return run.connection


def erp(run: Run) -> Connection:
    """The ERP of the credit's legal entity."""
    return booking.erp_of(credit_of(run).legal_entity)


def support(run: Run) -> Connection:
    """The support platform."""
    connection = credit_of(run).support
    assert connection is not None
    return connection


# deciding --------------------------------------------------------------------------------------------------------


def decided(run: Run) -> bool | float:
    """Whether it is decided; an approved one is released under its lock as soon as nobody may undo that any more.

    Meanwhile the case shows how it stands, and the questions of the reviewers.
    """
    Credit.objects.select_for_update().get(pk=run.object_id or 0)
    credit = credit_of(run)
    case_block.show(credit)
    case_note.post_questions(credit)
    if credit.state in UNDECIDED:
        return False
    if credit.state == "approved":
        assert credit.held_until is not None
        left = (credit.held_until - timezone.now()).total_seconds()
        if left > 0:
            return left
        writing.require_sealed(credit)
        move(credit, "release", by=NAME, run_id=run.pk)
        run.amount = credit.total
        Run.objects.filter(pk=run.pk).update(amount=run.amount)
    return True


# the ERP ---------------------------------------------------------------------------------------------------------


def ensure_party(run: Run) -> Request | None:
    """Find or create the customer, unless the ERP has it."""
    credit = credit_of(run)
    if credit.state != "posting":
        return None
    writing.require_sealed(credit)
    return customers.ensure(credit.party, billing(run), erp(run))


def post(run: Run) -> Request | None:
    """The credit memo."""
    credit = credit_of(run)
    return writing.credit_memo(credit, erp(run)) if credit.state == "posting" and credit.reverses is None else None


def take_back(run: Run) -> Request | None:
    """The document that takes the first credit's memo back."""
    credit = credit_of(run)
    return writing.reversal(credit, erp(run)) if credit.state == "posting" and credit.reverses is not None else None


def posted(run: Run, written: Written) -> None:
    """The ERP holds it."""
    credit = credit_of(run)
    if credit.state == "posting":
        move(credit, "post", by=NAME, note=f"{written.number} ({written.external_id})", run_id=run.pk)


# billing ---------------------------------------------------------------------------------------------------------


def _to_mirror(run: Run) -> Credit | None:
    """The credit that the ERP has and billing has not."""
    credit = credit_of(run)
    return credit if credit.state == "posted" else None


def _goes_to_balance(run: Run, credit: Credit) -> bool:
    return credit.settlement == "balance" or credit.invoice is None or bool(run.context.get(AS_BALANCE))


def issue_credit_note(run: Run) -> Request | None:
    """The credit note, unless the credit goes to the balance: by policy, without an invoice, or after billing's no."""
    credit = _to_mirror(run)
    if credit is None or credit.reverses is not None or _goes_to_balance(run, credit):
        return None
    return writing.credit_note(credit)


def adjust_balance(run: Run) -> Request | None:
    """The credit for coming invoices, when there is no credit note."""
    credit = _to_mirror(run)
    return writing.balance(credit) if credit and credit.reverses is None and _goes_to_balance(run, credit) else None


def void(run: Run) -> Request | None:
    """Take the first credit's note back."""
    credit = _to_mirror(run)
    return writing.void(credit) if credit and credit.reverses is not None else None


def charge(run: Run) -> Request | None:
    """Take back what the first credit put on the balance."""
    credit = _to_mirror(run)
    return writing.charge(credit) if credit and credit.reverses is not None else None


def mirrored(run: Run, written: Written) -> None:
    """Billing holds it."""
    credit = credit_of(run)
    if credit.state == "posted":
        move(credit, "mirror", by=NAME, note=f"{written.number} ({written.external_id})".strip(), run_id=run.pk)


# the case --------------------------------------------------------------------------------------------------------


def is_shown(run: Run) -> bool | float:
    """Whether the case shows the credit as it is; also one that was rejected, withdrawn, split, or has expired."""
    if run.context.get(AS_IT_STANDS):
        return True
    return case_block.show(credit_of(run)) or LOOK_AGAIN


def tell(run: Run) -> Request | None:
    """What the customer reads; nothing of a credit that is taken back, nor without a case."""
    credit = credit_of(run)
    case = case_block.case_id(credit)
    if case is None or credit.reverses is not None or credit.state != "mirrored":
        return None
    return writing.customer_note(credit, case)


def told(run: Run, written: Written) -> None:
    """The case shows it, and the customer was told."""
    credit = credit_of(run)
    if credit.state == "mirrored":
        move(credit, "tell", by=NAME, note=written.external_id, run_id=run.pk)


# reading again ---------------------------------------------------------------------------------------------------

WHERE = {
    MEMO: {"fetch": "credit_memo"}, REVERSAL: {"fetch": "invoice"}, NOTE: {"fetch": "credit_memo"},
    BALANCE: {"find": "adjust_balance"}, CHARGE: {"find": "adjust_balance"}, VOID: {"find": "void_credit_note"},
}  # fmt: skip
"""Kind of a document → how it is read from the system's own books."""
GONE = ("missing", "void", "cancelled", "draft")


def read_erp(run: Run) -> dict[str, Any] | None:
    """The ERP's document."""
    credit = credit_of(run)
    return _reading(credit, writing.ref(credit, erp(run), MEMO, REVERSAL))


def read_billing(run: Run) -> dict[str, Any] | None:
    """Billing's document."""
    credit = credit_of(run)
    return _reading(credit, writing.ref(credit, credit.billing, NOTE, BALANCE, VOID, CHARGE))


def _reading(credit: Credit, ref: ExternalRef | None) -> dict[str, Any] | None:
    if credit.state not in IN_BOOKS or ref is None:
        return None
    requests = {BALANCE: writing.balance, CHARGE: writing.charge, VOID: writing.void}
    request = requests[ref.kind](credit) if ref.kind in requests else None
    return {
        "kind": ref.kind, "id": ref.external_id, "request": request.model_dump(mode="json") if request else None, **WHERE[ref.kind],
    }  # fmt: skip


def ask(connector: Connector, client: Any, request: dict[str, Any], call: Call) -> DocumentFacts:
    """What the system says the document is."""
    if name := request.get("find"):
        command = connector.commands[name]
        assert command.find is not None
        written = command.find(client, command.request.model_validate(request["request"]), call)
        return written.facts if written else DocumentFacts(state="missing")
    said = connector.fetch[request["fetch"]](client, request["id"], call)[0]
    assert isinstance(said, CreditMemo | Invoice)
    return DocumentFacts(
        party=said.party, net=said.net, tax=said.tax, total=said.total, currency=said.currency, state=str(said.status)
    )


def compare_erp(run: Run, said: DocumentFacts | None) -> None:
    """The ERP holds the credit to the cent."""
    _compare(run, erp(run), (MEMO, REVERSAL), said)


def compare_billing(run: Run, said: DocumentFacts | None) -> None:
    """Billing holds the credit to the cent."""
    _compare(run, billing(run), (NOTE, BALANCE, VOID, CHARGE), said)


def _compare(run: Run, connection: Connection, kinds: tuple[str, ...], said: DocumentFacts | None) -> None:
    if said is None:  # a person has accepted the difference
        return
    credit = credit_of(run)
    kind = getattr(writing.ref(credit, connection, *kinds), "kind", "")
    wrong = differences(wanted(credit, kind, connection), said)
    if said.total is None:
        wrong["total"] = [str(credit.total), "not told"]
    if said.state in GONE and kind not in (VOID, REVERSAL):
        wrong["state"] = ["issued", said.state]
    if said.state == "missing":
        wrong["state"] = ["there", "missing"]
    if wrong:
        raise Blocked(
            "mismatch", review.fingerprint(NAME, credit.pk, connection.pk),
            f"{credit.number} differs in {connection}: {wrong}"[:300],
            group=FINANCE, credit=credit.pk, wanted_and_held=wrong,
        )  # fmt: skip


def wanted(credit: Credit, kind: str, connection: Connection) -> DocumentFacts:
    """What a system must hold of the credit: party and currency, and amounts with exactly the currency's digits."""
    sign = -1 if kind == CHARGE else 1
    detail = {"net": credit.net, "tax": credit.tax} if kind in (MEMO, REVERSAL, NOTE) else {}
    return DocumentFacts(
        party=writing.party_in(credit, connection), currency=credit.currency, total=sign * credit.total, **detail,
    )  # fmt: skip


def close(run: Run) -> None:
    """Everything agrees. What a reversal takes back is reversed from now on."""
    credit = credit_of(run)
    if credit.state not in ("posted", "mirrored", "told"):
        return
    move(credit, "close", by=NAME, note="read again: all systems agree", run_id=run.pk)
    if credit.reverses is not None and credit.reverses.state in IN_BOOKS:
        move(credit.reverses, "reverse", by=NAME, note=f"by {credit.number}", run_id=run.pk)


POSTED = Keep("posted documents stay; only an approved reversal takes a credit back")
FLOW = Flow(
    name=NAME,
    title="Issue to credit",
    group=FINANCE,
    lane=lambda run: f"credit:{run.subject_id}",
    steps=(
        Gate("approval", decided),
        Effect(
            "customer", "ensure_party", erp, ensure_party, lambda run, written: None,
            Keep("a customer without documents harms nobody"),
            creates="party", owner=lambda run: ("party", credit_of(run).party_id),
            lane=lambda run: customers.lane(credit_of(run).party),
        ),
        Effect("post", "post_credit_memo", erp, post, posted, POSTED, creates=MEMO),
        Effect("take_back", "reverse_invoice", erp, take_back, posted, POSTED, creates=REVERSAL),
        Effect("credit_note", "issue_credit_note", billing, issue_credit_note, mirrored, POSTED, creates=NOTE),
        Effect("balance", "adjust_balance", billing, adjust_balance, mirrored, POSTED, creates=BALANCE),
        Effect("void", "void_credit_note", billing, void, mirrored, POSTED, creates=VOID),
        Effect("charge", "adjust_balance", billing, charge, mirrored, POSTED, creates=CHARGE),
        Gate("ticket", is_shown),
        Effect("tell", "post_note", support, tell, told, Keep("what was said stays said"), creates=CUSTOMER_NOTE),
        Read("read_erp", erp, read_erp, ask, compare_erp),
        Read("read_billing", billing, read_billing, ask, compare_billing),
        Local("close", close),
        Gate("shown", is_shown),
    ),
)  # fmt: skip
"""Credit asked for → decided → credit memo, credit note or balance, case, customer → read again and closed."""
