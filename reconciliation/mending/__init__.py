"""Mending breaks: one person proposes a plan, another approves it, and the engine carries it out like all other work.

    propose ──▶ proposed ── approve ──▶ applying ── its run ends ──▶ done | failed
                    └── refuse ──▶ refused

A break whose mend is under way is `repairing`. The next scan closes it, or shows that it did not help: then it is
reopened. What was accepted or written off is closed at once, and comes back only with other amounts. Every verb locks the
break, and writes its audit entry in the transaction of the change.
"""

from __future__ import annotations

from typing import Any

import structlog
from django.contrib.auth.models import User
from django.db import connection as database
from django.db import transaction
from django.utils import timezone

from canonical import xref
from canonical.models import LegalEntity, move
from hub import flows, inbox
from hub.audit import chain as audit
from hub.credits.models import Credit
from hub.flows import order_to_cash
from hub.models import Run
from hub.models.work import OPEN_RUN
from reconciliation import people
from reconciliation.mending import credits, mend_flow, restate_flow
from reconciliation.mending.plan import Plan, Relink, Restate, ShowCase, Work, Write
from reconciliation.mending.planning import find, plans
from reconciliation.models import Break, Mend, MendRule
from reconciliation.models.breaks import OPEN_BREAK
from reconciliation.people import NotAllowed

__all__ = ["NotAllowed", "Plan", "approve", "begin", "plans", "propose", "refuse", "settle_mends", "variance_trend"]

log = structlog.get_logger("reconciliation")

BY = "reconciliation"
AT_A_GLANCE = 500
"""Mends that are settled in one call."""


def propose(break_: Break, plan: str, user: User, reason: str, choice: str = "") -> Mend:
    """Put a plan before a second person, with its dry run as it is now. Raises NotAllowed."""
    people.require(user, people.WORK)
    with transaction.atomic():
        held = locked(break_.pk)
        found = _takeable(held, plan, choice)
        if found.plan != Mend.Plan.REPLAY:
            people.require_words(reason, "the break should be mended so")
        if Mend.objects.filter(item=held, state__in=["proposed", "applying"]).exists():
            raise NotAllowed("A mend of this break is under way, or waits for approval.")
        mend = _made(held, found, reason.strip(), asked_by=user)
        audit.append("mend.proposed", actor=user.username, obj=mend, after=_said(mend), note=mend.reason)
    return mend


def approve(mend: Mend, user: User) -> Mend:
    """Carry out what another person proposed, if it is still what was shown. Raises NotAllowed."""
    people.require(user, people.APPROVE)
    with transaction.atomic():
        held, row = locked(mend.item_id), _locked_mend(mend)
        if row.asked_by_id == user.pk:
            raise NotAllowed("You proposed it: another person has to approve it.")
        found = _takeable(held, row.plan, row.choice)
        if (list(found.effects), found.amount, found.currency) != (row.effects, row.amount, row.currency):
            raise NotAllowed("What it would do has changed since it was proposed: refuse it, and propose it again.")
        row.approved_by = user
        _apply(held, row, found, by=user.username)
        audit.append("mend.approved", actor=user.username, obj=row, after=_said(row), note=row.reason)
    return row


def refuse(mend: Mend, user: User, reason: str = "") -> Mend:
    """Say no; whoever proposed it may take it back so. Raises NotAllowed."""
    people.require(user, people.WORK)
    with transaction.atomic():
        locked(mend.item_id)
        row = _locked_mend(mend)
        if row.asked_by_id != user.pk:
            people.require(user, people.APPROVE)
        _refuse(row, by=user.username, note=reason)
    return row


# carrying out ----------------------------------------------------------------------------------------------------


def begin(held: Break, plan: Plan, rule: MendRule) -> Mend:
    """Let a break mend itself, as a rule allows: the caller has locked both, and judged. Inside its transaction."""
    mend = _made(held, plan, "", is_automatic=True, rule=rule)
    _apply(held, mend, plan, by=BY)
    audit.append("mend.applied", actor=BY, obj=mend, after=_said(mend), policy=f"{rule.label}: {rule}")
    return mend


def _apply(held: Break, mend: Mend, plan: Plan, *, by: str) -> None:
    act = plan.act
    if isinstance(act, ShowCase):
        mend.run = credits.run_of_case(Credit.objects.get(pk=act.credit), by)
    elif isinstance(act, Restate):
        mend.run = inbox.start(
            flows.current(restate_flow.NAME), connection=act.billing, subject_kind="invoice", subject_id=act.external_id,
            object_id=act.object_id, by=by, amount=mend.amount, currency=mend.currency,
            context={
                "reverse": act.reverse.model_dump(mode="json"), "document": act.document, "key": act.key, "approved": act.approved,
            },
        )  # fmt: skip
    elif isinstance(act, Work):
        mend.run = inbox.start(
            flows.current(order_to_cash.FLOW.name), connection=act.billing, subject_kind=act.kind, subject_id=act.external_id,
            by=by, amount=mend.amount, currency=mend.currency,
        )  # fmt: skip
    elif isinstance(act, Write):
        mend.run = inbox.start(
            flows.current(mend_flow.NAME), connection=act.system, subject_kind="mend", subject_id=str(mend.pk), object_id=mend.pk,
            by=by, amount=abs(mend.amount), currency=mend.currency,
            context={
                "command": act.command, "request": act.request.model_dump(mode="json"), "lane": act.lane, "becomes": act.becomes,
            },
        )  # fmt: skip
    elif isinstance(act, Relink):
        _relink(act, mend, by)
    move(mend, "apply", by=by, note=mend.reason, save=["approved_by", "run"])
    if plan.plan == Mend.Plan.ACCEPT:
        _close(held, "accepted", by=by, note=mend.reason)
    else:
        move(held, "repair", by=by, note=str(mend.get_plan_display()))
    if mend.run is None:
        _end(mend, "finish", by=by)


def _relink(act: Relink, mend: Mend, by: str) -> None:
    try:
        xref.replace(
            act.erp.pk, act.kind, act.external_id, act.kind, act.object_id, number=act.number, provenance=f"mend {mend.pk}",
        )  # fmt: skip
    except xref.AlreadyBound as problem:
        raise NotAllowed(str(problem)) from None
    if act.kind == "invoice":
        mend_flow.tell_invoice(act.object_id, "invoice", by=by, note=f"is {act.number or act.external_id} in {act.erp}")


def settle_mends() -> int:
    """Say of mends under way how their runs ended, and of breaks whether it helped. Returns how many mends ended.

    Proposals about breaks that closed meanwhile are refused. Called periodically; several callers do each thing once.
    """
    ended = 0
    under_way = Mend.objects.filter(state="applying", run__isnull=False).exclude(run__state__in=OPEN_RUN)
    pointless = Mend.objects.filter(state="proposed", item__state="closed")
    for pk, item in [*under_way.values_list("pk", "item_id")[:AT_A_GLANCE], *pointless.values_list("pk", "item_id")[:AT_A_GLANCE]]:
        with transaction.atomic():
            ended += _settle(locked(item), pk)
    _reopen_what_is_still_there()
    return ended


def _settle(held: Break, pk: int) -> bool:
    mend = Mend.objects.select_for_update().get(pk=pk)
    if mend.state == "proposed" and held.state == "closed":
        _refuse(mend, by=BY, note="the break is closed")
        return True
    run = Run.objects.get(pk=mend.run_id) if mend.run_id else None
    if mend.state != "applying" or run is None or run.state in OPEN_RUN:
        return False
    is_done = run.state == "done"
    _end(mend, "finish" if is_done else "fail", by=BY, run_id=run.pk, note=f"run {run.pk} is {run.state}")
    if held.state == "repairing":
        if not is_done:
            move(held, "reopen", by=BY, note=f"its mend did not come about: run {run.pk} is {run.state}", run_id=run.pk)
        elif mend.plan == Mend.Plan.WRITE_OFF:
            _close(held, "written off", by=BY, note=mend.reason)
    audit.append(f"mend.{mend.state}", actor=BY, obj=mend, after=_said(mend), correlation_id=run.correlation_id)
    return True


def _reopen_what_is_still_there() -> None:
    """A scan that began after the mend was done found the break again: it did not help."""
    repairing = Break.objects.filter(state="repairing").exclude(mends__state="applying").select_related("last_scan")
    for pk in list(repairing.values_list("pk", flat=True)[:AT_A_GLANCE]):
        with transaction.atomic():
            held = locked(pk)
            last = held.mends.exclude(ended_at=None).order_by("-ended_at").first()
            if held.state == "repairing" and last is not None and last.ended_at and held.last_scan.as_of > last.ended_at:
                move(held, "reopen", by=BY, note=f"scan {held.last_scan_id} found it again after the mend")


# what every verb shares ------------------------------------------------------------------------------------------


def locked(pk: int) -> Break:
    """The break as it is now, until the transaction ends."""
    rows = Break.objects.select_for_update(of=("self",), no_key=True).select_related("legal_entity", "last_scan")
    return rows.get(pk=pk)


def _locked_mend(mend: Mend) -> Mend:
    row = Mend.objects.select_for_update().get(pk=mend.pk)
    if row.state != "proposed":
        raise NotAllowed(f"It is {row.state} already.")
    return row


def _takeable(held: Break, plan: str, choice: str = "") -> Plan:
    if held.state not in OPEN_BREAK:
        raise NotAllowed("The break is closed.")
    if held.state == "repairing":
        raise NotAllowed("The break is being repaired: wait for the next scan.")
    found = find(held, plan, choice)
    if found is None:
        raise NotAllowed(f"“{plan}” does not fit this break.")
    if found.why_not:
        raise NotAllowed(found.why_not)
    if found.plan == Mend.Plan.HAND_OVER:
        raise NotAllowed("That is for a person to do: the hub does nothing of it.")
    return found


def _made(held: Break, plan: Plan, reason: str, **who: Any) -> Mend:
    return Mend.objects.create(
        item=held, plan=plan.plan, choice=plan.choice, effects=list(plan.effects), amount=plan.amount, currency=plan.currency,
        reason=reason, **who,
    )  # fmt: skip


def _close(held: Break, how: str, *, by: str, note: str) -> None:
    held.closed_at, held.closed_how = timezone.now(), how
    move(held, "close", by=by, note=note, save=["closed_at", "closed_how"])


def _end(mend: Mend, name: str, *, by: str, note: str = "", run_id: int | None = None) -> None:
    mend.ended_at = timezone.now()
    move(mend, name, by=by, note=note, run_id=run_id, save=["ended_at"])


def _refuse(mend: Mend, *, by: str, note: str) -> None:
    _end(mend, "refuse", by=by, note=note)
    audit.append("mend.refused", actor=by, obj=mend, after=_said(mend), note=note)


def _said(mend: Mend) -> dict[str, Any]:
    return {
        "break": mend.item_id, "plan": str(mend.plan), "effects": mend.effects, "amount": str(mend.amount),
        "currency": mend.currency, "state": mend.state, "run": mend.run_id, "is_automatic": mend.is_automatic,
        "rule": mend.rule.label if mend.rule else "",
    }  # fmt: skip


# the variance account --------------------------------------------------------------------------------------------

TREND = """
    SELECT date_trunc('month', m.ended_at AT TIME ZONE %(zone)s)::date, m.currency, count(*), sum(m.amount), sum(abs(m.amount))
    FROM reconciliation_mend m JOIN reconciliation_break b ON b.id = m.item_id
    WHERE m.plan = 'write_off' AND m.state = 'done' AND b.legal_entity_id = %(entity)s
      AND m.ended_at AT TIME ZONE %(zone)s
          >= date_trunc('month', now() AT TIME ZONE %(zone)s) - make_interval(months => %(months)s - 1)
    GROUP BY 1, 2 ORDER BY 1, 2"""


def variance_trend(entity: LegalEntity, months: int = 12) -> list[dict[str, Any]]:
    """What was written off in the last months, by month and currency: `count`, `net` (positive: billing had more) and `gross`.

    A gross that grows while the net stays small is rounding; a net that grows is not.
    """
    with database.cursor() as cursor:
        cursor.execute(TREND, {"entity": entity.pk, "zone": entity.timezone, "months": months})
        names = ("month", "currency", "count", "net", "gross")
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
