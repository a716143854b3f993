"""Who: our own legal entities, customer accounts, and what they ask support."""

from __future__ import annotations

from typing import ClassVar

from django.db import models

from canonical.models.base import BusinessObject, CurrencyField


class LegalEntity(models.Model):
    """A company of ours with its own books. Every document belongs to one."""

    code = models.SlugField(max_length=40, unique=True)
    name = models.CharField(max_length=200)
    currency = CurrencyField(help_text="of its books")
    country = models.CharField(max_length=2, blank=True)
    timezone = models.CharField(max_length=60, default="UTC", help_text="decides the posting date of an instant")

    class Meta:
        verbose_name_plural = "legal entities"

    def __str__(self) -> str:
        return self.code


class Party(BusinessObject):
    """A customer account."""

    kind: ClassVar[str] = "party"
    name = models.CharField(max_length=300)
    email = models.CharField(max_length=320, blank=True)
    tax_id = models.CharField(max_length=60, blank=True)
    address = models.JSONField(default=dict, blank=True)
    region = models.CharField(max_length=60, blank=True, help_text="for accounting rules: the country unless mapped")
    deleted_at_source = models.BooleanField(default=False)

    class Meta:
        verbose_name_plural = "parties"
        indexes: ClassVar = [models.Index(fields=["name"], name="parties_by_name")]

    def __str__(self) -> str:
        return self.name


class SupportCase(BusinessObject):
    """A case in a support platform. Its text is untrusted; digit runs that could be card numbers are masked."""

    kind: ClassVar[str] = "support_case"
    party = models.ForeignKey(Party, models.PROTECT, null=True, blank=True, related_name="cases")
    subject = models.TextField()
    description = models.TextField(blank=True)
    severity = models.CharField(max_length=40, blank=True)
    status = models.CharField(max_length=20)
    opened_at = models.DateTimeField()
    first_reply_at = models.DateTimeField(null=True, blank=True)
    resolved_at = models.DateTimeField(null=True, blank=True)
    incident = models.CharField(max_length=200, blank=True)
    plan = models.CharField(max_length=200, blank=True)
    subscription = models.CharField(max_length=255, blank=True, help_text="billing's id of the affected subscription")
    credit = models.JSONField(null=True, blank=True, help_text="what an agent asked for on the case")
    platform_sla = models.JSONField(default=list, blank=True, help_text="what the platform's own SLA policies say")
    tags = models.JSONField(default=list, blank=True)
    url = models.TextField(blank=True)
    deleted_at_source = models.BooleanField(default=False)

    class Meta:
        indexes: ClassVar = [models.Index(fields=["incident"], condition=~models.Q(incident=""), name="cases_of_an_incident")]

    def __str__(self) -> str:
        return self.subject[:80]


class CaseClock(models.Model):
    """One entry of a case's clock, as `canonical.types.ClockEvent`."""

    case = models.ForeignKey(SupportCase, models.CASCADE, related_name="clock")
    what = models.CharField(max_length=20)
    at = models.DateTimeField()
    value = models.CharField(max_length=200, blank=True)
    external_id = models.CharField(max_length=255, blank=True)

    class Meta:
        ordering: ClassVar = ["at", "id"]

    def __str__(self) -> str:
        return f"{self.what} at {self.at}"
