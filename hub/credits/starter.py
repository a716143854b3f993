"""The rules a new installation begins with: hours, promises of three plans, a credit policy, who approves, rates.

They are examples to be replaced by versions of your own. Every row is drafted by one person and approved by another,
like any other, and a row whose subject has one already is left alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from decimal import Decimal
from typing import Any

from django.conf import settings
from django.contrib.auth.models import User
from django.db import transaction

from canonical.models import LegalEntity
from canonical.money import from_minor
from hub import rulebook
from hub.credits.models import ApprovalRule, ApproverLimit, BusinessCalendar, CreditPolicy, CreditRule, ExchangeRate, SlaTerms
from hub.models.rules import DatedRule
from hub.roles import CONTROLLER, FINANCE, SENIOR

OFFICE, EXTENDED = "office hours", "extended hours"
PLANS = ("standard", "premium", "enterprise")

PROMISES = [
    # plan, severity, first response, resolution (minutes), uptime %, calendar
    ("standard", "", 480, 2880, "99.0", OFFICE),
    ("premium", "urgent", 60, 480, "99.5", EXTENDED),
    ("premium", "high", 120, 960, "99.5", EXTENDED),
    ("premium", "", 240, 1920, "99.5", EXTENDED),
    ("enterprise", "urgent", 15, 240, "99.9", ""),
    ("enterprise", "high", 60, 480, "99.9", ""),
    ("enterprise", "", 240, 1440, "99.9", ""),
]

CREDITS: list[tuple[str, str, str, str, str | None, str]] = [
    # code, reason, plan, from, below (minutes late | points below), % of the monthly value
    ("R-1", "first_response", "", "0", "120", "2"),
    ("R-2", "first_response", "", "120", None, "5"),
    ("R-3", "first_response", "enterprise", "0", "60", "5"),
    ("R-4", "first_response", "enterprise", "60", None, "10"),
    ("R-5", "resolution", "", "0", "480", "5"),
    ("R-6", "resolution", "", "480", None, "10"),
    ("R-7", "resolution", "enterprise", "0", "240", "10"),
    ("R-8", "resolution", "enterprise", "240", "1440", "15"),
    ("R-9", "resolution", "enterprise", "1440", None, "25"),
    ("R-10", "uptime", "", "0", "0.5", "10"),
    ("R-11", "uptime", "", "0.5", "2", "25"),
    ("R-12", "uptime", "", "2", None, "50"),
]
ASKED_FOR = [("R-20", "goodwill", "20"), ("R-21", "billing_error", "100")]
"""Reasons people ask for: the most that may be given, % of the monthly value. Both need evidence."""

BANDS: list[tuple[str, int, int | None, list[str], dict[str, Any]]] = [
    # reason, from, below (minor units of the reporting currency), who, further terms
    ("", 0, 25_00, [], {}),
    ("", 25_00, 1_000_00, [FINANCE], {}),
    ("", 1_000_00, 10_000_00, [FINANCE, SENIOR], {}),
    ("", 10_000_00, None, [SENIOR, CONTROLLER], {"step_up": True, "decide_hours": 16}),
    ("goodwill", 0, 1_000_00, [FINANCE], {}),
    ("billing_error", 0, 1_000_00, [FINANCE], {}),
]
LIMITS = {
    # role: per credit, per day, per customer in 30 days (minor units of the reporting currency)
    FINANCE: (10_000_00, 50_000_00, 20_000_00),
    SENIOR: (100_000_00, 500_000_00, 200_000_00),
    CONTROLLER: (1_000_000_00, 5_000_000_00, 2_000_000_00),
}
DOLLARS = {"USD": "1", "EUR": "1.08", "GBP": "1.27", "CHF": "1.12", "JPY": "0.0066", "CAD": "0.73", "AUD": "0.65", "KWD": "3.25"}
"""Round figures of what a unit was worth, so that a trial needs no rates entered first; not for books."""


def install(drafter: User, approver: User, entities: Sequence[LegalEntity], *, on: date) -> None:
    """Put the starter set in force from the day `on`. Doing it again adds only what is missing.

    Hours are those of the first entity's time zone. Bands and limits are in the reporting currency. Raises
    rulebook.NotApproved when drafter and approver are the same person.
    """
    people = {"drafter": drafter, "approver": approver, "on": on}
    with transaction.atomic():
        _hours(entities[0].timezone if entities else "UTC", people)
        for plan, severity, first, resolution, uptime, calendar in PROMISES:
            said = {"first_response_minutes": first, "resolution_minutes": resolution, "uptime_percent": Decimal(uptime)}
            _put(SlaTerms, people, {"plan": plan, "severity": severity}, {**said, "calendar": calendar})
        _policy(people)
        _matrix(people)
        rates(on)


def rates(on: date, *, drift: Mapping[str, Decimal] | None = None) -> None:
    """Rates of the day `on` from the currencies known here to the reporting currency; `drift` multiplies some of them."""
    to = settings.REPORTING_CURRENCY
    if to not in DOLLARS:
        return
    ExchangeRate.objects.bulk_create(
        [
            ExchangeRate(
                on=on, currency=currency, to=to, source="starter set",
                rate=round(Decimal(worth) / Decimal(DOLLARS[to]) * (drift or {}).get(currency, Decimal(1)), 10),
            )
            for currency, worth in DOLLARS.items() if currency != to
        ],
        ignore_conflicts=True,
    )  # fmt: skip


def _hours(timezone: str, people: dict[str, Any]) -> None:
    years = range(people["on"].year, people["on"].year + 5)
    holidays = [f"{year}-{day}" for year in years for day in ("01-01", "12-25", "12-26")]
    workdays = ("mon", "tue", "wed", "thu", "fri")
    office = {day: [["09:00", "17:30"]] for day in workdays}
    extended = {day: [["07:00", "21:00"]] for day in workdays} | {"sat": [["09:00", "17:00"]]}
    for name, hours in ((OFFICE, office), (EXTENDED, extended)):
        _put(BusinessCalendar, people, {"name": name}, {"timezone": timezone, "hours": hours, "holidays": holidays})


def _policy(people: dict[str, Any]) -> None:
    said = {
        "name": "Service credits", "cap_case": Decimal(50), "cap_month": Decimal(100), "cap_year": Decimal(300),
        "stacking": CreditPolicy.Stacking.HIGHEST, "excluded": [{"tag": "maintenance"}, {"tag": "caused_by_customer"}],
        "smallest": from_minor(100, settings.REPORTING_CURRENCY),
        "smallest_currency": settings.REPORTING_CURRENCY, "monthly_value": CreditPolicy.MonthlyValue.BILLED,
    }  # fmt: skip
    rules = [
        CreditRule(
            code=code, reason=reason, tier=tier, at_least=Decimal(low), below=None if high is None else Decimal(high),
            percent=Decimal(percent),
        )
        for code, reason, tier, low, high, percent in CREDITS
    ]  # fmt: skip
    rules += [
        CreditRule(code=code, reason=reason, percent=Decimal(percent), needs_evidence=True) for code, reason, percent in ASKED_FOR
    ]
    _put(CreditPolicy, people, {"legal_entity": None}, said, rules=rules)


def _matrix(people: dict[str, Any]) -> None:
    money = settings.REPORTING_CURRENCY
    for reason, low, high, roles, terms in BANDS:
        scope = {"legal_entity": None, "reason": reason, "tier": "", "currency": money, "at_least": from_minor(low, money)}
        said = {
            "below": None if high is None else from_minor(high, money),
            "stages": [{"role": role, "count": 1} for role in roles], "calendar": OFFICE, "escalate_to": CONTROLLER, **terms,
        }  # fmt: skip
        _put(ApprovalRule, people, scope, said)
    for role, limits in LIMITS.items():
        per_credit, per_day, per_customer = (from_minor(limit, money) for limit in limits)
        said = {"per_credit": per_credit, "per_day": per_day, "per_customer": per_customer}
        _put(ApproverLimit, people, {"role": role, "currency": money}, said)


def _put(
    model: type[DatedRule], people: dict[str, Any], scope: dict[str, Any], said: dict[str, Any],
    rules: Sequence[CreditRule] = (),
) -> None:  # fmt: skip
    found = {f"{name}__isnull" if value is None else name: True if value is None else value for name, value in scope.items()}
    if model._default_manager.filter(**found).exists():
        return
    row = model._default_manager.create(**scope, **said, valid_from=people["on"], drafted_by=people["drafter"])
    for rule in rules:
        rule.policy_id = row.pk
        rule.save()
    rulebook.approve(row, people["approver"])
