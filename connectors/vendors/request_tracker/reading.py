"""The reads: health, a case with its history, a customer, and the sweep of transactions by id."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime

from canonical.types import CanonicalObject, Party
from connectors.sdk.contract import Envelope, Health, Page, SourceEvent
from connectors.sdk.errors import BadPayload, Refused
from connectors.sdk.http import Call
from connectors.vendors.request_tracker import events, mapping
from connectors.vendors.request_tracker.client import Json, RequestTracker, object_of, quoted

NOTES = 10
"""Comments that are told of a case: the text of each is asked for."""
OVERLAP = timedelta(minutes=5)
"""RT numbers transactions before they are committed: one with a lower id may be seen later. A sweep looks back this far."""


def check(client: RequestTracker, call: Call) -> Health:
    """Prove address, token and queue."""
    response = client.read(call, "rt")
    version = object_of(response).get("Version") or "of unknown version"
    queue = client.queue(call)
    try:
        clock = parsedate_to_datetime(response.headers.get("Date", ""))
    except ValueError:
        clock = None
    return Health(identity=f"queue {queue.get('Name') or client.settings.queue}", detail=f"RT {version}", clock=clock)


def fetch_case(client: RequestTracker, external_id: str, call: Call) -> Sequence[CanonicalObject]:
    """A ticket with its clock, and whose it is. One that was merged away is deleted, and followed by the other case."""
    ticket, _ = client.ticket(call, external_id)
    case = mapping.support_case(_read(client, call, ticket), client.settings)
    found: list[CanonicalObject] = [case]
    if case.external_id != external_id:
        found.insert(0, case.model_copy(update={"external_id": external_id, "status": "closed", "deleted": True}))
    if case.party:
        found.append(_named(client, call, case.party))
    return found


def fetch_party(client: RequestTracker, external_id: str, call: Call) -> Sequence[CanonicalObject]:
    """A customer that some ticket names, or a user. Refused('not_found') for one that RT has never heard of."""
    if external_id.startswith(mapping.USER):
        return [mapping.party(external_id, client.user(call, external_id.removeprefix(mapping.USER)))]
    billing = external_id.removeprefix(mapping.CUSTOMER)
    field = quoted(f"CF.{{{client.settings.customer_field}}}")
    known = external_id.startswith(mapping.CUSTOMER) and client.get(
        call, "tickets", query=f"Queue = {quoted(client.settings.queue)} AND {field} = {quoted(billing)}", per_page=1
    ).get("count")
    if not known:
        raise Refused(f"no ticket is about {external_id!r}", code="not_found")
    return [mapping.party(external_id)]


def page_transactions(client: RequestTracker, since: datetime, cursor: str | None, call: Call) -> Page:
    """What happened in the queue since an instant, each as the webhook that may have been lost. Newest first.

    The cursor is the lowest id read: what happens meanwhile is at the other end, and belongs to the next sweep. RT is not
    asked for an instant, because it takes every time in a query for one of the user's own zone; its answers are in UTC.
    """
    query = f"TicketQueue = {quoted(client.settings.queue)}"
    if cursor is not None:
        query += f" AND id < {int(cursor)}"
    found = client.transactions(call, query, newest_first=True)
    young = [transaction for transaction in found if _is_young(transaction, since - OVERLAP)]
    lowest = min((int(transaction["id"]) for transaction in found), default=0)
    return Page([_item(client, it) for it in young], str(lowest) if found and len(young) == len(found) else None)


def _is_young(transaction: Json, floor: datetime) -> bool:
    """True also for one without a readable time: it is brought, and its problem told."""
    try:
        return events.instant(transaction.get("Created")) >= floor
    except BadPayload:
        return True


def _item(client: RequestTracker, transaction: Json) -> SourceEvent:
    """One transaction nobody can read must not hide those behind it."""
    body = events.delivery(transaction, client.settings.queue)
    try:
        return SourceEvent(events.envelope(body), body)
    except BadPayload as error:
        kind = str(transaction.get("Type") or "")[:100]
        return SourceEvent(Envelope(f"transaction/{transaction['id']}", kind, problem=str(error)), body)


def _read(client: RequestTracker, call: Call, ticket: Json) -> mapping.Case:
    number = str(ticket.get("id") or "")
    if not number.isdigit():
        raise BadPayload("a ticket without a number")
    history = list(client.history(call, number))
    opened = next((entry["id"] for entry in history if entry.get("Type") == "Create"), None)
    comments = [entry for entry in history if entry.get("Type") == "Comment"][-NOTES:]
    writers = {events.creator(entry) for entry in history if entry.get("Type") in ("Correspond", "Comment")}
    # The team's own request is answered by others of the team; and the hub's notes to the customer are no answer.
    others = writers - {*mapping.requestors(ticket), client.settings.login}
    staff = {login for login in others if client.is_privileged(call, login)}
    notes = [(entry, _words(client, call, number, entry["id"]) if events.creator(entry) in staff else "") for entry in comments]
    return mapping.Case(ticket, history, _words(client, call, number, opened), staff, notes, client.url_of(number))


def _words(client: RequestTracker, call: Call, ticket: str, transaction: object) -> str:
    """The plain text of a transaction; '' when it came without one, or is none."""
    if transaction is None:
        return ""
    texts = client.attachments(call, ticket, {"TransactionId": ("=", int(str(transaction)))})
    plain = [text for text in texts if text.get("ContentType") == "text/plain"]
    return str(plain[0].get("Content") or "") if plain else ""


def _named(client: RequestTracker, call: Call, party: str) -> Party:
    """Whose case it is; a user who has been removed from RT is what the ticket still says."""
    try:
        return mapping.party(party, client.user(call, party.removeprefix(mapping.USER)) if party.startswith(mapping.USER) else None)
    except Refused as error:
        if error.code != "not_found":
            raise
        return mapping.party(party)
