"""What can be done about service credits that support, billing and the ERP do not all have, or that nobody approved.

A credit nobody approved is taken back where it was given. Should the customer have it, it is asked for by the normal workflow:
then it is approved before anything is posted, and is the same in all systems.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from canonical import xref
from canonical.commands import VoidCreditNote
from canonical.models import ExternalRef
from connectors.models import Connection
from hub import inbox
from hub.credits.models import Credit
from hub.credits.models.credit import IN_BOOKS
from hub.engine import settle
from hub.flows import case_block
from hub.models import Run
from reconciliation.mending.plan import (
    Page,
    Plan,
    ShowCase,
    WhyNot,
    Write,
    hand_over,
    key_of,
    money,
    name,
    readings,
    row,
    side,
    words,
)
from reconciliation.models import Break, Mend

NAME = "credits"


GIVEN_BY_HAND = ((NAME, "unapproved"), ("credit_memos", "missing_right"))
"""Where billing may hold a credit note that nobody approved."""


def credit_of(break_: Break) -> Credit | None:
    """The credit that a break is about, if the hub knows it: by what any system shows of it."""
    for said in (each for held in (break_.left, break_.right) for each in readings(held)):
        ref = ExternalRef.objects.filter(
            connection__slug=said["system"], external_id=said["id"], object_kind="credit"
        ).order_by("-id").first()  # fmt: skip
        if ref is not None:
            return Credit.objects.filter(pk=ref.object_id).first()
        number = said.get("number", "")
        if number.startswith("CR-") and number[3:].isdigit() and len(number) < 19:
            return Credit.objects.filter(pk=int(number[3:])).first()
    return None


def show_again(break_: Break) -> Plan | None:
    """ERP and billing hold it, and its case does not show it."""
    if (break_.pair, break_.type) != (NAME, "orphan_credit") or side(break_, "erp") is None or side(break_, "billing") is None:
        return None
    credit = credit_of(break_)
    if credit is None or credit.state not in IN_BOOKS or case_block.case_id(credit) is None:
        return None
    effects = (f"would write the block of {credit.number} on its case again, and read it back", "nothing is posted")
    return Plan(Mend.Plan.REPLAY, words("replay"), effects, amount=credit.total, currency=credit.currency, act=ShowCase(credit.pk))


def void(break_: Break) -> Plan | None:
    """Void the credit note that billing gave and nobody approved."""
    found = side(break_, "billing")
    if (break_.pair, break_.type) not in GIVEN_BY_HAND or found is None:
        return None
    billing, said = found
    credit = credit_of(break_)
    if credit is not None and credit.state in ("approved", "posting", *IN_BOOKS):
        raise WhyNot(
            f"{credit.number} was approved with another amount: it is taken back as a whole, on its own page.", _page(credit)
        )
    if side(break_, "erp") is not None:
        raise WhyNot("The ERP holds it as well: whoever made it there takes it back first, so that the two do not part.")
    if "void_credit_note" not in billing.spec.commands or row(break_, billing, said).extra.get("form") == "balance":
        raise WhyNot(f"{billing} keeps it on the customer's balance: whoever gave it takes it back there.")
    request = VoidCreditNote(
        key=key_of(break_, "reverse", f"mend/{break_.pk}/void"), document=said["id"], party=said["party"],
        total=Decimal(said["total"]), currency=said["currency"],
    )  # fmt: skip
    effects = (
        f"would void {name(said)} of {money(said)} in {billing}: the customer owes again what it took off",
        "should the customer have it, it is asked for anew, and approved before it is posted",
    )
    act = Write(billing, "void_credit_note", request, f"mend:{billing.pk}:{said['id']}")
    return Plan(
        Mend.Plan.REVERSE, words("reverse"), effects, amount=request.total, currency=request.currency, act=act,
        page=_ask(billing, said),
    )  # fmt: skip


def by_hand(break_: Break) -> Plan | None:
    """Who does what, and where."""
    if break_.pair != NAME:
        return None
    credit = credit_of(break_)
    if break_.type == "unapproved":
        return _unapproved(break_, credit)
    if credit is None:
        return None
    if break_.type == "orphan_credit":
        if side(break_, "billing") is None and side(break_, "erp") is not None:
            return hand_over(
                f"the ERP holds {credit.number} and billing does not: on its page it is taken back by an approved reversal; "
                f"whoever voided it in billing says why",
                page=_page(credit),
            )
        return None
    if break_.type in ("amount", "fx", "party", "status", "stale"):
        return hand_over(
            f"{credit.number} was approved with {credit.total.normalize():f} {credit.currency}: what says so stays, and the other "
            f"is corrected by whoever changed it; or the whole is taken back on the credit's page and asked for anew",
            page=_page(credit),
        )
    return None


def _unapproved(break_: Break, credit: Credit | None) -> Plan | None:
    if credit is not None and credit.state not in IN_BOOKS:
        return hand_over(
            f"{credit.number} is {credit.state.replace('_', ' ')}, and is given already: decide it, or let it be taken back",
            page=_page(credit),
        )
    if side(break_, "erp") is None:
        if side(break_, "billing") is not None:
            return None
        return hand_over(
            "only a case shows it, and no money was given: whoever wrote it there takes it off the case",
            "should the customer have it, ask for it by the normal workflow: approved, it is posted once, and shown on the case",
            page=Page("Ask for it by the normal workflow", "desk_new", {"case": _case(break_)}),
        )
    erp, said = side(break_, "erp") or (None, {})
    return hand_over(
        f"whoever made {name(said)} of {money(said)} in {erp} takes it back there; the hub never posted it, and does not reverse "
        f"what is not its own",
        "should the customer have it, ask for it by the normal workflow: approved, it is posted once, and mirrored in billing",
        page=_ask_by_erp(erp, said),
    )


def _page(credit: Credit) -> Page:
    return Page(f"Open {credit.number}", "desk_credit", {"pk": str(credit.pk)})


def _case(break_: Break) -> str:
    found = side(break_, "support")
    return str(found[1]["id"]) if found else ""


def _ask(billing: Connection, said: dict[str, Any]) -> Page:
    return Page("Ask for it by the normal workflow", "desk_new", {"customer": said.get("party", "")})


def _ask_by_erp(erp: Connection | None, said: dict[str, Any]) -> Page | None:
    party = xref.find(erp.pk, "party", said.get("party", "")) if erp else None
    return Page("Ask for it by the normal workflow", "desk_new", {"customer": said["party"]}) if party else None


def asked_for(break_: Break) -> list[Credit]:
    """The credits that people have asked for because of a break: their note names it."""
    if break_.pair not in (NAME, "credit_memos", "subscriptions") or not break_.pk:
        return []
    since = Credit.objects.filter(legal_entity=break_.legal_entity, created_at__gte=break_.opened_at)
    return list(since.filter(note__startswith=mark(break_)).order_by("pk")[:10])


def mark(break_: Break) -> str:
    """How the note of a credit begins that was asked for because of a break."""
    return f"Break {break_.pk}: "


def run_of_case(credit: Credit, by: str) -> Run:
    """Begin to write the block of its case. Inside a transaction."""
    case = case_block.case_id(credit)
    assert case is not None and credit.case_id is not None and credit.support is not None
    digest = settle.digest(case_block.block(credit.case_id, case))
    return inbox.start(
        case_block.FLOW, connection=credit.support, subject_kind="support_case", subject_id=case, by=by,
        context={"digest": digest}, object_id=credit.case_id,
    )  # fmt: skip
