"""Slots: one row per scheduled run, so that a slot is worked once however many beats ask for it."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.db.models.functions import Now


class Slot(models.Model):
    """One due time of one scheduled job."""

    job = models.CharField(max_length=200)
    starts_at = models.DateTimeField()
    claimed_at = models.DateTimeField(db_default=Now())
    run = models.ForeignKey("hub.Run", models.PROTECT, null=True, blank=True)

    class Meta:
        constraints: ClassVar = [models.UniqueConstraint(fields=["job", "starts_at"], name="one_run_per_slot")]

    def __str__(self) -> str:
        return f"{self.job} at {self.starts_at}"
