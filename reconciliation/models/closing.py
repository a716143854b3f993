"""Closing a period of an entity: the gates, the sign-off of a second person, and the picture that was signed."""

from __future__ import annotations

from typing import ClassVar

from django.conf import settings
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now
from django_fsm import FSMField, FSMModelMixin, transition
from simple_history.models import HistoricalRecords

from canonical.models import LegalEntity
from reconciliation.models.scans import Scan


class PeriodClose(FSMModelMixin, models.Model):
    """One month of one entity. Signing freezes `content` and its SHA-256; what changes later shows as a difference."""

    kind: ClassVar[str] = "periodclose"
    legal_entity = models.ForeignKey(LegalEntity, models.PROTECT, related_name="closes")
    period = models.DateField(help_text="first day of the month")
    state = FSMField(default="open", protected=True)
    scan = models.ForeignKey(Scan, models.PROTECT, null=True, blank=True, related_name="+")
    content = models.JSONField(default=dict, help_text="gates, control totals, breaks left and the parameters used")
    hash = models.CharField(max_length=64, blank=True)
    prepared_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.PROTECT, null=True, blank=True, related_name="+")
    prepared_at = models.DateTimeField(null=True, blank=True)
    signed_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.PROTECT, null=True, blank=True, related_name="+")
    signed_at = models.DateTimeField(null=True, blank=True)
    reopening_asked_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.PROTECT, null=True, blank=True, related_name="+")
    reopened_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.PROTECT, null=True, blank=True, related_name="+")
    reopening_reason = models.TextField(blank=True)
    created_at = models.DateTimeField(db_default=Now())
    history = HistoricalRecords()

    class Meta:
        verbose_name = "period close"
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["legal_entity", "period"], name="one_close_per_entity_and_period"),
            models.CheckConstraint(condition=Q(period__day=1), name="periods_are_months"),
            models.CheckConstraint(
                condition=Q(signed_by__isnull=True) | ~Q(signed_by=F("prepared_by")), name="close_maker_is_not_checker"
            ),
            models.CheckConstraint(
                condition=~Q(state="signed") | (Q(signed_by__isnull=False) & ~Q(hash="")), name="signed_close_has_hash_and_signer"
            ),
            models.CheckConstraint(
                condition=Q(reopened_by__isnull=True) | ~Q(reopened_by=F("reopening_asked_by")),
                name="reopening_needs_two_people",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.legal_entity} {self.period:%Y-%m}"

    @transition(state, source=["open", "reopened"], target="prepared")
    def prepare(self) -> None:
        """Every gate is green, or explained; waits for the second person."""

    @transition(state, source="prepared", target="open")
    def send_back(self) -> None:
        """The second person did not sign."""

    @transition(state, source="prepared", target="signed")
    def sign(self) -> None:
        """Frozen."""

    @transition(state, source="signed", target="reopened")
    def reopen(self) -> None:
        """Two people agreed that it has to change."""
