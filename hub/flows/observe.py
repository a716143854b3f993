"""observe: what billing says about customers, products, prices, payments and credits is read and recorded, no more."""

from __future__ import annotations

from hub.engine.flow import Flow
from hub.flows.order_to_cash import READ

FLOW = Flow(
    name="observe",
    title="Observe",
    triggers=frozenset(
        f"billing.{kind}.{past}"
        for kind, pasts in {
            "party": ("created", "updated", "deleted", "observed"),
            "product": ("created", "updated", "deleted"),
            "price": ("created", "updated", "deleted"),
            "invoice": ("created", "updated", "payment_failed"),
            "credit_memo": ("created", "updated", "voided"),
            "payment": ("succeeded", "failed", "updated", "refunded"),
            "refund": ("created", "updated", "failed"),
        }.items()
        for past in pasts
    ),
    steps=(READ,),
)
"""Keeps the canonical model true to billing for objects no other workflow is about."""
