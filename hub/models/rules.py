"""How documents are booked: accounting rules and code mappings, versioned, dated, approved by a second person."""

from __future__ import annotations

from typing import ClassVar

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now
from django_fsm import FSMField, FSMModelMixin, transition
from simple_history.models import HistoricalRecords

from canonical.models import LegalEntity, Product
from connectors.models import Connection


class DatedRule(FSMModelMixin, models.Model):
    """A row that decides bookings: drafted by one person, approved by another, in force between two days.

    A change is a new version that replaces the old one from its first day; nothing in force is ever edited
    (a trigger refuses it), so that a posting made under version 3 can be explained for ever.
    """

    SCOPE: ClassVar[tuple[str, ...]]
    """What identifies the subject of a rule: its versions share it."""
    SAYS: ClassVar[tuple[str, ...]]
    """What it decides."""
    PARTS: ClassVar[tuple[str, ...]] = ()
    """Related names of rows that belong to it and are copied to a new version."""

    version = models.PositiveIntegerField(default=1, editable=False)
    replaces = models.OneToOneField("self", models.PROTECT, null=True, blank=True, editable=False, related_name="replaced_by")
    valid_from = models.DateField()
    valid_to = models.DateField(null=True, blank=True, help_text="last day, inclusive")
    state = FSMField(default="draft", protected=True)
    drafted_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.PROTECT, related_name="+")
    approved_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.PROTECT, null=True, blank=True, related_name="+", editable=False
    )
    drafted_at = models.DateTimeField(db_default=Now(), editable=False)
    approved_at = models.DateTimeField(null=True, blank=True, editable=False)

    class Meta:
        abstract = True

    def clean(self) -> None:
        if self.valid_to and self.valid_from and self.valid_to < self.valid_from:
            raise ValidationError({"valid_to": "ends before it begins"})

    @property
    def label(self) -> str:
        """Names the row and version on a posting."""
        return f"{self._meta.model_name}:{self.pk}/v{self.version}"

    @transition("state", source="draft", target="active")
    def approve(self) -> None:
        """In force from `valid_from`."""

    @transition("state", source="active", target="retired")
    def retire(self) -> None:
        """No longer in force for new postings."""


def maker_checker(model: str) -> list[models.BaseConstraint]:
    """The constraints every kind of dated rule has."""
    return [
        models.CheckConstraint(
            condition=Q(approved_by__isnull=True) | ~Q(approved_by=F("drafted_by")),
            name=f"{model}_maker_is_not_checker",
        ),
        models.CheckConstraint(condition=Q(state="draft") | Q(approved_by__isnull=False), name=f"{model}_in_force_is_approved"),
        models.CheckConstraint(
            condition=Q(valid_to__isnull=True) | Q(valid_to__gte=F("valid_from")), name=f"{model}_ends_after_it_begins"
        ),
    ]


class AccountingRule(DatedRule):
    """Accounts for a line. Empty columns match anything; the row with the most specific match wins.

    Specificity counts product 8, family 4, region 2; a tie goes to the newer version, then to the higher id.
    """

    kind: ClassVar[str] = "accountingrule"
    SCOPE: ClassVar[tuple[str, ...]] = ("legal_entity", "product", "product_family", "region")
    SAYS: ClassVar[tuple[str, ...]] = ("revenue_account", "deferred_account", "tax_code", "journal", "dimensions")
    legal_entity = models.ForeignKey(LegalEntity, models.PROTECT, related_name="accounting_rules")
    product = models.ForeignKey(Product, models.PROTECT, null=True, blank=True)
    product_family = models.CharField(max_length=100, blank=True)
    region = models.CharField(max_length=60, blank=True)
    revenue_account = models.CharField(max_length=60, help_text="code in the ERP")
    deferred_account = models.CharField(max_length=60, blank=True, help_text="code in the ERP; empty: recognise at once")
    tax_code = models.CharField(max_length=100, blank=True, help_text="ERP tax for lines billing computed no tax on")
    journal = models.CharField(max_length=60, blank=True)
    dimensions = models.JSONField(default=dict, blank=True, help_text="analytic dimensions, name → code")
    history = HistoricalRecords()

    class Meta:
        constraints = maker_checker("accounting_rule")
        indexes: ClassVar = [models.Index(fields=["legal_entity", "state"], name="rules_of_an_entity")]

    def __str__(self) -> str:
        scope = [str(self.product or ""), self.product_family, self.region]
        return f"{self.legal_entity}: {' / '.join(filter(None, scope)) or 'everything'} → {self.revenue_account}"


class CodeMapping(DatedRule):
    """One code of a system ↔ one code of another: products, taxes, payment terms, and customers of support."""

    kind: ClassVar[str] = "codemapping"
    SCOPE: ClassVar[tuple[str, ...]] = ("what", "source", "source_code", "target")
    SAYS: ClassVar[tuple[str, ...]] = ("target_code",)

    class What(models.TextChoices):
        PRODUCT = "product"
        TAX = "tax"
        PAYMENT_TERM = "payment_term", "payment term"
        CUSTOMER = "customer", "customer of a support platform"

    what = models.CharField(max_length=20, choices=What.choices)
    source = models.ForeignKey(Connection, models.PROTECT, related_name="+", help_text="the system whose code is translated")
    source_code = models.CharField(max_length=255)
    target = models.ForeignKey(Connection, models.PROTECT, related_name="+", help_text="the system that knows the other code")
    target_code = models.CharField(max_length=255)
    history = HistoricalRecords()

    class Meta:
        constraints = maker_checker("code_mapping")
        indexes: ClassVar = [models.Index(fields=["source", "what", "source_code", "target"], name="mappings_by_source_code")]

    def __str__(self) -> str:
        return f"{self.get_what_display()} {self.source_code} → {self.target_code}"
