"""Customers and what can be sold to them: products, prices and plans, tax rates, cards, balances, usage."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from connectors.vendors.stripe.fake import shapes
from connectors.vendors.stripe.fake.shapes import Obj
from connectors.vendors.stripe.fake.store import ApiError, Params, Store, flag, remember, texts, whole

DECLINES_LATER = "4000000000000341"
"""Stripe's test card that attaches and then declines every charge."""
DECLINES_NOW = "4000000000000002"


def create_customer(store: Store, _: str, params: Params) -> Obj:
    """POST /v1/customers."""
    customer = shapes.customer(store.id("cus"), store.now())
    _write_customer(store, customer, params)
    customer["balance"] = whole(params, "balance", 0)
    store.tables["customers"].add(customer)
    store.emit("customer.created", customer)
    return customer


def update_customer(store: Store, external_id: str, params: Params) -> Obj:
    """POST /v1/customers/:id."""
    customer = _living(store, external_id)
    _write_customer(store, customer, params)
    store.emit("customer.updated", customer)
    return customer


def _write_customer(store: Store, customer: Obj, params: Params) -> None:
    texts(params, customer, "name email description phone tax_exempt")
    remember(params, customer)
    if isinstance(params.get("address"), dict):
        empty = dict.fromkeys(("city", "country", "line1", "line2", "postal_code", "state"))
        customer["address"] = {**empty, **(customer["address"] or {}), **params["address"]}
    if isinstance(params.get("invoice_settings"), dict):
        customer["invoice_settings"] |= params["invoice_settings"]
    for given in params.get("tax_id_data", []):
        tax_id = {"id": store.id("txi"), "object": "tax_id", "type": given["type"], "value": given["value"]}
        customer.setdefault("_tax_ids", []).append(tax_id)


def delete_customer(store: Store, external_id: str, _: Params) -> Obj:
    """DELETE /v1/customers/:id. The id goes on answering, with `deleted`."""
    customer = _living(store, external_id)
    store.emit("customer.deleted", customer)
    customer.clear()
    customer.update(id=external_id, object="customer", deleted=True)
    return customer


def get_customer(store: Store, external_id: str, params: Params) -> Obj:
    """GET /v1/customers/:id; tax ids only when they are asked for, as with Stripe."""
    customer = store.get("customers", external_id)
    visible = {key: value for key, value in customer.items() if not key.startswith("_")}
    if "tax_ids" in params.get("expand", []) and not customer.get("deleted"):
        visible["tax_ids"] = shapes.listed(customer.get("_tax_ids", []), f"/v1/customers/{external_id}/tax_ids")
    return visible


def _living(store: Store, external_id: str) -> Obj:
    customer = store.get("customers", external_id)
    if customer.get("deleted"):
        raise ApiError(f"No such customer: '{external_id}'", status=404, code="resource_missing")
    return customer


def living(store: Store, params: Params) -> Obj:
    """The customer a parameter names, who must not be deleted."""
    customer = store.named("customers", params, "customer")
    if customer.get("deleted"):
        raise ApiError(f"No such customer: '{customer['id']}'", code="resource_missing")
    return customer


def create_product(store: Store, _: str, params: Params) -> Obj:
    """POST /v1/products."""
    product = shapes.product(params.get("id") or store.id("prod"), store.now())
    if not params.get("name"):
        raise ApiError("Missing required param: name.", code="parameter_missing")
    _write_product(store, product, params)
    store.tables["products"].add(product)
    store.emit("product.created", product)
    return product


def update_product(store: Store, external_id: str, params: Params) -> Obj:
    """POST /v1/products/:id."""
    product = store.get("products", external_id)
    _write_product(store, product, params)
    store.emit("product.updated", product)
    return product


def _write_product(store: Store, product: Obj, params: Params) -> None:
    texts(params, product, "name description tax_code unit_label type")
    remember(params, product)
    product["active"] = flag(params, "active", product["active"])
    product["updated"] = store.now()


def create_price(store: Store, _: str, params: Params) -> Obj:
    """POST /v1/prices."""
    price = shapes.price(store.id("price"), store.now())
    price["product"] = store.named("products", params, "product")["id"]
    price["currency"] = str(params.get("currency") or "").lower()
    if len(price["currency"]) != 3:
        raise ApiError("Missing required param: currency.", code="parameter_missing")
    if params.get("unit_amount_decimal"):
        exact = Decimal(params["unit_amount_decimal"])
        price["unit_amount"] = int(exact) if exact == exact.to_integral_value() else None
        price["unit_amount_decimal"] = f"{exact:f}"
    else:
        price["unit_amount"] = whole(params, "unit_amount")
        price["unit_amount_decimal"] = str(price["unit_amount"])
    _recur(price, params.get("recurring"))
    texts(params, price, "nickname lookup_key tax_behavior")
    remember(params, price)
    store.tables["prices"].add(price)
    store.emit("price.created", price)
    if price["recurring"]:
        store.emit("plan.created", shapes.plan(price))
    return price


def _recur(price: Obj, given: Any) -> None:
    if not isinstance(given, dict):
        return
    if given.get("interval") not in ("day", "week", "month", "year"):
        raise ApiError("Invalid recurring[interval]", code="parameter_invalid")
    price["type"] = "recurring"
    price["recurring"] = {
        "interval": given["interval"],
        "interval_count": whole(given, "interval_count", 1),
        "meter": given.get("meter"),
        "trial_period_days": None,
        "usage_type": given.get("usage_type") or "licensed",
    }


def update_price(store: Store, external_id: str, params: Params) -> Obj:
    """POST /v1/prices/:id; amounts never change."""
    price = store.get("prices", external_id)
    texts(params, price, "nickname lookup_key")
    remember(params, price)
    price["active"] = flag(params, "active", price["active"])
    store.emit("price.updated", price)
    return price


def create_plan(store: Store, _: str, params: Params) -> Obj:
    """POST /v1/plans: a recurring price under its older name."""
    cycle = {key: params[key] for key in ("interval", "interval_count", "usage_type", "meter") if key in params}
    given = {**params, "unit_amount": params.get("amount"), "recurring": cycle}
    if isinstance(params.get("product"), dict):
        given["product"] = create_product(store, "", params["product"])["id"]
    return shapes.plan(create_price(store, "", given))


def get_plan(store: Store, external_id: str, _: Params) -> Obj:
    """GET /v1/plans/:id."""
    price = store.get("prices", external_id)
    if not price["recurring"]:
        raise ApiError(f"No such plan: '{external_id}'", status=404, code="resource_missing")
    return shapes.plan(price)


def create_tax_rate(store: Store, _: str, params: Params) -> Obj:
    """POST /v1/tax_rates."""
    rate = shapes.tax_rate(store.id("txr"), store.now())
    percentage = Decimal(params.get("percentage") or "0")
    # Stripe writes percentages as JSON numbers; amounts are computed from the exact decimal.
    rate["percentage"] = int(percentage) if percentage == percentage.to_integral_value() else float(percentage)
    rate["display_name"] = params.get("display_name") or ""
    rate["inclusive"] = flag(params, "inclusive")
    texts(params, rate, "country description jurisdiction state tax_type")
    remember(params, rate)
    store.tables["tax_rates"].add(rate)
    store.emit("tax_rate.created", rate)
    return rate


def create_payment_method(store: Store, _: str, params: Params) -> Obj:
    """POST /v1/payment_methods with a test card's number."""
    number = str((params.get("card") or {}).get("number") or "4242424242424242")
    method = shapes.payment_method(store.id("pm"), store.now(), number)
    method["_number"] = number
    remember(params, method)
    return store.tables["payment_methods"].add(method)


def attach(store: Store, external_id: str, params: Params) -> Obj:
    """POST /v1/payment_methods/:id/attach."""
    method = store.get("payment_methods", external_id)
    if method["_number"] == DECLINES_NOW:
        raise declined()
    method["customer"] = living(store, params)["id"]
    return method


def declines(store: Store, customer: Obj, named: str | None) -> bool:
    """True when a charge of this customer is declined: by card, because those without one pay in the twin."""
    chosen = named or customer["invoice_settings"].get("default_payment_method")
    method = store.tables["payment_methods"].get(chosen) if chosen else None
    return bool(method and method["_number"] in (DECLINES_LATER, DECLINES_NOW))


def declined() -> ApiError:
    """The answer to a card that was declined."""
    return ApiError("Your card was declined.", status=402, code="card_declined", kind="card_error", kept=True)


def change_balance(store: Store, customer: Obj, amount: int, currency: str, kind: str, **told: Any) -> Obj:
    """Add an entry to a customer's balance; a negative amount is a credit."""
    customer["balance"] += amount
    customer["currency"] = customer["currency"] or currency
    entry = shapes.balance_transaction(store.id("cbtxn"), store.now())
    entry.update(amount=amount, currency=currency, customer=customer["id"], ending_balance=customer["balance"], type=kind)
    entry.update(told)
    return store.tables["balance_transactions"].add(entry)


def create_balance_transaction(store: Store, external_id: str, params: Params) -> Obj:
    """POST /v1/customers/:id/balance_transactions."""
    customer = _living(store, external_id)
    currency = str(params.get("currency") or "").lower()
    if customer["currency"] not in (None, currency):
        raise ApiError("The currency is not the customer's", code="invalid_currency", kept=True)
    entry = change_balance(store, customer, whole(params, "amount"), currency, "adjustment")
    texts(params, entry, "description")
    remember(params, entry)
    store.emit("customer.updated", customer)
    return entry


def list_balance_transactions(store: Store, external_id: str, params: Params) -> Obj:
    """GET /v1/customers/:id/balance_transactions."""
    store.get("customers", external_id)
    url = f"/v1/customers/{external_id}/balance_transactions"
    return store.page("balance_transactions", params, url, lambda entry: bool(entry["customer"] == external_id))


def create_meter(store: Store, _: str, params: Params) -> Obj:
    """POST /v1/billing/meters."""
    meter = shapes.meter(store.id("mtr"), store.now())
    formula = (params.get("default_aggregation") or {}).get("formula") or "sum"
    meter.update(display_name=params.get("display_name"), event_name=params.get("event_name"))
    meter["default_aggregation"] = {"formula": formula}
    return store.tables["meters"].add(meter)


def create_meter_event(store: Store, _: str, params: Params) -> Obj:
    """POST /v1/billing/meter_events; an identifier counts once."""
    identifier = params.get("identifier") or store.id("mev")
    payload = params.get("payload") or {}
    if not payload.get("stripe_customer_id") or "value" not in payload:
        raise ApiError("payload needs stripe_customer_id and value", code="parameter_missing")
    if store.tables["meter_events"].get(identifier):
        raise ApiError(f"An event already exists with identifier {identifier}.", code="duplicate_meter_event", kept=True)
    event = {
        "id": identifier, "object": "billing.meter_event", "created": store.now(), "livemode": False,
        "event_name": params.get("event_name"), "identifier": identifier, "payload": payload,
        "timestamp": whole(params, "timestamp", store.now()),
    }  # fmt: skip
    store.tables["meter_events"].add(event)
    return {key: value for key, value in event.items() if key != "id"}


def usage(store: Store, price: Obj, customer: str, start: int, end: int) -> int:
    """Sum of what a customer used of a metered price's meter in [start, end)."""
    meter = store.tables["meters"].get(str(price["recurring"]["meter"]))
    if meter is None:
        return 0
    name = meter["event_name"]
    used = (
        int(event["payload"]["value"])
        for event in store.tables["meter_events"]
        if event["event_name"] == name and event["payload"]["stripe_customer_id"] == customer and start <= event["timestamp"] < end
    )
    return sum(used)


def list_prices(store: Store, _: str, params: Params) -> Obj:
    """GET /v1/prices, by product or activity."""
    product, active = params.get("product"), params.get("active")
    return store.page(
        "prices", params, "/v1/prices",
        lambda p: product in (None, p["product"]) and (active is None or p["active"] == flag(params, "active")),
    )  # fmt: skip


ROUTES = {
    "POST customers": create_customer,
    "GET customers/*": get_customer,
    "POST customers/*": update_customer,
    "DELETE customers/*": delete_customer,
    "POST customers/*/balance_transactions": create_balance_transaction,
    "GET customers/*/balance_transactions": list_balance_transactions,
    "POST products": create_product,
    "POST products/*": update_product,
    "POST prices": create_price,
    "GET prices": list_prices,
    "POST prices/*": update_price,
    "POST plans": create_plan,
    "GET plans/*": get_plan,
    "POST tax_rates": create_tax_rate,
    "POST payment_methods": create_payment_method,
    "POST payment_methods/*/attach": attach,
    "POST billing.meters": create_meter,
    "POST billing.meter_events": create_meter_event,
}
