"""Dated rules, accounting rules and code mappings among them: one person drafts, another approves, nothing in force is edited."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, ClassVar

from django import forms
from django.contrib import admin
from django.core.exceptions import ValidationError
from django.db import models
from django.http import HttpRequest, HttpResponse
from django.utils.html import format_html
from import_export.admin import ImportExportMixin
from import_export.formats.base_formats import CSV
from unfold.contrib.import_export.forms import ExportForm, ImportForm
from unfold.widgets import UnfoldAdminDecimalFieldWidget

from hub import rulebook
from hub.admin.rule_files import AccountingRuleResource, MappingResource
from hub.admin_ui import Choices, EditAdmin, Problem, badge, button, link, url_of, when
from hub.models import AccountingRule, CodeMapping

VALIDITY = ("valid_from", "valid_to")


class PlainDecimal(UnfoldAdminDecimalFieldWidget):  # type: ignore[misc]
    """A number as people write it: without the zeros that the column keeps behind it."""

    def format_value(self, value: Any) -> str | None:
        return f"{value.normalize():f}" if isinstance(value, Decimal) else super().format_value(value)


AS_WRITTEN: Mapping[type[models.Field[Any, Any]], Mapping[str, Any]] = {models.DecimalField: {"widget": PlainDecimal}}


class RuleForm(forms.ModelForm[Any]):
    """A draft. What is in force already is changed by a new version, so that old postings stay explained."""

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        scope = {name: cleaned.get(name) for name in self._meta.model.SCOPE if name in self.fields}
        if self.errors or not scope or self.instance.replaces_id:
            return cleaned
        same = self._meta.model._default_manager.filter(**scope, state="active", replaced_by=None).first()
        if same is not None:
            raise ValidationError(f"Version {same.version} of this is in force (#{same.pk}): draft a new version from it.")
        return cleaned


class RuleAdmin(EditAdmin):
    """What all kinds of dated rule share."""

    form = RuleForm
    formfield_overrides = AS_WRITTEN
    change_form_outer_before_template = "admin/tieout/rule.html"

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return super().has_change_permission(request, obj) and (obj is None or obj.state == "draft")

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return super().has_delete_permission(request, obj) and (obj is None or obj.state == "draft")

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        return [
            ("What it is for", {"fields": self.model.SCOPE}),
            ("What it says", {"fields": self.model.SAYS}),
            ("In force", {"fields": VALIDITY}),
        ]

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        return self.model.SCOPE if obj is not None and obj.replaces_id else ()

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        # Whoever wrote the words last is the maker, so that another person checks exactly these.
        obj.drafted_by = request.user
        super().save_model(request, obj, form, change)

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        obj = self.get_object(request, object_id)
        standing = self._standing(request, obj) if obj is not None and self.has_view_permission(request, obj) else {}
        return super().change_view(request, object_id, form_url, {**(extra_context or {}), **standing})

    def _standing(self, request: HttpRequest, obj: Any) -> dict[str, Any]:
        following = type(obj)._default_manager.filter(replaces=obj).first()
        may = self._may(request)
        return {
            "rule": obj,
            "state_badge": badge(obj.state),
            "why_not": rulebook.why_not(obj, request.user),
            "may": {**may, "draft_new_version": self.may_draft(request) and obj.state != "draft" and following is None},
            "before": _difference(obj.replaces, obj) if obj.replaces else [],
            "replaces": link(obj.replaces, f"version {obj.replaces.version}") if obj.replaces else "",
            "following": link(following, f"version {following.version} ({following.state})") if following else "",
        }

    def may_draft(self, request: HttpRequest) -> bool:
        """Whether the user may write drafts of this kind."""
        return self.has_add_permission(request)

    @button("{app}.approve_{model}")
    def approve(self, request: HttpRequest, obj: Any) -> str:
        """Put the draft of another person in force."""
        try:
            healed = rulebook.approve(obj, request.user)
        except rulebook.NotApproved as error:
            raise Problem(str(error)) from None
        waiting = f" {healed} waiting step{'s go' if healed != 1 else ' goes'} on." if healed else ""
        return f"Approved: in force from {obj.valid_from}.{waiting}"

    @button("{app}.add_{model}")
    def draft_new_version(self, request: HttpRequest, obj: Any) -> str:
        """Begin a change of what is in force."""
        if not self.may_draft(request):
            raise Problem("You may not write drafts.")
        try:
            draft = rulebook.draft_new_version(obj, request.user)
        except rulebook.NotApproved as error:
            raise Problem(str(error)) from None
        return format_html('Version {} is a draft: <a class="tie-link" href="{}">change it</a>.', draft.version, url_of(draft))

    @admin.display(description="state")
    def state_(self, obj: Any) -> str:
        return badge(obj.state)

    @admin.display(description="rule")
    def name_(self, obj: Any) -> str:
        return str(obj)


def _difference(old: Any, new: Any) -> list[tuple[str, Any, Any]]:
    names = (*type(new).SAYS, *VALIDITY)
    pairs = [(name.replace("_", " "), getattr(old, name), getattr(new, name)) for name in names]
    return [(name, before or "(none)", now or "(none)") for name, before, now in pairs if before != now]


class FileRuleAdmin(ImportExportMixin, RuleAdmin):  # type: ignore[misc]
    """A kind of rule that is also written and read as a file."""

    formats = (CSV,)
    import_form_class = ImportForm
    export_form_class = ExportForm
    import_error_display: ClassVar = ("message",)

    def has_import_permission(self, request: HttpRequest) -> bool:
        return self.has_add_permission(request)

    def has_export_permission(self, request: HttpRequest) -> bool:
        return self.has_view_permission(request)


RULE_STATES = Choices.of("state", [("draft", "draft"), ("active", "active"), ("retired", "retired")])


@admin.register(AccountingRule)
class AccountingRuleAdmin(FileRuleAdmin):
    """Which accounts a line is booked to."""

    resource_classes = (AccountingRuleResource,)
    list_display = (
        "name_",
        "deferred_account",
        "version",
        when("valid_from"),
        when("valid_to"),
        "state_",
        "drafted_by",
        "approved_by",
    )
    list_display_links = ("name_",)
    list_select_related = ("legal_entity", "product", "drafted_by", "approved_by")
    list_filter = (RULE_STATES, "legal_entity")
    autocomplete_fields = ("product",)
    search_fields = ("revenue_account", "deferred_account", "product_family", "product__name")


@admin.register(CodeMapping)
class CodeMappingAdmin(FileRuleAdmin):
    """One code of a system and what another system calls it."""

    resource_classes = (MappingResource,)
    list_display = (
        "name_",
        "source",
        "target",
        "version",
        when("valid_from"),
        when("valid_to"),
        "state_",
        "drafted_by",
        "approved_by",
    )
    list_display_links = ("name_",)
    list_select_related = ("source", "target", "drafted_by", "approved_by")
    list_filter = (RULE_STATES, Choices.of("what", CodeMapping.What.choices), "source")
    search_fields = ("source_code", "target_code")
