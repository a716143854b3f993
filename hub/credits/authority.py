"""Whether a person may decide about a credit, in which role, and for whom; limits are counted here.

A decision is made in the lowest of the person's roles that suffices: at least the role of the stage on the ladder, and
the limits of the role not exceeded. What somebody decides in another's place is measured by, and counts against, the
other's roles and limits.

Locks, always in this order: the credit's row; the rows of the accounts in whose name is decided; the delegations; the
customer (an advisory lock, for the row is the recording's); the audit trail. So decisions in one person's name, and
decisions about one customer, are made one after the other, each seeing what the one before has used up.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from decimal import Decimal
from typing import Any

from django.conf import settings
from django.contrib.auth.models import User
from django.db import connection
from django.db.models import F, Q, QuerySet, Sum

from hub.booking import in_force
from hub.credits import delegating, exchange, matrix
from hub.credits.changing import NotAllowed, Person, is_maker, people
from hub.credits.models import Approval, ApproverLimit, Credit, CreditComment, Delegation
from hub.credits.models.credit import OVER
from hub.roles import LADDER

CUSTOMER_LOCK = 0x71E4
"""First key of the advisory lock under which decisions about one customer are made."""
CUSTOMER_DAYS = 30
VOID = ("rejected", "expired", "withdrawn", "split")
"""States in which earlier approvals of a credit no longer use up anybody's day."""


@dataclass(frozen=True, slots=True)
class Authority:
    """The right in which somebody decides: a role, and under a delegation whose role it is."""

    role: str
    delegation: Delegation | None = None

    @property
    def on_behalf_of(self) -> User | None:
        """Whose right it is, None when it is their own."""
        return self.delegation.grantor if self.delegation else None

    @property
    def principal(self) -> str:
        """The name of whose right it is, '' when it is their own."""
        return self.delegation.grantor.username if self.delegation else ""


def find(credit: Credit, user: User, *, at: datetime, limits: bool = True, lock: bool = False) -> Authority:
    """The right in which this user may decide about the credit at this time. Raises NotAllowed, saying why not.

    `limits`: also the amounts must be within the limits (an approval; refusing needs none). `lock`: nothing this was
    judged by changes until the transaction ends.
    """
    turn = matrix.stage(credit, len(given(credit)))
    if turn is None:
        raise NotAllowed("Nobody needs to approve it any more.")
    held = delegating.acting_for(user, credit, at)
    active = people([user.pk, *(row.grantor_id for row in held)], lock=lock)
    if lock:
        held = delegating.acting_for(user, credit, at, lock=True)
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s, %s)", [CUSTOMER_LOCK, credit.party_id % 2**31])
    me = active.get(user.pk)
    if me is None:
        raise NotAllowed("Your account is not active.")
    if me.roles.isdisjoint(LADDER):
        raise NotAllowed("Your roles do not decide about credits.")
    out = _not_theirs(credit, me.user)
    if out:
        raise NotAllowed(f"You {out}")
    problems = []
    for delegation in (None, *held):
        person = active.get(delegation.grantor_id) if delegation else me
        if person is None or (delegation and _not_theirs(credit, person.user)):
            continue
        role, problem = _role(credit, person, turn[1], at=at, limits=limits)
        if role:
            return Authority(role, delegation)
        problems.append(problem)
    raise NotAllowed(next(filter(None, problems), f"It waits for a {turn[1]}."))


def given(credit: Credit) -> list[Approval]:
    """The approvals of what the credit says now, first to last."""
    return list(credit.approvals.filter(revision=credit.revision, decision="approve").order_by("pk"))


def over_limit(credit: Credit, person: User, role: str, *, at: datetime) -> str:
    """Which limit of the role an approval by this person would exceed, '' for none. Raises exchange.NoRate.

    The row of the credit's currency counts, else that of the reporting currency, else the first; other currencies are
    converted at the rates of the day `at` (days are UTC's). A role without a row in force approves nothing.
    """
    limit = _limit(role, credit.currency, at)
    if limit is None:
        return f"No limit is in force for the role {role}, so it approves nothing."

    def reached(used: QuerySet[Any] | None = None) -> Decimal:
        rows = used.order_by().values_list("currency").annotate(Sum("total")) if used is not None else []
        sums = [(credit.currency, credit.total), *rows]
        return sum((exchange.convert(amount, each, limit.currency, at.date())[0] for each, amount in sums), Decimal(0))

    per_customer = None if credit.reverses_id else limit.per_customer  # a reversal gives the customer nothing
    checks: tuple[tuple[str, Decimal | None, Callable[[], Decimal]], ...] = (
        ("one credit", limit.per_credit, reached),
        ("one day", limit.per_day, lambda: reached(approved_today(person, at))),
        (f"one customer in {CUSTOMER_DAYS} days", per_customer, lambda: reached(standing(credit, at))),
    )
    for what, most, amount in checks:
        if most is not None and (sum_ := amount()) > most:
            return f"It would come to {sum_:f} {limit.currency}, and a {role} may approve {most.normalize():f} for {what}."
    return ""


def approved_today(person: User, at: datetime) -> QuerySet[Approval]:
    """What a person has approved on the (UTC) day of `at`, themselves or through delegates, and what still holds."""
    since = datetime.combine(at.astimezone(UTC).date(), time.min, tzinfo=UTC)
    theirs = Q(on_behalf_of=person) | Q(on_behalf_of=None, by=person)
    holds = Q(revision=F("credit__revision")) & ~Q(credit__state__in=VOID)
    return Approval.objects.filter(theirs & holds, decision="approve", at__gte=since, at__lt=since + timedelta(days=1))


def standing(credit: Credit, at: datetime) -> QuerySet[Credit]:
    """The customer's other credits that stand or wait for a decision, decided ones of the last 30 days."""
    recent = Q(decided_at=None) | Q(decided_at__gt=at - timedelta(days=CUSTOMER_DAYS))
    others = Credit.objects.filter(recent, party=credit.party_id, reverses=None).exclude(pk=credit.pk)
    return others.exclude(state__in=[*OVER, "split", "stopped"])


def _not_theirs(credit: Credit, user: User) -> str:
    """Why this user in particular must not decide: made it, stepped back, or has decided already."""
    if is_maker(credit, user):
        return "asked for it, made it or changed it last: another person must decide."
    if CreditComment.objects.filter(credit=credit, what="recusal", user=user).exists():
        return "recused yourself."
    if credit.approvals.filter(Q(by=user) | Q(on_behalf_of=user), revision=credit.revision).exists():
        return "have decided about it already, or somebody did in your place."
    return ""


def _role(credit: Credit, person: Person, needed: str, *, at: datetime, limits: bool) -> tuple[str, str]:
    """The lowest role of the person that suffices; or '' and which limit is in the way of those that are high enough."""
    able = [role for role in LADDER[LADDER.index(needed) :] if role in person.roles]
    problem = ""
    for role in able:
        try:
            problem = over_limit(credit, person.user, role, at=at) if limits else ""
        except exchange.NoRate as error:
            problem = str(error)
        if not problem:
            return role, ""
    return "", problem


def _limit(role: str, currency: str, at: datetime) -> ApproverLimit | None:
    rows = list(ApproverLimit.objects.filter(in_force(at.date()), role=role).order_by("currency", "-version", "-pk"))
    for wanted in (currency, settings.REPORTING_CURRENCY):
        for row in rows:
            if row.currency == wanted:
                return row
    return rows[0] if rows else None
