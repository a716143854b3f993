"""The credit itself: an amount, why it is that amount, and how far it has come."""

from __future__ import annotations

from typing import ClassVar

from django.conf import settings
from django.db import models
from django.db.models import F, Q
from django_fsm import FSMField, FSMModelMixin, transition
from simple_history.models import HistoricalRecords

from canonical.models import Invoice, LegalEntity, Party, Subscription, SupportCase
from canonical.models.base import AmountField, BusinessObject, CurrencyField
from connectors.models import Connection
from hub.credits.models.policy import ApprovalRule, CreditPolicy, Reason

UNDECIDED = ("pending", "needs_info", "returned", "stopped")
"""States in which it may still be edited; everything it says is frozen in the others (trigger)."""
OVER = ("rejected", "expired", "withdrawn", "reversed")
"""States in which it no longer stands for any money."""
IN_BOOKS = ("posted", "mirrored", "told", "closed")
"""States in which the ERP holds it."""
OPEN = (*UNDECIDED, "approved", "posting", "posted", "mirrored", "told")
"""States in which something is still to come."""


class Credit(FSMModelMixin, BusinessObject):
    """A service credit, or with `reverses` the taking back of one. Amounts are positive; `net` excludes tax.

    `payload` is the canonical JSON of what approval covers and posting does; `digest` its SHA-256 (a trigger checks it
    against the columns). An edit is a new `revision`, and approvals are for one revision.
    """

    kind: ClassVar[str] = "credit"

    class Origin(models.TextChoices):
        SLA = "sla", "computed from a missed promise"
        AGENT = "agent", "asked for on the case"
        REVIEWER = "reviewer", "asked for in the back office"
        PARTNER = "partner", "asked for over the API"

    # what it is about
    case = models.ForeignKey(SupportCase, models.PROTECT, null=True, blank=True, related_name="credits")
    party = models.ForeignKey(Party, models.PROTECT, related_name="credits")
    legal_entity = models.ForeignKey(LegalEntity, models.PROTECT)
    billing = models.ForeignKey(Connection, models.PROTECT, related_name="+", help_text="the billing system it is mirrored in")
    support = models.ForeignKey(Connection, models.PROTECT, null=True, blank=True, related_name="+")
    subscription = models.ForeignKey(Subscription, models.PROTECT, null=True, blank=True, related_name="credits")
    invoice = models.ForeignKey(Invoice, models.PROTECT, null=True, blank=True, related_name="credits")
    origin = models.CharField(max_length=10, choices=Origin.choices)
    reason = models.CharField(max_length=20, choices=Reason.choices)
    tier = models.CharField(max_length=200, blank=True)
    incident = models.CharField(max_length=200, blank=True)
    period_start = models.DateField(null=True, blank=True)
    period_end = models.DateField(null=True, blank=True)
    note = models.TextField(blank=True, help_text="what the requester said")
    evidence = models.TextField(blank=True)

    # how much, and why
    currency = CurrencyField()
    requested = AmountField(null=True, blank=True)
    computed = AmountField(null=True, blank=True)
    net = AmountField()
    tax = AmountField(default=0)
    total = AmountField()
    reporting_amount = AmountField(help_text="the total in the hub's reporting currency, at the rate of the submission")
    calculation = models.JSONField(default=dict, help_text="the computation as a customer could check it")
    policy = models.ForeignKey(CreditPolicy, models.PROTECT, null=True, blank=True, related_name="+")
    flags = models.JSONField(default=list, help_text="[{flag, text}]: what a reviewer should look at")

    # what will be posted
    settlement = models.CharField(max_length=12, choices=CreditPolicy.Settlement.choices)
    lines = models.JSONField(default=list, help_text="posting lines, as canonical.commands.PostingLine")
    payload = models.TextField()
    digest = models.CharField(max_length=64)
    revision = models.PositiveIntegerField(default=1)

    # who asked, and who must decide
    requested_by = models.CharField(max_length=200, help_text="a user name, an agent of the support platform, a partner")
    made_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.PROTECT, null=True, blank=True, related_name="+")
    edited_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.PROTECT, null=True, blank=True, related_name="+")
    approval_rule = models.ForeignKey(ApprovalRule, models.PROTECT, null=True, blank=True, related_name="+")
    stages = models.JSONField(default=list, help_text="who must approve, as the rule said when it was submitted")
    approvals_needed = models.PositiveSmallIntegerField(default=1)
    waiting_role = models.CharField(max_length=40, blank=True, help_text="whose turn it is")
    priority = models.DecimalField(max_digits=14, decimal_places=4, default=0, help_text="the higher, the sooner")
    submitted_at = models.DateTimeField()
    due_at = models.DateTimeField(null=True, blank=True)
    expires_at = models.DateTimeField(null=True, blank=True)
    escalations = models.PositiveSmallIntegerField(default=0)
    held_until = models.DateTimeField(null=True, blank=True, help_text="end of the undo window")
    decided_at = models.DateTimeField(null=True, blank=True)

    # relatives
    reverses = models.ForeignKey("self", models.PROTECT, null=True, blank=True, related_name="reversals")
    split_from = models.ForeignKey("self", models.PROTECT, null=True, blank=True, related_name="parts")
    duplicate_of = models.ForeignKey("self", models.PROTECT, null=True, blank=True, related_name="duplicates")
    duplicate_why = models.CharField(max_length=200, blank=True)
    duplicate_allowed = models.TextField(blank=True, help_text="why it is none after all, and who said so")

    state = FSMField(default="pending", protected=True)
    history = HistoricalRecords(excluded_fields=["payload", "priority"])

    class Meta:
        constraints: ClassVar = [
            models.CheckConstraint(condition=Q(total=F("net") + F("tax")), name="support_credit_total_is_net_plus_tax"),
            models.CheckConstraint(condition=Q(net__gt=0, tax__gte=0), name="support_credit_is_positive"),
            models.CheckConstraint(condition=Q(reverses__isnull=True) | ~Q(reverses=F("id")), name="credit_reverses_another"),
            models.UniqueConstraint(fields=["reverses"], condition=~Q(state__in=OVER), name="one_live_reversal_per_credit"),
            models.CheckConstraint(
                condition=~Q(state="stopped") | Q(duplicate_of__isnull=False), name="stopped_credit_names_the_first_one"
            ),
            models.CheckConstraint(
                condition=~Q(state="approved") | Q(held_until__isnull=False), name="approved_credit_has_an_undo_window"
            ),
            *(
                models.UniqueConstraint(
                    fields=fields,
                    condition=present
                    & Q(reverses__isnull=True, split_from__isnull=True, duplicate_allowed="")
                    & ~Q(state__in=[*OVER, "stopped"]),
                    name=name,
                )
                for fields, present, name in (
                    (["case", "reason"], Q(case__isnull=False), "one_credit_per_case_and_reason"),
                    (["party", "incident", "reason"], ~Q(incident=""), "one_credit_per_incident_and_customer"),
                )
            ),
        ]
        indexes: ClassVar = [
            models.Index(fields=["-priority", "id"], condition=Q(state="pending"), name="credits_to_decide"),
            models.Index(
                fields=["waiting_role", "-priority", "id"], condition=Q(state="pending"), name="credits_to_decide_by_role"
            ),
            models.Index(fields=["state", "-id"], name="credits_by_state"),
            # What the desk counts on top of the queue, for each reader anew, without reading the rows themselves.
            models.Index(
                fields=["state", "currency"],
                include=[
                    "id",
                    "total",
                    "waiting_role",
                    "made_by",
                    "edited_by",
                    "requested_by",
                    "approvals_needed",
                    "revision",
                    "legal_entity",
                ],
                condition=Q(state__in=OPEN),
                name="credits_open",
            ),
            models.Index(fields=["party", "-submitted_at"], name="credits_of_a_customer"),
            models.Index(fields=["due_at"], condition=Q(state="pending"), name="credits_by_due_time"),
            models.Index(
                fields=["expires_at"], condition=Q(state__in=["pending", "needs_info", "returned"]), name="credits_to_expire"
            ),
            models.Index(fields=["held_until"], condition=Q(state="approved"), name="credits_held"),
        ]

    def __str__(self) -> str:
        return f"{self.number} {self.total.normalize():f} {self.currency}"

    @property
    def number(self) -> str:
        """How people call it, also in the other systems."""
        return f"CR-{self.pk:06d}" if self.pk else "CR-new"

    @property
    def reversal(self) -> Credit | None:
        """The reversal that stands or is being decided, the newest one that came to nothing, or None."""
        return self.reversals.order_by(models.Case(models.When(state__in=OVER, then=1), default=0), "-pk").first()

    @property
    def makers(self) -> set[int]:
        """Ids of the users who may not approve it."""
        return {pk for pk in (self.made_by_id, self.edited_by_id) if pk}

    # deciding ----------------------------------------------------------------------------------------------------

    @transition(state, source="pending", target="approved")
    def approve(self) -> None:
        """Every approval there has to be is there; held until `held_until`."""

    @transition(state, source="approved", target="pending")
    def undo(self) -> None:
        """Taken back inside the undo window: its approvals are void."""

    @transition(state, source="pending", target="needs_info")
    def ask(self) -> None:
        """A reviewer asked the agent; the time to decide stands still."""

    @transition(state, source=["needs_info", "returned", "stopped"], target="pending")
    def resubmit(self) -> None:
        """Answered, mended, or found to be no duplicate: to be decided anew."""

    @transition(state, source=["pending", "needs_info"], target="returned")
    def send_back(self) -> None:
        """The requester must change something."""

    @transition(state, source=["pending", "needs_info", "returned", "stopped"], target="rejected")
    def reject(self) -> None:
        """No."""

    @transition(state, source=["pending", "needs_info", "returned"], target="expired")
    def expire(self) -> None:
        """Nobody decided in time. Never an approval."""

    @transition(state, source=[*UNDECIDED, "approved", "posting"], target="withdrawn")
    def withdraw(self) -> None:
        """Cancelled before anything was posted: also when the ERP has refused it (a trigger checks that)."""

    @transition(state, source="pending", target="split")
    def split(self) -> None:
        """Its parts are decided one by one."""

    # posting -----------------------------------------------------------------------------------------------------

    @transition(state, source="approved", target="posting")
    def release(self) -> None:
        """The undo window is over: once the ERP has it, only a reversal takes it back."""

    @transition(state, source="posting", target="posted")
    def post(self) -> None:
        """The ERP holds the document."""

    @transition(state, source="posted", target="mirrored")
    def mirror(self) -> None:
        """Billing shows it."""

    @transition(state, source=["posted", "mirrored"], target="told")
    def tell(self) -> None:
        """The case shows it, and the customer was told."""

    @transition(state, source=["posted", "mirrored", "told"], target="closed")
    def close(self) -> None:
        """All systems were read again, and agree."""

    @transition(state, source=[*IN_BOOKS], target="reversed")
    def reverse(self) -> None:
        """An approved reversal took it back everywhere."""
