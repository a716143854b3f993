"""Bulk readings for reconciliation: the tickets of our queue that show a credit. RT keeps no organisations.

All of them are read whatever the window: RT takes the times of a query for ones of the user's own zone, and the tickets with
a credit are few. Deleted tickets are in no search, and so are gone from a reading.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from decimal import Decimal

from canonical.money import normal_currency
from canonical.readings import Reading, Window
from connectors.sdk.contract import Count, Extract
from connectors.sdk.http import Call
from connectors.sdk.tallies import against, tally
from connectors.vendors.request_tracker import mapping
from connectors.vendors.request_tracker.client import PAGE, Json, RequestTracker, items_of, quoted
from connectors.vendors.request_tracker.events import instant

NEEDED = "CustomFields,LastUpdated,Created,Requestor"


def extract_credits(client: RequestTracker, window: Window, cursor: str | None, call: Call) -> Extract:
    """Tickets that show a credit and were there at `until`, in the order of their numbers."""
    rows = items_of(_tickets(client, call, f"id > {int(cursor or 0)}", "ASC"))
    readings = [reading for row in rows if instant(row.get("Created")) <= window.until for reading in _credits(client, row)]
    # A short page need not be the last one: RT takes out what we may not see after it has cut the page.
    return Extract(readings, str(max(int(row["id"]) for row in rows)) if rows else None)


def count_credits(client: RequestTracker, window: Window, cursor: str | None, call: Call) -> Count:
    """The same tickets, newest first, held against RT's own count of them.

    The cursor holds the lowest number read, RT's count, and how many tickets were listed.
    """
    below, counted, listed = json.loads(cursor) if cursor else (None, None, 0)
    page = _tickets(client, call, f"id < {int(below)}" if below else "id > 0", "DESC")
    rows = items_of(page)
    counted = page.get("total") if cursor is None else counted
    readings = (it for row in rows if instant(row.get("Created")) <= window.until for it in _credits(client, row))
    told, listed = tally((reading.currency or "", reading.total) for reading in readings), listed + len(rows)
    if rows:
        return Count(told, json.dumps([min(int(row["id"]) for row in rows), counted, listed]))
    # It is tickets that RT counts: those on which the fields were emptied too.
    return Count(against(counted if isinstance(counted, int) else listed, listed), None)


def _tickets(client: RequestTracker, call: Call, more: str, order: str) -> Json:
    field = quoted(f"CF.{{{client.settings.state_field}}}")
    query = f"Queue = {quoted(client.settings.queue)} AND {field} IS NOT NULL AND {more}"
    return client.get(call, "tickets", query=query, orderby="id", order=order, per_page=PAGE, fields=NEEDED)


def _credits(client: RequestTracker, ticket: Json) -> Iterator[Reading]:
    """The credit a ticket shows; none where RT keeps the emptied fields of one."""
    it, fields = client.settings, mapping.custom_fields(ticket)
    if not any(fields.get(name, "").strip() for name in (it.state_field, it.number_field, it.amount_field)):
        return
    shown = fields.get(it.amount_field, "").strip()
    amount, currency = _amount(shown)
    yield Reading(
        kind="support_credit", external_id=str(ticket["id"]), number=fields.get(it.number_field, "").strip(),
        party=mapping.party_id(ticket, it) or "", currency=currency, total=amount, status=fields.get(it.state_field, "").strip(),
        updated_at=instant(ticket.get("LastUpdated")), extra={"shown": shown[:200]} if shown and amount is None else {},
    )  # fmt: skip


def _amount(shown: str) -> tuple[Decimal | None, str | None]:
    """`120.00 EUR` as the hub writes it; nothing where somebody has written something else."""
    digits, _, code = shown.partition(" ")
    try:
        currency = normal_currency(code.strip())
    except ValueError:
        return None, None
    return (Decimal(digits), currency) if mapping.AMOUNT.fullmatch(digits) else (None, None)


EXTRACTS: dict[str, Callable[[RequestTracker, Window, str | None, Call], Extract]] = {"support_credit": extract_credits}
TOTALS: dict[str, Callable[[RequestTracker, Window, str | None, Call], Count]] = {"support_credit": count_credits}
