"""Rules by which breaks mend themselves or may be left at a close: drafted by one person, approved by another."""

from __future__ import annotations

from django.contrib import admin

from hub.admin.rules import RULE_STATES, RuleAdmin
from hub.admin_ui import Choices, money, when
from reconciliation.mending import automatic
from reconciliation.models import CloseTolerance, Mend, MendRule
from reconciliation.models.rules import BY_ITSELF


@admin.register(MendRule)
class MendRuleAdmin(RuleAdmin):
    """What may mend itself, and how much of it has today."""

    list_display = (
        "name_", "limit_", "per_day_", "today_", "version", when("valid_from"), when("valid_to"), "state_", "drafted_by",
        "approved_by",
    )  # fmt: skip
    list_display_links = ("name_",)
    list_select_related = ("legal_entity", "drafted_by", "approved_by")
    list_filter = (RULE_STATES, Choices.of("plan", [(plan, str(Mend.Plan(plan).label)) for plan in BY_ITSELF]), "legal_entity")

    @admin.display(description="one break")
    def limit_(self, obj: MendRule) -> str:
        return money(obj.limit, obj.currency)

    @admin.display(description="a day")
    def per_day_(self, obj: MendRule) -> str:
        return money(obj.per_day, obj.currency)

    @admin.display(description="today")
    def today_(self, obj: MendRule) -> str:
        return money(automatic.moved(obj), obj.currency) if obj.state == "active" else ""


@admin.register(CloseTolerance)
class CloseToleranceAdmin(RuleAdmin):
    """What open breaks may expose when a month is closed."""

    list_display = (
        "name_", "amount_", "version", when("valid_from"), when("valid_to"), "state_", "drafted_by", "approved_by",
    )  # fmt: skip
    list_display_links = ("name_",)
    list_select_related = ("legal_entity", "drafted_by", "approved_by")
    list_filter = (RULE_STATES, "legal_entity")

    @admin.display(description="at most")
    def amount_(self, obj: CloseTolerance) -> str:
        return money(obj.amount, obj.currency)
