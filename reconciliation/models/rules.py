"""Which breaks may mend themselves, and which may be left at a close: dated rules, drafted by one person, approved by another."""

from __future__ import annotations

from typing import ClassVar

from django.core.exceptions import ValidationError
from django.db import models
from django.db.models import F, Q
from simple_history.models import HistoricalRecords

from canonical.models import LegalEntity
from canonical.models.base import AmountField, CurrencyField
from hub.models.rules import DatedRule, maker_checker
from reconciliation.models.breaks import Break, Mend

BY_ITSELF = ("replay", "post", "write_off", "adjust")
"""Plans that a rule may let happen without a person. The others take something back, or need somebody's judgement."""


class MendRule(DatedRule):
    """Breaks of a type and entity (empty: any) are mended by this plan without a person, up to an amount each and a day.

    The most specific rule in force decides alone: entity counts 2, type 1; a tie goes to the newer version, then to the
    higher id. Limits are in `currency`; a day is one of UTC, and its total is shared by all versions of the rule.
    """

    kind: ClassVar[str] = "mendrule"
    SCOPE: ClassVar[tuple[str, ...]] = ("plan", "type", "legal_entity", "currency")
    SAYS: ClassVar[tuple[str, ...]] = ("limit", "per_day")
    plan = models.CharField(max_length=12, choices=[(plan, Mend.Plan(plan).label) for plan in BY_ITSELF])
    type = models.CharField(max_length=20, choices=Break.Type.choices, blank=True, help_text="of break; empty: any")
    legal_entity = models.ForeignKey(LegalEntity, models.PROTECT, null=True, blank=True, related_name="+", help_text="empty: all")
    currency = CurrencyField()
    limit = AmountField(help_text="the most one break may expose, and its mend move")
    per_day = AmountField(help_text="the most that all of them together move in a day")
    history = HistoricalRecords()

    class Meta:
        constraints: ClassVar = [
            *maker_checker("mend_rule"),
            models.CheckConstraint(condition=Q(limit__gt=0) & Q(per_day__gte=F("limit")), name="mend_rule_limits_make_sense"),
            models.CheckConstraint(condition=Q(plan__in=BY_ITSELF), name="mend_rule_plans_may_happen_by_themselves"),
        ]

    def __str__(self) -> str:
        scope = " / ".join(filter(None, [str(self.legal_entity or ""), self.get_type_display() if self.type else ""]))
        return f"{self.get_plan_display()}, {scope or 'every break'}, up to {self.limit.normalize():f} {self.currency}"

    def clean(self) -> None:
        super().clean()
        if self.limit is not None and self.per_day is not None and self.per_day < self.limit:
            raise ValidationError({"per_day": "less than one break may expose"})


class CloseTolerance(DatedRule):
    """The money that open breaks of a month may expose in all when it is closed, in a currency. Without one in force: nothing.

    One of an entity goes before that of all; a tie goes to the newer version, then to the higher id.
    """

    kind: ClassVar[str] = "closetolerance"
    SCOPE: ClassVar[tuple[str, ...]] = ("legal_entity", "currency")
    SAYS: ClassVar[tuple[str, ...]] = ("amount",)
    legal_entity = models.ForeignKey(LegalEntity, models.PROTECT, null=True, blank=True, related_name="+", help_text="empty: all")
    currency = CurrencyField()
    amount = AmountField(help_text="the most that the breaks left of a month may expose together")
    history = HistoricalRecords()

    class Meta:
        constraints: ClassVar = [
            *maker_checker("close_tolerance"),
            models.CheckConstraint(condition=Q(amount__gte=0), name="close_tolerance_is_not_negative"),
        ]

    def __str__(self) -> str:
        return f"{self.legal_entity or 'every entity'}: up to {self.amount.normalize():f} {self.currency} left at a close"
