"""From rows to values: the terms, calendars and policies in force on a day, in the shapes the pure modules take."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date
from decimal import Decimal
from typing import TypeVar

from django.db.models import Q

from canonical.models import LegalEntity
from hub import booking
from hub.credits.calendars import AROUND_THE_CLOCK, Calendar
from hub.credits.models import BusinessCalendar, CreditPolicy, SlaTerms
from hub.credits.policy import Policy, Rule
from hub.credits.sla import Target, Terms
from hub.models.rules import DatedRule

Row = TypeVar("Row", bound=DatedRule)


class NoCalendar(Exception):
    """Terms name a calendar that is not in force on the day."""


def in_force(entity: LegalEntity | None, on: date) -> CreditPolicy | None:
    """The credit policy of a day: the entity's own, else the one for all; None when there is neither."""
    rows = CreditPolicy.objects.filter(booking.in_force(on)).filter(Q(legal_entity=entity) | Q(legal_entity=None))
    return max(rows, key=lambda row: (row.legal_entity_id is not None, row.version, row.pk), default=None)


def load(row: CreditPolicy) -> Policy:
    """A policy as a value, its rules in the order of their codes."""
    return Policy(
        label=row.label, name=str(row), rules=tuple(_rule(rule) for rule in row.rules.all()), cap_case=row.cap_case,
        cap_month=row.cap_month, cap_year=row.cap_year, stacking=row.stacking, excluded=tuple(row.excluded),
        smallest=row.smallest, smallest_currency=row.smallest_currency, settlement=row.settlement, monthly_value=row.monthly_value,
    )  # fmt: skip


def _rule(row: object) -> Rule:
    return Rule(**{name: getattr(row, name) for name in Rule.__slots__})


def terms(plan: str, on: date) -> Terms | None:
    """What a plan promises on a day, with its calendars; None when nothing. Raises NoCalendar."""
    return Promises(SlaTerms.objects.filter(plan=plan)).terms(plan, on)


class Promises:
    """All terms and calendars, read once, for many cases of many days."""

    def __init__(self, rows: Iterable[SlaTerms] | None = None) -> None:
        self._terms: dict[str, list[SlaTerms]] = {}
        for row in SlaTerms.objects.all() if rows is None else rows:
            self._terms.setdefault(row.plan, []).append(row)
        self._calendars: dict[str, list[BusinessCalendar]] = {}
        for hours in BusinessCalendar.objects.all():
            self._calendars.setdefault(hours.name, []).append(hours)
        self._known: dict[tuple[str, date], Terms | None] = {}
        self._read: dict[int, Calendar] = {}

    def terms(self, plan: str, on: date) -> Terms | None:
        """As the function of that name."""
        if (plan, on) not in self._known:
            self._known[plan, on] = self._of_day(plan, on)
        return self._known[plan, on]

    def has(self, plan: str, on: date) -> bool:
        """Whether the plan promises anything on a day."""
        return bool(_live(self._terms.get(plan, ()), on))

    def _of_day(self, plan: str, on: date) -> Terms | None:
        rows = {row.severity: row for row in sorted(_live(self._terms.get(plan, ()), on), key=lambda row: (row.version, row.pk))}
        targets = {severity: _target(row, self._calendar(row.calendar, on)) for severity, row in rows.items()}
        return Terms(plan, targets) if targets else None

    def _calendar(self, name: str, on: date) -> Calendar:
        if not name:
            return AROUND_THE_CLOCK
        row = max(_live(self._calendars.get(name, ()), on), key=lambda one: (one.version, one.pk), default=None)
        if row is None:
            raise NoCalendar(f"The calendar {name!r} of the terms is not in force on {on}.")
        if row.pk not in self._read:
            self._read[row.pk] = Calendar.of(row.timezone, row.hours, row.holidays, label=row.name)
        return self._read[row.pk]


def _live(rows: Sequence[Row], on: date) -> list[Row]:
    return [row for row in rows if row.state == "active" and row.valid_from <= on and (row.valid_to is None or on <= row.valid_to)]


def _target(row: SlaTerms, calendar: Calendar) -> Target:
    def minutes(value: int | None) -> Decimal | None:
        return None if value is None else Decimal(value)

    return Target(
        label=f"{row} ({row.label})", first_response=minutes(row.first_response_minutes),
        resolution=minutes(row.resolution_minutes), uptime=row.uptime_percent, calendar=calendar,
    )  # fmt: skip
