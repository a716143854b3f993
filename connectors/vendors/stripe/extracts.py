"""Bulk readings for reconciliation: Stripe's lists, newest first, in its largest pages.

Stripe lists by creation and by nothing else. An incremental reading so brings what was created up to `sweep_days` before
`since`, changed or not, and every subscription; what is older and changed is met by the next full reading. Customers and
products that were deleted are in no list, and so are gone from a full reading. Balances of customers are listed customer
by customer: a full reading asks for each, an incremental one for those whose balance an event of the window changed.

Totals list everything again in pages of another size, and read nothing but ids and amounts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from functools import partial
from typing import Any

from canonical.money import round_money
from canonical.readings import Reading, Window
from connectors.sdk.contract import Count, Extract
from connectors.sdk.errors import Refused
from connectors.sdk.http import Call
from connectors.sdk.tallies import Amount, tally
from connectors.vendors.stripe import mapping
from connectors.vendors.stripe.balances import created, entries, holders, reference_of, same_as
from connectors.vendors.stripe.client import PAGE, Stripe, objects, path_of
from connectors.vendors.stripe.documents import subscription_of
from connectors.vendors.stripe.fields import (
    Json,
    currency_of,
    day,
    instant,
    many,
    money,
    need_instant,
    part,
    ref,
    text,
    words,
)  # fmt: skip
from connectors.vendors.stripe.recurring import recurring

OTHER_PAGE = 97
"""Of the second listing: its pages end where those of the first do not."""
BALANCES = "balances|"
"""How a cursor begins once the lists of credit notes are through."""
MONTHS = {"day": Decimal(365) / 12, "week": Decimal(365) / 84, "month": Decimal(1), "year": Decimal(1) / 12}
"""How often an interval is in a month; a year is twelve months or 365 days, as for the caps of credit policies."""
STATES = {"open": "pending", "paid": "succeeded", "canceled": "failed"}
"""Of what was paid for an invoice (https://docs.stripe.com/api/invoice-payment/object)."""


@dataclass(frozen=True, slots=True)
class Listing:
    """One list of Stripe's. `amount` tells what an object is worth, or None when it is none of the kind; it and `read` are
    given what `whole` completes."""

    path: str
    amount: Callable[[Json], Amount | None]
    read: Callable[[Stripe, Json, Call], Reading]
    params: Mapping[str, Any] = field(default_factory=dict)
    is_endless: bool = False
    """Objects live for years: age does not end the list."""
    whole: Callable[[Stripe, Json, Call], Json] = lambda client, obj, call: obj


def _listed(kind: str, client: Stripe, window: Window, cursor: str | None, call: Call) -> Extract:
    """One page of the kind's lists, in full."""
    listing, found, following = _objects(kind, client, window, cursor, call, PAGE)
    return Extract([listing.read(client, obj, call) for obj in found if listing.amount(obj)], following)


def _count(kind: str, client: Stripe, window: Window, cursor: str | None, call: Call) -> Count:
    """One page of the same lists, by amounts alone, and of another length."""
    listing, found, following = _objects(kind, client, window, cursor, call, OTHER_PAGE)
    return Count(tally(amount for obj in found if (amount := listing.amount(obj))), following)


def _objects(
    kind: str, client: Stripe, window: Window, cursor: str | None, call: Call, limit: int
) -> tuple[Listing, list[Json], str | None]:
    """What a page holds of the window, one list after the other; the cursor names the list and the last id read."""
    lists = _lists(kind, client)
    number, _, after = (cursor or "0|").partition("|")
    listing = lists[int(number)]
    page = _page(listing, client, call, limit, after)
    found = objects(page)
    known = [listing.whole(client, obj, call) for obj in found if _is_due(listing, client, window, obj)]
    if page.get("has_more") and found and not _is_old(listing, client, window, found[-1]):
        return listing, known, f"{number}|{found[-1]['id']}"
    return listing, known, f"{int(number) + 1}|" if int(number) + 1 < len(lists) else None


def _page(listing: Listing, client: Stripe, call: Call, limit: int, after: str) -> dict[str, Any]:
    try:
        return client.get(call, listing.path, limit=limit, starting_after=after or None, **listing.params)
    except Refused as error:
        if error.code == "not_found" and _is_partial(client):
            return {"data": []}
        raise


def _is_partial(client: Stripe) -> bool:
    """True for a server without versions, which speaks some of Stripe's API and lists in an order of its own."""
    return not client.settings.api_version


def _is_due(listing: Listing, client: Stripe, window: Window, obj: Json) -> bool:
    return created(obj) <= window.until and not _is_old(listing, client, window, obj)


def _is_old(listing: Listing, client: Stripe, window: Window, obj: Json) -> bool:
    if window.since is None or listing.is_endless or _is_partial(client):
        return False
    return created(obj) < window.since - timedelta(days=client.settings.sweep_days)


# documents -------------------------------------------------------------------------------------------------------


def _total(obj: Json) -> tuple[str, Decimal]:
    currency = currency_of(obj)
    return currency, money(obj, "total", currency)


def _invoice(client: Stripe, obj: Json, call: Call) -> Reading:
    """Below zero, too, when it gives more back than it demands."""
    currency, total = _total(obj)
    obj = client.complete(call, dict(obj), "lines", path_of("invoices", text(obj, "id")) + "/lines")
    net = _net(obj, currency, total)
    steps = part(obj, "status_transitions")
    recurs = recurring(client, many(obj, "lines"), currency, call)
    first, last = _service(client, [part(line, "period") for line in recurs.lines])
    issued = instant(obj, "effective_at") or instant(steps, "finalized_at") or created(obj)
    extra = {"paid": f"{money(obj, 'amount_paid', currency):f}", "subscription": subscription_of(obj) or ""}
    if extra["subscription"]:
        extra["recurring"] = f"{recurs.amount or 0:f}"
        extra["proration"] = "" if recurs.amount is not None else "true" if recurs.is_proration else "other"
    return Reading(
        kind="invoice", external_id=text(obj, "id"), number=words(obj, "number"), same_as=same_as(obj),
        party=ref(obj, "customer") or "", currency=currency, net=net, tax=total - net, total=total,
        on=day(issued, client.zone), service_from=first, service_to=last, status=text(obj, "status"), extra=_said(extra),
    )  # fmt: skip


def _net(obj: Json, currency: str, total: Decimal) -> Decimal:
    """Without any tax; by the taxes of the document where it does not say so itself (before 2022)."""
    if obj.get("total_excluding_tax") is not None:
        return money(obj, "total_excluding_tax", currency)
    told = many(obj, "total_taxes") or many(obj, "total_tax_amounts") or many(obj, "tax_amounts")
    if told:
        return total - sum((money(tax, "amount", currency) for tax in told), Decimal(0))
    return total - (money(obj, "tax", currency) if obj.get("tax") is not None else 0)


def _service(client: Stripe, periods: Sequence[Json]) -> tuple[Any, Any]:
    """The first and the last day that are served; the day a period ends on belongs to the next one."""
    spans = [(need_instant(period, "start"), need_instant(period, "end")) for period in periods]
    served = [(day(start, client.zone), day(end, client.zone)) for start, end in spans if end > start]
    if not served:
        return None, None
    return min(start for start, _ in served), max(max(start, end - timedelta(days=1)) for start, end in served)


def _credit_note(client: Stripe, obj: Json, call: Call) -> Reading:
    currency, total = _total(obj)
    net = _net(obj, currency, total)
    issued = instant(obj, "effective_at") or created(obj)
    return Reading(
        kind="credit_memo", external_id=text(obj, "id"), number=words(obj, "number"), reference=reference_of(obj),
        same_as=same_as(obj), party=ref(obj, "customer") or "", about=ref(obj, "invoice") or "", currency=currency, net=net,
        tax=total - net, total=total, on=day(issued, client.zone), status="void" if text(obj, "status") == "void" else "issued",
    )  # fmt: skip


def _said(extra: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in extra.items() if value}


# balances --------------------------------------------------------------------------------------------------------


def _credit_memos(client: Stripe, window: Window, cursor: str | None, call: Call) -> Extract:
    """Credit notes, then what people and we put on customers' balances (`extra.form` is balance), and took back (charge).

    A charge is void as a credit: it takes back. What Stripe itself books there (credit notes, invoices) is left out.
    """
    if not (cursor or "").startswith(BALANCES):
        page = _listed("credit_memo", client, window, cursor, call)
        return Extract(page.readings, page.cursor or _balances_follow(client))
    readings, following = _balances(client, window, cursor or "", call)
    return Extract(readings, following)


def _count_credit_memos(client: Stripe, window: Window, cursor: str | None, call: Call) -> Count:
    if not (cursor or "").startswith(BALANCES):
        page = _count("credit_memo", client, window, cursor, call)
        return Count(page.totals, page.cursor or _balances_follow(client))
    readings, following = _balances(client, window, cursor or "", call)
    return Count(tally((entry.currency or "", entry.total) for entry in readings), following)


def _balances_follow(client: Stripe) -> str | None:
    return None if _is_partial(client) else BALANCES


def _balances(client: Stripe, window: Window, cursor: str, call: Call) -> tuple[list[Reading], str | None]:
    """What is booked on the balances of a page of customers."""
    customers, goes_on = holders(client, window, cursor.removeprefix(BALANCES), call)
    readings = [reading for customer in customers for reading in entries(client, customer, window, call)]
    return readings, f"{BALANCES}{customers[-1]}" if goes_on else None


# payments --------------------------------------------------------------------------------------------------------


def _paid(obj: Json) -> tuple[str, Decimal]:
    currency = currency_of(obj)
    return currency, money(obj, "amount_requested" if obj.get("amount_paid") is None else "amount_paid", currency)


def _invoice_payment(client: Stripe, obj: Json, call: Call) -> Reading:
    """What was paid for one invoice. Money that came for no invoice is not listed with it, and is not read."""
    currency, total = _paid(obj)
    means = part(obj, "payment")
    intent = means.get("payment_intent")
    external_id = ref(means, "payment_intent") or ref(means, "charge") or ref(means, "payment_record") or text(obj, "id")
    received = instant(part(obj, "status_transitions"), "paid_at") or created(obj)
    return Reading(
        kind="payment", external_id=external_id, party=(ref(intent, "customer") if isinstance(intent, Mapping) else "") or "",
        about=ref(obj, "invoice") or "", currency=currency, total=total, on=day(received, client.zone),
        status=STATES.get(words(obj, "status"), "pending"),
    )  # fmt: skip


def _moved(obj: Json) -> Amount | None:
    """A payment intent, a refund, or a charge without an intent: one with an intent is the intent's attempt."""
    if words(obj, "object") == "charge" and ref(obj, "payment_intent"):
        return None
    read = mapping.payment(obj)
    return read.currency, read.amount


def _payment(client: Stripe, obj: Json, call: Call) -> Reading:
    read = mapping.payment(obj)
    is_refund = read.refund_of is not None
    return Reading(
        kind="payment", external_id=read.external_id, party=read.party or "", about=read.invoice or "", currency=read.currency,
        total=read.amount, on=day(read.received_at or created(obj), client.zone),
        status="refunded" if is_refund and read.status == "succeeded" else read.status,
        extra=_said({"refund_of": read.refund_of or ""}),
    )  # fmt: skip


# agreements and master data --------------------------------------------------------------------------------------


def _monthly(obj: Json) -> Amount:
    """What its items cost a month at list price; None as amount when a price does not tell. One-offs and usage are no part."""
    found, worth = mapping.subscription(obj), Decimal(0)
    for item in many(obj, "items"):
        price = mapping.price(part(item, "price") or part(item, "plan"))
        if price.usage_based or not price.interval:
            continue
        if price.unit_amount is None or price.currency != found.currency:
            return found.currency, None
        quantity = next(each.quantity for each in found.items if each.external_id == item.get("id"))
        worth += price.unit_amount * quantity * MONTHS[price.interval] / price.interval_count
    return found.currency, round_money(worth, found.currency)


def _with_items(client: Stripe, obj: Json, call: Call) -> Json:
    return client.complete(call, dict(obj), "items", "/v1/subscription_items", subscription=obj.get("id"))


def _subscription(client: Stripe, obj: Json, call: Call) -> Reading:
    read, (currency, worth) = mapping.subscription(obj), _monthly(obj)
    spans = [(item.period_start, item.period_end) for item in read.items if item.period_start and item.period_end]
    cancelled = instant(obj, "canceled_at")
    extra = {
        "cancelled_at": cancelled.isoformat() if cancelled else "",
        "cancel_at": read.cancel_at.isoformat() if read.cancel_at else "",
        "ended_at": read.ended_at.isoformat() if read.ended_at else "",
        "products": ",".join(sorted({item.product for item in read.items if item.product})),
    }
    return Reading(
        kind="subscription", external_id=read.external_id, same_as=same_as(obj), party=read.party, currency=currency, net=worth,
        total=worth, on=day(read.started_at, client.zone) if read.started_at else None,
        service_from=min(day(start, client.zone) for start, _ in spans) if spans else None,
        service_to=max(day(end, client.zone) - timedelta(days=1) for _, end in spans) if spans else None,
        status=read.status.value, extra=_said(extra),
    )  # fmt: skip


def _nothing(obj: Json) -> Amount:
    return "", None


def _party(client: Stripe, obj: Json, call: Call) -> Reading:
    status, name = "gone" if obj.get("deleted") else "active", words(obj, "name")
    return Reading(
        kind="party", external_id=text(obj, "id"), reference=reference_of(obj), same_as=same_as(obj), status=status,
        extra=_said({"name": name}),
    )  # fmt: skip


def _product(client: Stripe, obj: Json, call: Call) -> Reading:
    read = mapping.product(obj)
    return Reading(
        kind="product", external_id=read.external_id, same_as=same_as(obj), status="active" if read.active else "gone",
        updated_at=read.updated_at, extra=_said({"name": read.name, "family": read.family}),
    )  # fmt: skip


# wiring ----------------------------------------------------------------------------------------------------------

_REFUNDS = Listing("/v1/refunds", _moved, _payment)
_LISTS: dict[str, tuple[Listing, ...]] = {
    "invoice": (Listing("/v1/invoices", _total, _invoice),),
    "credit_memo": (Listing("/v1/credit_notes", _total, _credit_note),),
    "payment": (
        Listing("/v1/invoice_payments", _paid, _invoice_payment, {"expand": ["data.payment.payment_intent"]}),
        _REFUNDS,
    ),
    "subscription": (Listing("/v1/subscriptions", _monthly, _subscription, {"status": "all"}, True, _with_items),),
    "party": (Listing("/v1/customers", _nothing, _party),),
    "product": (Listing("/v1/products", _nothing, _product),),
}
_OLD_PAYMENTS = (
    Listing("/v1/payment_intents", _moved, _payment),
    Listing("/v1/charges", _moved, _payment),
    _REFUNDS,
)
"""Of a server without versions: its payments still name their invoices."""


def _lists(kind: str, client: Stripe) -> tuple[Listing, ...]:
    return _OLD_PAYMENTS if kind == "payment" and _is_partial(client) else _LISTS[kind]


EXTRACTS: dict[str, Callable[[Stripe, Window, str | None, Call], Extract]] = {
    **{kind: partial(_listed, kind) for kind in _LISTS},
    "credit_memo": _credit_memos,
}
TOTALS: dict[str, Callable[[Stripe, Window, str | None, Call], Count]] = {
    **{kind: partial(_count, kind) for kind in _LISTS},
    "credit_memo": _count_credit_memos,
}
