"""Decisions and what surrounds them: approvals, comments, delegations, notices, saved views."""

from __future__ import annotations

from typing import ClassVar

from django.conf import settings
from django.contrib.postgres.indexes import BrinIndex
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now
from simple_history.models import HistoricalRecords

from canonical.models import AppendOnly, LegalEntity
from canonical.models.base import AmountField, CurrencyField
from hub.credits.models.credit import Credit


class Delegation(models.Model):
    """Somebody decides in somebody's place, for a time and within a scope. Not passed on, and never beyond own rights."""

    grantor = models.ForeignKey(settings.AUTH_USER_MODEL, models.PROTECT, related_name="delegations_given")
    delegate = models.ForeignKey(settings.AUTH_USER_MODEL, models.PROTECT, related_name="delegations_held")
    starts_at = models.DateTimeField()
    ends_at = models.DateTimeField()
    legal_entity = models.ForeignKey(LegalEntity, models.PROTECT, null=True, blank=True, help_text="empty: all")
    most = AmountField(null=True, blank=True, help_text="largest credit; empty: the grantor's limits")
    most_currency = CurrencyField(blank=True, default="")
    reason = models.CharField(max_length=200)
    made_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.PROTECT, related_name="+")
    revoked_at = models.DateTimeField(null=True, blank=True)
    history = HistoricalRecords()

    class Meta:
        constraints: ClassVar = [
            models.CheckConstraint(condition=~Q(grantor=F("delegate")), name="nobody_delegates_to_themselves"),
            models.CheckConstraint(condition=Q(ends_at__gt=F("starts_at")), name="delegation_ends_after_it_begins"),
        ]
        indexes: ClassVar = [models.Index(fields=["delegate", "ends_at"], name="delegations_of_a_delegate")]

    def __str__(self) -> str:
        return f"{self.delegate} for {self.grantor} until {self.ends_at:%Y-%m-%d}"


class Approval(AppendOnly):
    """One decision of one person about one revision. A trigger refuses makers, stale revisions and decided credits."""

    class Decision(models.TextChoices):
        APPROVE = "approve"
        REJECT = "reject"
        SEND_BACK = "send_back", "send back"

    credit = models.ForeignKey(Credit, models.PROTECT, related_name="approvals")
    revision = models.PositiveIntegerField()
    digest = models.CharField(max_length=64)
    stage = models.PositiveSmallIntegerField()
    decision = models.CharField(max_length=10, choices=Decision.choices)
    by = models.ForeignKey(settings.AUTH_USER_MODEL, models.PROTECT, related_name="approvals")
    role = models.CharField(max_length=40, help_text="the role it was decided in")
    on_behalf_of = models.ForeignKey(settings.AUTH_USER_MODEL, models.PROTECT, null=True, blank=True, related_name="+")
    delegation = models.ForeignKey(Delegation, models.PROTECT, null=True, blank=True, related_name="+")
    total = AmountField()
    currency = CurrencyField()
    reporting_amount = AmountField()
    reason_code = models.CharField(max_length=40, blank=True)
    note = models.TextField(blank=True)
    confirmed_at = models.DateTimeField(null=True, blank=True, help_text="when the person last proved who they are")
    at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["credit", "revision", "by"], name="one_decision_per_person_and_revision"),
            models.UniqueConstraint(
                fields=["credit", "revision"], condition=~Q(decision="approve"), name="one_refusal_per_revision"
            ),
        ]
        indexes: ClassVar = [
            models.Index(fields=["by", "-at"], name="approvals_of_a_person"),
            BrinIndex(fields=["at"], name="approvals_by_time", autosummarize=True),
        ]

    def __str__(self) -> str:
        return f"{self.by} {self.decision} {self.credit_id}"


class CreditComment(AppendOnly):
    """Something said about a credit; kept as it was said."""

    class What(models.TextChoices):
        COMMENT = "comment"
        QUESTION = "question", "question to the agent"
        ANSWER = "answer", "answer of the agent"
        RECUSAL = "recusal", "recused themselves"

    credit = models.ForeignKey(Credit, models.PROTECT, related_name="comments")
    what = models.CharField(max_length=10, choices=What.choices, default=What.COMMENT)
    by = models.CharField(max_length=200)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.PROTECT, null=True, blank=True, related_name="+")
    text = models.TextField()
    external_id = models.CharField(max_length=255, blank=True, help_text="of the note in the support platform")
    at = models.DateTimeField(db_default=Now())

    class Meta:
        ordering: ClassVar = ["id"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["credit", "user"], condition=Q(what="recusal"), name="one_recusal_per_person"),
            models.UniqueConstraint(
                fields=["credit", "external_id"], condition=Q(what="answer") & ~Q(external_id=""), name="a_note_answers_once"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.what} of {self.by}"


class Notice(models.Model):
    """A mail to send: written in the transaction of its cause, sent afterwards, tried again when the server is away."""

    to = models.ForeignKey(settings.AUTH_USER_MODEL, models.PROTECT, related_name="+")
    what = models.CharField(max_length=40)
    subject = models.CharField(max_length=200)
    body = models.TextField()
    credit = models.ForeignKey(Credit, models.PROTECT, null=True, blank=True, related_name="notices")
    created_at = models.DateTimeField(db_default=Now())
    due_at = models.DateTimeField(db_default=Now())
    sent_at = models.DateTimeField(null=True, blank=True)
    attempts = models.PositiveSmallIntegerField(default=0)
    error = models.TextField(blank=True)

    class Meta:
        indexes: ClassVar = [models.Index(fields=["due_at"], condition=Q(sent_at__isnull=True), name="notices_to_send")]

    def __str__(self) -> str:
        return self.subject


class SavedView(models.Model):
    """A filter of the desk that somebody keeps, for themselves or for all."""

    name = models.CharField(max_length=60)
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="+")
    is_shared = models.BooleanField(default=False)
    query = models.CharField(max_length=500, help_text="query string of the desk")

    class Meta:
        constraints: ClassVar = [models.UniqueConstraint(fields=["owner", "name"], name="one_view_per_name_and_owner")]

    def __str__(self) -> str:
        return self.name
