"""Breaks on twins of the real systems, found and mended: what the tests of mends share."""

from __future__ import annotations

from datetime import date
from typing import Any

from django.contrib.auth.models import User

from canonical.commands import PostInvoice
from connectors.clients import client_for
from connectors.sdk.http import Call
from hub import roles, rulebook
from hub.models import Run
from reconciliation import scanning
from reconciliation.mending import approve, plans, propose, settle_mends
from reconciliation.models import Break, Mend, MendRule, Scan
from reconciliation.scanning import concluding
from tests.reconciliation.staff import person
from tests.support.time import work
from tests.support.world import World


def settle(world: World) -> None:
    for _ in range(5):
        if not world.deliver():
            return
        work()


def scanned(world: World) -> Scan:
    """A full scan; what is younger than an hour counts, as nothing is under way."""
    scan = scanning.begin(world.entity, full=True, by="test")
    work()
    with_no_grace = scan.as_of.replace(year=scan.as_of.year + 1)
    Scan.objects.filter(pk=scan.pk).update(as_of=with_no_grace)
    concluding.conclude_all()
    Scan.objects.filter(pk=scan.pk).update(as_of=scan.as_of)
    scan.refresh_from_db()
    assert scan.state == "done", scan.failure
    return scan


INVOICE, MOVE_LINE = "account.invoice", "account.move.line"


def erased(twin: Any, pk: int) -> None:
    """Take a posted document out of the ERP's database, as only an administrator of that can."""
    with twin.lock:
        row = twin.db.tables[INVOICE][pk]
        twin.db._assign(INVOICE, row, {"state": "draft"})
        twin.db.delete(INVOICE, row)
        twin.db.ledger = [entry for entry in twin.db.ledger if entry["id"] != pk]


def entered(world: World, key: str) -> Any:
    """Post what the hub has posted once more, under another key: by hand, so to say."""
    step = Run.objects.filter(steps__name="post").get().steps.get(name="post")
    request = PostInvoice.model_validate({**(step.request or {}), "key": key})
    return world.erp.spec.commands["post_invoice"].run(client_for(world.erp), request, Call())


def open_breaks(pair: str = "") -> list[Break]:
    rows = Break.objects.exclude(state="closed").order_by("pk")
    return list(rows.filter(pair=pair) if pair else rows)


def kinds(break_: Break) -> dict[str, str]:
    """Plan → why it cannot be taken."""
    return {plan.plan: plan.why_not for plan in plans(break_)}


def allowed(world: World, *, is_draft: bool = False, **said: Any) -> MendRule:
    """A rule in force that lets replays up to 1,000 EUR happen by themselves."""
    drafter, approver = person("dora", roles.CONTROLLER), person("cleo", roles.CONTROLLER)
    given = {"plan": "replay", "currency": "EUR", "limit": "1000", "per_day": "20000", "valid_from": date(2026, 1, 1)}
    rule = MendRule.objects.create(**{**given, **said}, drafted_by=drafter)
    if not is_draft:
        rulebook.approve(rule, approver)
    return MendRule.objects.get(pk=rule.pk)


def mended(break_: Break, plan: str, ann: User, carla: User) -> Mend:
    mend = approve(propose(break_, plan, ann, "month end"), carla)
    work()
    settle_mends()
    mend.refresh_from_db()
    return mend
