"""Breaks: what does not agree, with the money it exposes, who works it, why it happened and how it is mended."""

from __future__ import annotations

from typing import ClassVar

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now
from django_fsm import FSMField, FSMModelMixin, transition
from simple_history.models import HistoricalRecords

from canonical.models import AppendOnly, LegalEntity
from canonical.models.base import AmountField, CurrencyField
from reconciliation.models.scans import Scan

WORKABLE = ("open", "explained", "reopened")
"""States in which somebody has to do something about it."""
OPEN_BREAK = (*WORKABLE, "repairing")


class Break(FSMModelMixin, models.Model):
    """One disagreement, the same across scans: one open row per fingerprint. Drift of either sign is one."""

    kind: ClassVar[str] = "break"

    class Type(models.TextChoices):
        MISSING_LEFT = "missing_left", "not in the first system"
        MISSING_RIGHT = "missing_right", "not in the second system"
        DUPLICATE = "duplicate", "there more than once"
        AMOUNT = "amount", "another amount"
        TAX = "tax", "another tax"
        ROUNDING = "rounding", "rounding"
        FX = "fx", "another currency or rate"
        PERIOD = "period", "another period"
        STATUS = "status", "another status"
        PARTY = "party", "another customer"
        UNAPPROVED = "unapproved", "credit nobody approved"
        ORPHAN_CREDIT = "orphan_credit", "credit without its counterpart"
        STALE = "stale", "long under way"
        OBLIGATION = "obligation", "obligation still active after a cancellation"
        PLAN_CHANGE = "plan_change", "plan change not posted"
        GAP = "gap", "service periods overlap or leave a gap"
        RECOGNITION = "recognition", "recognised more or less than the line"

    legal_entity = models.ForeignKey(LegalEntity, models.PROTECT, related_name="breaks")
    pair = models.CharField(max_length=40)
    type = models.CharField(max_length=20, choices=Type.choices)
    fingerprint = models.CharField(max_length=64)
    title = models.CharField(max_length=300)
    currency = CurrencyField(blank=True, default="")
    left_amount = AmountField(null=True, blank=True)
    right_amount = AmountField(null=True, blank=True)
    exposed = AmountField(default=0, help_text="money at stake, positive, in `currency`")
    left = models.JSONField(default=dict, help_text="the reading of the first system")
    right = models.JSONField(default=dict, help_text="the reading of the second system")
    period = models.DateField(null=True, blank=True, help_text="first day of the month it belongs to")
    cause = models.CharField(max_length=40, blank=True, help_text="missed webhook, failed run, manual change in the ERP, …")
    evidence = models.JSONField(default=list, help_text="[{text, kind, id}]: what the cause is judged by")
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True, related_name="+")
    state = FSMField(default="open", protected=True)
    first_scan = models.ForeignKey(Scan, models.PROTECT, related_name="+")
    last_scan = models.ForeignKey(Scan, models.PROTECT, related_name="+")
    opened_at = models.DateTimeField(db_default=Now())
    closed_at = models.DateTimeField(null=True, blank=True)
    closed_how = models.CharField(max_length=40, blank=True)
    history = HistoricalRecords(excluded_fields=["left", "right", "evidence"])

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["fingerprint"], condition=~Q(state="closed"), name="one_open_break_per_fingerprint"),
            models.CheckConstraint(
                condition=~Q(state="closed") | (Q(closed_at__isnull=False) & ~Q(closed_how="")),
                name="closed_breaks_say_when_and_how",
            ),
        ]
        indexes: ClassVar = [
            models.Index(fields=["legal_entity", "state", "-exposed"], name="breaks_by_state"),
            models.Index(fields=["fingerprint", "-id"], name="breaks_by_fingerprint"),
            models.Index(fields=["last_scan"], name="breaks_of_a_scan"),
        ]

    def __str__(self) -> str:
        return self.title

    @transition(state, source=["open", "reopened"], target="explained")
    def explain(self) -> None:
        """Its cause is known."""

    @transition(state, source=[*WORKABLE], target="repairing")
    def repair(self) -> None:
        """A mend is under way."""

    @transition(state, source=["repairing", "explained"], target="reopened")
    def reopen(self) -> None:
        """The mend did not help, or was given up."""

    @transition(state, source=[*OPEN_BREAK], target="closed")
    def close(self) -> None:
        """A later scan no longer finds it, or a person accepted it with a reason."""


class BreakNote(AppendOnly):
    """Something said about a break."""

    item = models.ForeignKey(Break, models.PROTECT, related_name="notes")
    by = models.CharField(max_length=150)
    text = models.TextField()
    at = models.DateTimeField(db_default=Now())

    class Meta:
        ordering: ClassVar = ["id"]

    def __str__(self) -> str:
        return f"{self.by}: {self.text[:60]}"


class Mend(FSMModelMixin, models.Model):
    """One attempt to mend a break: the plan as it was shown, who asked, who approved, and the run that did it."""

    kind: ClassVar[str] = "mend"

    class Plan(models.TextChoices):
        REPLAY = "replay", "work the event again"
        POST = "post", "post what is missing"
        REVERSE = "reverse", "take the surplus document back"
        RELINK = "relink", "say that the two are one"
        ACCEPT = "accept", "accept it, with a reason"
        WRITE_OFF = "write_off", "write it off to the variance account"
        ADJUST = "adjust", "correct it in the ledger"
        RESTATE = "restate", "take it back and post it anew"
        HAND_OVER = "hand_over", "a person does it"

    item = models.ForeignKey(Break, models.PROTECT, related_name="mends")
    plan = models.CharField(max_length=12, choices=Plan.choices)
    choice = models.CharField(max_length=100, blank=True, help_text="which of several plans of the kind")
    effects = models.JSONField(default=list, help_text="the dry run: what would be posted or changed, line by line")
    amount = AmountField(default=0)
    currency = CurrencyField(blank=True, default="")
    reason = models.TextField(blank=True)
    asked_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.PROTECT, null=True, blank=True, related_name="+")
    approved_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.PROTECT, null=True, blank=True, related_name="+")
    is_automatic = models.BooleanField(default=False)
    rule = models.ForeignKey(
        "reconciliation.MendRule", models.PROTECT, null=True, blank=True, related_name="mends", help_text="that let it mend itself"
    )
    run = models.ForeignKey("hub.Run", models.PROTECT, null=True, blank=True, related_name="+")
    state = FSMField(default="proposed", protected=True)
    at = models.DateTimeField(db_default=Now())
    ended_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints: ClassVar = [
            models.CheckConstraint(
                condition=Q(approved_by__isnull=True) | ~Q(approved_by=models.F("asked_by")), name="mend_maker_is_not_checker"
            ),
            models.CheckConstraint(
                condition=Q(state__in=["proposed", "refused"]) | Q(approved_by__isnull=False) | Q(is_automatic=True),
                name="applied_mends_are_approved",
            ),
            models.CheckConstraint(
                condition=Q(is_automatic=False, rule__isnull=True) | Q(is_automatic=True, rule__isnull=False),
                name="automatic_mends_name_their_rule",
            ),
            models.CheckConstraint(condition=~Q(plan="hand_over"), name="what_a_person_does_is_no_mend"),
            models.UniqueConstraint(
                fields=["item"], condition=Q(state__in=["proposed", "applying"]), name="one_mend_at_a_time_per_break"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.get_plan_display()}: {self.item}"

    @transition(state, source="proposed", target="applying")
    def apply(self) -> None:
        """Approved by a second person, or allowed to mend itself: its work has begun."""

    @transition(state, source=["proposed"], target="refused")
    def refuse(self) -> None:
        """The second person said no."""

    @transition(state, source="applying", target="done")
    def finish(self) -> None:
        """Its work is done; the next scan tells whether it helped."""

    @transition(state, source="applying", target="failed")
    def fail(self) -> None:
        """Its work could not be done."""
