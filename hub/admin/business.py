"""Business objects, to look at: what the systems said they are, where they are, and how they came to their state."""

from __future__ import annotations

from typing import Any, ClassVar

from django.contrib import admin
from django.db.models import Q, QuerySet
from django.http import HttpRequest

from canonical.models import CreditMemo, ExternalRef, Invoice, LegalEntity, Party, Payment, Price, Product, Subscription
from hub.admin.panels import Panel, facts_of, present, references, runs_about, transitions
from hub.admin_ui import Admin, Choices, ReadOnlyAdmin, badge, link, money, pretty, when


class BusinessAdmin(ReadOnlyAdmin):
    """A business object. It is found by any id or number a system gave it, and by the columns named in `prefixes`."""

    shown: ClassVar[tuple[str, ...]] = ()
    prefixes: ClassVar[tuple[str, ...]] = ()
    search_fields = ("pk",)
    search_help_text = "Id or number in any system"
    list_display_links = ("name_",)

    def get_search_results(self, request: HttpRequest, queryset: QuerySet[Any], search_term: str) -> tuple[QuerySet[Any], bool]:
        term = search_term.strip()
        if not term:
            return queryset, False
        refs = ExternalRef.objects.filter(Q(external_id__startswith=term) | Q(number__startswith=term), object_kind=self.model.kind)
        wanted = Q(pk__in=list(refs.values_list("object_id", flat=True)[:1000]))
        for name in self.prefixes:
            wanted |= Q(**{f"{name}__startswith": term})
        return queryset.filter(wanted), False

    @admin.display(description="name")
    def name_(self, obj: Any) -> str:
        return str(obj)

    @admin.display(description="customer")
    def party_(self, obj: Any) -> str:
        return link(obj.party)

    @admin.display(description="in billing")
    def status_(self, obj: Any) -> str:
        return badge(obj.status)

    @admin.display(description="total")
    def total_(self, obj: Any) -> str:
        return money(obj.total, obj.currency)

    def extra_panels(self, obj: Any) -> list[Panel]:
        """Panels only this kind of object has."""
        return []

    def describe(self, request: HttpRequest, obj: Any) -> dict[str, Any]:
        kind = obj.kind
        return {
            "facts": facts_of(obj, *self.shown),
            "panels": [
                *self.extra_panels(obj),
                references(kind, obj.pk),
                transitions(kind, obj.pk),
                runs_about(kind, obj.pk),
            ],
        }


INVOICE_STATES = ("recorded", "mapped", "posted", "confirmed", "settled", "reversed", "withdrawn")


@admin.register(Invoice)
class InvoiceAdmin(BusinessAdmin):
    """An invoice: what billing issued, and how far the ERP has it."""

    list_display = ("number_", "party_", "total_", when("issued_on"), "status_", "state_")
    list_display_links = ("number_",)
    list_select_related = ("party",)
    list_filter = (Choices.of("state", [(s, s) for s in INVOICE_STATES], "in the ERP"),)
    shown = ("party", "legal_entity", "subscription", "status", "state", "issued_on", "due_on", "paid_on", "voided_on")

    @admin.display(description="number")
    def number_(self, obj: Invoice) -> str:
        return obj.number or f"(no number, {obj.pk})"

    @admin.display(description="in the ERP")
    def state_(self, obj: Invoice) -> str:
        return badge(obj.state)

    def extra_panels(self, obj: Invoice) -> list[Panel]:
        rows = [
            (
                line.description,
                present("product", line.product),
                f"{line.quantity.normalize():f}",
                money(line.net, obj.currency),
                money(line.tax, obj.currency),
                _posting(line.posting),
            )
            for line in obj.lines.select_related("product")
        ]
        rows.append(
            (
                "Total",
                "",
                "",
                money(obj.net, obj.currency),
                money(obj.tax, obj.currency),
                money(obj.total, obj.currency),
            )
        )
        return [Panel("Lines", ("What", "Product", "Quantity", "Net", "Tax", "Booked as"), rows)]


def _posting(posting: dict[str, Any] | None) -> str:
    if not posting:
        return "not booked yet"
    accounts = [posting.get("revenue_account"), posting.get("deferred_account")]
    parts = [
        " / ".join(a for a in accounts if a),
        ", ".join(posting.get("tax_codes", [])),
        " ".join(posting.get("rules", [])),
    ]
    return " · ".join(part for part in parts if part)


@admin.register(CreditMemo)
class CreditMemoAdmin(BusinessAdmin):
    """A credit memo."""

    list_display = ("name_", "party_", "total_", when("issued_on"), "status_")
    list_select_related = ("party",)
    shown = ("party", "legal_entity", "invoice", "status", "reason", "issued_on", "net", "tax", "total", "currency")


@admin.register(Payment)
class PaymentAdmin(BusinessAdmin):
    """Money received, or given back."""

    list_display = ("amount_", "party_", "invoice_", "status_", when("received_at"))
    list_display_links = ("amount_",)
    list_select_related = ("party", "invoice")
    shown = ("party", "invoice", "refund_of", "amount", "currency", "status", "received_at")

    @admin.display(description="amount")
    def amount_(self, obj: Payment) -> str:
        return ("refund of " if obj.refund_of_id else "") + money(obj.amount, obj.currency)

    @admin.display(description="invoice")
    def invoice_(self, obj: Payment) -> str:
        return link(obj.invoice)


@admin.register(Subscription)
class SubscriptionAdmin(BusinessAdmin):
    """A recurring agreement."""

    list_display = ("name_", "party_", "status_", "currency", when("started_at"), when("ended_at"))
    list_select_related = ("party",)
    shown = ("party", "legal_entity", "status", "currency", "started_at", "cancel_at", "ended_at")

    def extra_panels(self, obj: Subscription) -> list[Panel]:
        rows = [
            (
                link(item.product),
                f"{item.quantity.normalize():f}",
                str(item.price or ""),
                item.period_start,
                item.period_end,
                "ended" if item.ended else "",
            )
            for item in obj.items.select_related("product", "price__product")
        ]
        return [Panel("Items", ("Product", "Quantity", "Price", "From", "To", ""), rows)]


@admin.register(Party)
class PartyAdmin(BusinessAdmin):
    """A customer account."""

    list_display = ("name_", "email", "tax_id", "region", "deleted_at_source")
    prefixes = ("name",)
    search_help_text = "Name, or id in any system"
    shown = ("name", "email", "tax_id", "region", "deleted_at_source", "created_at")

    def describe(self, request: HttpRequest, obj: Any) -> dict[str, Any]:
        return {**super().describe(request, obj), "texts": [("Address", pretty(obj.address))] if obj.address else []}

    def extra_panels(self, obj: Party) -> list[Panel]:
        newest = obj.invoices.order_by("-id")[:20]
        rows = [
            (link(i, i.number or f"#{i.pk}"), i.issued_on, money(i.total, i.currency), badge(i.status), badge(i.state))
            for i in newest
        ]
        return [Panel("Newest invoices", ("Invoice", "Issued", "Total", "In billing", "In the ERP"), rows)]


@admin.register(Product)
class ProductAdmin(BusinessAdmin):
    """Something sold."""

    list_display = ("name_", "family", "active")
    shown = ("name", "family", "active", "created_at")


@admin.register(Price)
class PriceAdmin(BusinessAdmin):
    """What a product costs per interval."""

    list_display = ("name_", "usage_based")
    list_select_related = ("product",)
    shown = ("product", "unit_amount", "currency", "interval", "interval_count", "usage_based")


@admin.register(LegalEntity)
class LegalEntityAdmin(Admin):
    """A company of ours. Its code is on documents and rules, so it stays."""

    list_display = ("code", "name", "currency", "country", "timezone")
    ordering = ("code",)

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        return ("code", "currency") if obj else ()

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False
