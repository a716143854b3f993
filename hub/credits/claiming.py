"""What a support case asks for: a credit for what was missed, once it is resolved, and what an agent asks for on it."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any

from django.contrib.auth.models import User
from django.db.models import Q, Value
from django.db.models.functions import Concat

from canonical.models import SupportCase
from canonical.money import normal_currency
from connectors.models import Connection
from hub.credits import assessing, entitling
from hub.credits.models import Credit, Reason
from hub.credits.opening import Claim
from hub.credits.refusing import NotOpened, NotReady
from hub.credits.sla import Assessment

OVER = ("resolved", "closed")
"""Statuses of a case whose promises can be judged: only then is everything that was missed known."""
SLA = "sla"
"""Who asks for what was missed."""


def missed(case: SupportCase, support: Connection, *, at: datetime) -> Claim | None:
    """The claim for what was missed; None while the case is open, and when nothing was. Raises NotOpened, NotReady."""
    if case.status not in OVER:
        return None
    assessment = assessing.assess(case, at=at)
    if not assessment.missed:
        return None
    return _claim(case, support, assessment, reason=assessment.missed[0].what, origin=Credit.Origin.SLA, requested_by=SLA)


def asked_for(case: SupportCase, support: Connection, *, at: datetime) -> Claim | None:
    """The claim of the agent's request, None when there is none.

    A reason that is none of ours is goodwill, and stays in the note. What an agent wrote down is the evidence that some
    rules need: whether it proves anything is the reviewer's to judge. Raises NotOpened for an amount that is no money.
    """
    said = case.credit
    if not said:
        return None
    assessment = _assessed(case, at)
    reason, note = _reason(said["reason"], assessment), said["note"].strip()
    if said["reason"] and said["reason"] not in (reason, Reason(reason).label):
        note = f"{said['reason']}: {note}".rstrip(": ")
    by = said["by"].strip() or f"an agent of {support.slug}"
    amount = Decimal(said["amount"]) if said["amount"] is not None else None
    return _claim(
        case, support, assessment, reason=reason, origin=Credit.Origin.AGENT, requested_by=by, amount=amount,
        currency=_currency(said["currency"]), note=note, evidence=said["note"].strip(), made_by=_user(by),
    )  # fmt: skip


def _claim(case: SupportCase, support: Connection, assessment: Assessment | None, **told: Any) -> Claim:
    if case.party is None:
        raise NotOpened("The case names no customer.")
    billing = entitling.billing_of(case.party, support)
    if billing is None:
        raise NotOpened(f"{case.party} is no customer of a billing system.")
    return Claim(
        party=case.party, billing=billing, case=case, support=support, incident=case.incident, assessment=assessment, **told
    )  # fmt: skip


def _assessed(case: SupportCase, at: datetime) -> Assessment | None:
    """What became of the promises so far; None when nothing was promised."""
    try:
        return assessing.assess(case, at=at)
    except NotReady:
        raise
    except NotOpened:
        return None


def _reason(said: str, assessment: Assessment | None) -> str:
    """Our reason for what an agent wrote; what was missed when they wrote none, else goodwill."""
    if not said.strip():
        return assessment.missed[0].what if assessment and assessment.missed else Reason.GOODWILL.value
    spelled = " ".join(said.casefold().replace("_", " ").replace("-", " ").split())
    known = {spelling: reason.value for reason in Reason for spelling in (reason.value.replace("_", " "), reason.label.casefold())}
    return known.get(spelled, Reason.GOODWILL.value)


def _currency(said: str) -> str:
    try:
        return normal_currency(said.strip()) if said.strip() else ""
    except ValueError:
        raise NotOpened(f"{said!r} is no currency.") from None


def _user(name: str) -> User | None:
    """The account of somebody the support platform names, by user name, e-mail address or full name: makers never check."""
    full = Concat("first_name", Value(" "), "last_name")
    same = Q(username__iexact=name) | Q(email__iexact=name) | Q(full__iexact=name)
    return User.objects.annotate(full=full).filter(same).order_by("pk").first()
