"""The reads: health, one case with its clock, who it belongs to, and a sweep by activity."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime

from canonical.types import CanonicalObject, Party
from connectors.sdk.contract import Health, Page, SourceEvent
from connectors.sdk.errors import BadPayload, Busy, Misconfigured, Refused
from connectors.sdk.http import Call
from connectors.vendors.roundup import mapping
from connectors.vendors.roundup.client import Roundup, Row, items

OVERLAP = timedelta(minutes=2)
"""A change becomes visible when it is committed, a little after its `activity`: a sweep looks back this far."""
PAGE = 100
NOTES = 10
"""Notes that are told of a case."""
OURS = ("billing_customer", "plan", "subscription", "incident", "last_note", *mapping.REQUEST)
NEEDED = ("tieout_block", "credit_state", "credit_number", "credit_amount", "credit_currency", *OURS)


def check(client: Roundup, call: Call) -> Health:
    """Prove address, login, time zone and schema. Misconfigured when dates would be misread; Refused without our properties."""
    response = client.send(call, f"data/user/username={client.user}", {"@fields": "username,timezone"})
    try:
        zone = response.json()["data"]["attributes"]["timezone"]
    except (ValueError, KeyError, TypeError):
        raise Busy("an answer without the hub's user", code="unreadable_answer") from None
    # Roundup reads the dates of a search in the zone of whoever asks.
    if zone not in ("UTC", "0"):
        raise Misconfigured(f"the user {client.user!r} of the tracker needs the time zone UTC", code="time_zone")
    needed = ",".join(map(client.settings.property, NEEDED))
    client.get(call, "data/issue", page_size="1", fields=needed)
    try:
        clock = parsedate_to_datetime(response.headers.get("Date", ""))
    except ValueError:
        clock = None
    return Health(identity=client.user, detail=client.settings.base_url, clock=clock)


def fetch_case(client: Roundup, external_id: str, call: Call) -> Sequence[CanonicalObject]:
    """The case, also a retired one, and who it belongs to."""
    issue = client.issue(call, external_id)
    journal = client.get(call, f"tieout/journal/{external_id}")
    messages = [row["id"] for row in issue.get("messages") or ()]
    first = client.item(call, "msg", min(messages, key=int), verbose="3") if messages else None
    notes = _notes(client, external_id, call) if issue.get(client.settings.property("last_note")) else []
    case = mapping.case(client.settings, issue, journal, first, client.page_of(external_id), notes)
    return [case, _party(client, case.party or "", call)]


def _notes(client: Roundup, issue: str, call: Call) -> list[tuple[Row, bool]]:
    """The latest notes of an issue, oldest first, each with whether staff wrote it and not the hub."""
    query = {
        "issue": issue, "@sort": "-id", "@fields": "content,creation,creator", "@verbose": "3", "@page_size": str(NOTES),
    }  # fmt: skip
    rows = items(client.select(call, "data/note", query))[::-1]
    own = client.own_id(call)
    writers = {str(row["creator"]["id"]) for row in rows} - {own}
    people = {writer: client.item(call, "user", writer, verbose="1") for writer in writers}
    staff = {writer for writer, person in people.items() if mapping.is_staff(client.settings, {"roles": person.get("roles") or ""})}
    return [(row, str(row["creator"]["id"]) in staff) for row in rows]


def fetch_party(client: Roundup, external_id: str, call: Call) -> Sequence[CanonicalObject]:
    """A customer that an issue names (`customer:<billing id>`), or a user of the tracker (`user:<id>`)."""
    name = external_id.removeprefix(mapping.CUSTOMER)
    if name != external_id:
        field = client.settings.property("billing_customer")
        if not name or not client.find(call, "issue", **{field: name}):
            raise Refused(f"no issue names the customer {name!r}", code="not_found")
    return [_party(client, external_id, call)]


def _party(client: Roundup, external_id: str, call: Call) -> Party:
    if external_id.startswith(mapping.CUSTOMER):
        return mapping.customer(external_id.removeprefix(mapping.CUSTOMER))
    if not external_id.startswith(mapping.USER):
        raise Refused(f"there is no party {external_id!r}", code="not_found")
    return mapping.user(client.item(call, "user", external_id.removeprefix(mapping.USER), verbose="1"))


def changed_cases(client: Roundup, since: datetime, cursor: str | None, call: Call) -> Page:
    """Issues with activity since an instant, resolved ones included and retired ones not, oldest activity first.

    Dates have whole seconds here. The next page so begins with the last second of this one, and the cursor tells which
    issues of that second were met; those that change meanwhile move to the end, and are met there again.
    """
    start, seen = json.loads(cursor) if cursor else (mapping.stamp(since - OVERLAP), [])
    met, index = set(seen), 0
    while True:
        index += 1
        rows = _rows(client, start, index, call)
        fresh = [row for row in rows if row["activity"] != start or row["id"] not in met]
        if fresh or len(rows) < PAGE:
            break
    found = [_observed(client, row) for row in fresh]
    if len(rows) < PAGE:
        return Page(found, None)
    last = rows[-1]["activity"]
    same = {row["id"] for row in rows if row["activity"] == last} | (met if last == start else set())
    return Page(found, json.dumps([last, sorted(same, key=int)]))


def _rows(client: Roundup, start: str, index: int, call: Call) -> list[Row]:
    fields = ["activity", "title", "status", "priority", "messages", "keyword", *map(client.settings.property, OURS)]
    query = {
        "activity": f"{start};", "@sort": "activity,id", "@fields": ",".join(fields), "@verbose": "0",
        "@page_size": str(PAGE), "@page_index": str(index),
    }  # fmt: skip
    return items(client.select(call, "data/issue", query))


def _observed(client: Roundup, row: Row) -> SourceEvent:
    """The event's id tells one state from the next, also when both are of one second."""
    known = {name: row.get(name) for name in ("status", "priority", "messages", *map(client.settings.property, OURS))}
    digest = hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()[:16]
    try:
        at = mapping.instant(row["activity"])
    except (ValueError, TypeError):
        raise BadPayload(f"issue{row['id']} has no readable activity") from None
    body = mapping.event_body(f"issue{row['id']}@{at:%Y%m%dT%H%M%S}-{digest}", "issue.observed", row["id"], at)
    return SourceEvent(mapping.envelope(body), body)
