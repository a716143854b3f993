"""Breaks of one cause, proposed and approved as one act. Each is mended singly: one that cannot be says why, the others go on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import partial

from django.contrib.auth.models import User
from django.db.models import Count, QuerySet, Sum
from django_fsm import ConcurrentTransition, TransitionNotAllowed

from canonical.xref import AlreadyBound
from reconciliation import mending, people
from reconciliation.models import Break, Mend
from reconciliation.models.breaks import WORKABLE
from reconciliation.people import NotAllowed

MOST = 200
"""Breaks in one act; of more the first ones by age."""
REFUSALS = (NotAllowed, AlreadyBound, TransitionNotAllowed, ConcurrentTransition)


@dataclass(frozen=True, slots=True)
class Cluster:
    """Breaks that have entity, pair, type and cause in common."""

    entity: int
    pair: str
    type: str
    cause: str

    def breaks(self) -> QuerySet[Break]:
        """Those that may still be proposed, oldest first."""
        return self._all().filter(state__in=WORKABLE).exclude(mends__state__in=["proposed", "applying"]).order_by("pk")

    def proposed(self) -> QuerySet[Mend]:
        """Mends that wait for a second person."""
        return Mend.objects.filter(item__in=self._all(), state="proposed").select_related("item", "asked_by").order_by("pk")

    def _all(self) -> QuerySet[Break]:
        return Break.objects.filter(legal_entity=self.entity, pair=self.pair, type=self.type, cause=self.cause)


@dataclass(frozen=True, slots=True)
class Result:
    """What became of one of them; `problem` is '' when it went well."""

    item: Break
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Size:
    """How many, and the money per currency: shown before anything is done."""

    count: int
    money: Sequence[tuple[str, Decimal]]


def clusters(least: int = 2) -> list[tuple[Cluster, Size]]:
    """Open breaks with a known cause that are not alone with it, the most first. One query, however many there are."""
    known = Break.objects.filter(state__in=WORKABLE).exclude(cause="")
    rows = known.values_list("legal_entity", "pair", "type", "cause", "currency")
    found: dict[Cluster, Size] = {}
    for *named, currency, count, exposed in rows.annotate(Count("pk"), Sum("exposed")).order_by("currency"):
        before = found.get(Cluster(*named), Size(0, ()))
        money = (*before.money, (currency, exposed)) if currency else before.money
        found[Cluster(*named)] = Size(before.count + count, money)
    together = [(cluster, size) for cluster, size in found.items() if size.count >= least]
    return sorted(together, key=lambda each: (-each[1].count, each[0].pair, each[0].type, each[0].cause))


def size(cluster: Cluster) -> Size:
    """Count and money of what one act would be about: the first MOST."""
    held = Break.objects.filter(pk__in=list(cluster.breaks().values_list("pk", flat=True)[:MOST]))
    rows = list(held.values_list("currency").annotate(Count("pk"), Sum("exposed")).order_by("currency"))
    return Size(sum(count for _, count, _ in rows), [(currency, amount) for currency, _, amount in rows if currency])


def propose(cluster: Cluster, plan: str, user: User, reason: str, *, expected: int) -> list[Result]:
    """Propose the same plan for each. Raises NotAllowed for all when they are no longer as many as were shown."""
    people.require(user, people.WORK)
    people.require_words(reason, "they should be mended together")
    breaks = list(cluster.breaks()[:MOST])
    _require(len(breaks), expected)
    return [_done(each, partial(mending.propose, each, plan, user, reason)) for each in breaks]


def approve(mends: Sequence[Mend], user: User, *, expected: int) -> list[Result]:
    """Approve each of the mends that were shown. Raises NotAllowed for all without the right, or when some have gone."""
    people.require(user, people.APPROVE)
    _require(len(mends), expected)
    return [_done(mend.item, partial(mending.approve, mend, user)) for mend in mends[:MOST]]


def _require(count: int, expected: int) -> None:
    if count != expected:
        raise NotAllowed(f"They are {count} by now, and {expected} were shown: look again.")


def _done(item: Break, act: Callable[[], object]) -> Result:
    try:
        act()
    except REFUSALS as problem:
        return Result(item, str(problem))
    return Result(item)
