"""What was promised: hours of business and targets per plan. Dated, versioned, approved by a second person."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from simple_history.models import HistoricalRecords

from hub.models.rules import DatedRule, maker_checker


class BusinessCalendar(DatedRule):
    """When the clock of a promise runs. Terms name it; no calendar means around the clock.

    `hours`: {"mon": [["09:00", "17:30"]], …} in `timezone`, days left out are off. `holidays`: ["2026-12-25", …].
    """

    kind: ClassVar[str] = "businesscalendar"
    SCOPE: ClassVar[tuple[str, ...]] = ("name",)
    SAYS: ClassVar[tuple[str, ...]] = ("timezone", "hours", "holidays")
    name = models.CharField(max_length=60)
    timezone = models.CharField(max_length=60, default="UTC")
    hours = models.JSONField(default=dict, help_text='{"mon": [["09:00", "17:30"]], …}; days left out are off')
    holidays = models.JSONField(default=list, blank=True, help_text='["2026-12-25", …]')
    history = HistoricalRecords()

    class Meta:
        constraints = maker_checker("calendar")

    def __str__(self) -> str:
        return self.name


class SlaTerms(DatedRule):
    """Targets of a plan, by severity; an empty severity is for those not listed. Minutes run by the calendar."""

    kind: ClassVar[str] = "slaterms"
    SCOPE: ClassVar[tuple[str, ...]] = ("plan", "severity")
    SAYS: ClassVar[tuple[str, ...]] = ("first_response_minutes", "resolution_minutes", "uptime_percent", "calendar")
    plan = models.CharField(max_length=200)
    severity = models.CharField(max_length=40, blank=True)
    first_response_minutes = models.PositiveIntegerField(null=True, blank=True)
    resolution_minutes = models.PositiveIntegerField(null=True, blank=True)
    uptime_percent = models.DecimalField(max_digits=7, decimal_places=4, null=True, blank=True, help_text="per calendar month")
    calendar = models.CharField(max_length=60, blank=True, help_text="name of a business calendar; empty: around the clock")
    history = HistoricalRecords()

    class Meta:
        verbose_name_plural = "SLA terms"
        constraints = maker_checker("sla_terms")

    def __str__(self) -> str:
        return f"{self.plan} {self.severity}".strip()
