"""Reading from Zendesk: one object as it is now, and pages of the tickets that changed."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson

from canonical.types import CanonicalObject
from connectors.sdk.contract import Envelope, Page, SourceEvent
from connectors.sdk.errors import BadPayload, Busy, Refused
from connectors.sdk.http import Call
from connectors.vendors.zendesk import mapping
from connectors.vendors.zendesk.client import LISTED, Zendesk, inner, objects, path_of
from connectors.vendors.zendesk.clock import in_order, speakers
from connectors.vendors.zendesk.events import DELETED, OBSERVED, envelope_of
from connectors.vendors.zendesk.fields import Json, identity, words

EXPORTED = 1000
"""Zendesk's maximum for a page of the export."""
SETTLED = timedelta(seconds=90)
"""The export leaves out the last minute and refuses a start in it; half a minute more allows for clocks that differ."""


def ticket(client: Zendesk, external_id: str, call: Call) -> dict[str, Any]:
    """The ticket as it is now, with its metric events.

    Refused('not_found') when it is deleted: Zendesk shows those only in lists of their own.
    """
    found = inner(client.get(call, path_of("tickets", external_id), include="metric_events"), "ticket")
    if found.get("status") == "deleted":
        raise Refused(f"ticket {external_id} is deleted", code="not_found")
    return found


def audits(client: Zendesk, external_id: str, call: Call) -> list[Json]:
    """Every update of the ticket, oldest first."""
    return in_order(list(client.all(call, path_of("tickets", external_id, "/audits"), "audits")))


def fetch_case(client: Zendesk, external_id: str, call: Call) -> list[CanonicalObject]:
    """A ticket with its clock, and its organisation or, when it has none, its requester."""
    told = ticket(client, external_id, call)
    history = audits(client, external_id, call)
    organization_id = identity(told, "organization_id")
    organization = _organization(client, organization_id, call) if organization_id else None
    asked = [identity(audit, "author_id") for audit in history if mapping.asking(audit, client.settings)]
    requester = None if organization_id else identity(told, "requester_id")
    users = _users(client, [*speakers(history), *asked, requester], call)
    found: list[CanonicalObject] = [mapping.case(told, history, users, client.settings, organization)]
    if organization:
        found.append(mapping.organization(organization, client.settings))
    elif requester in users:
        found.append(mapping.user(users[requester]))
    return found


def _organization(client: Zendesk, external_id: str, call: Call) -> dict[str, Any] | None:
    """None when it has been deleted beyond reading."""
    try:
        return inner(client.get(call, path_of("organizations", external_id)), "organization")
    except Refused as error:
        if error.code != "not_found":
            raise
        return None


def _users(client: Zendesk, ids: Iterable[str | None], call: Call) -> dict[str, Json]:
    """Users by id; who has been deleted beyond reading is left out."""
    wanted = list(dict.fromkeys(external_id for external_id in ids if external_id))
    found: dict[str, Json] = {}
    for start in range(0, len(wanted), LISTED):
        answer = client.get(call, "/api/v2/users/show_many.json", ids=",".join(wanted[start : start + LISTED]))
        found |= {str(user.get("id")): user for user in objects(answer, "users")}
    return found


def fetch_party(client: Zendesk, external_id: str, call: Call) -> list[CanonicalObject]:
    """An organisation, or with `user:ID` a requester who belongs to none."""
    if external_id.startswith(mapping.USER):
        path = path_of("users", external_id.removeprefix(mapping.USER))
        return [mapping.user(inner(client.get(call, path), "user"))]
    answer = client.get(call, path_of("organizations", external_id))
    return [mapping.organization(inner(answer, "organization"), client.settings)]


# sweeps ------------------------------------------------------------------------------------------------------


def page_cases(client: Zendesk, since: datetime, cursor: str | None, call: Call) -> Page:
    """Tickets changed at or after `since`, deleted ones too, in the order of their changes.

    https://developer.zendesk.com/api-reference/ticketing/ticket-management/incremental_exports/: the cursor goes on after
    the last ticket read, so a ticket that changes meanwhile comes again at the end, as another event. The export answers
    ten requests a minute, and what changed in the last minute comes with the next sweep, whose window overlaps.
    """
    start = min(since, datetime.now(UTC) - SETTLED)
    asked = {"cursor": cursor} if cursor else {"start_time": int(start.timestamp())}
    page = client.get(call, "/api/v2/incremental/tickets/cursor.json", per_page=EXPORTED, **asked)
    items = [_observed(told) for told in objects(page, "tickets")]
    if page.get("end_of_stream") is True:
        return Page(items, None)
    after = page.get("after_cursor")
    if not isinstance(after, str) or not after:
        raise Busy("a page of the export that tells neither its end nor a cursor", code="unreadable_answer")
    return Page(items, after)


_KEPT = ("id", "created_at", "updated_at", "generated_timestamp", "status", "priority", "organization_id", "requester_id")
"""What a sweep keeps of a ticket: enough to tell one state from another, and nothing that a person typed.

`updated_at` moves with every update; `generated_timestamp` also with changes by Zendesk itself.
"""


def _observed(told: Json) -> SourceEvent:
    """The ticket as an event whose id and bytes are the same as long as the ticket has not changed."""
    state = {name: told[name] for name in _KEPT if name in told}
    digest = hashlib.sha256(orjson.dumps(state, option=orjson.OPT_SORT_KEYS)).hexdigest()[:32]
    event = {
        "id": f"sweep:ticket:{told.get('id')}:{digest}",
        "type": DELETED if told.get("status") == "deleted" else OBSERVED,
        "time": told.get("updated_at"),
        "detail": state,
    }
    return SourceEvent(_envelope(event), orjson.dumps(event, option=orjson.OPT_SORT_KEYS))


def _envelope(event: dict[str, Any]) -> Envelope:
    """One ticket nobody can read must not hide those behind it."""
    try:
        return envelope_of(event)
    except BadPayload as error:
        return Envelope(external_id=event["id"][:255], kind=words(event, "type"), problem=str(error))


FETCH: dict[str, Callable[[Zendesk, str, Call], Sequence[CanonicalObject]]] = {
    "support_case": fetch_case,
    "party": fetch_party,
}

PAGES: dict[str, Callable[[Zendesk, datetime, str | None, Call], Page]] = {"cases": page_cases}
