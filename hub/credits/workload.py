"""How much waits for whom, who decided how much and how fast, and what passed without a person. Figures only; nothing is written.

Each function is a fixed number of statements, however many credits and people there are.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from django.contrib.auth.models import User
from django.db import connection
from django.db.models import Aggregate, Case, Count, DurationField, Expression, F, Min, Q, Sum, Value, When

from hub.credits.models import Approval, Credit
from hub.roles import LADDER

MOST_CUSTOMERS = 20
MONTHS = 12
AGES = ((0, 1), (1, 3), (3, 7), (7, 30), (30, 0))
"""Days a credit waits, since it was submitted: from, below (0: no end)."""


@dataclass(slots=True)
class Pile:
    """Credits together: how many, of them overdue, sums of the totals per currency, and the oldest."""

    name: str
    count: int = 0
    overdue: int = 0
    money: dict[str, Decimal] = field(default_factory=lambda: defaultdict(Decimal))
    oldest: datetime | None = None

    def add(self, row: Mapping[str, Any]) -> None:
        """One more row of an aggregation by currency."""
        self.count += row["count"]
        self.overdue += row["overdue"]
        self.money[row["currency"]] += row["money"]
        self.oldest = min(filter(None, (self.oldest, row["oldest"])))


@dataclass(slots=True)
class Reviewer:
    """What waits at roles somebody may decide for (limits and own requests aside), and what they decided."""

    name: str
    waiting: int = 0
    approved: int = 0
    rejected: int = 0
    sent_back: int = 0
    for_others: int = 0
    money: dict[str, Decimal] = field(default_factory=lambda: defaultdict(Decimal))
    median: timedelta | None = None

    @property
    def decided(self) -> int:
        return self.approved + self.rejected + self.sent_back


@dataclass(slots=True)
class Month:
    """Computed credits of a month for which the rule asks for nobody: those that passed, and those somebody looked at."""

    month: str
    currency: str
    passed: int
    passed_money: Decimal
    sampled: int
    sampled_money: Decimal
    approved: int
    changed: int
    refused: int

    @property
    def undecided(self) -> int:
        return self.sampled - self.approved - self.changed - self.refused


class Median(Aggregate):
    """The middle of a set of durations, by PostgreSQL."""

    function = "PERCENTILE_CONT"
    template = "%(function)s(0.5) WITHIN GROUP (ORDER BY %(expressions)s)"
    output_field = DurationField()


def by_age(at: datetime) -> list[Pile]:
    """What waits for a decision, by days since it was submitted, in the order of `AGES`."""
    whens = [When(submitted_at__gt=at - timedelta(days=below), then=Value(str(low))) for low, below in AGES if below]
    piles = _piles(Case(*whens, default=Value(str(AGES[-1][0]))), at)
    return [piles.get(str(low), Pile(str(low))) for low, _ in AGES]


def by_role(at: datetime) -> list[Pile]:
    """What waits for a decision, by whose turn it is."""
    piles = _piles(F("waiting_role"), at)
    return [piles.get(role, Pile(role)) for role in LADDER]


def by_customer(at: datetime) -> list[Pile]:
    """The customers with most money waiting, in the reporting currency."""
    rows = Credit.objects.filter(state="pending").values("party").annotate(worth=Sum("reporting_amount"))
    first = [row["party"] for row in rows.order_by("-worth", "party")[:MOST_CUSTOMERS]]
    piles = _piles(F("party"), at, Q(party__in=first), name="party__name")
    return [piles[pk] for pk in first if pk in piles]


def _piles(group: Expression | F, at: datetime, which: Q | None = None, name: str = "group") -> dict[Any, Pile]:
    rows = (
        Credit.objects.filter(which or Q(), state="pending").annotate(group=group).values("group", "currency", *{name} - {"group"})
    )
    found: dict[Any, Pile] = {}
    told = rows.annotate(
        count=Count("pk"), overdue=Count("pk", filter=Q(due_at__lt=at)), money=Sum("total"), oldest=Min("submitted_at")
    )
    for row in told.order_by():
        found.setdefault(row["group"], Pile(str(row[name]))).add(row)
    return found


def by_reviewer(waiting: Iterable[Pile], since: datetime) -> list[Reviewer]:
    """Everybody who may decide about credits or has since then. Three statements.

    `waiting` is what `by_role` says. Decisions count for who took them, with the totals they approved per currency; a decision's
    time runs on the clock from the submission of the credit, waiting for answers included.
    """
    piles = {pile.name: pile.count for pile in waiting}
    found: dict[int, Reviewer] = {}
    staff = User.objects.filter(is_active=True, groups__name__in=LADDER)
    for pk, name, role in staff.order_by("username").values_list("pk", "username", "groups__name"):
        one = found.setdefault(pk, Reviewer(name))
        one.waiting = max(one.waiting, sum(piles[below] for below in LADDER[: LADDER.index(role) + 1]))
    decided = Approval.objects.filter(at__gte=since)
    for row in decided.values("by", "by__username", "decision", "currency").annotate(
        count=Count("pk"), money=Sum("total"), others=Count("on_behalf_of")
    ).order_by("by__username"):  # fmt: skip
        one = found.setdefault(row["by"], Reviewer(row["by__username"]))
        one.for_others += row["others"]
        if row["decision"] == Approval.Decision.APPROVE:
            one.approved += row["count"]
            one.money[row["currency"]] += row["money"]
        elif row["decision"] == Approval.Decision.REJECT:
            one.rejected += row["count"]
        else:
            one.sent_back += row["count"]
    for pk, median in decided.values_list("by").annotate(median=_TIME).order_by():
        found[pk].median = median
    return sorted(found.values(), key=lambda one: (-one.decided, -one.waiting, one.name))


_TIME = Median(F("at") - F("credit__submitted_at"))


def pace(since: datetime) -> tuple[int, timedelta | None]:
    """How many decisions there were since then, and how long the one in the middle took."""
    told = Approval.objects.filter(at__gte=since).aggregate(count=Count("pk"), median=_TIME)
    return told["count"], told["median"]


def passed_alone(at: datetime) -> list[Month]:
    """What the rules let pass without a person, and the sample of it that somebody looked at, by month of submission (UTC).

    The last twelve months, newest first. *Approved*: as it was computed; *changed*: for another amount, or handed in anew.
    """
    with connection.cursor() as cursor:
        cursor.execute(PASSED, {"at": at, "months": MONTHS})
        return [Month(*row) for row in cursor.fetchall()]


PASSED = """
    WITH easy AS (
        SELECT to_char(c.submitted_at AT TIME ZONE 'UTC', 'YYYY-MM') AS month, c.currency, c.total, c.state,
            c.revision > 1 OR c.net <> c.computed AS changed,
            ('x' || encode(substr(sha256(uuid_send(c.uid)), 1, 4), 'hex'))::bit(32)::bigint %% 100 < r.sample_percent AS sampled
        FROM credits_credit c JOIN credits_approvalrule r ON r.id = c.approval_rule_id
        WHERE r.stages = '[]' AND c.origin = 'sla' AND c.computed IS NOT NULL AND c.reverses_id IS NULL
            AND c.split_from_id IS NULL AND c.duplicate_allowed = '' AND c.state <> 'stopped'
            AND c.submitted_at >= (
                date_trunc('month', %(at)s AT TIME ZONE 'UTC') - make_interval(months => %(months)s - 1)) AT TIME ZONE 'UTC'
    )
    SELECT month, currency,
        count(*) FILTER (WHERE NOT sampled), coalesce(sum(total) FILTER (WHERE NOT sampled), 0),
        count(*) FILTER (WHERE sampled), coalesce(sum(total) FILTER (WHERE sampled), 0),
        count(*) FILTER (WHERE sampled AND gone AND NOT changed),
        count(*) FILTER (WHERE sampled AND gone AND changed),
        count(*) FILTER (WHERE sampled AND state IN ('rejected', 'expired', 'withdrawn', 'returned'))
    FROM easy, LATERAL (SELECT state IN ('approved', 'posting', 'posted', 'mirrored', 'told', 'closed', 'reversed') AS gone) s
    GROUP BY month, currency ORDER BY month DESC, currency
"""
"""The sample is chosen as `matrix.sampled` chooses it: the first four bytes of SHA-256 of the credit's uid, modulo 100."""
