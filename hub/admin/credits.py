"""Credits as a list to search, their history version by version, and who decides in whose place."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin
from django.contrib.auth.models import User
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from unfold.widgets import UnfoldAdminSplitDateTimeWidget

from hub.admin.desk_queue import HEAVY, searched
from hub.admin.desk_words import LOOKS
from hub.admin_ui import Admin, Choices, EditAdmin, Problem, ReadOnlyAdmin, badge, button, link, money, when
from hub.credits import delegating
from hub.credits.changing import NotAllowed
from hub.credits.models import Credit, Delegation, ExchangeRate, Reason
from hub.roles import LADDER


@admin.register(Credit)
class CreditAdmin(EditAdmin, ReadOnlyAdmin):
    """A credit. Its page is the desk's; here it is found, and its versions are compared."""

    list_display = ("number_", "party_", "total_", "reason_", "state_", "waiting_role", "requested_by", when("submitted_at"))
    list_display_links = ("number_",)
    list_select_related = ("party",)
    list_filter = (Choices.of("state", [(state, state.replace("_", " ")) for state in LOOKS if state not in ("mine", "doubt")]),
                   Choices.of("reason", Reason.choices), "legal_entity")  # fmt: skip
    search_fields = ("pk",)
    search_help_text = "CR number, case, incident, customer, ERP number"

    def get_queryset(self, request: HttpRequest) -> QuerySet[Credit]:
        return super().get_queryset(request).defer(*HEAVY)

    def get_search_results(self, request: HttpRequest, queryset: QuerySet[Any], search_term: str) -> tuple[QuerySet[Any], bool]:
        term = search_term.strip()
        return (queryset.filter(pk__in=searched(term).values("pk")), False) if term else (queryset, False)

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        answer = super().change_view(request, object_id, form_url, extra_context)
        return redirect("admin:desk_credit", int(object_id)) if answer.status_code == 200 else answer

    @admin.display(description="credit")
    def number_(self, obj: Credit) -> str:
        return obj.number

    @admin.display(description="customer")
    def party_(self, obj: Credit) -> str:
        return link(obj.party)

    @admin.display(description="total")
    def total_(self, obj: Credit) -> str:
        return money(obj.total, obj.currency)

    @admin.display(description="reason")
    def reason_(self, obj: Credit) -> str:
        return obj.get_reason_display()

    @admin.display(description="state")
    def state_(self, obj: Credit) -> str:
        return badge(obj.state)


class DelegationForm(forms.ModelForm[Delegation]):
    """What is delegated, to whom, until when."""

    class Meta:
        model = Delegation
        fields = ("grantor", "delegate", "starts_at", "ends_at", "legal_entity", "most", "most_currency", "reason")
        labels = {"most": "Up to", "most_currency": "Up to, currency"}
        widgets = {"starts_at": UnfoldAdminSplitDateTimeWidget(), "ends_at": UnfoldAdminSplitDateTimeWidget()}
        field_classes = {"starts_at": forms.SplitDateTimeField, "ends_at": forms.SplitDateTimeField}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        deciding = User.objects.filter(is_active=True, groups__name__in=LADDER).distinct().order_by("username")
        for name, people in (("grantor", deciding), ("delegate", User.objects.filter(is_active=True).order_by("username"))):
            if name in self.fields:
                self.fields[name].queryset = people  # type: ignore[attr-defined]

    def save(self, commit: bool = True) -> Delegation:
        """Granted by the service, in `DelegationAdmin.save_form`; here nothing is written."""
        return self.instance

    def save_m2m(self) -> None:
        """There is nothing of the kind."""

    def clean(self) -> dict[str, Any]:
        """Grant it: the service says why not, and the form shows that."""
        said: dict[str, Any] = super().clean() or self.cleaned_data
        if self.errors:
            return said
        try:
            self.instance = delegating.grant(
                said["grantor"], said["delegate"], starts_at=said["starts_at"], ends_at=said["ends_at"], reason=said["reason"],
                by=self.by, legal_entity=said["legal_entity"], most=said["most"], most_currency=said["most_currency"],
            )  # fmt: skip
        except NotAllowed as problem:
            raise forms.ValidationError(str(problem)) from None
        return said

    by: User


@admin.register(Delegation)
class DelegationAdmin(EditAdmin):
    """Who decides in whose place. Granted and ended, never edited."""

    form = DelegationForm
    list_display = ("delegate", "grantor", when("starts_at"), when("ends_at"), "legal_entity", "most_", "reason", "ended_")
    list_select_related = ("delegate", "grantor", "legal_entity")
    list_display_links = ("delegate",)
    change_form_outer_before_template = "admin/desk/delegation.html"

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any) -> Any:
        form = super().get_form(request, obj, change=change, **kwargs)
        return type(form.__name__, (form,), {"by": request.user})

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        return {"grantor": request.user.pk, **super().get_changeform_initial_data(request)}

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        """The form has granted it."""

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        obj = self.get_object(request, object_id)
        own = {"delegation": obj, "may": self._may(request)}
        return super().change_view(request, object_id, form_url, {**(extra_context or {}), **own})

    @button("credits.change_delegation")
    def revoke(self, request: HttpRequest, obj: Delegation) -> str:
        """End it now."""
        try:
            delegating.revoke(obj, request.user)  # type: ignore[arg-type]
        except NotAllowed as problem:
            raise Problem(str(problem)) from None
        return f"Ended: {obj.delegate} no longer decides for {obj.grantor}."

    @admin.display(description="up to")
    def most_(self, obj: Delegation) -> str:
        return money(obj.most, obj.most_currency)

    @admin.display(description="ended")
    def ended_(self, obj: Delegation) -> str:
        return badge("revoked", "ended") if obj.revoked_at else ""


@admin.register(ExchangeRate)
class ExchangeRateAdmin(Admin):
    """Rates of exchange, by day. Added, never changed: a rate that was used stays what it was."""

    list_display = ("__str__", "source", "entered_by", when("at"))
    list_select_related = ("entered_by",)
    list_filter = ("on",)
    ordering = ("-on", "currency")
    fields = ("on", "currency", "to", "rate", "source")

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def save_model(self, request: HttpRequest, obj: ExchangeRate, form: Any, change: bool) -> None:
        obj.entered_by = request.user  # type: ignore[assignment]
        super().save_model(request, obj, form, change)
