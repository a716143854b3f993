"""Mends of documents: what is missing is posted, what is too many taken back, what says something else both, one by one."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Any

from canonical import xref
from canonical.commands import PostCreditMemo, PostingLine, ReverseDocument
from canonical.models import ExternalRef, Invoice
from connectors.models import Connection
from hub import booking
from hub.credits import writing
from hub.credits.models import Credit
from hub.credits.models.credit import IN_BOOKS
from hub.flows import order_to_cash
from reconciliation.mending import restate_flow
from reconciliation.mending.plan import (
    ON_APPROVAL,
    Plan,
    Restate,
    WhyNot,
    Write,
    books,
    hand_over,
    invoice_of,
    money,
    name,
    plain,
    posts,
    readings,
    side,
    subject,
    words,
)
from reconciliation.models import Break, Mend, ReadingRow
from reconciliation.people import today

GONE = ("draft", "void")
IN_ERP = ("posted", "confirmed", "settled")
HALF_DONE = ("recorded", "mapped")
"""States of an invoice that was taken back in the ERP, and not posted anew: a person ended the run in between."""
SAYS_OTHER = ("amount", "tax", "fx", "period", "party")
"""Types of breaks in which both systems hold the document, and do not say the same."""


def post(break_: Break) -> Plan | None:
    if break_.type == "orphan_credit" and side(break_, "erp") is None:
        return _post_credit(break_)
    if break_.type != "missing_right":
        return None
    if break_.pair == "credit_memos":
        return _post_memo(break_)
    work = subject(break_) if break_.pair in ("invoices", "payments") else None
    document = invoice_of(work) if work else None
    if work is None or document is None or document.state not in IN_ERP:
        return None
    erp = booking.erp_of(document.legal_entity)
    held = xref.external("invoice", document.pk, erp.pk)
    key = held.key if held and held.key else f"{work.billing.slug}/{work.external_id}"
    lane = f"invoice:{work.billing.pk}:{work.external_id}"
    if break_.pair == "payments":
        if document.status != "paid" or not document.paid:
            return None
        payment = order_to_cash.payment_of(
            document, f"{work.billing.slug}/{work.external_id}/payment", erp, document.number or work.external_id
        )
        said = f"would register a payment of {payment.amount} {payment.currency} on {payment.paid_on} in {books(erp)}"
        becomes = {"kind": "payment", "object_kind": "invoice", "object_id": document.pk}
        act = Write(erp, "register_payment", payment, lane, becomes)
        return Plan(Mend.Plan.POST, words("post"), (said,), amount=payment.amount, currency=payment.currency, act=act)
    request = order_to_cash.posting_of(document, key, work.billing, erp)
    becomes = {"kind": "invoice", "object_kind": "invoice", "object_id": document.pk}
    act = Write(erp, "post_invoice", request, lane, becomes)
    effects = posts("invoice", request, erp)
    return Plan(Mend.Plan.POST, words("post"), effects, amount=request.total, currency=request.currency, act=act)


def _post_memo(break_: Break) -> Plan | None:
    """A credit note that billing gave without the hub."""
    found = side(break_, "billing")
    if found is None:
        return None
    billing, said = found
    erp = booking.erp_of(break_.legal_entity)
    invoice_id = xref.find(billing.pk, "invoice", said.get("about", ""))
    party_id = xref.find(billing.pk, "party", said.get("party", ""))
    if party_id is None or invoice_id is None:
        raise WhyNot(f"The hub does not know the customer and the invoice that {name(said)} is for.")
    if said.get("net") is None or said.get("tax") is None:
        raise WhyNot(f"{billing} does not tell net and tax of {name(said)}.")
    booked = [line.posting for line in Invoice.objects.get(pk=invoice_id).lines.all() if line.posting]
    ways = {(line["revenue_account"], tuple(line["tax_codes"]), line["journal"]) for line in booked}
    if len(ways) != 1:
        raise WhyNot("The lines of its invoice go to several accounts or taxes: a person must say which of them it takes from.")
    ((account, taxes, journal),) = ways
    line = PostingLine(
        description=f"Credit {said.get('number') or said['id']}", revenue_account=account, tax_codes=taxes,
        net=Decimal(said["net"]), tax=Decimal(said["tax"]), dimensions=booked[0]["dimensions"],
        rule=" ".join(booked[0]["rules"])[:2000],
    )  # fmt: skip
    request = PostCreditMemo(
        key=f"{billing.slug}/{said['id']}", party=xref.id_of("party", party_id, erp.pk), number=said.get("number", ""),
        currency=said["currency"], document_on=date.fromisoformat(said["on"]), lines=(line,), total=Decimal(said["total"]),
        journal=journal, invoice=xref.id_of("invoice", invoice_id, erp.pk), note=said.get("number", ""),
    )  # fmt: skip
    memo = xref.find(billing.pk, "credit_memo", said["id"])
    becomes = {"kind": "credit_memo", "object_kind": "credit_memo", "object_id": memo} if memo else None
    act = Write(erp, "post_credit_memo", request, f"credit_memo:{billing.pk}:{said['id']}", becomes)
    effects = (*posts("credit memo", request, erp), f"against invoice {request.invoice} there")
    return Plan(Mend.Plan.POST, words("post"), effects, amount=request.total, currency=request.currency, act=act)


def _post_credit(break_: Break) -> Plan | None:
    """A credit that was approved and posted, and whose memo is gone."""
    refs = [
        ExternalRef.objects.filter(connection__slug=said["system"], external_id=said["id"], object_kind="credit").first()
        for each in (break_.left, break_.right) for said in readings(each)
    ]  # fmt: skip
    ref = next((ref for ref in refs if ref is not None), None)
    credit = Credit.objects.filter(pk=ref.object_id, state__in=IN_BOOKS, reverses=None).first() if ref else None
    if credit is None:
        return None
    erp = booking.erp_of(credit.legal_entity)
    request = writing.credit_memo(credit, erp)
    act = Write(
        erp, "post_credit_memo", request, f"credit:{credit.number}",
        {"kind": writing.MEMO, "object_kind": "credit", "object_id": credit.pk},
    )  # fmt: skip
    effects = posts("credit memo", request, erp, ON_APPROVAL)
    return Plan(Mend.Plan.POST, words("post"), effects, amount=request.total, currency=request.currency, act=act)


def reverse(break_: Break) -> Plan | None:
    if break_.type == "obligation" and any(each["kind"] == "recognition" for each in readings(break_.right)):
        raise WhyNot("What was posted is earned day by day: a person decides whether the customer gets a credit for the rest.")
    found = side(break_, "erp")
    if break_.type not in ("missing_left", "duplicate", "obligation") or found is None or side(break_, "billing"):
        return None
    erp, said = found
    if said["kind"] != "invoice" or said.get("status") in GONE:
        return None
    ref, reference = _ref(erp, said["id"]), said.get("reference", "")
    if ref is None and not any(reference.startswith(f"{slug}/") for slug in _billing_slugs(break_)):
        raise WhyNot(f"The hub never posted {name(said)}: whoever made it in {erp} takes it back there.")
    if ref is not None and break_.type == "duplicate":
        said, ref = _the_other(break_, erp, said), None
    # The object's own document goes back under the key that order to cash would use, so that it is taken back once.
    own = ref is not None and ref.object_kind == "invoice" and bool(ref.key)
    becomes = {"kind": "reversal", "object_kind": "invoice", "object_id": ref.object_id} if ref is not None and own else None
    request = ReverseDocument(
        key=f"{ref.key}/reversal" if ref is not None and own else f"mend/{break_.pk}/reversal",
        document=said["id"], document_on=today(break_.legal_entity), total=Decimal(said["total"]), currency=said["currency"],
        party=said["party"], reason=break_.title[:200],
    )  # fmt: skip
    effects = (
        f"would post a credit memo of {money(said)} in {books(erp)} that takes {name(said)} back, dated {ON_APPROVAL}",
        "the two settle each other there; nothing is deleted",
    )
    act = Write(erp, "reverse_invoice", request, f"mend:{erp.pk}:{said['id']}", becomes)
    return Plan(Mend.Plan.REVERSE, words("reverse"), effects, amount=request.total, currency=request.currency, act=act)


def _ref(erp: Connection, external_id: str) -> ExternalRef | None:
    return ExternalRef.objects.filter(connection=erp, kind="invoice", external_id=external_id, state=ExternalRef.ACTIVE).first()


def _the_other(break_: Break, erp: Connection, said: dict[str, Any]) -> dict[str, Any]:
    """Of two documents with one reference, the one that the hub did not post. Raises WhyNot when that is not one."""
    of_scan = ReadingRow.objects.filter(scan=break_.last_scan_id, connection=erp, kind="invoice")
    rows = of_scan.filter(reference=said["reference"]) if said.get("reference") else of_scan.none()
    others = [row for row in rows.exclude(external_id=said["id"]).exclude(status__in=GONE)[:2] if row.total is not None]
    if len(others) != 1:
        raise WhyNot(f"{name(said)} is the one the hub posted, and which other one is too many, nobody can tell from here.")
    (row,) = others
    return {
        "kind": row.kind, "id": row.external_id, "number": row.number, "total": str(row.total), "currency": row.currency,
        "party": row.party,
    }  # fmt: skip


def _billing_slugs(break_: Break) -> list[str]:
    known = Connection.objects.filter(role="billing", legal_entity=break_.legal_entity)
    return list(known.values_list("slug", flat=True))


def restate(break_: Break) -> Plan | None:
    """Reversal and new document, where both systems hold the invoice, the ERP's is ours, and they do not say the same."""
    here, there = side(break_, "billing"), side(break_, "erp")
    if break_.pair != "invoices" or break_.type not in (*SAYS_OTHER, "status") or here is None or there is None:
        return None
    (billing, said), (erp, held) = here, there
    invoice_id = xref.find(billing.pk, "invoice", said["id"])
    ref = xref.external("invoice", invoice_id, erp.pk) if invoice_id else None
    is_half_done = (
        invoice_id is not None and ref is not None and Invoice.objects.filter(pk=invoice_id, state__in=HALF_DONE).exists()
    )
    if break_.type == "status" and not is_half_done:
        return None
    if invoice_id is None or ref is None or not ref.key or ref.external_id != held["id"]:
        raise WhyNot(f"The hub did not post {name(held)}: whoever made it in {erp} takes it back there, or corrects {billing}.")
    document = Invoice.objects.get(pk=invoice_id)
    if document.state == "settled" or xref.external("invoice", invoice_id, erp.pk, "payment"):
        raise WhyNot(
            f"{name(held)} is paid in {erp}: taking it back would leave the payment on the customer's account. Whoever keeps the "
            f"receivables credits the difference there, and moves the payment."
        )
    if not is_half_done and (document.state not in IN_ERP or held.get("status") in GONE):
        raise WhyNot(f"{name(held)} is {held.get('status')} in {erp}, and {document.state} here: it is not in the books any more.")
    if break_.type == "fx" and said["currency"] == held["currency"]:
        raise WhyNot(f"{erp} takes the rate of its own table: whoever keeps the rates there corrects it, and values it anew.")
    number = ExternalRef.objects.filter(connection=erp, kind="invoice", object_kind="invoice", object_id=invoice_id).count() + 1
    key = restate_flow.key_of(billing.slug, said["id"], number)
    request = ReverseDocument(
        key=f"{ref.key}/reversal", document=held["id"], document_on=today(break_.legal_entity), total=Decimal(held["total"]),
        currency=held["currency"], party=held["party"], reason=break_.title[:200],
    )  # fmt: skip
    effects = (
        f"first would post a credit memo of {money(held)} in {books(erp)} that takes {name(held)} back, dated {ON_APPROVAL}",
        f"then would read {name(said)} in {billing} again; says it anything else than now, a person is asked before more is posted",
        f"then would book it by the rules in force, and post {money(said)}, dated {said['on']} or the first open day after",
        f"under the keys {request.key} and {key}",
        f"and show {billing} the new number; nothing is rewritten or deleted",
    )
    act = Restate(billing, said["id"], invoice_id, name(held), request, key, _approved(billing, said))
    return Plan(
        Mend.Plan.RESTATE, words("restate"), effects, amount=abs(Decimal(said["total"])), currency=said["currency"], act=act
    )


def _approved(billing: Connection, said: dict[str, Any]) -> dict[str, str]:
    """What of billing's invoice is approved: as far as its reading tells."""
    party = xref.find(billing.pk, "party", said.get("party", ""))
    if party is None:
        raise WhyNot(f"The hub does not know the customer of {name(said)}.")
    amounts = {what: plain(said[what]) for what in ("net", "tax", "total") if said.get(what) is not None}
    return {**amounts, "currency": said["currency"], "party": str(party), "issued on": said["on"]}


BY_HAND = {
    ("credit_memos", "amount"): "Whoever gave the credit says which is right: the ERP's memo is taken back there and given anew.",
    ("credit_memos", "missing_left"): "Whoever made it in the ERP takes it back there, or billing gives the credit note as well.",
    ("credit_memos", "status"): "Whoever voided it says why: the ERP's memo is taken back there, or billing gives it again.",
    ("invoices", "status"): "Taken back in the ERP by hand: whoever did says why, and it is voided or credited in billing too.",
    ("payments", "amount"): "Whoever keeps the receivables looks at the bank statement: what came in is what both have to say.",
    ("payments", "missing_left"): "Whoever entered it in the ERP says where it came from; a real one is marked as paid in billing.",
    ("payments", "status"): "Whoever keeps the receivables gives the money back in the system that still holds it.",
    ("", "stale"): "Whoever began it finishes or deletes it there; what nobody wants any more is deleted.",
    ("", "duplicate"): "Whoever made it takes the surplus one back where it is held twice; the hub takes back its own alone.",
}  # fmt: skip
"""(pair, type), or '' for every pair of documents → who does what, because the hub must not choose."""
PAIRS = ("invoices", "credit_memos", "payments")


def by_hand(break_: Break) -> Plan | None:
    """Who does what about documents that no flow may decide about."""
    if break_.pair not in PAIRS or (break_.type == "duplicate" and side(break_, "erp") is not None and break_.pair == "invoices"):
        return None
    kind = "amount" if break_.type in SAYS_OTHER or (break_.pair, break_.type) == ("payments", "rounding") else break_.type
    told = BY_HAND.get((break_.pair, kind)) or BY_HAND.get(("", kind))
    return hand_over(told, "the break closes when a scan no longer finds it") if told else None
