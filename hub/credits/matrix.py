"""Who must approve a credit: the matrix of approval rules, and what a credit takes from the rule that was chosen.

A credit keeps the stages of the rule it was submitted under. When no rule fits or a rate is missing, the credit is
refused with a message for people; that nobody is needed is only ever said by a rule.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

from django.conf import settings

from hub.booking import in_force
from hub.credits import exchange
from hub.credits.calendars import AROUND_THE_CLOCK, Calendar
from hub.credits.models import ApprovalRule, BusinessCalendar, Credit
from hub.roles import FINANCE, LADDER

BY_HAND: list[dict[str, Any]] = [{"role": FINANCE, "count": 1}]
"""Who looks at a credit that would need nobody, but was sampled, or was not computed by a policy."""
FIELDS = (
    "approval_rule", "stages", "approvals_needed", "waiting_role", "due_at", "expires_at", "escalations", "reporting_amount",
    "priority",
)  # fmt: skip
"""Columns of a credit that `assign` writes."""
ORIGIN = datetime(2020, 1, 1, tzinfo=UTC)


class NoRule(Exception):
    """The matrix does not say who must approve; the message tells people what to mend."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What a rule is chosen by. `amounts`: the total, tax included, in each currency that rules are written in."""

    legal_entity: int
    reason: str
    tier: str
    currency: str
    amounts: Mapping[str, Decimal]


def in_scope(rule: ApprovalRule, legal_entity: int, reason: str, tier: str) -> bool:
    """Whether a rule speaks about such credits at all, whatever their amount. Empty columns match anything."""
    return rule.legal_entity_id in (None, legal_entity) and rule.reason in ("", reason) and rule.tier in ("", tier)


def choose(rules: Iterable[ApprovalRule], facts: Facts) -> ApprovalRule:
    """The most specific rule whose band (`at_least` <= amount < `below`) holds the amount. Pure.

    Specificity counts entity 8, reason 4, tier 2, the credit's own currency 1; a tie goes to the higher band, then to
    the newer version, then to the later row. Raises NoRule.
    """
    matching = []
    for rule in rules:
        amount = facts.amounts.get(rule.currency)
        if amount is None or not in_scope(rule, facts.legal_entity, facts.reason, facts.tier):
            continue
        if rule.at_least <= amount and (rule.below is None or amount < rule.below):
            weight = (
                8 * bool(rule.legal_entity_id) + 4 * bool(rule.reason) + 2 * bool(rule.tier) + (rule.currency == facts.currency)
            )
            matching.append(((weight, rule.at_least, rule.version, rule.pk), rule))
    if not matching:
        amount = facts.amounts.get(facts.currency)
        asked = f"{amount} {facts.currency}" if amount is not None else facts.currency
        raise NoRule(f"No approval rule in force says who must approve {facts.reason or 'credits'} of {asked}.")
    return max(matching, key=lambda each: each[0])[1]


def assign(credit: Credit, *, at: datetime) -> None:
    """Write on a credit who must approve it, by when, and how urgent it is; the caller saves it.

    Rules and rates are those of the day `at`. A part of a split credit is judged by the amount of the whole. Raises
    NoRule or exchange.NoRate, and then has changed nothing.
    """
    on = at.date()
    rules = [
        rule for rule in ApprovalRule.objects.filter(in_force(on))
        if in_scope(rule, credit.legal_entity_id, credit.reason, credit.tier)
    ]  # fmt: skip
    whole = _whole(credit)
    currencies = {rule.currency for rule in rules} | {credit.currency}
    amounts = {currency: exchange.convert(whole, credit.currency, currency, on)[0] for currency in currencies}
    rule = choose(rules, Facts(credit.legal_entity_id, credit.reason, credit.tier, credit.currency, amounts))
    stages = _stages(credit, rule)
    reporting = exchange.convert(credit.total, credit.currency, settings.REPORTING_CURRENCY, on)[0]
    due_at = _due(rule, at) if stages else None
    credit.approval_rule, credit.stages, credit.reporting_amount = rule, stages, reporting
    credit.approvals_needed = sum(stage["count"] for stage in stages)
    credit.priority = priority(reporting, credit.submitted_at)
    _begin(credit, rule, due_at, at)


def restart(credit: Credit, *, at: datetime) -> None:
    """Begin anew with the stages it has: nobody has approved, and the time to decide runs from `at`."""
    assert credit.approval_rule is not None
    _begin(credit, credit.approval_rule, _due(credit.approval_rule, at), at)


def next_stage(credit: Credit, given: int, *, at: datetime) -> None:
    """After `given` approvals: whose turn it is, and by when. '' and no time when nobody is left to ask."""
    turn = stage(credit, given)
    credit.waiting_role = turn[1] if turn else ""
    credit.due_at = _due(credit.approval_rule, at) if turn and credit.approval_rule else None
    credit.escalations = 0


def stage(credit: Credit, given: int) -> tuple[int, str] | None:
    """Number (from 1) and role of the stage that comes after `given` approvals, None when they are enough."""
    upto = 0
    for number, each in enumerate(credit.stages, 1):
        upto += each["count"]
        if given < upto:
            return number, each["role"]
    return None


def priority(reporting_amount: Decimal, submitted_at: datetime) -> Decimal:
    """Rank in the queue, the higher the sooner: 10·log10(1 + amount) - age rank - 10·period rank.

    Ten times the money weighs as much as ten days of waiting. Both ranks count from 2020 (days of the submission, months
    of the accounting period it falls into), so that the value never changes while it waits: the older comes first, and
    what belongs to the period that ends first comes ten days before its turn.
    """
    days = Decimal((submitted_at - ORIGIN) // timedelta(minutes=1)) / 1440
    months = (submitted_at.year - ORIGIN.year) * 12 + submitted_at.month
    return round(10 * (1 + reporting_amount).log10() - days - 10 * months, 4)


def calendar_of(rule: ApprovalRule, on: date) -> Calendar:
    """The business hours of a rule's deadlines. Raises NoRule when it names a calendar that is not in force."""
    if not rule.calendar:
        return AROUND_THE_CLOCK
    row = BusinessCalendar.objects.filter(in_force(on), name=rule.calendar).order_by("-version", "-pk").first()
    if row is None:
        raise NoRule(f"Approval rule {rule.label} counts hours by the calendar {rule.calendar!r}, which is not in force on {on}.")
    return Calendar.of(row.timezone, row.hours, row.holidays)


def needs_a_person(credit: Credit) -> bool:
    """Whether a person must look even where the rule asks for nobody: all that is not a first, whole, computed credit."""
    first = credit.revision == 1 and credit.reverses_id is None and credit.split_from_id is None
    computed = credit.origin == Credit.Origin.SLA and credit.computed is not None and not credit.duplicate_allowed
    return not (first and computed)


def sampled(credit: Credit, percent: int) -> bool:
    """Whether this one is among the `percent` that are looked at; the same credit always gives the same answer."""
    return int.from_bytes(hashlib.sha256(credit.uid.bytes).digest()[:4]) % 100 < percent


def _stages(credit: Credit, rule: ApprovalRule) -> list[dict[str, Any]]:
    for each in rule.stages:
        if each.get("role") not in LADDER or not isinstance(each.get("count"), int) or each["count"] < 1:
            raise NoRule(f"Approval rule {rule.label} has a stage that nobody can fulfil: {each}.")
    if not rule.stages and (needs_a_person(credit) or sampled(credit, rule.sample_percent)):
        return [dict(each) for each in BY_HAND]
    return list(rule.stages)


def _whole(credit: Credit) -> Decimal:
    """The amount that decides: of a part, what was split, so that splitting never lowers who must approve."""
    most: Decimal = credit.total
    above = credit.split_from
    while above is not None:
        most, above = max(most, above.total), above.split_from
    return most


def _due(rule: ApprovalRule, at: datetime) -> datetime:
    return calendar_of(rule, at.date()).after(at, Decimal(rule.decide_hours))


def _begin(credit: Credit, rule: ApprovalRule, due_at: datetime | None, at: datetime) -> None:
    credit.waiting_role = credit.stages[0]["role"] if credit.stages else ""
    credit.due_at, credit.expires_at, credit.escalations = due_at, at + timedelta(days=rule.expire_days), 0
