"""A past for the demo: months of support cases with their clocks, what was promised, and the credits that came of it.

Everything is computed as for real cases: clocks are judged by `sla`, amounts decided by the policy in force, approvers
asked by the matrix, and the database's own rules hold: credits are inserted undecided, approved by others than their
makers, and moved on state by state. The systems they were booked in are recorded as revoked: nothing is posted anywhere.
The same arguments give the same past.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from random import Random
from typing import Any
from zoneinfo import ZoneInfo

from dateutil.relativedelta import relativedelta
from django.conf import settings
from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import F

from canonical.commands import PostingLine
from canonical.models import CaseClock, ExternalRef, LegalEntity, Subscription, SupportCase
from canonical.models.base import Transition
from hub import roles, rulebook
from hub.audit import chain as audit
from hub.credits import matrix, payload, policy, rows, sla, starter
from hub.credits.history_cases import ENTITIES, Teller, Told, ref
from hub.credits.models import Approval, Credit, CreditPolicy

STORY = ("posting", "posted", "mirrored", "told", "closed")
VERBS = {"approved": "approve", "posting": "release", "posted": "post", "mirrored": "mirror", "told": "tell", "closed": "close"}


@dataclass(frozen=True, slots=True)
class Summary:
    """What the past holds."""

    entities: int
    customers: int
    cases: int
    credits: int
    currencies: tuple[str, ...]


def seed(
    drafter: User, approver: User, reviewers: Sequence[User], *, at: datetime, months: int = 18, cases: int = 400,
    randomness: int = 2026,
) -> Summary:  # fmt: skip
    """Fill the `months` before `at`, with the rules in force since then and a draft policy to compare; once.

    `reviewers` decide in their own roles: somebody senior and one more are needed. Raises ValueError when they are not.
    """
    if not LegalEntity.objects.filter(code=ENTITIES[0][0]).exists():
        with transaction.atomic():
            _Past(drafter, approver, reviewers, at, months, cases, Random(randomness)).write()
    entities = LegalEntity.objects.filter(code__in=[one[0] for one in ENTITIES])
    credits = Credit.objects.filter(legal_entity__in=entities)
    agreed = Subscription.objects.filter(legal_entity__in=entities)
    return Summary(
        entities=len(entities), customers=agreed.values("party").distinct().count(),
        cases=SupportCase.objects.filter(party__subscriptions__in=agreed).distinct().count(), credits=credits.count(),
        currencies=tuple(credits.order_by("currency").values_list("currency", flat=True).distinct()),
    )  # fmt: skip


def draft_policy(drafter: User) -> CreditPolicy:
    """A draft that replaces the policy for all: less for a first response, more for late resolutions, a tighter cap.

    The draft there is already, when somebody began one.
    """
    current = CreditPolicy.objects.filter(legal_entity=None, state="active").latest("version")
    begun = CreditPolicy.objects.filter(replaces=current, state="draft").first()
    if begun is not None:
        return begun
    draft = rulebook.draft_new_version(current, drafter)
    draft.name, draft.stacking, draft.cap_case = "Service credits, proposed", CreditPolicy.Stacking.SUM, Decimal(30)
    draft.save()
    for rule in draft.rules.all():
        if rule.percent is not None and rule.reason in ("first_response", "resolution"):
            rule.percent = rule.percent * (Decimal("0.5") if rule.reason == "first_response" else Decimal("1.5"))
            rule.save()
    return draft


@dataclass(slots=True)
class _Past:
    drafter: User
    approver: User
    reviewers: Sequence[User]
    at: datetime
    months: int
    cases: int
    random: Random
    start: datetime = field(init=False)
    teller: Teller = field(init=False)

    def __post_init__(self) -> None:
        first = self.at - relativedelta(months=self.months)
        self.start = first.replace(hour=0, minute=0, second=0, microsecond=0)
        self.teller = Teller(self.random, self.start, self.at)

    def write(self) -> None:
        """All of it, in the order in which it came about."""
        customers = self.teller.customers()
        self._rules()
        told = sorted(self.teller.cases(customers, self.cases), key=lambda one: (one.resolved, one.case.subject))
        cases = SupportCase.objects.bulk_create(one.case for one in told)
        assert all(case.pk for case in cases)
        for one in told:
            for entry in one.clock:
                entry.case_id = one.case.pk
        CaseClock.objects.bulk_create(entry for one in told for entry in one.clock)
        self._decide(self._credits(told))
        draft_policy(self.drafter)

    def _rules(self) -> None:
        entities = list(LegalEntity.objects.filter(code__in=[one[0] for one in ENTITIES]).order_by("pk"))
        starter.install(self.drafter, self.approver, entities, on=self.start.date())
        drift = dict.fromkeys(starter.DOLLARS, Decimal(1))
        for month in range(1, self.months + 1):
            drift = {one: worth * (1 + Decimal(self.random.randrange(-200, 201)) / 10000) for one, worth in drift.items()}
            starter.rates((self.start + relativedelta(months=month)).date().replace(day=1), drift=drift)

    # what came of it -----------------------------------------------------------------------------------------

    def _credits(self, told: Sequence[Told]) -> list[Credit]:
        promises, standing, found = rows.Promises(), _Standing(), []
        for one in told:
            entity, opened = one.customer.subscription.legal_entity, one.case.opened_at
            at = one.resolved + timedelta(minutes=self.random.randrange(3, 90))
            row = rows.in_force(entity, opened.astimezone(ZoneInfo(entity.timezone)).date())
            terms = promises.terms(one.customer.plan, opened.date())
            if row is None or terms is None:
                continue
            judged = sla.assess(one.clock, opened_at=opened, severity=one.case.severity, terms=terms, at=one.resolved)
            for asked in (None, one.case.credit):
                if asked is not None or judged.missed:
                    credit = self._credit(one, row, judged, asked, at, standing)
                    if credit is not None:
                        found.append(credit)
        return found

    def _credit(
        self, one: Told, row: CreditPolicy, judged: sla.Assessment, asked: dict[str, Any] | None, at: datetime, standing: _Standing
    ) -> Credit | None:
        customer, case, money = one.customer, one.case, one.customer.monthly
        facts = policy.Facts(
            currency=money.currency, missed=judged.missed_by, reason=asked["reason"] if asked else "", tier=customer.plan,
            tags=frozenset(case.tags), monthly=money, billed=None, requested=Decimal(asked["amount"]) if asked else None,
            has_evidence=bool(asked), **standing.given(one, at),
        )  # fmt: skip
        found = policy.decide(rows.load(row), facts)
        if not found.amount or not standing.take(one, at, found):
            return None
        line = PostingLine(
            description=f"Service credit for {found.reason.replace('_', ' ')}", revenue_account="4.2.2", net=found.amount
        )
        credit = Credit(
            uid=self.teller.uid(), case=case, party=customer.party, legal_entity=customer.subscription.legal_entity,
            billing=customer.billing, subscription=customer.subscription, reason=found.reason, tier=customer.plan,
            origin=Credit.Origin.AGENT if asked else Credit.Origin.SLA, incident=case.incident, currency=money.currency,
            requested=facts.requested, computed=found.amount, net=found.amount, total=found.amount,
            calculation=policy.calculation(facts, found, None if asked else judged), policy=row, settlement=row.settlement,
            note=asked["note"] if asked else "", evidence=asked["note"] if asked else "",
            lines=[line.model_dump(mode="json")], requested_by=asked["by"] if asked else "sla", submitted_at=at,
        )  # fmt: skip
        matrix.assign(credit, at=at)
        payload.seal(credit)
        return credit

    def _decide(self, credits: list[Credit]) -> None:
        """Insert undecided, have others approve or reject, and move on what was approved, state by state."""
        Credit.objects.bulk_create(credits)
        rejected = {credit.pk for credit in credits if credit.stages and self.random.random() < 0.06}
        approvals: list[Approval] = []
        for credit in credits:
            credit.decided_at = credit.submitted_at + timedelta(hours=self.random.randrange(1, 40))
            approvals += self._approvals(credit, credit.pk in rejected)
            credit.waiting_role, credit.due_at = "", None
        Approval.objects.bulk_create(approvals)
        Credit.objects.bulk_update(credits, ["decided_at", "waiting_role", "due_at"])
        Credit.objects.filter(pk__in=rejected).update(state="rejected")
        passed = [credit for credit in credits if credit.pk not in rejected]
        rows_ = Credit.objects.filter(pk__in=[credit.pk for credit in passed])
        rows_.update(state="approved", held_until=F("decided_at") + timedelta(minutes=settings.UNDO_MINUTES))
        for state in STORY:
            rows_.update(state=state)
        self._record(credits, rejected, approvals)
        ExternalRef.objects.bulk_create(
            ref(connection, kind, credit.pk, f"{kind}_h{credit.pk}", of="credit")
            for credit in passed
            for connection, kind in ((self.teller.erps[credit.legal_entity_id], "credit_memo"), (credit.billing, "credit_note"))
        )

    def _approvals(self, credit: Credit, is_rejected: bool) -> list[Approval]:
        found: list[Approval] = []
        asked = [(number, stage["role"]) for number, stage in enumerate(credit.stages, 1) for _ in range(stage["count"])]
        assert credit.decided_at is not None
        for number, role in asked[:1] if is_rejected else asked:
            by, held = self._reviewer(role, {one.by_id for one in found})
            decision = Approval.Decision.REJECT if is_rejected else Approval.Decision.APPROVE
            found.append(
                Approval(
                    credit=credit, revision=credit.revision, digest=credit.digest, stage=number, decision=decision, by=by,
                    role=held, total=credit.total, currency=credit.currency, reporting_amount=credit.reporting_amount,
                    reason_code="other" if is_rejected else "", note="Agreed otherwise with the customer." if is_rejected else "",
                    confirmed_at=credit.decided_at, at=credit.decided_at - timedelta(minutes=7 * (len(asked) - number)),
                )
            )  # fmt: skip
        return found

    def _reviewer(self, role: str, but: set[int]) -> tuple[User, str]:
        """Somebody who may decide in that role, and the role they have; not the same person twice."""
        enough = roles.LADDER[roles.LADDER.index(role) :]
        able = [
            (user, next(one for one in enough if one in roles.roles_of(user)))
            for user in self.reviewers
            if user.pk not in but and not roles.roles_of(user).isdisjoint(enough)
        ]
        if not able:
            raise ValueError(f"the history needs another reviewer who decides as {role}")
        # Whoever is nearest to the role, so that senior people are left for what needs them.
        nearest = min(roles.LADDER.index(held) for _, held in able)
        return self.random.choice([one for one in able if roles.LADDER.index(one[1]) == nearest])

    def _record(self, credits: Sequence[Credit], rejected: set[int], approvals: Sequence[Approval]) -> None:
        """Transitions and audit entries of what was decided."""
        moves: list[Transition] = []
        names = {one.credit_id: one.by.get_username() for one in approvals}
        for credit in credits:
            by, at, source = names.get(credit.pk, "approval rule"), credit.decided_at, "pending"
            assert at is not None
            story = [("reject", "rejected")] if credit.pk in rejected else [(VERBS[state], state) for state in ("approved", *STORY)]
            for verb, target in story:
                moves.append(
                    Transition(
                        object_kind="credit", object_id=credit.pk, name=verb, source=source, target=target,
                        by=by if source == "pending" else "history", at=at,
                    )
                )  # fmt: skip
                source, at = target, at + timedelta(minutes=settings.UNDO_MINUTES + 1)
        Transition.objects.bulk_create(moves)
        for one in approvals:
            audit.append(
                f"credit.{'rejected' if one.decision == Approval.Decision.REJECT else 'approved'}", actor=one.by.get_username(),
                obj=one.credit, role=one.role, reason_code=one.reason_code, note=f"decided {one.at:%Y-%m-%d %H:%M}, recorded later",
                policy=str(one.credit.policy), after={"total": one.total, "currency": one.currency, "digest": one.digest},
                source="history",
            )  # fmt: skip


@dataclass(slots=True)
class _Standing:
    """What was given so far, and what was given it for."""

    cases: dict[int, Decimal] = field(default_factory=lambda: defaultdict(Decimal))
    months: dict[tuple[int, int, int], Decimal] = field(default_factory=lambda: defaultdict(Decimal))
    years: dict[tuple[int, int], Decimal] = field(default_factory=lambda: defaultdict(Decimal))
    seen: set[tuple[Any, ...]] = field(default_factory=set)

    def given(self, one: Told, at: datetime) -> dict[str, Decimal]:
        """The `given_*` of the facts."""
        party, local = one.customer.party.pk, _local(one, at)
        return {
            "given_case": self.cases[one.case.pk], "given_month": self.months[party, local.year, local.month],
            "given_year": self.years[party, local.year],
        }  # fmt: skip

    def take(self, one: Told, at: datetime, found: policy.Decision) -> bool:
        """Count a credit; False for one that repeats another."""
        party = one.customer.party.pk
        keys = {("case", one.case.pk, found.reason)}
        if one.case.incident:
            keys.add(("incident", party, f"{one.case.incident} {found.reason}"))
        if keys & self.seen:
            return False
        self.seen |= keys
        self.cases[one.case.pk] += found.amount
        local = _local(one, at)
        self.months[party, local.year, local.month] += found.amount
        self.years[party, local.year] += found.amount
        return True


def _local(one: Told, at: datetime) -> datetime:
    return at.astimezone(ZoneInfo(one.customer.subscription.legal_entity.timezone))
