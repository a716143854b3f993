"""What could be done about a break, each with what it would do: a dry run. Nothing here changes or calls anything.

| plan | when | carried out by |
|---|---|---|
| replay | billing has what the ERP should have, or says something newer | a run of order to cash |
| post | it was posted and is gone, or no flow carries it (credit notes made by hand, customers) | the flow `mend` |
| reverse | the ERP has a document of ours too many; billing a credit note nobody approved | the flow `mend`: a further document |
| restate | the ERP's document of ours says something else than billing | the flow `restate`: reversal, then a new document |
| adjust | the ERP recognised a little more or less than a line | the flow `mend`: a journal entry |
| relink | one document is missing on each side, of the same amount | the cross-reference |
| write off | the two differ by rounding | the flow `mend`: a document on the variance account |
| hand over | the hub must not decide it, or has no way to do it | a person, told what to do, with figures |
| accept | always | the break is closed with the reason |

The table of every type and pair is in docs/reconciliation.md.
"""

from __future__ import annotations

from collections.abc import Callable

from pydantic import ValidationError

from canonical import xref
from hub import booking
from hub.engine.flow import Blocked
from hub.flows import order_to_cash
from hub.models import Run
from hub.models.work import OPEN_RUN
from reconciliation.mending import credits, documents, ledger, masters, subscriptions
from reconciliation.mending.plan import Plan, Relink, WhyNot, invoice_of, money, name, side, subject, words
from reconciliation.models import Break, Mend
from reconciliation.models.breaks import OPEN_BREAK

__all__ = ["find", "plans"]

DOCUMENTS = ("invoices", "credit_memos")
OURS = {"invoices": "invoice", "credit_memos": "credit_memo"}
Planner = Callable[[Break], Plan | None]


def plans(break_: Break) -> list[Plan]:
    """What fits this break, best first; what a person does and accepting it come last. Those that cannot be taken say why."""
    found = [plan for kind, make in PLANNERS if (plan := _tried(kind, make, break_)) is not None]
    found += masters.survivors(break_)
    found.sort(key=lambda plan: (plan.plan == Mend.Plan.HAND_OVER, bool(plan.why_not)))
    return [*found, _accept(break_)]


def find(break_: Break, kind: str, choice: str = "") -> Plan | None:
    """The plan of a kind, as it is now; where several fit, the chosen one, or the first that can be taken."""
    if choice:
        return next((plan for plan in masters.survivors(break_) if (plan.plan, plan.choice) == (kind, choice)), None)
    if kind == Mend.Plan.ACCEPT:
        return _accept(break_)
    makers = [make for of, make in PLANNERS if of == kind]
    fitting = [plan for make in makers if (plan := _tried(kind, make, break_)) is not None]
    return next((plan for plan in fitting if not plan.why_not), fitting[0] if fitting else None)


def _tried(kind: str, make: Planner, break_: Break) -> Plan | None:
    try:
        return make(break_)
    except (WhyNot, xref.NotThere, Blocked, ValidationError) as problem:
        page = problem.page if isinstance(problem, WhyNot) else None
        return Plan(Mend.Plan(kind), words(kind), why_not=_told(problem), page=page)
    except KeyError as missing:
        return Plan(Mend.Plan(kind), words(kind), why_not=f"A system does not tell what this takes: {missing.args[0]}.")


def _told(problem: Exception) -> str:
    return "; ".join(str(each["msg"]) for each in problem.errors()) if isinstance(problem, ValidationError) else str(problem)


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
    document = invoice_of(work)
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
    return Plan(Mend.Plan.REPLAY, words("replay"), effects, amount=break_.exposed, currency=break_.currency, act=work)


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
        raise WhyNot(f"The hub has not recorded {name(here)} of {billing} yet.")
    if there["kind"] != kind:
        raise WhyNot(f"{name(there)} is another kind of document.")
    owner = xref.find(erp.pk, kind, there["id"])
    if owner not in (None, object_id):
        raise WhyNot(f"{name(there)} is the counterpart of another document of ours.")
    effects = (
        f"would say that {name(there)} in {erp} is {name(here)} of {billing}, {money(here)}",
        "nothing is posted; both breaks close when the next scan finds them agreeing",
    )
    act = Relink(erp, kind, there["id"], object_id, there.get("number", ""))
    return Plan(Mend.Plan.RELINK, words("relink"), effects, amount=break_.exposed, currency=break_.currency, act=act)


def _accept(break_: Break) -> Plan:
    effects = ("nothing is posted; the break is closed with the reason, and comes back when its amounts change",)
    return Plan(Mend.Plan.ACCEPT, words("accept"), effects, amount=break_.exposed, currency=break_.currency)


PLANNERS: tuple[tuple[str, Planner], ...] = (
    ("replay", _replay),
    ("replay", subscriptions.replay),
    ("replay", credits.show_again),
    ("post", documents.post),
    ("post", masters.customer),
    ("reverse", documents.reverse),
    ("reverse", credits.void),
    ("restate", documents.restate),
    ("adjust", ledger.adjust),
    ("relink", _relink),
    ("write_off", ledger.write_off),
    ("hand_over", documents.by_hand),
    ("hand_over", subscriptions.by_hand),
    ("hand_over", masters.by_hand),
    ("hand_over", credits.by_hand),
)
"""Plan → what proposes it. Of one plan no two fit the same break."""
