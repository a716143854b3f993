"""The two writes: the block of fields the hub keeps on a ticket, and a note that is added once.

RT has neither idempotency keys nor transactions over several fields, and says no in messages beside status 200, or not
at all (an unknown custom field). So both read what is there before they write, and `write_case` reads it again after.
"""

from __future__ import annotations

import hashlib

from canonical.commands import PostNote, WriteCase, Written
from connectors.sdk.errors import Refused, Unknown
from connectors.sdk.http import Call
from connectors.vendors.request_tracker.client import Json, RequestTracker, Settings
from connectors.vendors.request_tracker.mapping import custom_fields


def write_case(client: RequestTracker, request: WriteCase, call: Call) -> Written:
    """Bring the hub's fields to what the request says; those it does not name are emptied. Tags: RT has none.

    Raises Busy when the ticket changes meanwhile, Refused('not_kept') when RT does not keep one of the fields, which does
    not stop it from keeping the others.
    """
    ticket, etag = client.ticket(call, request.case)
    wanted = _fields(request, client.settings)
    if changed := _missing(ticket, wanted):
        said = client.put(call, f"ticket/{request.case}", {"CustomFields": changed}, etag=etag)
        lost = _missing(_read_back(client, call, request.case), wanted)
        if lost:
            why = "; ".join(said) or "nothing, as of a custom field that does not exist"
            raise Refused(f"RT does not keep {', '.join(sorted(lost))}; it says: {why}"[:500], code="not_kept")
    return _written(client, request)


def find_case(client: RequestTracker, request: WriteCase, call: Call) -> Written | None:
    """The ticket, when its fields say all we wanted to write."""
    ticket, _ = client.ticket(call, request.case)
    return None if _missing(ticket, _fields(request, client.settings)) else _written(client, request)


def post_note(client: RequestTracker, request: PostNote, call: Call) -> Written:
    """Comment on the ticket, or answer the customer when it is public; nothing more when our note is there already."""
    found = find_note(client, request, call)
    if found is not None:
        return found
    text = {"Content": f"{request.text}\n\n{marker(request.key)}", "ContentType": "text/plain"}
    made = client.post(call, f"ticket/{request.case}/{'correspond' if request.public else 'comment'}", text)
    return Written(external_id=f"transaction/{made}", url=client.url_of(request.case))


def find_note(client: RequestTracker, request: PostNote, call: Call) -> Written | None:
    """The first text of the ticket that carries our mark: later ones are answers that quote it. Refused('not_found')."""
    # Of a ticket that does not exist RT would search the texts of all.
    client.ticket(call, request.case)
    texts = client.attachments(call, request.case, {"Content": ("LIKE", marker(request.key))})
    if not texts:
        return None
    return Written(external_id=f"transaction/{texts[0]['TransactionId']}", url=client.url_of(request.case))


def marker(key: str) -> str:
    """What stands at the end of our note and tells its key; plain hexadecimal, so it needs no quoting in a search."""
    return f"[tieout {hashlib.sha256(key.encode()).hexdigest()[:16]}]"


def _fields(request: WriteCase, settings: Settings) -> dict[str, str]:
    """Custom field → what it shall say. The amount is shown with its currency."""
    values = request.values
    amount = f"{values.get('credit_amount', '')} {values.get('credit_currency', '')}"
    return {
        settings.block_field: _plain(request.block),
        settings.state_field: _plain(values.get("credit_state", "")),
        settings.number_field: _plain(values.get("credit_number", "")),
        settings.amount_field: _plain(amount if values.get("credit_amount") else ""),
    }


def _missing(ticket: Json, wanted: dict[str, str]) -> dict[str, str]:
    kept = custom_fields(ticket)
    return {name: value for name, value in wanted.items() if _plain(kept.get(name, "")) != value}


def _plain(text: str) -> str:
    """Without what RT's own pages change of a text when somebody saves the ticket."""
    return "\n".join(line.rstrip() for line in text.splitlines()).strip()


def _read_back(client: RequestTracker, call: Call, case: str) -> Json:
    try:
        return client.ticket(call, case)[0]
    except Refused:
        raise Unknown("the ticket cannot be read after it was written", code="not_read_back") from None


def _written(client: RequestTracker, request: WriteCase) -> Written:
    return Written(external_id=request.case, number=request.values.get("credit_number", ""), url=client.url_of(request.case))
