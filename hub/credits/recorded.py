"""The recorded cases of a span of time as facts for a policy: what was claimed, and what else would have been.

Read in chunks, without a query per case. A credit brings the facts it was computed from; a case without a credit for a
missed promise is judged again from its own clock, with the terms of the day it was opened.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from itertools import islice
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from django.db.models import Exists, OuterRef, Prefetch, Sum

from canonical.models import CaseClock, Entitlement, ExternalRef, Subscription, SubscriptionItem, SupportCase
from canonical.money import Money
from hub.credits import duplicates, entitling, sla
from hub.credits.models import Credit
from hub.credits.models.credit import OVER
from hub.credits.policy import Billed, Facts
from hub.credits.rows import NoCalendar, Promises

CHUNK = 2000
CLAIMED = ("first_response", "resolution", "uptime")
"""Reasons whose credits follow from a missed promise."""


@dataclass(frozen=True, slots=True)
class Item:
    """One claim: what a policy would be applied to, and what was given for it.

    The policy is that of the day of `since`, and its caps count in the month and year of `at`.
    """

    since: datetime
    at: datetime
    party: int
    entity: int
    facts: Facts
    given: Decimal
    case: int | None = None
    credit: int | None = None
    incident: str = ""
    title: str = ""


def items(start: datetime, end: datetime, entities: Sequence[int]) -> Iterator[Item]:
    """Every claim of the legal entities in [start, end), in no particular order."""
    yield from _credits(start, end, entities)
    yield from _cases(start, end, set(entities))


def given_before(start: datetime, entities: Sequence[int]) -> dict[tuple[int, str], Decimal]:
    """Net amounts given in the year of `start` before it, by customer and currency."""
    year = start.replace(month=1, day=1, hour=0, minute=0, second=0, microsecond=0)
    rows = duplicates.standing().filter(submitted_at__gte=year, submitted_at__lt=start, legal_entity__in=entities)
    return {(party, currency): net for party, currency, net in rows.values_list("party", "currency").annotate(net=Sum("net"))}


# credits ---------------------------------------------------------------------------------------------------------


def _credits(start: datetime, end: datetime, entities: Sequence[int]) -> Iterator[Item]:
    parts = duplicates.standing().filter(split_from__isnull=False).values_list("split_from").annotate(net=Sum("net"))
    of_parts = dict(parts)
    rows = (
        Credit.objects.filter(submitted_at__gte=start, submitted_at__lt=end, legal_entity__in=entities)
        .filter(reverses=None, split_from=None)
        .exclude(state="stopped")
        .select_related("case")
        .only(
            "submitted_at", "party_id", "legal_entity_id", "net", "state", "calculation", "reason", "origin", "tier", "currency",
            "requested", "evidence", "incident", "subscription_id", "case__opened_at", "case__subject", "case__tags",
        )
    )  # fmt: skip
    for chunk in _chunks(rows.order_by("pk").iterator(chunk_size=CHUNK)):
        values = _values(
            [credit.subscription_id for credit in chunk if credit.subscription_id and "facts" not in credit.calculation]
        )
        for credit in chunk:
            case = credit.case
            kept = Decimal(0) if credit.state in OVER else credit.net
            yield Item(
                since=case.opened_at if case else credit.submitted_at, at=credit.submitted_at,
                party=credit.party_id, entity=credit.legal_entity_id, facts=_facts_of(credit, values),
                given=of_parts.get(credit.pk, Decimal(0)) if credit.state == "split" else kept,
                case=case.pk if case else None, credit=credit.pk, incident=credit.incident,
                title=case.subject if case else credit.reason,
            )  # fmt: skip


def _facts_of(credit: Credit, values: dict[int, Money | None]) -> Facts:
    """The facts a credit was computed from; what its columns say, for one that did not keep them."""
    said: dict[str, Any] = credit.calculation
    if "facts" in said:
        return Facts.from_json(said["facts"])
    missed = sla.Assessment.from_json(said["assessment"]).missed_by if "assessment" in said else {}
    return Facts(
        currency=credit.currency, missed=missed, reason="" if credit.origin == Credit.Origin.SLA else credit.reason,
        tier=credit.tier, tags=frozenset(credit.case.tags if credit.case else ()),
        monthly=values.get(credit.subscription_id or 0), requested=credit.requested, has_evidence=bool(credit.evidence),
    )  # fmt: skip


def _values(ids: Sequence[int]) -> dict[int, Money | None]:
    return {
        row.pk: entitling.value_of(row.items.all(), row.currency) for row in _with_items(Subscription.objects.filter(pk__in=ids))
    }


# cases -----------------------------------------------------------------------------------------------------------


def _cases(start: datetime, end: datetime, entities: set[int]) -> Iterator[Item]:
    """Cases that are over, have a customer, and no credit for a missed promise."""
    claimed = Credit.objects.filter(case=OuterRef("pk"), reverses=None, reason__in=CLAIMED)
    rows = (
        SupportCase.objects.filter(opened_at__gte=start, opened_at__lt=end, status__in=("resolved", "closed"))
        .filter(party__isnull=False, deleted_at_source=False)
        .filter(~Exists(claimed)).defer("description", "url").order_by("pk")
    )  # fmt: skip
    promises = Promises()
    for chunk in _chunks(rows.iterator(chunk_size=CHUNK)):
        customers, clocks, incidents = _Customers(chunk), _clocks(chunk), _Incidents(chunk, end)
        for case in chunk:
            item = _judged(case, clocks[case.pk], customers, promises, end, incidents.outages(case))
            if item is not None and item.entity in entities:
                yield item


class _Entry(NamedTuple):
    """An entry of a clock without the weight of a model."""

    what: str
    at: datetime
    value: str


def _clocks(cases: Sequence[SupportCase]) -> dict[int, list[_Entry]]:
    found: dict[int, list[_Entry]] = defaultdict(list)
    rows = CaseClock.objects.filter(case__in=[case.pk for case in cases]).order_by("at", "id")
    for case, what, at, value in rows.values_list("case_id", "what", "at", "value"):
        found[case].append(_Entry(what, at, value))
    return found


def _judged(
    case: SupportCase,
    clock: Sequence[_Entry],
    customers: _Customers,
    promises: Promises,
    end: datetime,
    outages: Sequence[sla.Outage],
) -> Item | None:
    on = case.opened_at.date()
    plan = customers.plan(case, promises, on)
    agreed = customers.subscription(case, plan)
    try:
        terms = promises.terms(plan, on) if plan else None
    except NoCalendar:
        return None
    if terms is None or agreed is None:
        return None
    found = sla.assess(clock, opened_at=case.opened_at, severity=case.severity, terms=terms, at=end, outages=outages)
    if not found.missed:
        return None
    facts = Facts(
        currency=agreed.currency, missed=found.missed_by, tier=plan, tags=frozenset(case.tags),
        monthly=entitling.value_of(agreed.items.all(), agreed.currency), billed=customers.billed(agreed, case),
    )  # fmt: skip
    assert case.party_id is not None
    return Item(
        since=case.opened_at, at=case.resolved_at or case.opened_at, party=case.party_id, entity=agreed.legal_entity_id,
        facts=facts, given=Decimal(0), case=case.pk, incident=case.incident, title=case.subject,
    )  # fmt: skip


class _Incidents:
    """What the other cases of the incidents of some cases tell; found as `hub.credits.assessing` does for one."""

    def __init__(self, cases: Sequence[SupportCase], at: datetime) -> None:
        named = {case.incident for case in cases if case.incident}
        telling = list(
            SupportCase.objects.filter(incident__in=named, deleted_at_source=False)
            .filter(Exists(CaseClock.objects.filter(case=OuterRef("pk"), what="down"))).only("pk", "incident", "opened_at")
        )  # fmt: skip
        clocks = _clocks(telling)
        self._told: dict[str, list[tuple[int, list[sla.Outage]]]] = defaultdict(list)
        for one in telling:
            told = sla.outages_of(clocks[one.pk], opened_at=one.opened_at, told_by=f"case {one.pk}", at=at)
            self._told[one.incident].append((one.pk, told))
        self._platforms: dict[int, set[int]] = defaultdict(set)
        refs = ExternalRef.objects.filter(
            object_kind="support_case", kind="support_case", state=ExternalRef.ACTIVE,
            object_id__in=[one.pk for one in (*telling, *(case for case in cases if case.incident))],
        )  # fmt: skip
        for case, platform in refs.values_list("object_id", "connection_id"):
            self._platforms[case].add(platform)

    def outages(self, case: SupportCase) -> list[sla.Outage]:
        """Those that other cases of its incident on the same platform tell."""
        platforms = self._platforms[case.pk]
        return [
            outage
            for other, told in self._told.get(case.incident, [])
            if other != case.pk and not platforms.isdisjoint(self._platforms[other])
            for outage in told
        ]


class _Customers:
    """Plans and subscriptions of the customers of some cases; chosen as `hub.credits.entitling` does for one."""

    def __init__(self, cases: Sequence[SupportCase]) -> None:
        parties = {case.party_id for case in cases}
        self._entitled: dict[int, list[Entitlement]] = defaultdict(list)
        for row in Entitlement.objects.filter(party__in=parties, active=True).exclude(plan=""):
            self._entitled[row.party_id].append(row)
        self._agreed: dict[int, list[Subscription]] = defaultdict(list)
        for agreed in _with_items(Subscription.objects.filter(party__in=parties).select_related("legal_entity").order_by("pk")):
            self._agreed[agreed.party_id].append(agreed)
        self._billings = entitling.Billings([agreed.pk for known in self._agreed.values() for agreed in known])
        named = {case.subscription for case in cases if case.subscription}
        refs = ExternalRef.objects.filter(
            kind="subscription", object_kind="subscription", external_id__in=named, state="active", connection__role="billing"
        )
        self._named = {ref.external_id: ref.object_id for ref in refs}

    def plan(self, case: SupportCase, promises: Promises, on: date) -> str:
        """The plan the customer had when the case was opened, '' without one."""
        held = [
            row for row in self._entitled[case.party_id or 0]
            if row.valid_from <= case.opened_at and (row.valid_to is None or row.valid_to > case.opened_at)
        ]  # fmt: skip
        if held:
            return max(held, key=lambda row: (row.plan == case.plan, row.valid_from, row.pk)).plan
        families = {family for agreed in self._running(case) for family in _families(agreed)}
        return min((one for one in families if promises.has(one, on)), key=lambda one: (one != case.plan, one), default="")

    def subscription(self, case: SupportCase, plan: str) -> Subscription | None:
        """The one the case names, else the only one of the plan, else the only one."""
        named = self._named.get(case.subscription)
        for agreed in self._agreed[case.party_id or 0]:
            if named is not None and agreed.pk == named:
                return agreed
        running = self._running(case)
        of_plan = [agreed for agreed in running if plan in _families(agreed)] or running
        return of_plan[0] if len(of_plan) == 1 else None

    def billed(self, agreed: Subscription, case: SupportCase) -> Billed | None:
        """What was billed a month on the day the case was opened, where the legal entity is."""
        on = case.opened_at.astimezone(ZoneInfo(agreed.legal_entity.timezone)).date()
        return self._billings.of(agreed.pk, on)

    def _running(self, case: SupportCase) -> list[Subscription]:
        at = case.opened_at
        return [
            one for one in self._agreed[case.party_id or 0]
            if (one.started_at is None or one.started_at <= at)
            and (one.ended_at > at if one.ended_at else one.status in ("active", "past_due"))
        ]  # fmt: skip


def _families(agreed: Subscription) -> set[str]:
    return {item.product.family for item in agreed.items.all()} - {""}


def _with_items(rows: Any) -> Any:
    live = SubscriptionItem.objects.filter(ended=False).select_related("price", "product")
    return rows.prefetch_related(Prefetch("items", queryset=live))


def _chunks(rows: Iterable[Any]) -> Iterator[list[Any]]:
    rows = iter(rows)
    while chunk := list(islice(rows, CHUNK)):
        yield chunk
