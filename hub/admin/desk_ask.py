"""Asking for a credit in the back office: who, why and how much, and what it would come to before anything is saved."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.utils import timezone

from canonical.models import ExternalRef, Invoice, Party, SupportCase
from canonical.money import normal_currency
from hub.admin.desk_actions import REQUEST
from hub.admin.desk_item import calculation_lines, posting, promises, rule_in_words
from hub.admin.desk_queue import customers
from hub.admin_ui import money
from hub.credits import assessing, entitling, opening
from hub.credits.models import Credit, Reason
from hub.engine.flow import Blocked

REFUSALS = (opening.NotOpened,)
"""What says that no credit can be opened, in a message for people."""
MEASURED = ("first_response", "resolution", "uptime")
"""Reasons that need a case whose clock can be judged."""


class AskForm(forms.Form):
    """What a person asks for. A customer is named by name, id or number in any system; a case by its id in support."""

    customer = forms.CharField(required=False, max_length=255, help_text="name, or id in any system; empty: the case's customer")
    case = forms.CharField(required=False, max_length=255, help_text="id of the case in the support platform")
    reason = forms.ChoiceField(choices=Reason.choices)
    amount = forms.DecimalField(
        required=False, max_digits=20, decimal_places=4, min_value=0, help_text="net; empty: as the policy computes"
    )
    currency = forms.CharField(required=False, max_length=3, help_text="empty: the subscription's")
    invoice = forms.CharField(required=False, max_length=100, help_text="number; empty: the hub chooses")
    incident = forms.CharField(required=False, max_length=200)
    period_start = forms.DateField(required=False, widget=forms.DateInput(attrs={"type": "date"}))
    period_end = forms.DateField(required=False, widget=forms.DateInput(attrs={"type": "date"}))
    note = forms.CharField(max_length=4000, widget=forms.Textarea(attrs={"rows": 3}), help_text="why the customer should have it")
    evidence = forms.CharField(
        required=False, max_length=8000, widget=forms.Textarea(attrs={"rows": 2}), help_text="what proves it; some reasons need it"
    )

    def clean_currency(self) -> str:
        """An ISO code, or nothing."""
        typed = str(self.cleaned_data["currency"]).strip()
        try:
            return normal_currency(typed) if typed else ""
        except ValueError as error:
            raise forms.ValidationError(str(error)) from None

    def clean(self) -> dict[str, Any]:
        """Find the case, the customer and the invoice that were named."""
        said: dict[str, Any] = super().clean() or self.cleaned_data
        said["found_case"], said["support"] = self._case(said.get("case", "").strip())
        said["party"] = self._party(said.get("customer", "").strip(), said["found_case"])
        number = said.get("invoice", "").strip()
        said["found_invoice"] = Invoice.objects.filter(party=said["party"], number=number).first() if number else None
        if number and said["party"] and said["found_invoice"] is None:
            self.add_error("invoice", "The customer has no invoice of this number.")
        if said.get("period_start") and said.get("period_end") and said["period_end"] < said["period_start"]:
            self.add_error("period_end", "It ends before it begins.")
        return said

    def _case(self, term: str) -> tuple[SupportCase | None, Any]:
        if not term:
            return None, None
        refs = ExternalRef.objects.filter(object_kind="support_case", external_id=term.lstrip("#")).select_related("connection")
        ref = refs.exclude(state="superseded").first()
        case = SupportCase.objects.select_related("party").filter(pk=ref.object_id).first() if ref else None
        if case is None or ref is None:
            self.add_error("case", "No support platform has told us of this case.")
            return None, None
        return case, ref.connection

    def _party(self, term: str, case: SupportCase | None) -> Party | None:
        if not term:
            if case is not None and case.party is not None:
                return case.party
            self.add_error("customer", "Name the customer.")
            return None
        refs = ExternalRef.objects.filter(object_kind="party", external_id=term).values_list("object_id", flat=True)
        found = list(Party.objects.filter(pk__in=set(refs) or customers(term)).order_by("name", "id")[:6])
        exact = [party for party in found if party.name == term] or found
        if len(exact) != 1:
            names = "; ".join(party.name for party in found[:5])
            self.add_error("customer", f"Which one? {names}" if found else "No customer has this name or id.")
            return None
        return exact[0]

    def claim(self, user: Any, at: Any) -> opening.Claim:
        """What is asked for, in the service's words. Raises one of REFUSALS."""
        said = self.cleaned_data
        billing = entitling.billing_of(said["party"], said["support"])
        if billing is None:
            raise opening.NotOpened("No billing system knows this customer, so there is nothing to credit.")
        case, reason = said["found_case"], said["reason"]
        if reason in MEASURED and case is None:
            raise opening.NotOpened("A missed promise is about a case: name it.")
        return opening.Claim(
            party=said["party"], billing=billing, reason=reason, origin=Credit.Origin.REVIEWER, requested_by=user.get_username(),
            case=case, support=said["support"], invoice=said["found_invoice"], amount=said["amount"], currency=said["currency"],
            incident=said["incident"], period_start=said["period_start"], period_end=said["period_end"], note=said["note"],
            evidence=said["evidence"], made_by=user, assessment=assessing.assess(case, at=at) if reason in MEASURED else None,
        )  # fmt: skip


class _NotKept(Exception):
    """Takes a preview back."""


def page(request: HttpRequest) -> HttpResponse:
    """The form; first what it would come to, then the credit."""
    if not request.user.has_perm(REQUEST):
        raise PermissionDenied
    form = AskForm(
        request.POST or None, initial={name: request.GET.get(name, "") for name in ("customer", "case", "invoice", "note")}
    )
    context: dict[str, Any] = {"title": "Ask for a credit", "form": form}
    if request.method == "POST" and form.is_valid():
        at = timezone.now()
        try:
            claim = form.claim(request.user, at)
            if request.POST.get("do") == "open":
                credit = opening.open_credit(claim, at=at)
                messages.success(request, f"{credit} is asked for. You made it, so another person decides.")
                return redirect("admin:desk_credit", credit.pk)
            context["preview"] = preview(claim, at)
        except (*REFUSALS, Blocked) as error:
            context["refused"] = {"message": str(error), "lines": getattr(error, "explanation", [])}
    return TemplateResponse(request, "admin/desk/ask.html", {**admin.site.each_context(request), **context})


def preview(claim: opening.Claim, at: Any) -> dict[str, Any]:
    """What the credit would be: it is opened like any other, shown, and taken back."""
    shown: dict[str, Any] = {}
    try:
        with transaction.atomic():
            credit = opening.open_credit(claim, at=at)
            shown = {
                "net": money(credit.net, credit.currency), "tax": money(credit.tax, credit.currency),
                "total": money(credit.total, credit.currency), "state": credit.state, "duplicate": credit.duplicate_of,
                "duplicate_why": credit.duplicate_why, "flags": credit.flags, "promises": promises(credit, [], at),
                "lines": calculation_lines(credit.calculation.get("decision") or {}, credit), "posting": posting(credit),
                "rule": rule_in_words(credit), "customer": credit.party.name,
            }  # fmt: skip
            raise _NotKept
    except _NotKept:
        return shown
