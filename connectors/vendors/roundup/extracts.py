"""Bulk readings for reconciliation: the issues that show a credit. The tracker keeps no organisations.

Roundup cannot search for what is not empty, so issues are listed with little more than our properties, in the order of
their creation, which never changes. Retired issues are in no list, and so are gone from a full reading; an issue that shows
no credit any more is missed by a full reading only.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation

from canonical.money import normal_currency
from canonical.readings import Reading, Window
from connectors.sdk.contract import Count, Extract
from connectors.sdk.errors import BadPayload
from connectors.sdk.http import Call
from connectors.sdk.tallies import against, tally
from connectors.vendors.roundup import mapping
from connectors.vendors.roundup.client import Roundup, Row, items
from connectors.vendors.roundup.commands import SHOWN
from connectors.vendors.roundup.reading import OVERLAP

PAGE = 500
BEGINNING = datetime(1990, 1, 1, tzinfo=UTC)


def extract_credits(client: Roundup, window: Window, cursor: str | None, call: Call) -> Extract:
    """Issues that show a credit and were there at `until`, those with activity since `since`.

    Dates have whole seconds here: the next page begins with the last second of this one, and the cursor tells which issues
    of that second were met.
    """
    start, seen = json.loads(cursor) if cursor else (mapping.stamp(BEGINNING), [])
    met, index = set(seen), 0
    while True:
        index += 1
        rows = items(_issues(client, window, start, index, "creation,id", call))
        fresh = [row for row in rows if row["id"] not in met]
        if fresh or len(rows) < PAGE:
            break
    readings = [_credit(client, row) for row in fresh if _is_shown(client, row)]
    if len(rows) < PAGE:
        return Extract(readings, None)
    last = rows[-1]["creation"]
    same = {row["id"] for row in rows if row["creation"] == last} | (met if last == start else set())
    return Extract(readings, json.dumps([last, sorted(same, key=int)]))


def count_credits(client: Roundup, window: Window, cursor: str | None, call: Call) -> Count:
    """The same issues, newest first, all of them held against the tracker's own count.

    The cursor holds the page, how many issues were listed, and the ids of the page before: issues that come meanwhile move
    some of them onto this one.
    """
    index, listed, met = json.loads(cursor) if cursor else (1, 0, [])
    page = _issues(client, window, mapping.stamp(BEGINNING), index, "-creation,-id", call)
    rows = items(page)
    fresh = [row for row in rows if row["id"] not in met]
    readings = (_credit(client, row) for row in fresh if _is_shown(client, row))
    told, listed = tally((reading.currency or "", reading.total) for reading in readings), listed + len(fresh)
    if len(rows) == PAGE:
        return Count(told, json.dumps([index + 1, listed, [row["id"] for row in rows]]))
    # It is issues that the tracker counts, with a credit or without.
    return Count([*told, *against(page.get("@total_size", 0), listed)], None)


def _issues(client: Roundup, window: Window, start: str, index: int, order: str, call: Call) -> Row:
    fields = ["creation", "activity", "creator", *map(client.settings.property, ("billing_customer", *SHOWN))]
    query = {
        "creation": f"{start};{mapping.stamp(window.until)}", "@sort": order, "@fields": ",".join(fields), "@verbose": "0",
        "@page_size": str(PAGE), "@page_index": str(index),
    }  # fmt: skip
    if window.since:
        query["activity"] = f"{mapping.stamp(window.since - OVERLAP)};"
    return client.select(call, "data/issue", query)


def _is_shown(client: Roundup, row: Row) -> bool:
    return any(row.get(client.settings.property(name)) for name in SHOWN)


def _credit(client: Roundup, row: Row) -> Reading:
    state, number, shown, code = ((row.get(client.settings.property(name)) or "").strip() for name in SHOWN)
    amount, currency = _amount(shown, code)
    customer = (row.get(client.settings.property("billing_customer")) or "").strip()
    try:
        changed = mapping.instant(row["activity"])
    except (ValueError, TypeError, KeyError):
        raise BadPayload(f"issue{row['id']} has no readable activity") from None
    return Reading(
        kind="support_credit", external_id=row["id"], number=number, currency=currency, total=amount, status=state,
        party=f"{mapping.CUSTOMER}{customer}" if customer else f"{mapping.USER}{row['creator']}", updated_at=changed,
        extra={"shown": f"{shown} {code}".strip()[:200]} if shown and amount is None else {},
    )  # fmt: skip


def _amount(shown: str, code: str) -> tuple[Decimal | None, str | None]:
    """Amount and currency as far as they can be read: agents may have changed them."""
    try:
        amount, currency = Decimal(shown), normal_currency(code)
    except (InvalidOperation, ValueError):
        return None, None
    return (amount, currency) if amount.is_finite() else (None, None)


EXTRACTS: dict[str, Callable[[Roundup, Window, str | None, Call], Extract]] = {"support_credit": extract_credits}
TOTALS: dict[str, Callable[[Roundup, Window, str | None, Call], Count]] = {"support_credit": count_credits}
