"""Breaks of one cause on one page: how many and how much, proposed or approved as one act, with what became of each."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.urls import path, reverse
from django.utils.http import urlencode

from canonical.models import LegalEntity
from hub.admin_ui import money
from reconciliation.admin.closes import seen_by, show
from reconciliation.admin.words import pair_title, problem, sums
from reconciliation.mending import planning, together
from reconciliation.models import Break, Mend
from reconciliation.people import APPROVE, WORK, NotAllowed

LOOK = "reconciliation.view_break"
SHOWN = 25
ONE_BY_ONE = (Mend.Plan.HAND_OVER,)


def page(request: HttpRequest) -> HttpResponse:
    """One cluster; a POST proposes or approves."""
    cluster = asked_for(request)
    results: list[together.Result] = []
    if request.method == "POST":
        try:
            results = act(request, cluster)
        except NotAllowed as refusal:
            messages.error(request, str(problem(refusal)))
        else:
            failed = sum(bool(result.problem) for result in results)
            messages.success(
                request, f"{len(results) - failed} of {len(results)} are done{', the others say why not' if failed else ''}."
            )
    breaks, mends = list(cluster.breaks()[: together.MOST]), list(cluster.proposed()[: together.MOST])
    mine = [mend for mend in mends if mend.asked_by_id == request.user.pk]
    others = [mend for mend in mends if mend.asked_by_id != request.user.pk]
    fitting = planning.plans(breaks[0]) if breaks else []
    context = {
        "title": "Breaks of one cause", "cluster": cluster, "entity": LegalEntity.objects.get(pk=cluster.entity),
        "type": dict(Break.Type.choices).get(cluster.type, cluster.type), "pair": pair_title(cluster.pair), "results": results,
        "breaks": [(each, money(each.exposed, each.currency)) for each in breaks[:SHOWN]], "count": len(breaks),
        "more": max(0, cluster.breaks().count() - len(breaks)), "money": sums(together.size(cluster).money),
        "plans": [plan for plan in fitting if not (plan.why_not or plan.choice or plan.plan in ONE_BY_ONE)],
        "mends": [(mend, mend.get_plan_display(), money(mend.amount, mend.currency)) for mend in others[:SHOWN]],
        "waiting": others, "mine": len(mine), "moved": sums(totals(others)), "most": together.MOST,
        "may_propose": request.user.has_perm(WORK), "may_approve": request.user.has_perm(APPROVE),
    }  # fmt: skip
    return show(request, "admin/reconciliation/together.html", context)


def act(request: HttpRequest, cluster: together.Cluster) -> list[together.Result]:
    """Do what was pressed. Raises NotAllowed."""
    typed, user = request.POST.get("expected", ""), request.user
    expected = int(typed) if typed.isdigit() and len(typed) < 6 else -1
    if request.POST.get("do") == "propose":
        plan = request.POST.get("plan", "")
        if plan not in Mend.Plan.values:
            raise NotAllowed("Choose one of the plans.")
        return together.propose(cluster, plan, user, request.POST.get("reason", ""), expected=expected)  # type: ignore[arg-type]
    shown = [int(pk) for pk in request.POST.get("mends", "").split(",") if pk.isdigit() and len(pk) < 19]
    mends = list(cluster.proposed().filter(pk__in=shown[: together.MOST]))
    return together.approve(mends, user, expected=expected)  # type: ignore[arg-type]


def totals(mends: list[Mend]) -> list[tuple[str, Any]]:
    """What they would move, by currency."""
    found: dict[str, Any] = {}
    for mend in mends:
        if mend.currency:
            found[mend.currency] = found.get(mend.currency, 0) + abs(mend.amount)
    return list(found.items())


def asked_for(request: HttpRequest) -> together.Cluster:
    """The cluster that the address names."""
    said = request.GET
    entity = said.get("entity", "")
    if not entity.isdigit() or len(entity) > 9 or not LegalEntity.objects.filter(pk=int(entity)).exists():
        raise Http404
    return together.Cluster(int(entity), said.get("pair", "")[:40], said.get("type", "")[:20], said.get("cause", "")[:40])


def address(cluster: together.Cluster) -> str:
    """The page of a cluster."""
    said: dict[str, str | int] = {"entity": cluster.entity, "pair": cluster.pair, "type": cluster.type, "cause": cluster.cause}
    return f"{reverse('admin:reconciliation_together')}?{urlencode(said)}"


def listed() -> list[dict[str, Any]]:
    """Clusters as the list of breaks shows them."""
    types = dict(Break.Type.choices)
    return [
        {
            "url": address(cluster), "count": size.count, "money": sums(size.money), "cause": cluster.cause,
            "title": f"{pair_title(cluster.pair)}: {types.get(cluster.type, cluster.type)}",
        }
        for cluster, size in together.clusters()[:6]
    ]  # fmt: skip


def urls() -> list[Any]:
    """Its address."""
    return [path("reconciliation/together/", seen_by(LOOK, page), name="reconciliation_together")]
