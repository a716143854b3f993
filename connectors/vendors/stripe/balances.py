"""Customers' balances for reconciliation, which Stripe lists customer by customer only; and what objects carry of ours."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from canonical.readings import Reading, Window
from connectors.sdk.errors import Refused
from connectors.sdk.http import Call
from connectors.vendors.stripe.client import Stripe, objects, path_of
from connectors.vendors.stripe.crediting import KEY
from connectors.vendors.stripe.fields import Json, currency_of, day, from_stripe, need_instant, part, ref, text, units, words
from connectors.vendors.stripe.reads import OURS

CUSTOMERS = 25
"""Whose balances one page lists: as many calls."""
EVENTS_KEPT = timedelta(days=29)
"""Stripe keeps events for 30 days."""
OVERLAP = timedelta(minutes=5)


def created(obj: Json) -> datetime:
    """When the object was made. Raises BadPayload."""
    return need_instant(obj, "created", "date")


def _metadata(obj: Json) -> Json:
    return part(obj, "metadata")


def reference_of(obj: Json) -> str:
    """Our key, of what we made."""
    return words(_metadata(obj), KEY)[:255]


def same_as(obj: Json) -> tuple[str, ...]:
    """What the ERP calls it, as we wrote it there."""
    kept = (words(_metadata(obj), OURS + name) for name in ("erp_id", "erp_customer", "erp_number"))
    return tuple(name[:255] for name in kept if name)


def holders(client: Stripe, window: Window, after: str, call: Call) -> tuple[list[str], bool]:
    """Up to CUSTOMERS ids after that one whose balances are to be listed, and whether there are more."""
    if window.since and window.since > datetime.now(UTC) - EVENTS_KEPT:
        changed = sorted(name for name in _changed_balances(client, window.since, call) if name > after)
        return changed[:CUSTOMERS], len(changed) > CUSTOMERS
    page = client.get(call, "/v1/customers", limit=CUSTOMERS, starting_after=after or None)
    found = [str(obj["id"]) for obj in objects(page)]
    return found, bool(page.get("has_more") and found)


def _changed_balances(client: Stripe, since: datetime, call: Call) -> set[str]:
    window = {"gte": int((since - OVERLAP).timestamp())}
    found = set()
    for event in client.all(call, "/v1/events", type="customer.updated", created=window):
        told = part(event, "data")
        before = part(told, "previous_attributes")
        if not before or "balance" in before:
            found.add(text(part(told, "object"), "id"))
    return found


def entries(client: Stripe, customer: str, window: Window, call: Call) -> Iterator[Reading]:
    """What people and we booked on a customer's balance until `until`: credits, and charges that take them back."""
    try:
        booked = list(client.all(call, path_of("customers", customer) + "/balance_transactions"))
    except Refused as error:
        # Deleted since: its balance can be read no more.
        if error.code != "not_found":
            raise
        return
    for obj in booked:
        amount = units(obj, "amount")
        if words(obj, "type") != "adjustment" or not amount or created(obj) > window.until:
            continue
        currency = currency_of(obj)
        total = from_stripe(abs(amount), currency)
        yield Reading(
            kind="credit_memo", external_id=text(obj, "id"), reference=reference_of(obj), same_as=same_as(obj), party=customer,
            about=ref(obj, "invoice") or "", currency=currency, net=total, tax=Decimal(0), total=total,
            on=day(created(obj), client.zone), status="issued" if amount < 0 else "void",
            extra={"form": "balance" if amount < 0 else "charge"},
        )  # fmt: skip
