"""Business objects, the ID cross-reference, observations and the record of transitions."""

from canonical.models.base import AppendOnly, Transition, move, record_transition
from canonical.models.documents import CreditMemo, Invoice, InvoiceLine, Payment, RevenueSchedule, ScheduleEntry
from canonical.models.identity import ExternalRef, Observation
from canonical.models.parties import CaseClock, LegalEntity, Party, SupportCase
from canonical.models.sales import Contract, Entitlement, Price, Product, Subscription, SubscriptionItem, UsageRecord

__all__ = [
    "AppendOnly",
    "CaseClock",
    "Contract",
    "CreditMemo",
    "Entitlement",
    "ExternalRef",
    "Invoice",
    "InvoiceLine",
    "LegalEntity",
    "Observation",
    "Party",
    "Payment",
    "Price",
    "Product",
    "RevenueSchedule",
    "ScheduleEntry",
    "Subscription",
    "SubscriptionItem",
    "SupportCase",
    "Transition",
    "UsageRecord",
    "move",
    "record_transition",
]
