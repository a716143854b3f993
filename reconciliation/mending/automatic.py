"""Breaks that mend themselves: under a rule in force, within its limits, once each, and written to the audit trail.

Without a rule nothing mends itself. Whoever wants less of it lets a rule end; whoever wants it another way drafts a version.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import reduce
from operator import or_

from django.db import transaction
from django.db.models import Q, Sum
from django.db.models.functions import Abs
from django.utils import timezone

from hub import booking
from reconciliation import mending
from reconciliation.mending.planning import find
from reconciliation.models import Break, Mend, MendRule, Scan
from reconciliation.models.breaks import OPEN_BREAK

AT_ONCE = 200
"""Breaks of one scan that mend themselves; more of them have a cause that a person should look at first."""


def auto_mend(scan: Scan) -> list[Mend]:
    """Mend what a scan found and what may mend itself: each break once, nothing that was tried before."""
    rules = list(MendRule.objects.filter(booking.in_force(_today())))
    made: list[Mend] = []
    if not rules:
        return made
    within = [Q(currency=rule.currency, exposed__lte=rule.limit) & (Q(type=rule.type) if rule.type else Q()) for rule in rules]
    found = Break.objects.filter(
        reduce(or_, within), last_scan=scan, state__in=["open", "explained"], mends__isnull=True,
    ).order_by("pk")  # fmt: skip
    for pk in found.values_list("pk", flat=True).iterator():
        mend = _mend_by_itself(pk, rules)
        made += [mend] if mend is not None else []
        if len(made) == AT_ONCE:
            break
    return made


def rule_for(break_: Break, plan: str, rules: Iterable[MendRule]) -> MendRule | None:
    """The rule that decides about a plan for a break: the most specific one, whatever it says."""
    fitting = [
        rule
        for rule in rules
        if (rule.plan, rule.currency) == (plan, break_.currency)
        and rule.type in ("", break_.type)
        and rule.legal_entity_id in (None, break_.legal_entity_id)
    ]
    return max(fitting, key=lambda rule: (2 * bool(rule.legal_entity_id) + bool(rule.type), rule.version, rule.pk), default=None)


def _mend_by_itself(pk: int, rules: list[MendRule]) -> Mend | None:
    with transaction.atomic():
        held = mending.locked(pk)
        if held.state not in OPEN_BREAK or held.mends.exists():
            return None
        for kind in dict.fromkeys(rule.plan for rule in rules):
            rule = rule_for(held, kind, rules)
            plan = find(held, kind) if rule else None
            if rule is None or plan is None or plan.why_not or plan.currency != rule.currency:
                continue
            # Whoever mends under the rule counts what was moved under it today, one after the other.
            rule = MendRule.objects.select_for_update(no_key=True).get(pk=rule.pk)
            amount = max(held.exposed, abs(plan.amount))
            if rule.state == "active" and amount <= rule.limit and moved(rule) + abs(plan.amount) <= rule.per_day:
                return mending.begin(held, plan, rule)
    return None


def moved(rule: MendRule, at: datetime | None = None) -> Decimal:
    """What all versions of a rule have let mend itself on the UTC day of `at` (now)."""
    day = datetime.combine((at or timezone.now()).astimezone(UTC).date(), datetime.min.time(), UTC)
    same = {f"rule__{name}": getattr(rule, name) for name in MendRule.SCOPE}
    mends = Mend.objects.filter(**same, at__gte=day, at__lt=day + timedelta(days=1))
    total: Decimal | None = mends.aggregate(total=Sum(Abs("amount")))["total"]
    return total or Decimal(0)


def _today() -> date:
    return timezone.now().astimezone(UTC).date()
