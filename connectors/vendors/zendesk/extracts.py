"""Bulk readings for reconciliation: the tickets that show a credit, and the organisations.

Tickets come from the cursor-based incremental export, their totals from the time-based one, which pages in another way
(https://developer.zendesk.com/api-reference/ticketing/ticket-management/incremental_exports/). Both leave out the last
minute and answer ten requests a minute. A ticket that shows no credit any more is missed by a full reading only.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation

from canonical.money import normal_currency
from canonical.readings import Reading, Total, Window
from connectors.sdk.contract import Count, Extract
from connectors.sdk.errors import Busy
from connectors.sdk.http import Call
from connectors.sdk.tallies import added, tally
from connectors.vendors.zendesk import mapping
from connectors.vendors.zendesk.client import LISTED, Zendesk, objects
from connectors.vendors.zendesk.fields import Json, custom, instant, need_identity, need_instant, typed, words
from connectors.vendors.zendesk.reads import EXPORTED, SETTLED

KEPT = 2000
"""Credits that a cursor of the count carries."""


def _start(window: Window) -> int:
    """Seconds; everything there is begins with Zendesk itself."""
    since = window.since or datetime(2007, 1, 1, tzinfo=UTC)
    return int((min(since, datetime.now(UTC)) - SETTLED).timestamp())


def extract_credits(client: Zendesk, window: Window, cursor: str | None, call: Call) -> Extract:
    """Tickets on which the hub's fields are filled, as the export tells them; deleted ones with status deleted.

    One that changes meanwhile comes again at the end, as it is then.
    """
    asked = {"cursor": cursor} if cursor else {"start_time": _start(window)}
    page = client.get(call, "/api/v2/incremental/tickets/cursor.json", per_page=EXPORTED, **asked)
    readings = [_credit(client, ticket) for ticket in objects(page, "tickets") if _is_shown(client, ticket, window)]
    if page.get("end_of_stream") is True:
        return Extract(readings, None)
    after = page.get("after_cursor")
    if not isinstance(after, str) or not after:
        raise Busy("a page of the export that tells neither its end nor a cursor", code="unreadable_answer")
    return Extract(readings, after)


def count_credits(client: Zendesk, window: Window, cursor: str | None, call: Call) -> Count:
    """The same tickets by the time-based export, which repeats tickets at the borders of its pages, and those that change.

    The cursor holds where the next page starts, and the latest KEPT credits that were counted, so that each counts once and
    as it was last. One that was counted longer ago and changes meanwhile counts twice: then the source is read once more.
    """
    start, kept = json.loads(cursor) if cursor else (_start(window), {})
    page = client.get(call, "/api/v2/incremental/tickets.json", start_time=start, per_page=EXPORTED)
    told: list[Total] = []
    for ticket in objects(page, "tickets"):
        if before := kept.pop(need_identity(ticket), None):
            told.append(Total(currency=before[0], count=-1, amount=-Decimal(before[1])))
        if _is_shown(client, ticket, window):
            reading = _credit(client, ticket)
            kept[reading.external_id] = [reading.currency or "", str(reading.total or 0)]
            told += tally([(reading.currency or "", reading.total)])
    end = page.get("end_time")
    if page.get("end_of_stream") is True or not isinstance(end, int) or end <= start:
        return Count(added(told), None)
    return Count(added(told), json.dumps([end, dict(list(kept.items())[-KEPT:])]))


def _is_shown(client: Zendesk, ticket: Json, window: Window) -> bool:
    it = client.settings
    fields = (it.field_number, it.field_state, it.field_amount)
    return need_instant(ticket, "created_at") <= window.until and any(typed(custom(ticket, name)) for name in fields)


def _credit(client: Zendesk, ticket: Json) -> Reading:
    it = client.settings
    shown, code = custom(ticket, it.field_amount), typed(custom(ticket, it.field_currency))
    amount, currency = credited(shown, code)
    is_deleted = ticket.get("status") == "deleted"
    return Reading(
        kind="support_credit", external_id=need_identity(ticket), number=typed(custom(ticket, it.field_number)),
        party=mapping.party_of(ticket) or "", currency=currency, total=amount,
        status="deleted" if is_deleted else typed(custom(ticket, it.field_state)), updated_at=instant(ticket, "updated_at"),
        extra={} if amount is not None and currency else {"shown": f"{typed(shown)} {code}".strip()[:200]},
    )  # fmt: skip


def credited(shown: object, code: str) -> tuple[Decimal | None, str | None]:
    """Amount and currency as far as they can be read: agents may have changed them."""
    try:
        amount = Decimal(str(shown).strip()) if shown not in (None, "") else None
        currency = normal_currency(code.strip()) if code.strip() else None
    except (InvalidOperation, ValueError):
        return None, None
    if amount is None or not amount.is_finite() or currency is None:
        return None, currency
    return amount, currency


def extract_parties(client: Zendesk, window: Window, cursor: str | None, call: Call) -> Extract:
    """All organisations, whatever the window: their list has neither times nor an order of changes."""
    after = {"page[after]": cursor} if cursor else {}
    page = client.get(call, "/api/v2/organizations.json", **{"page[size]": LISTED, **after})
    readings = [_party(client, obj) for obj in objects(page, "organizations")]
    meta = page.get("meta")
    more = meta.get("after_cursor") if isinstance(meta, dict) and meta.get("has_more") else None
    return Extract(readings, more if isinstance(more, str) else None)


def count_parties(client: Zendesk, window: Window, cursor: str | None, call: Call) -> Count:
    """Zendesk's own count, which it may keep for a day once it is beyond 100,000."""
    count = client.get(call, "/api/v2/organizations/count.json").get("count")
    value = count.get("value") if isinstance(count, dict) else None
    if not isinstance(value, int):
        raise Busy("an answer without a count", code="unreadable_answer")
    return Count([Total(count=value)], None)


def _party(client: Zendesk, obj: Json) -> Reading:
    read = mapping.organization(obj, client.settings)
    return Reading(
        kind="party", external_id=read.external_id, same_as=(read.same_as,) if read.same_as else (), status="active",
        updated_at=read.updated_at, extra={"name": words(obj, "name")[:255]},
    )  # fmt: skip


EXTRACTS: dict[str, Callable[[Zendesk, Window, str | None, Call], Extract]] = {
    "support_credit": extract_credits,
    "party": extract_parties,
}
TOTALS: dict[str, Callable[[Zendesk, Window, str | None, Call], Count]] = {
    "support_credit": count_credits,
    "party": count_parties,
}
