"""What is sold and used: products, prices, contracts, subscriptions, entitlements, usage."""

from __future__ import annotations

from typing import ClassVar

from django.db import models

from canonical.models.base import BusinessObject, CurrencyField
from canonical.models.parties import LegalEntity, Party


class Product(BusinessObject):
    """Something sold."""

    kind: ClassVar[str] = "product"
    name = models.CharField(max_length=300)
    family = models.CharField(max_length=100, blank=True, help_text="groups products for accounting rules")
    active = models.BooleanField(default=True)

    def __str__(self) -> str:
        return self.name


class Price(BusinessObject):
    """What a product costs per interval."""

    kind: ClassVar[str] = "price"
    product = models.ForeignKey(Product, models.PROTECT, related_name="prices")
    currency = CurrencyField()
    unit_amount = models.DecimalField(max_digits=30, decimal_places=12, null=True, blank=True)
    interval = models.CharField(max_length=10, blank=True)
    interval_count = models.PositiveIntegerField(default=1)
    usage_based = models.BooleanField(default=False)

    def __str__(self) -> str:
        return f"{self.product} {self.unit_amount} {self.currency}/{self.interval or 'once'}"


class Contract(BusinessObject):
    """The frame a customer signed."""

    kind: ClassVar[str] = "contract"
    party = models.ForeignKey(Party, models.PROTECT, related_name="contracts")
    legal_entity = models.ForeignKey(LegalEntity, models.PROTECT)
    starts_on = models.DateField()
    ends_on = models.DateField(null=True, blank=True)
    renews = models.BooleanField(default=True)

    def __str__(self) -> str:
        return f"contract of {self.party} from {self.starts_on}"


class Subscription(BusinessObject):
    """A recurring agreement."""

    kind: ClassVar[str] = "subscription"
    party = models.ForeignKey(Party, models.PROTECT, related_name="subscriptions")
    contract = models.ForeignKey(Contract, models.PROTECT, null=True, blank=True, related_name="subscriptions")
    legal_entity = models.ForeignKey(LegalEntity, models.PROTECT)
    status = models.CharField(max_length=20)
    currency = CurrencyField()
    started_at = models.DateTimeField(null=True, blank=True)
    cancel_at = models.DateTimeField(null=True, blank=True)
    ended_at = models.DateTimeField(null=True, blank=True)

    def __str__(self) -> str:
        return f"subscription {self.pk} of {self.party}"


class SubscriptionItem(models.Model):
    """One line of a subscription; ended rather than deleted."""

    subscription = models.ForeignKey(Subscription, models.CASCADE, related_name="items")
    external_id = models.CharField(max_length=255)
    product = models.ForeignKey(Product, models.PROTECT)
    price = models.ForeignKey(Price, models.PROTECT, null=True)
    quantity = models.DecimalField(max_digits=30, decimal_places=12, default=1)
    period_start = models.DateTimeField(null=True, blank=True)
    period_end = models.DateTimeField(null=True, blank=True)
    ended = models.BooleanField(default=False)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["subscription", "external_id"], name="one_row_per_subscription_item")
        ]

    def __str__(self) -> str:
        return f"{self.quantity} × {self.product}"


class Entitlement(BusinessObject):
    """What a customer may use or was promised; `plan` names the service terms and the tier of credit policies."""

    kind: ClassVar[str] = "entitlement"
    party = models.ForeignKey(Party, models.PROTECT, related_name="entitlements")
    feature = models.CharField(max_length=200)
    plan = models.CharField(max_length=200, blank=True)
    source = models.CharField(max_length=200, blank=True, help_text="where it is written")
    active = models.BooleanField()
    valid_from = models.DateTimeField()
    valid_to = models.DateTimeField(null=True, blank=True)

    def __str__(self) -> str:
        return f"{self.party}: {self.feature}"


class UsageRecord(BusinessObject):
    """A quantity used at an instant."""

    kind: ClassVar[str] = "usage_record"
    party = models.ForeignKey(Party, models.PROTECT, related_name="usage")
    meter = models.CharField(max_length=200)
    quantity = models.DecimalField(max_digits=30, decimal_places=12)
    used_at = models.DateTimeField()

    def __str__(self) -> str:
        return f"{self.quantity} {self.meter}"
