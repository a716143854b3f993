"""What Zendesk's own SLA policies say of a ticket, told by its metric events. Pure.

The events come with a single ticket (`include=metric_events`), by metric:
https://developer.zendesk.com/api-reference/ticketing/tickets/ticket_metric_events/. They count by Zendesk's policies and
calendars, so they stand beside our clock as evidence, and no amount comes from them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Literal

from canonical.types import PlatformSla
from connectors.sdk.errors import BadPayload
from connectors.vendors.zendesk.fields import Json, many, need_instant, typed, words

_PROMISES: dict[str, Literal["first_response", "resolution"]] = {
    "reply_time": "first_response", "requester_wait_time": "resolution", "agent_work_time": "resolution",
    "resolution_time": "resolution",
}  # fmt: skip
"""Zendesk's metrics that a promise of ours is about; how often an agent writes in between is none."""
_TYPES: dict[str, Literal["applied", "fulfilled", "breached"]] = {
    "apply_sla": "applied", "fulfill": "fulfilled", "breach": "breached",
}  # fmt: skip
MOST = 50
"""Events that are kept of a case."""


def platform_sla(ticket: Json) -> tuple[PlatformSla, ...]:
    """In the order of time. Breaches that Zendesk took back, and replies after the first one, are left out."""
    found = sorted(_events(ticket), key=lambda event: event.at)
    return tuple(found[:MOST])


def _events(ticket: Json) -> Iterator[PlatformSla]:
    told = ticket.get("metric_events")
    if not isinstance(told, Mapping):
        return
    for metric, what in _PROMISES.items():
        for event in many(told, metric):
            type_ = _TYPES.get(words(event, "type"))
            is_later_reply = metric == "reply_time" and event.get("instance_id") not in (None, 0, 1)
            if type_ and not event.get("deleted") and not is_later_reply:
                yield PlatformSla(what=what, type=type_, at=need_instant(event, "time"), **_target(event))


def _target(event: Json) -> dict[str, object]:
    sla = event.get("sla")
    if not isinstance(sla, Mapping):
        return {}
    policy = sla.get("policy")
    title = typed(policy.get("title")) if isinstance(policy, Mapping) else ""
    seconds, minutes = sla.get("target_in_seconds"), sla.get("target")
    for said in (seconds, minutes):
        if said is not None and (isinstance(said, bool) or not isinstance(said, int)):
            raise BadPayload(f"metric event {event.get('id')}: its target is {said!r}")
    target = Decimal(seconds) / 60 if isinstance(seconds, int) else Decimal(minutes) if isinstance(minutes, int) else None
    return {"target": target, "policy": title}
