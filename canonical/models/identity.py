"""Identity in one place: which id an object has in which system, and what each system said about it."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from canonical.models.base import AppendOnly


class ExternalRef(models.Model):
    """The ID cross-reference. Reserved before a create, active once the system told its id, superseded on a merge.

    `kind` is what the thing is over there: an invoice of ours may be an `invoice`, a `payment` and a `reversal`
    in the ERP. `key` is the idempotency key the create carries.
    """

    RESERVED, ACTIVE, SUPERSEDED = "reserved", "active", "superseded"

    connection = models.ForeignKey("connectors.Connection", models.PROTECT, related_name="refs")
    kind = models.CharField(max_length=40)
    object_kind = models.CharField(max_length=40)
    object_id = models.BigIntegerField()
    external_id = models.CharField(max_length=255, null=True, blank=True)
    number = models.CharField(max_length=100, blank=True)
    url = models.TextField(blank=True)
    key = models.CharField(max_length=255, null=True, blank=True)
    state = models.CharField(max_length=12, default=ACTIVE, choices=[(s, s) for s in (RESERVED, ACTIVE, SUPERSEDED)])
    superseded_by = models.ForeignKey("self", models.PROTECT, null=True, blank=True, related_name="supersedes")
    provenance = models.CharField(max_length=100, help_text="what told us: an event, a sweep, a write, a person")
    valid_from = models.DateTimeField(db_default=Now())
    valid_to = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["connection", "kind", "external_id"],
                condition=~Q(state="superseded"),
                name="one_object_per_external_id",
            ),
            models.UniqueConstraint(
                fields=["object_kind", "object_id", "connection", "kind"],
                condition=~Q(state="superseded"),
                name="one_live_ref_per_object_and_system",
            ),
            models.UniqueConstraint(fields=["connection", "key"], condition=~Q(state="superseded"), name="one_document_per_key"),
            models.CheckConstraint(condition=~Q(state="active") | Q(external_id__isnull=False), name="active_ref_has_an_id"),
            models.CheckConstraint(condition=~Q(state="superseded") | Q(valid_to__isnull=False), name="superseded_ref_has_an_end"),
        ]
        indexes: ClassVar = [
            models.Index(fields=["external_id"], name="refs_by_external_id"),
            models.Index(fields=["number"], name="refs_by_number"),
        ]

    def __str__(self) -> str:
        return f"{self.object_kind} {self.object_id} = {self.kind} {self.external_id or '(reserved)'}"


class Observation(AppendOnly):
    """What one system said about one object at one instant. Kept when it differs from the last one."""

    connection = models.ForeignKey("connectors.Connection", models.PROTECT)
    kind = models.CharField(max_length=40)
    external_id = models.CharField(max_length=255)
    digest = models.CharField(max_length=64)
    said = models.JSONField()
    source_at = models.DateTimeField(null=True, blank=True, help_text="the system's own modification time")
    at = models.DateTimeField(db_default=Now())

    class Meta:
        indexes: ClassVar = [models.Index(fields=["connection", "kind", "external_id", "-id"], name="observations_of_an_object")]

    def __str__(self) -> str:
        return f"{self.kind} {self.external_id} at {self.at}"
