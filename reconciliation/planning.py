"""What could be done about a break, each with what it would do: a dry run. Nothing here changes or calls anything.

| plan | when | carried out by |
|---|---|---|
| replay | billing has what the ERP should have, or says something newer | a run of order to cash |
| post | it was posted and is gone, or no flow carries it (credit notes made by hand) | the flow `mend` |
| reverse | the ERP has a document of ours too many | the flow `mend`: a further document, never a deletion |
| relink | one document is missing on each side, of the same amount | the cross-reference |
| write off | the two differ by rounding | the flow `mend`: a document on the variance account |
| accept | always | the break is closed with the reason |
"""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Any

from pydantic import ValidationError

from canonical import xref
from canonical.commands import PostCreditMemo, PostingLine, PostInvoice, ReverseDocument
from canonical.models import ExternalRef, Invoice
from connectors.models import Connection
from hub import booking
from hub.credits import writing
from hub.credits.models import Credit
from hub.credits.models.credit import IN_BOOKS
from hub.engine.flow import Blocked
from hub.flows import order_to_cash
from hub.models import AccountingRule, Run
from hub.models.work import OPEN_RUN
from reconciliation.models import Break, Mend, ReadingRow
from reconciliation.models.breaks import OPEN_BREAK
from reconciliation.people import today
from reconciliation.plan import Plan, Relink, WhyNot, Work, Write, readings, side, subject

VARIANCE = "variance"
"""Product family of the accounting rule that names an entity's variance account. No product is of it."""
DOCUMENTS = ("invoices", "credit_memos")
OURS = {"invoices": "invoice", "credit_memos": "credit_memo"}
GONE = ("draft", "void")
IN_ERP = ("posted", "confirmed", "settled")


def plans(break_: Break) -> list[Plan]:
    """What fits this break, best first; accepting it comes last. Those that cannot be taken now say why."""
    found = [plan for make in (_replay, _post, _reverse, _relink, _write_off) if (plan := _tried(make, break_)) is not None]
    found.sort(key=lambda plan: bool(plan.why_not))
    return [*found, _accept(break_)]


def find(break_: Break, kind: str) -> Plan | None:
    """The plan of a kind, as it is now."""
    return next((plan for plan in plans(break_) if plan.plan == kind), None)


def _tried(make: Any, break_: Break) -> Plan | None:
    plan: Plan | None
    try:
        plan = make(break_)
    except (WhyNot, xref.NotThere, Blocked, ValidationError) as problem:
        kind = Mend.Plan(make.__name__[1:])
        return Plan(kind, _words(kind), why_not=_told(problem))
    return plan


def _told(problem: Exception) -> str:
    return "; ".join(str(each["msg"]) for each in problem.errors()) if isinstance(problem, ValidationError) else str(problem)


def _words(kind: str) -> str:
    return str(Mend.Plan(kind).label)


# in words -----------------------------------------------------------------------------------------------------------


def _invoice(work: Work) -> Invoice | None:
    pk = xref.find(work.billing.pk, "invoice", work.external_id) if work.kind == "invoice" else None
    return Invoice.objects.select_related("legal_entity").get(pk=pk) if pk else None


def _money(said: dict[str, Any]) -> str:
    return f"{Decimal(said['total']).normalize():f} {said.get('currency', '')}".strip() if said.get("total") else "no amount"


def _name(said: dict[str, Any]) -> str:
    return f"{str(said['kind']).replace('_', ' ')} {said.get('number') or said['id']}"


def _books(erp: Connection) -> str:
    company = erp.settings.get("company", "")
    return f"{erp} (company {company})" if company else str(erp)


ON_APPROVAL = "the day it is approved"


def _posts(what: str, request: PostInvoice | PostCreditMemo, erp: Connection, dated: str = "") -> tuple[str, ...]:
    lines = [
        f"account {line.revenue_account}: {line.net} net and {line.tax} tax {', '.join(line.tax_codes)}".rstrip()
        for line in request.lines
    ]  # fmt: skip
    head = f"would post {what} {request.number or request.key} of {request.total} {request.currency} in {_books(erp)}"
    return (f"{head}, dated {dated or request.document_on} or the first open day after, under the key {request.key}", *lines)


# the plans -------------------------------------------------------------------------------------------------------


def _replay(break_: Break) -> Plan | None:
    if break_.type not in ("missing_right", "status") or break_.pair not in ("invoices", "payments"):
        return None
    work = subject(break_)
    if work is None:
        return None
    going = Run.objects.filter(
        connection=work.billing, subject_kind=work.kind, subject_id=work.external_id, flow=order_to_cash.FLOW.name,
        state__in=OPEN_RUN,
    ).first()  # fmt: skip
    if going is not None:
        raise WhyNot(f"Run {going.pk} of it is {going.state} already: let that one go on, or answer what it waits for.")
    document = _invoice(work)
    if break_.type == "missing_right" and document is not None:
        kind = "payment" if break_.pair == "payments" else "invoice"
        held = xref.external("invoice", document.pk, booking.erp_of(document.legal_entity).pk, kind)
        if held is not None:
            raise WhyNot(f"It was posted as {held.number or held.external_id}, and is gone: a run would find nothing to do.")
    effects = (
        f"would read {work.kind} {work.external_id} in {work.billing} as it is now",
        "and do by order to cash whatever the ERP lacks of it: customer, document, payment, or the reversal of what was voided",
        "what is there already is found, and not done again",
    )
    return Plan(Mend.Plan.REPLAY, _words("replay"), effects, amount=break_.exposed, currency=break_.currency, act=work)


def _post(break_: Break) -> Plan | None:
    if break_.type == "orphan_credit" and side(break_, "erp") is None:
        return _post_credit(break_)
    if break_.type != "missing_right":
        return None
    if break_.pair == "credit_memos":
        return _post_memo(break_)
    work = subject(break_) if break_.pair in ("invoices", "payments") else None
    document = _invoice(work) if work else None
    if work is None or document is None or document.state not in IN_ERP:
        return None
    erp, key = booking.erp_of(document.legal_entity), f"{work.billing.slug}/{work.external_id}"
    lane = f"invoice:{work.billing.pk}:{work.external_id}"
    if break_.pair == "payments":
        if document.status != "paid" or not document.paid:
            return None
        payment = order_to_cash.payment_of(document, f"{key}/payment", erp, document.number or work.external_id)
        said = f"would register a payment of {payment.amount} {payment.currency} on {payment.paid_on} in {_books(erp)}"
        becomes = {"kind": "payment", "object_kind": "invoice", "object_id": document.pk}
        act = Write(erp, "register_payment", payment, lane, becomes)
        return Plan(Mend.Plan.POST, _words("post"), (said,), amount=payment.amount, currency=payment.currency, act=act)
    request = order_to_cash.posting_of(document, key, work.billing, erp)
    becomes = {"kind": "invoice", "object_kind": "invoice", "object_id": document.pk}
    act = Write(erp, "post_invoice", request, lane, becomes)
    effects = _posts("invoice", request, erp)
    return Plan(Mend.Plan.POST, _words("post"), effects, amount=request.total, currency=request.currency, act=act)


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
        raise WhyNot(f"The hub does not know the customer and the invoice that {_name(said)} is for.")
    if said.get("net") is None or said.get("tax") is None:
        raise WhyNot(f"{billing} does not tell net and tax of {_name(said)}.")
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
    effects = (*_posts("credit memo", request, erp), f"against invoice {request.invoice} there")
    return Plan(Mend.Plan.POST, _words("post"), effects, amount=request.total, currency=request.currency, act=act)


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
    effects = _posts("credit memo", request, erp, ON_APPROVAL)
    return Plan(Mend.Plan.POST, _words("post"), effects, amount=request.total, currency=request.currency, act=act)


def _reverse(break_: Break) -> Plan | None:
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
        raise WhyNot(f"The hub never posted {_name(said)}: whoever made it in {erp} takes it back there.")
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
        f"would post a credit memo of {_money(said)} in {_books(erp)} that takes {_name(said)} back, dated {ON_APPROVAL}",
        "the two settle each other there; nothing is deleted",
    )
    act = Write(erp, "reverse_invoice", request, f"mend:{erp.pk}:{said['id']}", becomes)
    return Plan(Mend.Plan.REVERSE, _words("reverse"), effects, amount=request.total, currency=request.currency, act=act)


def _ref(erp: Connection, external_id: str) -> ExternalRef | None:
    return ExternalRef.objects.filter(connection=erp, kind="invoice", external_id=external_id, state=ExternalRef.ACTIVE).first()


def _the_other(break_: Break, erp: Connection, said: dict[str, Any]) -> dict[str, Any]:
    """Of two documents with one reference, the one that the hub did not post. Raises WhyNot when that is not one."""
    of_scan = ReadingRow.objects.filter(scan=break_.last_scan_id, connection=erp, kind="invoice")
    rows = of_scan.filter(reference=said["reference"]) if said.get("reference") else of_scan.none()
    others = [row for row in rows.exclude(external_id=said["id"]).exclude(status__in=GONE)[:2] if row.total is not None]
    if len(others) != 1:
        raise WhyNot(f"{_name(said)} is the one the hub posted, and which other one is too many, nobody can tell from here.")
    (row,) = others
    return {
        "kind": row.kind, "id": row.external_id, "number": row.number, "total": str(row.total), "currency": row.currency,
        "party": row.party,
    }  # fmt: skip


def _billing_slugs(break_: Break) -> list[str]:
    known = Connection.objects.filter(role="billing", legal_entity=break_.legal_entity)
    return list(known.values_list("slug", flat=True))


def _relink(break_: Break) -> Plan | None:
    if break_.pair not in DOCUMENTS or break_.type not in ("missing_left", "missing_right"):
        return None
    other_type = "missing_left" if break_.type == "missing_right" else "missing_right"
    others = Break.objects.filter(
        legal_entity=break_.legal_entity, pair=break_.pair, type=other_type, currency=break_.currency, exposed=break_.exposed,
        state__in=OPEN_BREAK,
    )[:2]  # fmt: skip
    if not others:
        return None
    if len(others) > 1:
        raise WhyNot("Several documents of this amount have no counterpart: which of them it is, nobody can tell from here.")
    left, right = side(break_, "billing") or side(others[0], "billing"), side(break_, "erp") or side(others[0], "erp")
    if left is None or right is None:
        return None
    (billing, here), (erp, there) = left, right
    kind = OURS[break_.pair]
    object_id = xref.find(billing.pk, kind, here["id"])
    if object_id is None:
        raise WhyNot(f"The hub has not recorded {_name(here)} of {billing} yet.")
    if there["kind"] != kind:
        raise WhyNot(f"{_name(there)} is another kind of document.")
    owner = xref.find(erp.pk, kind, there["id"])
    if owner not in (None, object_id):
        raise WhyNot(f"{_name(there)} is the counterpart of another document of ours.")
    effects = (
        f"would say that {_name(there)} in {erp} is {_name(here)} of {billing}, {_money(here)}",
        "nothing is posted; both breaks close when the next scan finds them agreeing",
    )
    act = Relink(erp, kind, there["id"], object_id, there.get("number", ""))
    return Plan(Mend.Plan.RELINK, _words("relink"), effects, amount=break_.exposed, currency=break_.currency, act=act)


def _write_off(break_: Break) -> Plan | None:
    found = side(break_, "erp")
    if break_.type != "rounding" or break_.pair not in DOCUMENTS or found is None:
        return None
    if break_.left_amount is None or break_.right_amount is None or break_.left_amount == break_.right_amount:
        return None
    erp, said = found
    entity, on = break_.legal_entity, today(break_.legal_entity)
    rules = AccountingRule.objects.filter(booking.in_force(on), legal_entity=entity, product_family=VARIANCE)
    rule = rules.filter(product=None, region="").order_by("-version", "-pk").first()
    if rule is None:
        raise WhyNot(f"No accounting rule of the product family “{VARIANCE}” names the variance account of {entity}.")
    difference = break_.left_amount - break_.right_amount
    is_owed = (difference > 0) == (break_.pair == "invoices")
    line = PostingLine(
        description=f"Rounding: {break_.title}"[:200], revenue_account=rule.revenue_account, net=abs(difference),
        dimensions=rule.dimensions, rule=rule.label,
    )  # fmt: skip
    document: dict[str, Any] = {
        "key": f"{VARIANCE}/{break_.pk}", "party": said["party"], "currency": break_.currency, "document_on": on, "lines": (line,),
        "total": abs(difference), "journal": rule.journal, "note": break_.title[:200],
    }  # fmt: skip
    request = PostInvoice(**document) if is_owed else PostCreditMemo(**document)
    effects = (
        *_posts("invoice" if is_owed else "credit memo", request, erp, ON_APPROVAL),
        f"by {rule.label}; the two documents stay as they are",
    )
    act = Write(erp, "post_invoice" if is_owed else "post_credit_memo", request, f"mend:{erp.pk}:{said['id']}")
    return Plan(Mend.Plan.WRITE_OFF, _words("write_off"), effects, amount=difference, currency=break_.currency, act=act)


def _accept(break_: Break) -> Plan:
    effects = ("nothing is posted; the break is closed with the reason, and comes back when its amounts change",)
    return Plan(Mend.Plan.ACCEPT, _words("accept"), effects, amount=break_.exposed, currency=break_.currency)
