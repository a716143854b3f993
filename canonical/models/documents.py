"""Documents with money: invoices, credit memos, payments, revenue schedules. NUMERIC amounts, checked sums."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.db.models import F, Q
from django_fsm import FSMField, FSMModelMixin, transition

from canonical.models.base import AmountField, BusinessObject, CurrencyField
from canonical.models.parties import LegalEntity, Party
from canonical.models.sales import Product, Subscription


class Invoice(FSMModelMixin, BusinessObject):
    """A customer invoice as billing issued it (`status`), and how far the ERP has it (`state`)."""

    kind: ClassVar[str] = "invoice"
    number = models.CharField(max_length=100, blank=True)
    party = models.ForeignKey(Party, models.PROTECT, related_name="invoices")
    legal_entity = models.ForeignKey(LegalEntity, models.PROTECT)
    subscription = models.ForeignKey(Subscription, models.PROTECT, null=True, blank=True, related_name="invoices")
    status = models.CharField(max_length=20)
    currency = CurrencyField()
    issued_on = models.DateField()
    due_on = models.DateField(null=True, blank=True)
    net = AmountField()
    tax = AmountField()
    total = AmountField()
    paid = AmountField(default=0)
    paid_on = models.DateField(null=True, blank=True)
    voided_on = models.DateField(null=True, blank=True)
    state = FSMField(default="recorded", protected=True, db_index=True)

    class Meta:
        constraints: ClassVar = [
            models.CheckConstraint(condition=Q(total=F("net") + F("tax")), name="invoice_total_is_net_plus_tax"),
        ]

    def __str__(self) -> str:
        return f"{self.number or 'invoice'} {self.total.normalize():f} {self.currency}"

    @transition(state, source="recorded", target="mapped")
    def map(self) -> None:
        """Customer, products and taxes have their ERP codes."""

    @transition(state, source=["recorded", "mapped"], target="posted")
    def post(self) -> None:
        """The ERP holds the posted document."""

    @transition(state, source="posted", target="confirmed")
    def confirm(self) -> None:
        """Billing carries the ERP's number."""

    @transition(state, source=["posted", "confirmed"], target="settled")
    def settle(self) -> None:
        """The ERP holds the payment in full."""

    @transition(state, source=["posted", "confirmed", "settled"], target="reversed")
    def reverse(self) -> None:
        """The ERP holds the document that takes it back."""

    @transition(state, source=["posted", "confirmed"], target="recorded")
    def restate(self) -> None:
        """The ERP's document was taken back because it says something else: what billing says now is posted anew."""

    @transition(state, source=["recorded", "mapped"], target="withdrawn")
    def withdraw(self) -> None:
        """Voided before the ERP ever saw it: nothing to post."""


class InvoiceLine(models.Model):
    """One line; `posting` is how the rules in force decided to book it, kept for ever."""

    invoice = models.ForeignKey(Invoice, models.CASCADE, related_name="lines")
    external_id = models.CharField(max_length=255)
    position = models.PositiveIntegerField()
    description = models.TextField(blank=True)
    product = models.ForeignKey(Product, models.PROTECT, null=True, blank=True)
    quantity = models.DecimalField(max_digits=30, decimal_places=12, default=1)
    net = AmountField()
    tax = AmountField()
    taxes = models.JSONField(default=list, help_text="[{code, amount, percentage}] as billing computed them")
    service_from = models.DateField(null=True, blank=True)
    service_to = models.DateField(null=True, blank=True)
    proration = models.BooleanField(default=False)
    posting = models.JSONField(null=True, blank=True, help_text="accounts, tax codes, rule and version used")

    class Meta:
        ordering: ClassVar = ["position"]
        constraints: ClassVar = [models.UniqueConstraint(fields=["invoice", "external_id"], name="one_row_per_invoice_line")]

    def __str__(self) -> str:
        return self.description or self.external_id


class CreditMemo(BusinessObject):
    """Takes back part or all of an invoice. Amounts are positive."""

    kind: ClassVar[str] = "credit_memo"
    number = models.CharField(max_length=100, blank=True)
    party = models.ForeignKey(Party, models.PROTECT, related_name="credit_memos")
    legal_entity = models.ForeignKey(LegalEntity, models.PROTECT)
    invoice = models.ForeignKey(Invoice, models.PROTECT, null=True, blank=True, related_name="credit_memos")
    status = models.CharField(max_length=20)
    reason = models.TextField(blank=True)
    currency = CurrencyField()
    issued_on = models.DateField()
    net = AmountField()
    tax = AmountField()
    total = AmountField()

    class Meta:
        constraints: ClassVar = [
            models.CheckConstraint(condition=Q(total=F("net") + F("tax")), name="credit_total_is_net_plus_tax"),
            models.CheckConstraint(condition=Q(total__gte=0), name="credit_is_not_negative"),
        ]

    def __str__(self) -> str:
        return f"{self.number or 'credit memo'} {self.total} {self.currency}"


class Payment(BusinessObject):
    """Money received, or given back when `refund_of` is set. The amount is positive."""

    kind: ClassVar[str] = "payment"
    party = models.ForeignKey(Party, models.PROTECT, null=True, blank=True, related_name="payments")
    invoice = models.ForeignKey(Invoice, models.PROTECT, null=True, blank=True, related_name="payments")
    refund_of = models.ForeignKey("self", models.PROTECT, null=True, blank=True, related_name="refunds")
    currency = CurrencyField()
    amount = AmountField()
    status = models.CharField(max_length=20)
    received_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints: ClassVar = [models.CheckConstraint(condition=Q(amount__gte=0), name="payment_is_not_negative")]

    def __str__(self) -> str:
        return f"{self.amount} {self.currency}"


class RevenueSchedule(BusinessObject):
    """How an invoice line turns into revenue."""

    kind: ClassVar[str] = "revenue_schedule"
    line = models.OneToOneField(InvoiceLine, models.PROTECT, related_name="schedule")
    currency = CurrencyField()
    amount = AmountField()

    def __str__(self) -> str:
        return f"{self.amount} {self.currency} over {self.line}"


class ScheduleEntry(models.Model):
    """Revenue of one period."""

    schedule = models.ForeignKey(RevenueSchedule, models.CASCADE, related_name="entries")
    on = models.DateField()
    amount = AmountField()

    class Meta:
        constraints: ClassVar = [models.UniqueConstraint(fields=["schedule", "on"], name="one_entry_per_schedule_and_day")]

    def __str__(self) -> str:
        return f"{self.on}: {self.amount}"
