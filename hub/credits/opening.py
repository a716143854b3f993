"""Opening a credit: whoever asks, the same way. Policy, duplicates, what would be posted, who must approve, what to look at.

The amount is the policy's, never above it; a reviewer may change it later, as its maker. A credit that repeats another
is kept as `stopped`, with a link to the first one. Caps hold because the credits of a customer are opened one at a time.
"""

from __future__ import annotations

from calendar import monthrange
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from django.contrib.auth.models import User
from django.db import IntegrityError, transaction
from django.db.models import Q, Sum

from canonical.models import Invoice, LegalEntity, Party, Subscription, SupportCase
from connectors.models import Connection
from hub.audit import chain as audit
from hub.credits import deciding, duplicates, entitling, exchange, flagging, matrix, payload, policy, posting, rows
from hub.credits.models import Credit, CreditPolicy
from hub.credits.models.credit import IN_BOOKS, OVER
from hub.credits.refusing import NotOpened, NotReady
from hub.credits.sla import Assessment
from hub.engine.flow import Blocked
from hub.flows import issue_to_credit

__all__ = ["Claim", "NotOpened", "NotReady", "open_credit", "open_reversal"]

ONE_EACH = ("one_credit_per_case_and_reason", "one_credit_per_incident_and_customer")
"""Constraints that only a credit of the same moment can break: whoever comes second looks again."""
SOURCES = {
    Credit.Origin.SLA: "hub", Credit.Origin.AGENT: "hub", Credit.Origin.REVIEWER: "admin", Credit.Origin.PARTNER: "api",
}  # fmt: skip
"""Where the audit trail says that a credit of an origin was asked for."""
MACHINE_ASKED = (Credit.Origin.SLA, Credit.Origin.AGENT)
"""Origins whose requests come through a flow, which waits for a missing mapping; people are told at once."""


@dataclass(frozen=True, slots=True)
class Claim:
    """What a credit is asked for. Without an amount (net, in `currency`) the policy's rules give one."""

    party: Party
    billing: Connection
    reason: str
    origin: str
    requested_by: str
    case: SupportCase | None = None
    support: Connection | None = None
    subscription: Subscription | None = None
    invoice: Invoice | None = None
    amount: Decimal | None = None
    currency: str = ""
    incident: str = ""
    period_start: date | None = None
    period_end: date | None = None
    note: str = ""
    evidence: str = ""
    made_by: User | None = None
    assessment: Assessment | None = None


@dataclass(frozen=True, slots=True)
class Computed:
    """What a claim comes to: the decision of the policy, and how it would be booked."""

    row: CreditPolicy
    entity: LegalEntity
    subscription: Subscription | None
    facts: policy.Facts
    decision: policy.Decision
    preview: posting.Preview
    tier: str

    def columns(self, claim: Claim) -> dict[str, Any]:
        """The columns of a credit that follow from it."""
        period_start, period_end = self._month(claim) or (claim.period_start, claim.period_end)
        return {
            "reason": self.decision.reason or claim.reason, "tier": self.tier, "currency": self.facts.currency,
            "requested": claim.amount, "computed": self.decision.amount, "net": self.decision.amount, "tax": self.preview.tax,
            "total": self.preview.total, "lines": self.preview.lines, "invoice": self.preview.invoice,
            "legal_entity": self.entity, "subscription": self.subscription, "policy": self.row, "settlement": self.row.settlement,
            "period_start": period_start, "period_end": period_end,
            "calculation": policy.calculation(self.facts, self.decision, claim.assessment)
            | {"posting": list(self.preview.explanation)},
        }  # fmt: skip

    def _month(self, claim: Claim) -> tuple[date, date] | None:
        """First and last day of the month whose availability was missed most, when the credit is for that."""
        missed = [one for one in claim.assessment.missed if one.what == "uptime" and one.stopped] if claim.assessment else []
        if self.decision.reason != "uptime" or not missed:
            return None
        worst = max(missed, key=lambda one: one.missed_by)
        assert worst.stopped is not None
        day = (worst.started + (worst.stopped - worst.started) / 2).date()  # in any time zone a day of that month
        return day.replace(day=1), day.replace(day=monthrange(day.year, day.month)[1])


def open_credit(claim: Claim, *, at: datetime) -> Credit:
    """Open the credit of a claim, in one transaction, and start its run.

    Raises NotOpened when none is due and NotReady when something must be set up first; within flows also Blocked, for
    a mapping that heals.
    """
    with transaction.atomic():
        hold(claim.party)
        computed = compute(claim, at=at)
        columns = {
            "case": claim.case, "party": claim.party, "billing": claim.billing, "support": claim.support,
            "origin": claim.origin, "incident": claim.incident[:200], "note": claim.note, "evidence": claim.evidence,
            "requested_by": claim.requested_by[:200], "made_by": claim.made_by, "submitted_at": at, **computed.columns(claim),
        }  # fmt: skip
        try:
            with transaction.atomic():
                return _submit(columns)
        except IntegrityError as error:
            if not any(name in str(error) for name in ONE_EACH):
                raise
        return _submit(columns)


def open_reversal(credit: Credit, *, by: User | None, reason: str, note: str, at: datetime) -> Credit:
    """Ask for the taking back of a credit that is in the books, all of it; it needs an approval of its own.

    `by` is None when the hub itself proposes it. Raises NotOpened when it is not in the books, or has been asked already.
    """
    with transaction.atomic():
        first = Credit.objects.select_for_update(of=("self",)).get(pk=credit.pk)
        if first.reverses_id is not None:
            raise NotOpened(f"{first.number} is a reversal itself.")
        if first.state not in IN_BOOKS:
            raise NotOpened(f"{first.number} is {first.state}: only what is in the books is reversed.")
        known = first.reversals.exclude(state__in=OVER).first()
        if known is not None:
            raise NotOpened(f"{first.number} has a reversal already: {known.number}, {known.state}.")
        columns = {name: getattr(first, name) for name in KEPT} | {
            "reverses": first, "calculation": {"reverses": first.number, "reason": reason}, "note": note, "made_by": by,
            "origin": Credit.Origin.REVIEWER if by else Credit.Origin.SLA,
            "requested_by": by.get_username() if by else "hub", "submitted_at": at,
        }  # fmt: skip
        return _submit(columns, reason_code=reason)


KEPT = (
    "case", "party", "legal_entity", "billing", "support", "subscription", "invoice", "reason", "tier", "incident",
    "period_start", "period_end", "evidence", "currency", "net", "tax", "total", "policy", "settlement", "lines",
)  # fmt: skip
"""What a reversal has of the credit it reverses."""


def hold(party: Party) -> None:
    """Let nobody else open or work out credits of a customer until the transaction ends. Before any credit is locked."""
    Party.objects.select_for_update(no_key=True).get(pk=party.pk)


def compute(claim: Claim, *, at: datetime, besides: Credit | None = None, booked_at: datetime | None = None) -> Computed:
    """What a claim of the time `at` comes to, booked now or at another time.

    `besides` is the credit that is being worked out anew, which does not count as given. The policy is that of the day the
    case was opened, when it is about one. Raises NotOpened, NotReady and Blocked.
    """
    since = claim.case.opened_at if claim.case else at
    agreed = claim.subscription or entitling.affected_subscription(claim.case or claim.party, since)
    if any(one is not None and one.party_id != claim.party.pk for one in (agreed, claim.invoice)):
        raise NotOpened("The subscription or invoice is another customer's.")
    entity = next((one.legal_entity for one in (agreed, claim.invoice, claim.billing) if one and one.legal_entity), None)
    if entity is None:
        raise NotReady(f"No legal entity is known: {claim.billing} has none, and no subscription or invoice says one.")
    on = since.astimezone(ZoneInfo(entity.timezone)).date()
    row = rows.in_force(entity, on)
    if row is None:
        raise NotReady(f"No credit policy of {entity} is in force on {on}.")
    facts = _facts(claim, agreed, entitling.billed(agreed, on) if agreed else None, since, at, entity, besides)
    decision = policy.decide(rows.load(row), facts)
    if decision.refused or decision.amount <= 0:
        raise NotOpened(f"Nothing is due: {decision.refused or 'it comes to nothing'}.", decision.explanation)
    preview = _preview(claim, entity, agreed, decision, booked_at or at, besides)
    return Computed(row, entity, agreed, facts, decision, preview, facts.tier)


def _facts(
    claim: Claim, agreed: Subscription | None, billed: policy.Billed | None, since: datetime, at: datetime, entity: LegalEntity,
    besides: Credit | None,
) -> policy.Facts:  # fmt: skip
    monthly = entitling.monthly_value(agreed) if agreed else None
    currency = claim.currency or (agreed.currency if agreed else claim.invoice.currency if claim.invoice else "")
    if not currency:
        raise NotOpened("Nobody says which subscription or invoice is affected, nor in which currency the credit shall be.")
    given = duplicates.standing().filter(party=claim.party, currency=currency, submitted_at__lte=at)
    given = given.exclude(pk=besides.pk) if besides else given
    local = at.astimezone(ZoneInfo(entity.timezone))
    year = local.replace(month=1, day=1, hour=0, minute=0, second=0, microsecond=0)

    def sum_of(which: Q) -> Decimal:
        found: Decimal | None = given.filter(which).aggregate(sum=Sum("net"))["sum"]
        return found or Decimal(0)

    return policy.Facts(
        currency=currency, missed=claim.assessment.missed_by if claim.assessment else {},
        reason="" if claim.origin == Credit.Origin.SLA else claim.reason,
        tier=_tier(claim, since),
        tags=frozenset(claim.case.tags) if claim.case else frozenset(), monthly=monthly, billed=billed, requested=claim.amount,
        has_evidence=bool(claim.evidence.strip()),
        given_case=sum_of(Q(case=claim.case)) if claim.case else Decimal(0),
        given_month=sum_of(Q(submitted_at__gte=year.replace(month=local.month))),
        given_year=sum_of(Q(submitted_at__gte=year)),
    )  # fmt: skip


def _tier(claim: Claim, since: datetime) -> str:
    if claim.assessment is not None:
        return claim.assessment.plan
    promise = entitling.entitlement_of(claim.party, since, plan_hint=claim.case.plan if claim.case else "")
    return promise.plan if promise else ""


def _preview(
    claim: Claim, entity: LegalEntity, agreed: Subscription | None, decision: policy.Decision, at: datetime, besides: Credit | None
) -> posting.Preview:
    try:
        return posting.preview(
            party=claim.party, legal_entity=entity, billing=claim.billing, invoice=claim.invoice, subscription=agreed,
            currency=decision.currency, net=decision.amount, reason=decision.reason or claim.reason,
            on=at.astimezone(ZoneInfo(entity.timezone)).date(), besides=besides,
        )  # fmt: skip
    except posting.NotBookable as problem:
        raise NotReady(f"It cannot be booked: {problem}", decision.explanation) from None
    except Blocked as missing:
        if claim.origin in MACHINE_ASKED:
            raise
        raise NotReady(f"It cannot be booked yet: {missing.title}.", decision.explanation) from None


def _submit(columns: dict[str, Any], *, reason_code: str = "") -> Credit:
    """Save a new credit with everything that surrounds it, and start its run."""
    credit = Credit(**columns)
    first = duplicates.find(credit) if credit.reverses is None else None
    if first is not None:
        credit = Credit(**columns, state="stopped", duplicate_of=first[0], duplicate_why=first[1])
    prepare(credit, at=credit.submitted_at)
    credit.save(force_insert=True)
    run = issue_to_credit.start(credit, by=credit.requested_by[:150])
    audit.append(
        "credit.stopped" if first else "credit.opened", actor=credit.requested_by[:150], obj=credit, reason_code=reason_code,
        note=credit.duplicate_why or credit.note, correlation_id=run.correlation_id,
        after={
            "net": credit.net, "tax": credit.tax, "total": credit.total, "currency": credit.currency, "reason": credit.reason,
            "digest": credit.digest, "flags": [flag["flag"] for flag in credit.flags],
            "duplicate_of": credit.duplicate_of.number if credit.duplicate_of else "",
            "reverses": credit.reverses.number if credit.reverses else "",
        },
        policy=" ".join(row.label for row in (credit.approval_rule, credit.policy) if row is not None),
        source=SOURCES[Credit.Origin(credit.origin)],
    )  # fmt: skip
    return credit if first else deciding.admit(credit)


def prepare(credit: Credit, *, at: datetime) -> None:
    """Say who must approve it and what to look at, and seal it. Raises NotReady."""
    try:
        matrix.assign(credit, at=at)
    except (matrix.NoRule, exchange.NoRate) as missing:
        raise NotReady(str(missing)) from None
    credit.flags = flagging.flags_of(credit)
    payload.seal(credit)
