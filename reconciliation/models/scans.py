"""A scan: everything the systems said as of one time, the proof that nothing was lost on the way, and what matched."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now
from django_fsm import FSMField, FSMModelMixin, transition

from canonical.models import AppendOnly, LegalEntity
from canonical.models.base import AmountField, CurrencyField
from connectors.models import Connection


class Scan(FSMModelMixin, models.Model):
    """One reconciliation of one legal entity's systems. Two of one entity never go on at once (constraint).

    `since` is None for a full one; an incremental one carries forward from `carried_from` what was not read again.
    Every scan is a complete picture as of `as_of`, and is kept, failed ones too.
    """

    kind: ClassVar[str] = "scan"
    legal_entity = models.ForeignKey(LegalEntity, models.PROTECT, related_name="scans")
    state = FSMField(default="reading", protected=True)
    as_of = models.DateTimeField()
    since = models.DateTimeField(null=True, blank=True)
    carried_from = models.ForeignKey("self", models.PROTECT, null=True, blank=True, related_name="+")
    parameters = models.JSONField(default=dict, help_text="tolerances, windows and rules used")
    progress = models.JSONField(default=dict, help_text='{"stripe/invoice": {"read": 1200, "done": false}, …}')
    counts = models.JSONField(default=dict, help_text="matched and broken, by pair, currency and rule")
    result_hash = models.CharField(max_length=64, blank=True, help_text="SHA-256 of matches and breaks: equal for equal input")
    started_by = models.CharField(max_length=150)
    started_at = models.DateTimeField(db_default=Now())
    ended_at = models.DateTimeField(null=True, blank=True)
    failure = models.TextField(blank=True)
    readings_pruned_at = models.DateTimeField(null=True, blank=True, help_text="when its readings were deleted, being old")

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["legal_entity"], condition=Q(state__in=["reading", "matching"]), name="one_scan_at_a_time_per_entity"
            ),
            models.CheckConstraint(
                condition=Q(state__in=["reading", "matching"]) ^ Q(ended_at__isnull=False), name="ended_scans_have_an_end"
            ),
        ]
        indexes: ClassVar = [models.Index(fields=["legal_entity", "-as_of"], name="scans_of_an_entity")]

    def __str__(self) -> str:
        return f"scan {self.pk} of {self.legal_entity} as of {self.as_of:%Y-%m-%d %H:%M}"

    @transition(state, source="reading", target="matching")
    def match(self) -> None:
        """Every source has been read to its end."""

    @transition(state, source="matching", target="done")
    def finish(self) -> None:
        """Matches and breaks are stored."""

    @transition(state, source=["reading", "matching"], target="failed")
    def fail(self) -> None:
        """It could not be brought to an end; what it read is kept."""


class ReadingRow(models.Model):
    """One `canonical.readings.Reading` of one scan. Written by COPY, never changed."""

    scan = models.ForeignKey(Scan, models.CASCADE, related_name="readings", db_index=False)
    connection = models.ForeignKey(Connection, models.PROTECT, related_name="+", db_index=False)
    kind = models.CharField(max_length=20)
    external_id = models.CharField(max_length=255)
    number = models.CharField(max_length=255, blank=True)
    reference = models.CharField(max_length=255, blank=True)
    same_as = models.JSONField(default=list)
    party = models.CharField(max_length=255, blank=True)
    about = models.CharField(max_length=255, blank=True)
    currency = CurrencyField(blank=True, default="")
    net = AmountField(null=True)
    tax = AmountField(null=True)
    total = AmountField(null=True)
    on = models.DateField(null=True)
    service_from = models.DateField(null=True)
    service_to = models.DateField(null=True)
    status = models.CharField(max_length=40, blank=True)
    updated_at = models.DateTimeField(null=True)
    extra = models.JSONField(default=dict)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["scan", "connection", "kind", "external_id"], name="one_reading_per_object_and_scan")
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.number or self.external_id}"


class Certificate(AppendOnly):
    """Count and sum of one kind of one source, as the source says and as they were read. Signed into the audit trail."""

    scan = models.ForeignKey(Scan, models.PROTECT, related_name="certificates")
    connection = models.ForeignKey(Connection, models.PROTECT, related_name="+")
    kind = models.CharField(max_length=20)
    since = models.DateTimeField(null=True)
    until = models.DateTimeField()
    at_source = models.JSONField(help_text='{"EUR": {"count": 12, "amount": "345.60"}}')
    as_read = models.JSONField()
    is_complete = models.BooleanField()
    at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["scan", "connection", "kind"], name="one_certificate_per_source_and_scan")
        ]

    def __str__(self) -> str:
        return f"{self.connection} {self.kind}: {'complete' if self.is_complete else 'INCOMPLETE'}"
