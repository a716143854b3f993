"""observe: what billing says about customers, products, prices, payments and credits is read and recorded, no more."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from canonical.types import CanonicalObject
from connectors.sdk.contract import Connector
from connectors.sdk.errors import Refused
from connectors.sdk.http import Call
from hub.engine.flow import Flow, Read
from hub.flows import order_to_cash
from hub.models import Run


def ask(connector: Connector, client: Any, request: dict[str, Any], call: Call) -> Sequence[CanonicalObject]:
    """Read the object as it is now; nothing when it is gone, as a deleted draft is."""
    try:
        return order_to_cash.ask(connector, client, request, call)
    except Refused as refusal:
        if refusal.code != "not_found":
            raise
        return ()


def record(run: Run, said: Sequence[CanonicalObject]) -> None:
    """Keep what billing says, if it still says something."""
    if said:
        order_to_cash.record(run, said)


FLOW = Flow(
    name="observe",
    title="Observe",
    triggers=frozenset(
        f"billing.{kind}.{past}"
        for kind, pasts in {
            "party": ("created", "updated", "deleted"),
            "product": ("created", "updated", "deleted"),
            "price": ("created", "updated", "deleted"),
            "subscription": ("paused", "resumed"),
            "invoice": ("created", "updated", "payment_succeeded", "payment_failed", "overdue"),
            "credit_memo": ("issued", "updated", "voided"),
            "payment": (
                "succeeded", "failed", "cancelled", "allocated", "refunded", "refund_updated", "refund_failed",
            ),
        }.items()
        for past in pasts
    ),
    steps=(Read("read", order_to_cash.source, order_to_cash.what_to_read, ask, record),),
)  # fmt: skip
"""Keeps the canonical model true to billing for objects no other workflow is about."""
