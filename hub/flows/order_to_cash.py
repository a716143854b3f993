"""order_to_cash: a subscription or an invoice of billing becomes a customer and posted documents in the ERP.

The flow converges. Each event is a hint: the object is read as it is now, and whatever the ERP lacks is done, whether
the event that should have asked for it came, came late, or never came. Steps that are not needed get no row.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from canonical import xref
from canonical.commands import (
    PostInvoice,
    RegisterPayment,
    Request,
    ReverseDocument,
    WriteReference,
    Written,
)
from canonical.models import Invoice, Party, Subscription, move
from canonical.record import NotRecorded, Recorder
from canonical.types import CanonicalObject
from connectors.models import Connection
from connectors.sdk.contract import Connector
from connectors.sdk.http import Call
from hub import booking, review
from hub.engine.flow import Blocked, Effect, Flow, Keep, Local, Read, Undo
from hub.flows import customers
from hub.models import Run

OWED = ("open", "paid", "uncollectible")
"""Statuses of an invoice that is a claim and belongs in the books."""


def source(run: Run) -> Connection:
    """The billing connection the run came from."""
    assert run.connection is not None
    return run.connection


def erp(run: Run) -> Connection:
    """The ERP of the subject's legal entity."""
    known: Connection | None = vars(run).get(ERP)
    if known is None:
        subject = invoice(run) or subscription(run)
        assert subject is not None
        known = vars(run)[ERP] = booking.erp_of(subject.legal_entity)
    return known


DOCUMENT, ERP = "_document", "_erp"
"""Where a run object keeps what its functions ask for again and again. It lives for one settling, under its locks."""


def invoice(run: Run) -> Invoice | None:
    """The invoice the run is about, as recorded; None for another subject."""
    if run.subject_kind != "invoice" or run.object_id is None:
        return None
    known: Invoice | None = vars(run).get(DOCUMENT)
    if known is None:
        found = Invoice.objects.select_related("party", "legal_entity")
        known = vars(run)[DOCUMENT] = found.get(pk=run.object_id)
    return known


def subscription(run: Run) -> Subscription | None:
    """The subscription the run is about; None for another subject."""
    if run.subject_kind != "subscription" or run.object_id is None:
        return None
    return Subscription.objects.select_related("party", "legal_entity").get(pk=run.object_id)


# read ------------------------------------------------------------------------------------------------------------


def what_to_read(run: Run) -> dict[str, Any]:
    """The subject, by its own id."""
    return {"kind": run.subject_kind, "id": run.subject_id}


def ask(connector: Connector, client: Any, request: dict[str, Any], call: Call) -> Sequence[CanonicalObject]:
    """Read the object as it is now."""
    return connector.fetch[request["kind"]](client, request["id"], call)


def record(run: Run, said: Sequence[CanonicalObject]) -> None:
    """Keep what billing says, and put the money on the run."""
    connection = source(run)
    try:
        ids = Recorder(connection.pk, connection.legal_entity, provenance=f"run {run.pk}").record(said)
    except NotRecorded as gap:
        raise Blocked(
            "missing_mapping", review.fingerprint("missing", gap.kind, connection.pk, gap.external_id),
            f"{connection}: {gap}", group="integration engineer", what=gap.kind, id=gap.external_id,
        ) from None  # fmt: skip
    run.object_id = ids[run.subject_kind, run.subject_id]
    vars(run).pop(DOCUMENT, None)
    document = invoice(run)
    if document is not None:
        run.amount, run.currency = document.total, document.currency


# book ------------------------------------------------------------------------------------------------------------


def book(run: Run) -> None:
    """Give every line its accounts and codes, or ask who knows them."""
    document = invoice(run)
    if document is None:
        _book_subscription(run)
        return
    if document.state not in ("recorded", "mapped"):
        return
    if document.status == "void" or (document.status in OWED and not document.total):
        move(document, "withdraw", by="order_to_cash", note=f"{document.status}, total {document.total}", run_id=run.pk)
    elif document.status in OWED:
        if document.total < 0:
            raise Blocked(
                "refused", review.fingerprint("negative", document.pk), f"{document} is negative: billing owes the customer",
                group=booking.ACCOUNTANT, invoice=document.pk,
            )  # fmt: skip
        # One that an earlier run mapped and did not post is booked again: by the rules it will be posted under.
        booking.book(document, source(run))
        if document.state == "recorded":
            move(document, "map", by="order_to_cash", run_id=run.pk)


def _book_subscription(run: Run) -> None:
    agreed = subscription(run)
    assert agreed is not None
    if agreed.status == "cancelled":
        return
    target = booking.erp_of(agreed.legal_entity)
    for item in agreed.items.filter(ended=False).select_related("product"):
        product = xref.id_of("product", item.product_id, source(run).pk)
        booking.code("product", source(run), product, target, run.started_at.date(), item.product.name)


# customer --------------------------------------------------------------------------------------------------------


def party(run: Run) -> Party | None:
    """The customer, once the document is one the ERP should have."""
    document = invoice(run)
    if document is not None:
        return document.party if document.state == "mapped" else None
    agreed = subscription(run)
    return agreed.party if agreed else None


def ensure_party(run: Run) -> Request | None:
    """Find or create the customer, unless the ERP has it."""
    customer = party(run)
    if customer is None:
        return None
    return customers.ensure(customer, source(run), erp(run))


def billing_id(run: Run, customer: Party) -> str:
    """Billing's id of a customer."""
    return xref.id_of("party", customer.pk, source(run).pk)


def customer_id(run: Run, customer: Party) -> str:
    """The ERP's id of a customer."""
    return xref.id_of("party", customer.pk, erp(run).pk)


# post ------------------------------------------------------------------------------------------------------------


def post_invoice(run: Run) -> Request | None:
    """The invoice as the ERP shall post it."""
    document = invoice(run)
    if document is None or document.state != "mapped":
        return None
    held = xref.external("invoice", document.pk, erp(run).pk)
    if held is not None:
        # Under the same key the ERP would only show us the document that was taken back.
        raise Blocked(
            "refused", review.fingerprint("taken back", document.pk),
            f"{document} was taken back in the ERP ({held.number or held.external_id}): it is posted anew from its break",
            group=booking.ACCOUNTANT, invoice=document.pk,
        )  # fmt: skip
    return posting_of(document, key(run), source(run), erp(run))


def posting_of(document: Invoice, key: str, billing: Connection, erp: Connection) -> PostInvoice:
    """A booked invoice as the ERP is asked to post it. Raises xref.NotThere when the ERP lacks the customer."""
    return PostInvoice(
        key=key, party=xref.id_of("party", document.party_id, erp.pk), number=document.number,
        currency=document.currency, document_on=document.issued_on, due_on=document.due_on,
        payment_term=booking.payment_term(document, billing), lines=booking.posting_lines(document), total=document.total,
        journal=next((line.posting["journal"] for line in document.lines.all() if line.posting), ""), note=document.number,
    )  # fmt: skip


def posted(run: Run, written: Written) -> None:
    """The ERP holds it."""
    document = invoice(run)
    assert document is not None
    if document.state == "mapped":
        move(document, "post", by="order_to_cash", note=f"{written.number} ({written.external_id})", run_id=run.pk)


def key(run: Run, what: str = "") -> str:
    """The idempotency key of a document: readable, and the same for every run about it."""
    return f"{source(run).slug}/{run.subject_id}" + (f"/{what}" if what else "")


# write back ------------------------------------------------------------------------------------------------------


def write_reference(run: Run) -> Request | None:
    """Show billing's people the ERP's number: of the invoice on the invoice, of the customer on the customer."""
    document = invoice(run)
    kind, owner = owner_of_reference(run)
    # Writing makes billing announce a change, which comes back here: once it is written there is nothing to write.
    if xref.external(kind, owner, source(run).pk, "reference"):
        return None
    if document is None:
        agreed = subscription(run)
        assert agreed is not None
        name, values = billing_id(run, agreed.party), {"tieout_erp_customer": customer_id(run, agreed.party)}
        return WriteReference(key=f"{source(run).slug}/{name}/reference", kind="party", external_id=name, values=values)
    if document.state != "posted":
        return None
    ref = xref.external("invoice", document.pk, erp(run).pk)
    assert ref is not None
    values = {"tieout_erp_number": ref.number, "tieout_erp_id": ref.external_id or ""}
    return WriteReference(key=key(run, "reference"), kind="invoice", external_id=run.subject_id, values=values)


def owner_of_reference(run: Run) -> tuple[str, int]:
    """What is shown there: the invoice, or the customer of a subscription."""
    agreed = subscription(run)
    return ("party", agreed.party_id) if agreed else ("invoice", run.object_id or 0)


def written_back(run: Run, written: Written) -> None:
    """Billing shows the number."""
    document = invoice(run)
    if document is not None and document.state == "posted":
        move(document, "confirm", by="order_to_cash", run_id=run.pk)


# pay -------------------------------------------------------------------------------------------------------------


def register_payment(run: Run) -> Request | None:
    """Carry what was received to the ERP, once billing says the invoice is settled."""
    document = invoice(run)
    if document is None or document.status != "paid" or document.state != "confirmed" or not document.paid:
        return None
    if xref.external("invoice", document.pk, erp(run).pk, "payment"):
        return None
    return payment_of(document, key(run, "payment"), erp(run), document.number or run.subject_id)


def payment_of(document: Invoice, key: str, erp: Connection, reference: str) -> RegisterPayment:
    """What billing received for an invoice, as the ERP is asked to register it. Raises xref.NotThere."""
    return RegisterPayment(
        key=key, invoice=xref.id_of("invoice", document.pk, erp.pk),
        party=xref.id_of("party", document.party_id, erp.pk), amount=document.paid, currency=document.currency,
        paid_on=document.paid_on or document.issued_on, reference=reference,
    )  # fmt: skip


def paid(run: Run, written: Written) -> None:
    """The ERP holds the payment. What billing settled with the customer's credit instead is open there still."""
    document = invoice(run)
    assert document is not None
    if document.state == "confirmed" and document.paid >= document.total:
        move(document, "settle", by="order_to_cash", note=written.external_id, run_id=run.pk)


# reverse ---------------------------------------------------------------------------------------------------------


def reverse_voided(run: Run) -> Request | None:
    """Take a posted invoice back when billing voided it."""
    document = invoice(run)
    return reversal(run) if document is not None and document.status == "void" else None


def reversal(run: Run) -> Request | None:
    """The document that takes the posted invoice back, when there is one to take back."""
    document = invoice(run)
    if document is None or document.state not in ("posted", "confirmed", "settled"):
        return None
    held = xref.external("invoice", document.pk, erp(run).pk)
    # Under the key of the very document: one that was posted anew has another than the first.
    return ReverseDocument(
        key=f"{held.key}/reversal" if held and held.key else key(run, "reversal"),
        document=xref.id_of("invoice", document.pk, erp(run).pk),
        document_on=document.voided_on or document.issued_on,
        total=document.total, currency=document.currency, party=customer_id(run, document.party),
        reason=f"{document.number or run.subject_id} {document.status}",
    )  # fmt: skip


def reversed_(run: Run, written: Written) -> None:
    """The ERP holds the document that takes it back."""
    document = invoice(run)
    assert document is not None
    if document.state != "reversed":
        move(document, "reverse", by="order_to_cash", note=written.number, run_id=run.pk)


def owner_of_party(run: Run) -> tuple[str, int]:
    """The customer's reference belongs to the customer, not to the run's subject."""
    customer = party(run)
    assert customer is not None
    return "party", customer.pk


def lane_of_reference(run: Run) -> str:
    """Customers are written to by several runs, one at a time."""
    kind, owner = owner_of_reference(run)
    return f"party:{owner}" if kind == "party" else run.lane


READ = Read("read", source, what_to_read, ask, record)

FLOW = Flow(
    name="order_to_cash",
    title="Order to cash",
    group=booking.ACCOUNTANT,
    triggers=frozenset(
        [
            "billing.subscription.created", "billing.subscription.updated", "billing.subscription.cancelled",
            "billing.subscription.paused", "billing.subscription.resumed", "billing.subscription.observed",
            "billing.invoice.finalized", "billing.invoice.paid", "billing.invoice.payment_succeeded", "billing.invoice.voided",
            "billing.invoice.uncollectible", "billing.invoice.observed",
        ]
    ),
    steps=(
        READ,
        Local("book", book),
        Effect(
            "customer", "ensure_party", erp, ensure_party, lambda run, written: None,
            Keep("a customer without documents harms nobody"),
            creates="party", owner=owner_of_party, lane=lambda run: f"party:{owner_of_party(run)[1]}",
        ),
        Effect(
            "post", "post_invoice", erp, post_invoice, posted, Undo("reverse_invoice", reversal, reversed_), creates="invoice",
        ),
        Effect(
            "write_back", "write_reference", source, write_reference, written_back, Keep("a note about the ERP stays true"),
            creates="reference", owner=owner_of_reference, lane=lane_of_reference,
        ),
        Effect("pay", "register_payment", erp, register_payment, paid, Keep("money received is a fact"), creates="payment"),
        Effect(
            "reverse", "reverse_invoice", erp, reverse_voided, reversed_, Keep("a reversal is final; a new invoice follows"),
            creates="reversal",
        ),
    ),
)  # fmt: skip
"""Subscription created or invoice issued, paid, voided → customer, posted invoice, ERP number in billing, payment."""
