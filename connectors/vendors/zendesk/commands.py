"""Writing to Zendesk: the state of a credit in the ticket's own fields and tags, and comments that are added once."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal, InvalidOperation

from canonical.commands import PostNote, WriteCase, Written
from connectors.sdk.contract import Command, WriteSafety
from connectors.sdk.errors import BadPayload, Refused, Unknown
from connectors.sdk.http import Call
from connectors.vendors.zendesk.client import Zendesk, path_of
from connectors.vendors.zendesk.clock import KEY, comments, key_of
from connectors.vendors.zendesk.fields import Json, custom, identity
from connectors.vendors.zendesk.mapping import REQUEST_TAG, tags_of
from connectors.vendors.zendesk.reads import audits, ticket

OURS = "tieout_"
"""Prefix of the tags that the hub puts on tickets."""


def write_case(client: Zendesk, request: WriteCase, call: Call) -> Written:
    """Put the block, the values and the tags where they belong; nothing is sent when they are there already.

    The update is refused by Zendesk when the ticket has changed since it was read (`safe_update`), because tags are
    written as a whole: that is Busy, and nothing is lost. Refused with code `closed` for a closed ticket, which nobody
    can change any more, and with `not_kept` when the ticket does not take a field.
    """
    told = ticket(client, request.case, call)
    if _shows(told, request, client):
        return _written(client, request.case)
    if told.get("status") == "closed":
        raise Refused(f"ticket {request.case} is closed: Zendesk changes it no more", code="closed")
    update = {
        "custom_fields": [{"id": int(field), "value": value} for field, value in _fields(request, client).items()],
        "tags": _tags(told, request),
        "safe_update": True,
        "updated_stamp": told.get("updated_at"),
    }
    answer = client.put(call, path_of("tickets", request.case), {"ticket": update})
    now = answer.get("ticket")
    if not isinstance(now, dict):
        raise Unknown("success without a ticket", code="unreadable_answer")
    if not _shows(now, request, client):
        raise Refused(f"ticket {request.case} does not keep what was written to it", code="not_kept")
    return _written(client, request.case)


def find_case(client: Zendesk, request: WriteCase, call: Call) -> Written | None:
    """The ticket, when it shows all that we wanted to write."""
    return _written(client, request.case) if _shows(ticket(client, request.case, call), request, client) else None


def _fields(request: WriteCase, client: Zendesk) -> dict[str, str]:
    """Custom field → its value, for the fields that are used here; amounts as Zendesk's decimals take them."""
    it = client.settings
    wanted = {
        it.field_block: request.block,
        it.field_state: request.values.get("credit_state"),
        it.field_number: request.values.get("credit_number"),
        it.field_amount: request.values.get("credit_amount"),
        it.field_currency: request.values.get("credit_currency"),
    }
    return {field: value for field, value in wanted.items() if field and value is not None}


def _tags(told: Json, request: WriteCase) -> list[str]:
    """All tags the ticket is to have: those of others, the agents' request, and ours as they are now."""
    theirs = [tag for tag in tags_of(told) if not tag.startswith(OURS) or tag == REQUEST_TAG]
    return sorted({*theirs, *(tag.lower() for tag in request.tags)})


def _shows(told: Json, request: WriteCase, client: Zendesk) -> bool:
    fields = _fields(request, client)
    kept = all(_same(custom(told, field), value) for field, value in fields.items())
    return kept and sorted(tags_of(told)) == _tags(told, request)


def _same(kept: object, wanted: str) -> bool:
    """Zendesk trims text, writes line ends its own way, and 12.50 as 12.5."""
    if isinstance(kept, int | Decimal) and not isinstance(kept, bool):
        return kept == _decimal(wanted)
    if not isinstance(kept, str):
        return kept is None and not wanted.strip()
    one, other = (" ".join(text.split()) for text in (kept, wanted))
    return one == other or (_decimal(one) is not None and _decimal(one) == _decimal(other))


def _decimal(text: str) -> Decimal | None:
    try:
        number = Decimal(text)
    except InvalidOperation:
        return None
    return number if number.is_finite() else None


def post_note(client: Zendesk, request: PostNote, call: Call) -> Written:
    """Add the comment, unless one with this key is there.

    The key goes into the metadata of the update (https://developer.zendesk.com/api-reference/ticketing/tickets/ticket_audits/,
    `metadata.custom`), which no customer sees. Refused with code `closed` for a closed ticket.
    """
    found = find_note(client, request, call)
    if found is not None:
        return found
    update = {"comment": {"body": request.text, "public": request.public}, "metadata": {KEY: request.key}}
    audit = client.put(call, path_of("tickets", request.case), {"ticket": update}).get("audit")
    written = _note(client, request, audit) if isinstance(audit, Mapping) else None
    if written is None:
        raise Unknown("success without the comment", code="unreadable_answer")
    return written


def find_note(client: Zendesk, request: PostNote, call: Call) -> Written | None:
    """The comment of this ticket whose update carries our key."""
    ours = (audit for audit in audits(client, request.case, call) if key_of(audit) == request.key)
    return next((written for audit in ours if (written := _note(client, request, audit))), None)


def _note(client: Zendesk, request: PostNote, audit: Json) -> Written | None:
    try:
        comment = next(iter(comments(audit)), None)
        external_id = identity(comment, "id") if comment else None
    except BadPayload:
        return None
    return Written(external_id=external_id, url=_url(client, request.case)) if external_id else None


def _written(client: Zendesk, case: str) -> Written:
    return Written(external_id=case, url=_url(client, case))


def _url(client: Zendesk, case: str) -> str:
    return f"{client.settings.base_url.rstrip('/')}/agent/tickets/{case}"


COMMANDS: Mapping[str, Command] = {
    command.name: command
    for command in (
        Command("write_case", WriteCase, write_case, find_case, WriteSafety.UPSERT),
        Command("post_note", PostNote, post_note, find_note, WriteSafety.LOOKUP),
    )
}
