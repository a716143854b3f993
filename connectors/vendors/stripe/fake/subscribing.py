"""Subscriptions: their items, their periods, and what happens when one of those ends.

Changes take effect at once and without proration; the next renewal bills what is there then.
"""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

from dateutil.relativedelta import relativedelta

from connectors.vendors.stripe.fake import shapes
from connectors.vendors.stripe.fake.catalog import declines, living, usage
from connectors.vendors.stripe.fake.invoicing import DAY, add_line, draft, finalize, pay
from connectors.vendors.stripe.fake.shapes import Obj
from connectors.vendors.stripe.fake.store import ApiError, Params, Store, flag, remember, texts, whole

_STEPS = {"day": "days", "week": "weeks", "month": "months", "year": "years"}


def create_subscription(store: Store, _: str, params: Params) -> Obj:
    """POST /v1/subscriptions: starts now, with its first invoice finalized and, by card, paid; or with a trial."""
    customer = living(store, params)
    now = store.now()
    sub = shapes.subscription(store.id("sub"), now)
    sub.update(customer=customer["id"], collection_method=params.get("collection_method") or "charge_automatically")
    if sub["collection_method"] == "send_invoice":
        sub["days_until_due"] = whole(params, "days_until_due")
    rates = params.get("default_tax_rates") or []
    sub["default_tax_rates"] = [store.named("tax_rates", {"tax_rate": rate}, "tax_rate") for rate in rates]
    given = params.get("items") or []
    if not given:
        raise ApiError("Missing required param: items.", code="parameter_missing")
    texts(params, sub, "description default_payment_method")
    remember(params, sub)
    sub["items"] = shapes.listed([], f"/v1/subscription_items?subscription={sub['id']}")
    sub["_periods"] = 0
    for item in given:
        _add_item(store, sub, item)
    sub["currency"] = sub["items"]["data"][0]["price"]["currency"]
    sub["cancel_at_period_end"] = flag(params, "cancel_at_period_end")
    trial_days = whole(params, "trial_period_days", 0)
    if trial_days:
        sub.update(status="trialing", trial_start=now, trial_end=now + trial_days * DAY)
        sub["billing_cycle_anchor"] = sub["trial_end"]
        _dates(sub, now, sub["trial_end"])
    else:
        _dates(sub, now, _nth_end(sub, 1))
    store.tables["subscriptions"].add(sub)
    if not trial_days:
        sub["_periods"] = 1
        _bill(store, sub, "subscription_create", first=True)
    _plan_end(sub)
    store.emit("customer.subscription.created", sub)
    return sub


def _add_item(store: Store, sub: Obj, given: Params) -> None:
    price = store.named("prices", {"price": given.get("price") or given.get("plan")}, "price")
    if not price["recurring"]:
        raise ApiError("The price must be recurring.", code="parameter_invalid")
    items = sub["items"]["data"]
    first = items[0]["price"] if items else price
    cycle = [(p["currency"], p["recurring"]["interval"], p["recurring"]["interval_count"]) for p in (first, price)]
    if cycle[0] != cycle[1]:
        raise ApiError("All items must have the same currency and interval.", code="parameter_invalid")
    item = shapes.subscription_item(store.id("si"), store.now())
    item["subscription"] = sub["id"]
    _sell(item, price, given)
    rates = given.get("tax_rates") or []
    item["tax_rates"] = [store.named("tax_rates", {"tax_rate": rate}, "tax_rate") for rate in rates]
    remember(given, item)
    item["current_period_start"] = sub.get("current_period_start")
    item["current_period_end"] = sub.get("current_period_end")
    items.append(item)


def _sell(item: Obj, price: Obj, given: Params) -> None:
    item["price"], item["plan"] = price, shapes.plan(price)
    if price["recurring"]["usage_type"] == "metered":
        item.pop("quantity", None)
    else:
        item["quantity"] = whole(given, "quantity", item.get("quantity") or 1)


def _nth_end(sub: Obj, count: int) -> int:
    """End of the nth period, counted from the anchor, so that a 31st comes back after February."""
    cycle = sub["items"]["data"][0]["price"]["recurring"]
    anchor = datetime.fromtimestamp(sub["billing_cycle_anchor"], UTC)
    steps: Any = {_STEPS[cycle["interval"]]: cycle["interval_count"] * count}
    return int((anchor + relativedelta(**steps)).timestamp())


def _dates(sub: Obj, start: int, end: int) -> None:
    for dated in (sub, *sub["items"]["data"]):
        dated["current_period_start"], dated["current_period_end"] = start, end


def _plan_end(sub: Obj) -> None:
    if sub["cancel_at_period_end"]:
        sub["cancel_at"] = sub["current_period_end"]


def _bill(store: Store, sub: Obj, reason: str, *, first: bool = False) -> None:
    """Invoice the period that begins, and the usage of the one that ended."""
    customer = store.get("customers", sub["customer"])
    start, end = sub["current_period_start"], sub["current_period_end"]
    invoice = draft(
        store, customer, sub["currency"], subscription=sub["id"], billing_reason=reason, auto_advance=True,
        collection_method=sub["collection_method"], default_tax_rates=sub["default_tax_rates"],
        period_start=start, period_end=end,
        parent={
            "type": "subscription_details", "quote_details": None,
            "subscription_details": {"metadata": sub["metadata"], "subscription": sub["id"]},
        },
    )  # fmt: skip
    for item in sub["items"]["data"]:
        _bill_item(store, sub, invoice, item, {"start": start, "end": end}, first)
    if sub["collection_method"] == "send_invoice":
        invoice["due_date"] = store.now() + sub["days_until_due"] * DAY
    sub["latest_invoice"] = invoice["id"]
    store.emit("invoice.created", invoice)
    finalize(store, invoice)
    if invoice["status"] == "open" and sub["collection_method"] == "charge_automatically":
        paid = pay(store, invoice, sub["default_payment_method"])
        if not paid:
            sub["status"] = "incomplete" if first else "past_due"


def _bill_item(store: Store, sub: Obj, invoice: Obj, item: Obj, period: Params, first: bool) -> None:
    price, product = item["price"], store.get("products", item["price"]["product"])
    quantity: int = item.get("quantity", 0)
    if price["recurring"]["usage_type"] == "metered":
        if first:
            return
        period = {"start": sub["_last_start"], "end": period["start"]}
        quantity = usage(store, price, sub["customer"], period["start"], period["end"])
    # A price may have fractions of a cent; the line is a whole amount.
    amount = int((Decimal(price["unit_amount_decimal"]) * quantity).quantize(Decimal(1), rounding=ROUND_HALF_UP))
    line = add_line(store, invoice, amount, period, price, item["tax_rates"])
    line.update(
        description=f"{quantity} × {product['name']}", quantity=quantity, type="subscription",
        subscription=sub["id"], subscription_item=item["id"],
        parent={
            "type": "subscription_item_details", "invoice_item_details": None,
            "subscription_item_details": {
                "invoice_item": None, "proration": False, "proration_details": None, "subscription": sub["id"],
                "subscription_item": item["id"],
            },
        },
    )  # fmt: skip


def update_subscription(store: Store, external_id: str, params: Params) -> Obj:
    """POST /v1/subscriptions/:id: items, quantities, the end; effective at once, without proration."""
    sub = _living(store, external_id)
    for given in params.get("items") or []:
        _change_item(store, sub, given)
    if "cancel_at_period_end" in params:
        sub["cancel_at_period_end"] = flag(params, "cancel_at_period_end")
        sub["canceled_at"] = store.now() if sub["cancel_at_period_end"] else None
        sub["cancel_at"] = None
        _plan_end(sub)
    if "cancel_at" in params:
        sub["cancel_at"] = whole(params, "cancel_at") if params["cancel_at"] else None
    texts(params, sub, "description default_payment_method")
    remember(params, sub)
    store.emit("customer.subscription.updated", sub)
    return sub


def _change_item(store: Store, sub: Obj, given: Params) -> None:
    items = sub["items"]["data"]
    item = next((i for i in items if i["id"] == given.get("id")), None)
    if given.get("id") and item is None:
        raise ApiError(f"No such subscription item: '{given['id']}'", code="resource_missing")
    if item is None:
        _add_item(store, sub, given)
    elif flag(given, "deleted"):
        items.remove(item)
    else:
        named = given.get("price") or given.get("plan")
        price = store.named("prices", {"price": named}, "price") if named else item["price"]
        _sell(item, price, given)
        remember(given, item)


def cancel_subscription(store: Store, external_id: str, _: Params) -> Obj:
    """DELETE /v1/subscriptions/:id: ended now; nothing is billed or given back."""
    return _end(store, _living(store, external_id))


def _end(store: Store, sub: Obj) -> Obj:
    sub.update(status="canceled", ended_at=store.now(), canceled_at=sub["canceled_at"] or store.now())
    store.emit("customer.subscription.deleted", sub)
    return sub


def _living(store: Store, external_id: str) -> Obj:
    sub = store.get("subscriptions", external_id)
    if sub["status"] == "canceled":
        raise ApiError(f"No such subscription: '{external_id}'", status=404, code="resource_missing")
    return sub


def next_due(store: Store) -> int | None:
    """When the next period or planned end is reached; None when nothing is running."""
    times = [
        min(t for t in (sub["current_period_end"], sub["cancel_at"]) if t)
        for sub in store.tables["subscriptions"]
        if sub["status"] != "canceled"
    ]
    return min(times, default=None)


def run_due(store: Store) -> None:
    """Renew or end what is due at the store's time."""
    now = store.now()
    for sub in list(store.tables["subscriptions"]):
        if sub["status"] == "canceled":
            continue
        if sub["cancel_at"] and sub["cancel_at"] <= now:
            _end(store, sub)
        elif sub["current_period_end"] <= now:
            _renew(store, sub)


def _renew(store: Store, sub: Obj) -> None:
    sub["_last_start"] = sub["current_period_start"]
    sub["_periods"] += 1
    if sub["status"] == "trialing":
        sub["status"] = "active"
    _dates(sub, sub["current_period_end"], _nth_end(sub, sub["_periods"]))
    if sub["status"] == "past_due" and not declines(store, store.get("customers", sub["customer"]), sub["default_payment_method"]):
        sub["status"] = "active"
    _bill(store, sub, "subscription_cycle")
    store.emit("customer.subscription.updated", sub)


def list_subscriptions(store: Store, _: str, params: Params) -> Obj:
    """GET /v1/subscriptions; cancelled ones only with status=all or canceled."""
    status, customer = params.get("status"), params.get("customer")

    def fits(sub: Obj) -> bool:
        if customer not in (None, sub["customer"]):
            return False
        return status == "all" or sub["status"] == status or (status is None and sub["status"] != "canceled")

    return store.page("subscriptions", params, "/v1/subscriptions", fits)


def list_items(store: Store, _: str, params: Params) -> Obj:
    """GET /v1/subscription_items of one subscription."""
    items = store.named("subscriptions", params, "subscription")["items"]["data"]
    return shapes.listed(items, "/v1/subscription_items")


ROUTES = {
    "POST subscriptions": create_subscription,
    "GET subscriptions": list_subscriptions,
    "POST subscriptions/*": update_subscription,
    "DELETE subscriptions/*": cancel_subscription,
    "GET subscription_items": list_items,
}
