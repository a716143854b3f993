"""What each system is asked to write for a credit. A key names the credit for ever, so that nothing is written twice.

Amounts, lines and accounts are those that were approved: before anything is asked for, the payload is computed again
from the row and compared with what the approvals cover.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from zoneinfo import ZoneInfo

from django.utils import timezone

from canonical import xref
from canonical.commands import (
    AdjustBalance,
    CreditDocumentLine,
    IssueCreditNote,
    PostCreditMemo,
    PostingLine,
    PostNote,
    ReverseDocument,
    VoidCreditNote,
    WriteCase,
)
from canonical.models import ExternalRef
from canonical.money import Money
from connectors.models import Connection
from hub import review
from hub.credits import payload, posting
from hub.credits.models import Credit, CreditComment
from hub.engine.flow import Blocked
from hub.roles import FINANCE

MEMO, REVERSAL = "credit_memo", "reversal"
NOTE, BALANCE, VOID, CHARGE = "credit_note", "balance", "credit_note_void", "balance_reversal"
CUSTOMER_NOTE = "note"
"""Kinds of the external references of a credit: in the ERP, in billing, on the case."""

SHOWN = {
    "pending": "waiting", "needs_info": "waiting", "returned": "waiting", "stopped": "waiting", "approved": "approved",
    "posting": "approved", "posted": "approved", "mirrored": "credited", "told": "credited", "closed": "credited",
}  # fmt: skip
"""State → what agents are told of it; the others are told by their own names."""
WORDS = {
    "waiting": "waits for approval", "approved": "approved, being posted", "credited": "credited", "rejected": "rejected",
    "expired": "expired without a decision", "withdrawn": "withdrawn", "split": "split into several credits",
    "reversed": "taken back",
}  # fmt: skip
LISTED = 12
"""Credits that the block of a case lists, the newest ones."""


def key(credit: Credit, what: str = "") -> str:
    """The idempotency key of a document of this credit."""
    return f"credit/{credit.uid}" + (f"/{what}" if what else "")


def ref(credit: Credit, connection: Connection | None, *kinds: str) -> ExternalRef | None:
    """The first of these documents that a system holds for the credit."""
    if connection is None:
        return None
    found = (xref.external("credit", credit.pk, connection.pk, kind) for kind in kinds)
    return next((each for each in found if each is not None), None)


def party_in(credit: Credit, connection: Connection) -> str:
    """What a system calls the credit's customer."""
    return xref.id_of("party", credit.party_id, connection.pk)


def require_sealed(credit: Credit) -> None:
    """Raise `Blocked` for a person when the row says something else than what was approved."""
    now = payload.payload_of(credit)
    approved = credit.approvals.filter(revision=credit.revision, decision="approve").values_list("digest", flat=True)
    if now != credit.payload or {credit.digest, *approved} != {payload.digest(now)}:
        raise Blocked(
            "refused", review.fingerprint("credit", credit.pk, "digest"),
            f"{credit.number} is not what was approved: nothing is posted", group=FINANCE, credit=credit.pk,
            approved=credit.digest, now=payload.digest(now),
        )  # fmt: skip


# the ERP ---------------------------------------------------------------------------------------------------------


def credit_memo(credit: Credit, erp: Connection) -> PostCreditMemo:
    """The credit memo, on the day it is asked for. Raises `Blocked` when the credit is not what was approved."""
    require_sealed(credit)
    on = today(credit)
    return PostCreditMemo(
        key=key(credit), party=party_in(credit, erp), number=credit.number, currency=credit.currency,
        document_on=on, lines=_lines(credit), total=credit.total, journal=_journal(credit, on),
        invoice=xref.id_of("invoice", credit.invoice_id, erp.pk) if credit.invoice_id else None, note=credit.number,
    )  # fmt: skip


def reversal(credit: Credit, erp: Connection) -> ReverseDocument | None:
    """The document that takes the first credit's memo back; None when the ERP never had that."""
    require_sealed(credit)
    assert credit.reverses is not None
    memo = ref(credit.reverses, erp, MEMO)
    if memo is None or memo.external_id is None:
        return None
    return ReverseDocument(
        key=key(credit), document=memo.external_id, document_on=today(credit), total=credit.total, currency=credit.currency,
        party=party_in(credit, erp), reason=f"{credit.number} takes back {credit.reverses.number}",
    )  # fmt: skip


def today(credit: Credit) -> date:
    """The calendar day where the legal entity is."""
    return timezone.now().astimezone(ZoneInfo(credit.legal_entity.timezone)).date()


def _lines(credit: Credit) -> tuple[PostingLine, ...]:
    return tuple(PostingLine.model_validate(line) for line in credit.lines)


def _journal(credit: Credit, on: date) -> str:
    if credit.invoice is None:
        return posting.rule_on_account(credit.legal_entity, credit.party, credit.subscription, on).journal
    return next((line.posting["journal"] for line in credit.invoice.lines.all() if line.posting), "")


# billing ---------------------------------------------------------------------------------------------------------


def credit_note(credit: Credit) -> IssueCreditNote:
    """The credit note on the invoice, line by line of it."""
    assert credit.invoice is not None
    nets: dict[str, tuple[str, Decimal, Decimal]] = {}
    for line in _lines(credit):
        _, net, tax = nets.get(line.credits, ("", Decimal(0), Decimal(0)))
        nets[line.credits] = (line.description, net + line.net, tax + line.tax)
    return IssueCreditNote(
        key=key(credit), party=party_in(credit, credit.billing),
        invoice=xref.id_of("invoice", credit.invoice.pk, credit.billing_id), currency=credit.currency,
        total=credit.total, note=credit.number,
        lines=tuple(
            CreditDocumentLine(invoice_line=line, description=text, net=net, tax=tax) for line, (text, net, tax) in nets.items()
        ),
    )  # fmt: skip


def balance(credit: Credit) -> AdjustBalance:
    """The credit for coming invoices, tax included."""
    return AdjustBalance(
        key=key(credit, "balance"),
        party=party_in(credit, credit.billing),
        amount=credit.total,
        currency=credit.currency,
        note=credit.number,
    )


def void(credit: Credit) -> VoidCreditNote | None:
    """The taking back of the first credit's note; None when it had none."""
    assert credit.reverses is not None
    note = ref(credit.reverses, credit.billing, NOTE)
    if note is None or note.external_id is None:
        return None
    return VoidCreditNote(
        key=key(credit),
        document=note.external_id,
        party=party_in(credit, credit.billing),
        total=credit.total,
        currency=credit.currency,
    )


def charge(credit: Credit) -> AdjustBalance | None:
    """The taking back of what the first credit put on the balance; None when it put nothing there."""
    assert credit.reverses is not None
    if ref(credit.reverses, credit.billing, BALANCE) is None:
        return None
    return AdjustBalance(
        key=key(credit, "balance"),
        party=party_in(credit, credit.billing),
        amount=-credit.total,
        currency=credit.currency,
        note=credit.number,
    )


# the case --------------------------------------------------------------------------------------------------------


def case_block(case: str, credits: Sequence[Credit], erps: dict[int, Connection]) -> WriteCase:
    """What the case shows of its credits, oldest first: one block for all, the fields and the tag for the one that counts.

    That is the newest that still stands, else the newest; `erps` are the ERPs by legal entity.
    """
    own = [credit for credit in credits if credit.reverses_id is None] or list(credits)
    standing = [credit for credit in own if SHOWN.get(credit.state)]
    newest = (standing or own)[-1]
    shown = SHOWN.get(newest.state, newest.state)
    memo = ref(newest, erps.get(newest.legal_entity_id), MEMO)
    listed = [_shown_line(credit, erps.get(credit.legal_entity_id)) for credit in credits[-LISTED:]]
    return WriteCase(
        key=f"case/{case}", case=case, block="\n".join(listed),
        values={
            "credit_state": shown, "credit_number": memo.number if memo else newest.number,
            "credit_amount": f"{Money(newest.total, newest.currency).amount:f}", "credit_currency": newest.currency,
        },
        tags=(f"tieout_credit_{shown}",),
    )  # fmt: skip


def _shown_line(credit: Credit, erp: Connection | None) -> str:
    shown = SHOWN.get(credit.state, credit.state)
    words = "done" if credit.reverses_id and shown == "credited" else WORDS.get(shown, shown)
    about = f"takes back {credit.reverses.number}" if credit.reverses else str(credit.get_reason_display())
    documents = [ref(credit, erp, MEMO, REVERSAL), ref(credit, credit.billing, NOTE, BALANCE, VOID, CHARGE)]
    numbers = ", ".join(each.number for each in documents if each is not None and each.number) if shown == "credited" else ""
    return f"{credit.number}: {amounts(credit)}, {about}: {words}" + (f" ({numbers})" if numbers else "")


def amounts(credit: Credit) -> str:
    """Net, tax and total in words."""
    net, tax, total = (Money(amount, credit.currency) for amount in (credit.net, credit.tax, credit.total))
    return f"{total} ({net.amount:,} net and {tax.amount:,} tax)" if tax.amount else str(total)


def customer_note(credit: Credit, case: str) -> PostNote:
    """What the customer reads, once."""
    if ref(credit, credit.billing, NOTE) and credit.invoice:
        how = f"It is set off against invoice {credit.invoice.number}; what that does not owe is kept for your coming invoices."
    else:
        how = "It is kept for your coming invoices."
    text = f"We have credited you {amounts(credit)}. Reason: {credit.get_reason_display()}. {how} Our reference: {credit.number}."
    return PostNote(key=key(credit, "note"), case=case, text=text, public=True)


def question(comment: CreditComment, case: str) -> PostNote:
    """A reviewer's question, for the agents alone."""
    text = f"Question about credit {comment.credit.number} ({amounts(comment.credit)}): {comment.text}"
    return PostNote(key=key(comment.credit, f"question/{comment.pk}"), case=case, text=text[:2000])
