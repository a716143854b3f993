"""What was promised and what it is worth: calendars, terms, policies, approval rules and limits. Drafted, replayed, approved."""

from __future__ import annotations

from typing import Any, ClassVar

from django import forms
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.urls import URLPattern, path
from unfold.widgets import INPUT_CLASSES

from hub.admin.rules import AS_WRITTEN, RULE_STATES, RuleAdmin
from hub.admin_ui import Choices, TabularInline, money, when
from hub.credits import replay
from hub.credits.models import ApprovalRule, ApproverLimit, BusinessCalendar, CreditPolicy, CreditRule, Reason, SlaTerms
from hub.roles import LADDER

COLUMNS = ("name_", "version", when("valid_from"), when("valid_to"), "state_", "drafted_by", "approved_by")
MONTHS = 12
LONGEST = 36


@admin.register(BusinessCalendar)
class BusinessCalendarAdmin(RuleAdmin):
    """Hours of business, by which minutes are counted."""

    list_display = COLUMNS
    list_display_links = ("name_",)
    list_select_related = ("drafted_by", "approved_by")
    list_filter = (RULE_STATES,)
    search_fields = ("name",)


@admin.register(SlaTerms)
class SlaTermsAdmin(RuleAdmin):
    """What a plan promises."""

    list_display = ("name_", "first_response_minutes", "resolution_minutes", "uptime_percent", "calendar", *COLUMNS[1:])
    list_display_links = ("name_",)
    list_select_related = ("drafted_by", "approved_by")
    list_filter = (RULE_STATES,)
    search_fields = ("plan",)


class CreditRuleInline(TabularInline):  # type: ignore[type-arg]
    """The lines of a policy. Kept as they are once it was approved."""

    model = CreditRule
    extra = 0
    hide_title = True
    formfield_overrides = AS_WRITTEN
    fields = ("code", "reason", "tier", "at_least", "below", "percent", "fixed", "fixed_currency", "needs_evidence")

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return super().has_add_permission(request, obj) and (obj is None or obj.state == "draft")

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return super().has_change_permission(request, obj) and (obj is None or obj.state == "draft")

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return super().has_delete_permission(request, obj) and (obj is None or obj.state == "draft")


@admin.register(CreditPolicy)
class CreditPolicyAdmin(RuleAdmin):
    """What a miss is worth. A draft can be tried on what happened before anybody approves it."""

    list_display = COLUMNS
    list_display_links = ("name_",)
    list_select_related = ("legal_entity", "drafted_by", "approved_by")
    list_filter = (RULE_STATES, "legal_entity")
    inlines: ClassVar[Any] = [CreditRuleInline]

    def get_urls(self) -> list[URLPattern]:
        own = path("<int:pk>/replay/", self.admin_site.admin_view(self.replayed), name="credits_creditpolicy_replay")
        return [own, *super().get_urls()]

    def _standing(self, request: HttpRequest, obj: CreditPolicy) -> dict[str, Any]:
        found = super()._standing(request, obj)
        return {
            **found,
            "before": [*found["before"], *rule_changes(obj)],
            "replay_months": MONTHS if self.may_replay(request) else 0,
        }

    def may_replay(self, request: HttpRequest) -> bool:
        """Whether the user may try a policy on the past: who drafts and who approves."""
        return request.user.has_perm("credits.approve_creditpolicy") or self.has_add_permission(request)

    def replayed(self, request: HttpRequest, pk: int) -> HttpResponse:
        """What the policy would have given in the last months, beside what was given. Written to the audit trail."""
        policy = self.get_object(request, str(pk))
        if policy is None or not self.may_replay(request):
            raise PermissionDenied
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        typed = request.POST.get("months", "")
        months = min(max(int(typed), 1), LONGEST) if typed.isdigit() and len(typed) < 4 else MONTHS
        found = replay.replay(policy, months=months, entity=policy.legal_entity)
        replay.note(policy, found, actor=request.user.get_username(), source="admin")
        return self.page(request, policy, "admin/desk/replay.html", {"comparison": found, "rows": shown(found), "months": months})


def shown(comparison: replay.Comparison) -> list[dict[str, Any]]:
    """The rows of a comparison, amounts as people read them."""
    return [
        {
            "row": row, "given": money(row.given, row.currency), "now": money(row.now, row.currency),
            "draft": money(row.draft, row.currency), "difference": money(row.difference, row.currency),
            "changes": [
                (change, f"CR-{change.credit:06d}" if change.credit else "", money(change.now, row.currency),
                 money(change.draft, row.currency), money(change.difference, row.currency))
                for change in row.changes
            ],
        }
        for row in comparison.rows
    ]  # fmt: skip


def rule_changes(policy: CreditPolicy) -> list[tuple[str, str, str]]:
    """How the rules of a version differ from those it replaces: (code, then, now)."""
    if policy.replaces is None:
        return []
    rows = CreditRule.objects.filter(policy__in=(policy.pk, policy.replaces.pk))
    then, now = ({rule.code: in_words(rule) for rule in rows if rule.policy_id == one} for one in (policy.replaces.pk, policy.pk))
    pairs = [(code, then.get(code, "(none)"), now.get(code, "(none)")) for code in sorted({*then, *now})]
    return [(f"rule {code}", before, after) for code, before, after in pairs if before != after]


def in_words(rule: CreditRule) -> str:
    """A rule in one line."""
    band = f"from {rule.at_least.normalize():f}" + (f" below {rule.below.normalize():f}" if rule.below is not None else "")
    gives = (
        money(rule.fixed, rule.fixed_currency) if rule.percent is None else f"{rule.percent.normalize():f} % of the monthly value"
    )
    evidence = ", with evidence" if rule.needs_evidence else ""
    return f"{rule.get_reason_display()} {rule.tier or 'every plan'} {band}: {gives}{evidence}"


class StagesField(forms.CharField):
    """Who must approve, as people write it: `2 finance reviewer, 1 controller`. Empty: nobody."""

    def prepare_value(self, value: Any) -> str:
        """The stored stages as text."""
        if isinstance(value, list):
            return ", ".join(f"{stage.get('count', 1)} {stage.get('role', '')}" for stage in value)
        return str(value or "")

    def clean(self, value: Any) -> list[dict[str, Any]]:
        """The text as stages."""
        return [self._stage(part.strip()) for part in str(value or "").split(",") if part.strip()]

    def has_changed(self, initial: Any, data: Any) -> bool:
        return self.prepare_value(initial) != str(data or "").strip()

    @staticmethod
    def _stage(part: str) -> dict[str, Any]:
        count, _, role = part.partition(" ") if part[:1].isdigit() else ("1", "", part)
        if not count.isdigit() or not 1 <= int(count) <= 9 or role.strip() not in LADDER:
            raise forms.ValidationError(f"“{part[:60]}”: write a number and one of {', '.join(LADDER)}.")
        return {"role": role.strip(), "count": int(count)}


@admin.register(ApprovalRule)
class ApprovalRuleAdmin(RuleAdmin):
    """Who must approve which credits."""

    list_display = ("name_", "needs_", "step_up", *COLUMNS[1:])
    list_display_links = ("name_",)
    list_select_related = ("legal_entity", "drafted_by", "approved_by")
    list_filter = (RULE_STATES, Choices.of("reason", Reason.choices), "legal_entity")

    def formfield_for_dbfield(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        if db_field.name == "stages":
            widget = forms.TextInput(attrs={"class": " ".join(INPUT_CLASSES), "size": 60})
            words = "in this order, such as: 1 finance reviewer, 1 controller. Empty: small ones pass"
            return StagesField(required=False, widget=widget, help_text=words)
        return super().formfield_for_dbfield(db_field, request, **kwargs)

    @admin.display(description="needs")
    def needs_(self, obj: ApprovalRule) -> str:
        return ", then ".join(f"{stage['count']} × {stage['role']}" for stage in obj.stages) or "nobody"


@admin.register(ApproverLimit)
class ApproverLimitAdmin(RuleAdmin):
    """How much one person of a role may approve."""

    list_display = ("name_", "per_credit", "per_day", "per_customer", *COLUMNS[1:])
    list_display_links = ("name_",)
    list_select_related = ("drafted_by", "approved_by")
    list_filter = (RULE_STATES,)

    def formfield_for_dbfield(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        if db_field.name == "role":
            return forms.ChoiceField(
                choices=[(role, role) for role in LADDER], widget=forms.Select(attrs={"class": " ".join(INPUT_CLASSES)})
            )
        return super().formfield_for_dbfield(db_field, request, **kwargs)
