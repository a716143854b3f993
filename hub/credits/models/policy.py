"""What a miss is worth, who must approve it, and at which rate of exchange. Dated, versioned, approved by a second person."""

from __future__ import annotations

from typing import ClassVar

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now
from simple_history.models import HistoricalRecords

from canonical.models import AppendOnly, LegalEntity
from canonical.models.base import AmountField, CurrencyField
from hub.models.rules import DatedRule, maker_checker


class Reason(models.TextChoices):
    """Why a credit is given."""

    FIRST_RESPONSE = "first_response", "first response too late"
    RESOLUTION = "resolution", "resolution too late"
    UPTIME = "uptime", "availability below target"
    GOODWILL = "goodwill", "goodwill"
    BILLING_ERROR = "billing_error", "billing error"


class CreditPolicy(DatedRule):
    """A set of rules for one legal entity, or for all without one. Caps are percent of the subscription's monthly value."""

    kind: ClassVar[str] = "creditpolicy"
    SCOPE: ClassVar[tuple[str, ...]] = ("legal_entity",)
    SAYS: ClassVar[tuple[str, ...]] = (
        "name", "cap_case", "cap_month", "cap_year", "stacking", "excluded", "smallest", "smallest_currency", "settlement",
        "monthly_value",
    )  # fmt: skip
    PARTS: ClassVar[tuple[str, ...]] = ("rules",)

    class Stacking(models.TextChoices):
        HIGHEST = "highest", "only the highest of several"
        SUM = "sum", "all of them, up to the caps"

    class Settlement(models.TextChoices):
        CREDIT_NOTE = "credit_note", "credit note on the invoice, else balance"
        BALANCE = "balance", "customer balance"

    class MonthlyValue(models.TextChoices):
        LISTED = "listed", "its list price"
        BILLED = "billed", "what its invoice bills, discounts off; else its list price"

    legal_entity = models.ForeignKey(LegalEntity, models.PROTECT, null=True, blank=True, related_name="+")
    name = models.CharField(max_length=200)
    monthly_value = models.CharField(
        max_length=6, choices=MonthlyValue.choices, default=MonthlyValue.LISTED,
        help_text="what percents of the affected subscription's monthly value are taken of",
    )  # fmt: skip
    cap_case = models.DecimalField(
        max_digits=7, decimal_places=2, null=True, blank=True, help_text="% of the monthly value, per case"
    )
    cap_month = models.DecimalField(
        max_digits=7, decimal_places=2, null=True, blank=True, help_text="% of the monthly value, per customer and calendar month"
    )
    cap_year = models.DecimalField(
        max_digits=7, decimal_places=2, null=True, blank=True, help_text="% of the monthly value, per customer and calendar year"
    )
    stacking = models.CharField(max_length=10, choices=Stacking.choices, default=Stacking.HIGHEST)
    excluded = models.JSONField(
        default=list, blank=True, help_text='[{"tag": "maintenance"}, {"tier": "free"}]: no credit for cases that have these'
    )
    smallest = AmountField(default=0, help_text="credits below are not given")
    smallest_currency = CurrencyField(blank=True, default="")
    settlement = models.CharField(max_length=12, choices=Settlement.choices, default=Settlement.CREDIT_NOTE)
    history = HistoricalRecords()

    class Meta:
        verbose_name_plural = "credit policies"
        constraints = maker_checker("credit_policy")

    def __str__(self) -> str:
        return f"{self.name} v{self.version}"


class CreditRule(models.Model):
    """One line of a policy: for this miss of this tier, so much. Kept as it is once the policy was approved (trigger)."""

    policy = models.ForeignKey(CreditPolicy, models.CASCADE, related_name="rules")
    code = models.CharField(max_length=20, help_text="named in explanations, such as R-7")
    reason = models.CharField(max_length=20, choices=Reason.choices)
    tier = models.CharField(max_length=200, blank=True, help_text="plan; empty: every plan without a rule of its own")
    at_least = models.DecimalField(
        max_digits=12, decimal_places=4, default=0, help_text="minutes late; percentage points below the target for availability"
    )
    below = models.DecimalField(max_digits=12, decimal_places=4, null=True, blank=True)
    percent = models.DecimalField(max_digits=7, decimal_places=2, null=True, blank=True, help_text="of the monthly value")
    fixed = AmountField(null=True, blank=True)
    fixed_currency = CurrencyField(blank=True, default="")
    needs_evidence = models.BooleanField(default=False)

    class Meta:
        ordering: ClassVar = ["code"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["policy", "code"], name="one_rule_per_code_and_policy"),
            models.CheckConstraint(
                condition=Q(percent__isnull=False, fixed__isnull=True) | Q(percent__isnull=True, fixed__isnull=False),
                name="credit_rule_gives_percent_or_amount",
            ),
            models.CheckConstraint(condition=Q(below__isnull=True) | Q(below__gt=models.F("at_least")), name="credit_rule_band"),
        ]

    def __str__(self) -> str:
        return self.code


class ApprovalRule(DatedRule):
    """Who must approve credits of a band. Empty columns match anything; the most specific row wins.

    `stages`: [{"role": "finance reviewer", "count": 1}, …], in this order; none at all lets a small credit pass, except
    the sampled share of them. The band is compared in `currency`, at the rate of the day the credit was submitted.
    """

    kind: ClassVar[str] = "approvalrule"
    SCOPE: ClassVar[tuple[str, ...]] = ("legal_entity", "reason", "tier", "currency", "at_least")
    SAYS: ClassVar[tuple[str, ...]] = (
        "below", "stages", "sample_percent", "step_up", "decide_hours", "calendar", "expire_days", "escalate_to",
    )  # fmt: skip
    legal_entity = models.ForeignKey(LegalEntity, models.PROTECT, null=True, blank=True, related_name="+")
    reason = models.CharField(max_length=20, choices=Reason.choices, blank=True)
    tier = models.CharField(max_length=200, blank=True)
    currency = CurrencyField()
    at_least = AmountField(default=0)
    below = AmountField(null=True, blank=True)
    stages = models.JSONField(default=list, blank=True)
    sample_percent = models.PositiveSmallIntegerField(default=5, help_text="of those that need nobody, how many are asked about")
    step_up = models.BooleanField(default=False, help_text="approving asks for the password or second factor again")
    decide_hours = models.PositiveSmallIntegerField(default=8, help_text="business hours until it is escalated")
    calendar = models.CharField(max_length=60, blank=True)
    expire_days = models.PositiveSmallIntegerField(default=30, help_text="days until it goes back, undecided")
    escalate_to = models.CharField(max_length=40, default="controller", help_text="role")
    history = HistoricalRecords()

    class Meta:
        constraints = maker_checker("approval_rule")

    def __str__(self) -> str:
        scope = " / ".join(filter(None, [str(self.legal_entity or ""), self.reason, self.tier])) or "every credit"
        return f"{scope} from {self.at_least.normalize():f} {self.currency}"


class ApproverLimit(DatedRule):
    """How much one person of a role may approve: a credit, a day, and for one customer in 30 days."""

    kind: ClassVar[str] = "approverlimit"
    SCOPE: ClassVar[tuple[str, ...]] = ("role", "currency")
    SAYS: ClassVar[tuple[str, ...]] = ("per_credit", "per_day", "per_customer")
    role = models.CharField(max_length=40)
    currency = CurrencyField()
    per_credit = AmountField(null=True, blank=True)
    per_day = AmountField(null=True, blank=True)
    per_customer = AmountField(null=True, blank=True, help_text="all credits of the customer in 30 days, whoever approved them")
    history = HistoricalRecords()

    class Meta:
        constraints = maker_checker("approver_limit")

    def __str__(self) -> str:
        return f"{self.role} in {self.currency}"


class ExchangeRate(AppendOnly):
    """One unit of `currency` is `rate` units of `to` from the day `on`, until a later row says otherwise."""

    on = models.DateField()
    currency = CurrencyField()
    to = CurrencyField()
    rate = models.DecimalField(max_digits=20, decimal_places=10)
    source = models.CharField(max_length=100)
    entered_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.PROTECT, null=True, blank=True, related_name="+")
    at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["currency", "to", "on"], name="one_rate_per_pair_and_day"),
            models.CheckConstraint(condition=Q(rate__gt=0), name="rates_are_positive"),
        ]

    def __str__(self) -> str:
        return f"1 {self.currency} = {self.rate.normalize():f} {self.to} from {self.on}"
