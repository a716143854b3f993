"""Mends in the ledger: rounding goes to the variance account, and what a schedule recognised too much or too little back."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from canonical import xref
from canonical.commands import JournalLine, PostCreditMemo, PostingLine, PostInvoice, PostJournal
from canonical.models import Invoice
from canonical.money import exponent
from hub import booking
from hub.models import AccountingRule
from reconciliation.mending.plan import ON_APPROVAL, Page, Plan, WhyNot, Write, books, key_of, name, plain, posts, row, side, words
from reconciliation.models import Break, Mend
from reconciliation.people import today

DOCUMENTS = ("invoices", "credit_memos")
VARIANCE = "variance"
"""Product family of the accounting rule that names an entity's variance account. No product is of it."""


def adjust(break_: Break) -> Plan | None:
    """A journal entry between revenue and deferred revenue, about the very schedule, in the period where it ends."""
    found = side(break_, "erp")
    if break_.type != "recognition" or found is None or break_.left_amount is None or break_.right_amount is None:
        return None
    erp, said = found
    reading = row(break_, erp, said)
    excess = break_.right_amount - break_.left_amount
    if reading.extra.get("form") == "credit":
        raise WhyNot("It is the schedule of a credit: whoever keeps the ledger says which side is right.")
    if reading.extra.get("state") != "closed" or reading.service_to is None or reading.service_from is None:
        raise WhyNot(f"{erp} has not posted the whole schedule yet: what it posts last may still put it right.")
    months = (reading.service_to.year - reading.service_from.year) * 12 + reading.service_to.month - reading.service_from.month + 1
    most = 2 * months * Decimal(1).scaleb(-exponent(break_.currency))
    if abs(excess) > most:
        raise WhyNot(
            f"{plain(abs(excess))} {break_.currency} is more than rounding explains in {months} months ({plain(most)}): "
            f"look in {erp} at who else wrote to this schedule."
        )
    revenue, deferred = _accounts(reading, xref.find(erp.pk, "invoice", said.get("about", "")))
    sides = ({"debit": excess}, {"credit": excess}) if excess > 0 else ({"credit": -excess}, {"debit": -excess})
    request = PostJournal(
        key=key_of(break_, "adjust", f"mend/{break_.pk}/journal"), currency=break_.currency,
        document_on=reading.service_to, total=abs(excess), about_kind="recognition", about=said["id"], note=break_.title[:200],
        lines=(JournalLine(account=revenue, **sides[0]), JournalLine(account=deferred, **sides[1])),
    )  # fmt: skip
    effects = (
        f"would post a journal entry of {request.total} {request.currency} in {books(erp)} about the schedule of {name(said)}",
        f"dated {request.document_on} or the first open day after, under the key {request.key}",
        *(f"account {line.account}: {f'{line.debit} debit' if line.debit else f'{line.credit} credit'}" for line in request.lines),
        f"after it the schedule comes to {plain(break_.left_amount)} {break_.currency}; the opposite entry takes it back",
    )
    act = Write(erp, "post_journal", request, f"mend:{erp.pk}:{said['id']}")
    return Plan(Mend.Plan.ADJUST, words("adjust"), effects, amount=request.total, currency=request.currency, act=act)


def _accounts(reading: Any, invoice_id: int | None) -> tuple[str, str]:
    """(revenue, deferred revenue) by the rules that booked the line. Raises WhyNot when they do not tell."""
    if invoice_id is None:
        raise WhyNot(f"The hub never posted {reading.number or reading.about}: whoever made it corrects it there.")
    lines = [line for line in Invoice.objects.get(pk=invoice_id).lines.all() if line.posting and line.posting["deferred_account"]]
    same = [line for line in lines if (line.service_from, line.service_to) == (reading.service_from, reading.service_to)]
    pairs = {(line.posting["revenue_account"], line.posting["deferred_account"]) for line in same or lines if line.posting}
    if len(pairs) != 1:
        raise WhyNot("The lines of its invoice go to several accounts: a person must say which of them it corrects.")
    return pairs.pop()


def write_off(break_: Break) -> Plan | None:
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
        page = Page("Draft the rule", "hub_accountingrule_add", {"legal_entity": str(entity.pk), "product_family": VARIANCE})
        raise WhyNot(f"No accounting rule of the product family “{VARIANCE}” names the variance account of {entity}.", page)
    difference = break_.left_amount - break_.right_amount
    is_owed = (difference > 0) == (break_.pair == "invoices")
    line = PostingLine(
        description=f"Rounding: {break_.title}"[:200], revenue_account=rule.revenue_account, net=abs(difference),
        dimensions=rule.dimensions, rule=rule.label,
    )  # fmt: skip
    document: dict[str, Any] = {
        "key": key_of(break_, "write_off", f"{VARIANCE}/{break_.pk}"), "party": said["party"], "currency": break_.currency,
        "document_on": on, "lines": (line,),
        "total": abs(difference), "journal": rule.journal, "note": break_.title[:200],
    }  # fmt: skip
    request = PostInvoice(**document) if is_owed else PostCreditMemo(**document)
    effects = (
        *posts("invoice" if is_owed else "credit memo", request, erp, ON_APPROVAL),
        f"by {rule.label}; the two documents stay as they are",
    )
    act = Write(erp, "post_invoice" if is_owed else "post_credit_memo", request, f"mend:{erp.pk}:{said['id']}")
    return Plan(Mend.Plan.WRITE_OFF, words("write_off"), effects, amount=difference, currency=break_.currency, act=act)
