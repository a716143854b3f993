"""Facts that came in, through the one door."""

from __future__ import annotations

import uuid
from typing import ClassVar

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from canonical.models import AppendOnly
from connectors.models import Connection


class InboxEvent(AppendOnly):
    """One thing a system told us, exactly as it did. Insert-only; what came of it is on its runs."""

    class Origin(models.TextChoices):
        WEBHOOK = "webhook"
        SWEEP = "sweep", "sweep (missed as a webhook)"
        COMMAND = "command", "command of a person"

    class Disposition(models.TextChoices):
        RUN = "run", "started a workflow"
        IGNORED = "ignored", "no workflow listens"
        DUPLICATE = "duplicate", "seen before"
        CONFLICT = "conflict", "same id, other content"
        QUARANTINED = "quarantined", "not understood"

    connection = models.ForeignKey(Connection, models.PROTECT, related_name="events")
    external_id = models.CharField(max_length=255)
    kind = models.CharField(max_length=100, blank=True, help_text="the vendor's event type")
    name = models.CharField(max_length=100, blank=True, help_text="our name for it")
    subject_kind = models.CharField(max_length=40, blank=True)
    subject_id = models.CharField(max_length=255, blank=True)
    origin = models.CharField(max_length=10, choices=Origin.choices)
    disposition = models.CharField(max_length=12, choices=Disposition.choices)
    duplicate_of = models.ForeignKey("self", models.PROTECT, null=True, blank=True, related_name="duplicates")
    correlation_id = models.UUIDField(default=uuid.uuid4)
    occurred_at = models.DateTimeField(null=True, blank=True)
    received_at = models.DateTimeField(db_default=Now())
    body = models.BinaryField()
    body_digest = models.CharField(max_length=64, help_text="SHA-256 of the raw body")

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["connection", "external_id"],
                condition=Q(duplicate_of__isnull=True),
                name="one_original_per_event",
            ),
            models.CheckConstraint(
                condition=Q(disposition__in=["duplicate", "conflict"]) | Q(duplicate_of__isnull=True),
                name="only_duplicates_have_an_original",
            ),
        ]
        indexes: ClassVar = [
            models.Index(fields=["subject_kind", "subject_id"], name="events_of_a_subject"),
            models.Index(fields=["correlation_id"], name="events_by_correlation"),
            models.Index(fields=["-received_at"], name="events_newest_first"),
            models.Index(
                fields=["disposition", "-id"],
                condition=Q(disposition__in=["quarantined", "conflict", "duplicate"]),
                name="events_out_of_the_ordinary",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.external_id}"


class RejectedDelivery(models.Model):
    """How many deliveries were refused at the door, per day and reason. Nothing else of them is kept."""

    connection = models.ForeignKey(Connection, models.CASCADE, related_name="rejected")
    day = models.DateField()
    reason = models.CharField(max_length=40)
    count = models.PositiveBigIntegerField(default=0)

    class Meta:
        verbose_name_plural = "rejected deliveries"
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["connection", "day", "reason"], name="one_counter_per_day_and_reason")
        ]

    def __str__(self) -> str:
        return f"{self.connection} {self.day}: {self.count} × {self.reason}"
