"""Deliveries as Stripe sends them, small enough to read."""

from __future__ import annotations

from typing import Any

import orjson


def event(external_id: str = "evt_1", kind: str = "invoice.finalized", subject: str = "in_1", **more: Any) -> bytes:
    """An event about an object of the kind its name begins with."""
    what = "subscription" if ".subscription." in kind else kind.partition(".")[0]
    about = {"id": subject, "object": what, **more}
    return orjson.dumps({"id": external_id, "object": "event", "type": kind, "created": 1_790_000_000, "data": {"object": about}})
