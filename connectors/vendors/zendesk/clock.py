"""The clock of a ticket, told by its audits. Pure.

An audit is one update of a ticket; its events say what changed
(https://developer.zendesk.com/documentation/ticketing/reference-guides/ticket-audit-events-reference). Zendesk's own SLA
metrics (`metrics.py`) move no clock: they count by Zendesk's policies and calendars, and what was promised is ours to compute.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from canonical.types import ClockEvent
from connectors.vendors.zendesk.client import STAFF, Settings
from connectors.vendors.zendesk.fields import Json, identity, many, need_instant, words

KEY = "tieout_key"
"""In the metadata of an audit of ours: the key of the note it added."""
_DONE = ("solved", "closed")


def in_order(audits: Sequence[Json]) -> list[Json]:
    """Oldest first: audits of one second in the order of their ids."""
    return sorted(audits, key=lambda audit: (need_instant(audit, "created_at"), int(identity(audit, "id") or 0)))


def changes(audit: Json) -> list[Json]:
    """The fields an audit set, at the opening or later."""
    return [event for event in many(audit, "events") if event.get("type") in ("Create", "Change")]


def comments(audit: Json) -> list[Json]:
    """The comments an audit added."""
    return [event for event in many(audit, "events") if event.get("type") == "Comment"]


def key_of(audit: Json) -> str:
    """The key of the note that this audit added for us; '' when it is not ours."""
    metadata = audit.get("metadata")
    ours = metadata.get("custom") if isinstance(metadata, Mapping) else None
    return words(ours, KEY) if isinstance(ours, Mapping) else ""


def clock_of(ticket: Json, audits: Sequence[Json], users: Mapping[str, Json], settings: Settings) -> tuple[ClockEvent, ...]:
    """What moved the clock, in the order of time; `audits` are in that order."""
    opened = need_instant(ticket, "created_at")
    first = identity(audits[0], "id") if audits else None
    found = [ClockEvent(what="opened", at=opened, external_id=first or "")]
    status, replied = "new", False
    for number, audit in enumerate(audits):
        at, entry = need_instant(audit, "created_at"), identity(audit, "id") or ""
        # The first audit carries the description, whoever wrote it down; notes of the hub are no reply of staff.
        if number and not replied and not key_of(audit) and (reply := _reply(audit, users)):
            replied = True
            found.append(ClockEvent(what="first_reply", at=at, external_id=identity(reply, "id") or entry))
        for change in changes(audit):
            name, value = words(change, "field_name"), words(change, "value")
            if name == "priority" and (value or change.get("type") == "Change"):
                found.append(ClockEvent(what="severity", at=at, value=value, external_id=entry))
            elif name == "status" and value:
                for what in _moves(status, value, _paused(settings)):
                    found.append(ClockEvent(what=what, at=at, value=value, external_id=entry))
                status = value
    return tuple(found)


def _paused(settings: Settings) -> tuple[str, ...]:
    return ("pending", "hold") if settings.hold_pauses else ("pending",)


def _moves(before: str, after: str, paused: Sequence[str]) -> Iterator[str]:
    """What a change of status means for the clock. Between solved and closed nothing does."""
    if after in _DONE:
        if before not in _DONE:
            yield "resolved"
        return
    if before in _DONE:
        yield "reopened"
        before = "open"
    if after in paused and before not in paused:
        yield "paused"
    elif before in paused and after not in paused:
        yield "resumed"


def _reply(audit: Json, users: Mapping[str, Json]) -> Json | None:
    """The public comment of this audit that staff wrote."""
    for comment in comments(audit):
        author = identity(comment, "author_id") or identity(audit, "author_id")
        if comment.get("public") is True and author and words(users.get(author, {}), "role") in STAFF:
            return comment
    return None


def speakers(audits: Sequence[Json]) -> list[str]:
    """Ids of those who said something after the opening, the earliest first, each once."""
    found = [
        identity(comment, "author_id") or identity(audit, "author_id") or "" for audit in audits[1:] for comment in comments(audit)
    ]
    return list(dict.fromkeys(filter(None, found)))
