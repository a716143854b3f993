"""The entries. What is hashed is `content`; the other columns repeat it for search, and `verify` compares them."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.db.models.functions import Now

from canonical.models import AppendOnly


class AuditEntry(AppendOnly):
    """Who did what to which object, as whom, why, and what it was before and after.

    `seq` counts without gaps; `hash` = SHA-256 of the previous hash, `seq`, `at` and `content`. All are written by a
    trigger, one transaction at a time, so that also an INSERT by hand joins the chain.
    """

    seq = models.BigIntegerField(unique=True, editable=False, db_default=0)
    at = models.DateTimeField(db_default=Now())
    actor = models.CharField(max_length=150)
    action = models.CharField(max_length=60)
    object_kind = models.CharField(max_length=40, blank=True)
    object_id = models.BigIntegerField(null=True, blank=True)
    correlation_id = models.UUIDField(null=True, blank=True)
    content = models.TextField(help_text="canonical JSON: sorted keys, no blanks")
    prev_hash = models.CharField(max_length=64, editable=False, db_default="")
    hash = models.CharField(max_length=64, editable=False, db_default="")

    class Meta:
        verbose_name_plural = "audit entries"
        indexes: ClassVar = [
            models.Index(fields=["object_kind", "object_id", "seq"], name="audit_of_an_object"),
            models.Index(fields=["action", "-seq"], name="audit_by_action"),
            models.Index(fields=["actor", "-seq"], name="audit_by_actor"),
        ]

    def __str__(self) -> str:
        return f"{self.seq}: {self.actor} {self.action}"
