"""What a machine must not decide: review items, each with what it blocks, the answers allowed, and an owner."""

from __future__ import annotations

from typing import ClassVar

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now
from django_fsm import FSMField, FSMModelMixin, transition
from simple_history.models import HistoricalRecords

from connectors.models import Connection


class ReviewItem(FSMModelMixin, models.Model):
    """One question for a person. Failures of one cause share one item: `fingerprint` is unique among the open."""

    kind: ClassVar[str] = "reviewitem"

    class Cause(models.TextChoices):
        MISSING_MAPPING = "missing_mapping", "missing mapping"
        REFUSED = "refused", "refused by the other system"
        UNKNOWN_OUTCOME = "unknown_outcome", "outcome unknown"
        MISMATCH = "mismatch", "posted, but not as asked"
        QUARANTINED = "quarantined", "failed again and again"
        NOT_UNDERSTOOD = "not_understood", "delivery not understood"
        CONFLICT = "conflict", "same id, other content"
        MISCONFIGURED = "misconfigured", "connection needs attention"

    cause = models.CharField(max_length=20, choices=Cause.choices)
    fingerprint = models.CharField(max_length=64)
    title = models.CharField(max_length=300)
    detail = models.JSONField(default=dict)
    connection = models.ForeignKey(Connection, models.PROTECT, null=True, blank=True, related_name="review_items")
    event = models.ForeignKey("hub.InboxEvent", models.PROTECT, null=True, blank=True, related_name="review_items")
    group = models.CharField(max_length=40, help_text="the role that owns it")
    assignee = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True, related_name="+")
    state = FSMField(default="open", protected=True)
    opened_at = models.DateTimeField(db_default=Now())
    last_seen_at = models.DateTimeField(db_default=Now())
    occurrences = models.PositiveIntegerField(default=1)
    answer = models.CharField(max_length=40, blank=True)
    reason = models.TextField(blank=True)
    resolved_by = models.CharField(max_length=150, blank=True)
    resolved_at = models.DateTimeField(null=True, blank=True)
    history = HistoricalRecords()

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["fingerprint"], condition=Q(state="open"), name="one_open_item_per_cause"),
            models.CheckConstraint(
                condition=Q(state="open") | (~Q(resolved_by="") & ~Q(answer="")), name="resolved_items_say_who_and_how"
            ),
        ]
        indexes: ClassVar = [models.Index(fields=["state", "-opened_at"], name="reviews_by_state")]

    def __str__(self) -> str:
        return self.title

    @transition(state, source="open", target="resolved")
    def resolve(self) -> None:
        """Somebody answered, or the cause went away."""
