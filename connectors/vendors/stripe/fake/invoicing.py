"""Invoices from draft to paid, void or uncollectible: lines, taxes, numbers and what was paid."""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Decimal
from typing import Any

from connectors.vendors.stripe.fake import shapes
from connectors.vendors.stripe.fake.catalog import change_balance, declined, declines, living
from connectors.vendors.stripe.fake.shapes import Obj
from connectors.vendors.stripe.fake.store import ApiError, Params, Store, flag, remember, texts, whole

DAY = 86_400


def create_item(store: Store, _: str, params: Params) -> Obj:
    """POST /v1/invoiceitems: a line of the given draft, or of the customer's next invoice."""
    customer = living(store, params)
    item = shapes.invoiceitem(store.id("ii"), store.now())
    price = _priced(store, params)
    quantity = whole(params, "quantity", 1)
    if price is None and "amount" not in params and "unit_amount_decimal" not in params:
        raise ApiError("One of amount or pricing is required.", code="parameter_missing")
    amount = price["unit_amount"] * quantity if price else whole(params, "amount")
    period = params.get("period") or {}
    item.update(
        customer=customer["id"], amount=amount, net_amount=amount, quantity=quantity, quantity_decimal=str(quantity),
        currency=price["currency"] if price else str(params.get("currency") or "usd").lower(),
        period={"start": whole(period, "start", store.now()), "end": whole(period, "end", store.now())},
        tax_rates=_rates(store, params.get("tax_rates")), _price=price,
    )  # fmt: skip
    texts(params, item, "description")
    remember(params, item)
    invoice = store.named("invoices", params, "invoice") if params.get("invoice") else None
    if invoice:
        _only(invoice, "draft")
        _take(store, invoice, item)
        _total(store, invoice)
    store.tables["invoiceitems"].add(item)
    store.emit("invoiceitem.created", item)
    return item


def _priced(store: Store, params: Params) -> Obj | None:
    external_id = (params.get("pricing") or {}).get("price") or params.get("price")
    return store.named("prices", {"price": external_id}, "price") if external_id else None


def _rates(store: Store, given: Any) -> list[Obj]:
    return [store.named("tax_rates", {"tax_rate": rate}, "tax_rate") for rate in given or []]


def _take(store: Store, invoice: Obj, item: Obj) -> None:
    line = add_line(store, invoice, item["amount"], item["period"], item["_price"], item["tax_rates"])
    line.update(description=item["description"], quantity=item["quantity"], metadata=item["metadata"])
    line["invoice_item"] = item["id"]
    details = {"invoice_item": item["id"], "proration": False, "proration_details": None, "subscription": None}
    line["parent"] = {
        "type": "invoice_item_details",
        "invoice_item_details": details,
        "subscription_item_details": None,
    }
    item["invoice"] = invoice["id"]


def add_line(
    store: Store, invoice: Obj, amount: int, period: Params, price: Obj | None = None, rates: list[Obj] | None = None
) -> Obj:
    """Put a line on a draft, with its own tax rates or the invoice's."""
    line = shapes.line_item(store.id("il"), invoice["id"])
    line.update(amount=amount, subtotal=amount, currency=invoice["currency"], period=period)
    if price:
        line.update(price=price, plan=shapes.plan(price) if price["recurring"] else None)
        details = {"price": price["id"], "product": price["product"]}
        exact = price["unit_amount_decimal"]
        line["pricing"] = {"type": "price_details", "price_details": details, "unit_amount_decimal": exact}
    line["tax_rates"] = rates or []
    _tax(line, rates or invoice["default_tax_rates"])
    invoice["lines"]["data"].append(line)
    return line


def _tax(line: Obj, rates: list[Obj]) -> None:
    """Both shapes of a line's taxes; half a cent is rounded up."""
    for rate in rates:
        amount = tax_of(line["amount"], rate)
        reason = "standard_rated"
        line["tax_amounts"].append(
            {
                "amount": amount, "inclusive": rate["inclusive"], "tax_rate": rate["id"],
                "taxability_reason": reason, "taxable_amount": line["amount"] - (amount if rate["inclusive"] else 0),
            }
        )  # fmt: skip
        line["taxes"].append(
            {
                "amount": amount, "tax_behavior": "inclusive" if rate["inclusive"] else "exclusive",
                "tax_rate_details": {"tax_rate": rate["id"]}, "taxability_reason": reason,
                "taxable_amount": line["tax_amounts"][-1]["taxable_amount"], "type": "tax_rate_details",
            }
        )  # fmt: skip


def tax_of(amount: int, rate: Obj) -> int:
    """Tax in minor units of one amount at one rate."""
    percentage = Decimal(str(rate["percentage"]))
    share = percentage / (100 + percentage) if rate["inclusive"] else percentage / 100
    return int((amount * share).quantize(Decimal(1), rounding=ROUND_HALF_UP))


def summed(lines: list[Obj], key: str, group: tuple[str, ...]) -> list[Obj]:
    """The taxes of all lines, one entry per rate."""
    totals: dict[str, Obj] = {}
    for line in lines:
        for tax in line[key]:
            name = str([tax[part] for part in group])
            if name not in totals:
                totals[name] = {**tax, "amount": 0, "taxable_amount": 0}
            totals[name]["amount"] += tax["amount"]
            totals[name]["taxable_amount"] += tax["taxable_amount"]
    return list(totals.values())


def _total(store: Store, invoice: Obj) -> None:
    lines = invoice["lines"]["data"]
    subtotal = sum(line["amount"] for line in lines)
    taxes = [tax for line in lines for tax in line["tax_amounts"]]
    tax = sum(t["amount"] for t in taxes)
    included = sum(t["amount"] for t in taxes if t["inclusive"])
    total = subtotal + tax - included
    invoice.update(
        subtotal=subtotal, subtotal_excluding_tax=subtotal - included, total=total, total_excluding_tax=total - tax,
        tax=tax if taxes else None, amount_due=max(0, total), amount_remaining=max(0, total),
        total_tax_amounts=summed(lines, "tax_amounts", ("tax_rate", "inclusive")),
        total_taxes=summed(lines, "taxes", ("tax_rate_details", "tax_behavior")),
    )  # fmt: skip


def draft(store: Store, customer: Obj, currency: str, **told: Any) -> Obj:
    """A new draft; the customer's name and address are those of now."""
    invoice = shapes.invoice(store.id("in"), store.now())
    invoice.update(customer=customer["id"], currency=currency, **told)
    for key in ("address", "email", "name", "phone"):
        invoice[f"customer_{key}"] = customer[key]
    store.tables["invoices"].add(invoice)
    return invoice


def create_invoice(store: Store, _: str, params: Params) -> Obj:
    """POST /v1/invoices: a draft, with the customer's pending items when they are to be included."""
    customer = living(store, params)
    pending = [i for i in store.tables["invoiceitems"] if i["customer"] == customer["id"] and i["invoice"] is None]
    if params.get("pending_invoice_items_behavior", "exclude") != "include":
        pending = []
    currency = str(params.get("currency") or customer["currency"] or (pending[0]["currency"] if pending else "usd"))
    invoice = draft(
        store, customer, currency.lower(),
        collection_method=params.get("collection_method") or "charge_automatically",
        auto_advance=flag(params, "auto_advance"), default_tax_rates=_rates(store, params.get("default_tax_rates")),
    )  # fmt: skip
    texts(params, invoice, "description footer")
    remember(params, invoice)
    _set_due(store, invoice, params)
    for item in pending:
        _take(store, invoice, item)
    _total(store, invoice)
    store.emit("invoice.created", invoice)
    return invoice


def _set_due(store: Store, invoice: Obj, params: Params) -> None:
    if params.get("due_date"):
        invoice["due_date"] = whole(params, "due_date")
    elif invoice["collection_method"] == "send_invoice":
        invoice["due_date"] = store.now() + whole(params, "days_until_due", 30) * DAY


def update_invoice(store: Store, external_id: str, params: Params) -> Obj:
    """POST /v1/invoices/:id; after finalization only metadata changes."""
    invoice = store.get("invoices", external_id)
    if invoice["status"] == "draft":
        texts(params, invoice, "description footer")
    elif set(params) - {"metadata", "expand"}:
        raise ApiError("Finalized invoices can't be updated in this way", code="invoice_not_editable", kept=True)
    remember(params, invoice)
    store.emit("invoice.updated", invoice)
    return invoice


def delete_invoice(store: Store, external_id: str, _: Params) -> Obj:
    """DELETE /v1/invoices/:id, drafts only."""
    invoice = store.get("invoices", external_id)
    _only(invoice, "draft")
    store.tables["invoices"].drop(external_id)
    store.emit("invoice.deleted", invoice)
    return {"id": external_id, "object": "invoice", "deleted": True}


def finalize_invoice(store: Store, external_id: str, params: Params) -> Obj:
    """POST /v1/invoices/:id/finalize."""
    invoice = store.get("invoices", external_id)
    _only(invoice, "draft")
    return finalize(store, invoice)


def finalize(store: Store, invoice: Obj) -> Obj:
    """Give a number, use up the customer's credit, open it; one with nothing left to pay is paid."""
    customer = store.get("customers", invoice["customer"])
    now = store.now()
    _total(store, invoice)
    number = customer["next_invoice_sequence"]
    customer["next_invoice_sequence"] = number + 1
    customer["currency"] = customer["currency"] or invoice["currency"]
    invoice["starting_balance"] = customer["balance"]
    used = min(-customer["balance"], invoice["amount_due"])
    if used > 0:
        change_balance(store, customer, used, invoice["currency"], "applied_to_invoice", invoice=invoice["id"])
        invoice["amount_due"] -= used
        invoice["amount_remaining"] -= used
    invoice.update(
        number=f"{customer['invoice_prefix']}-{number:04d}", status="open", effective_at=now,
        ending_balance=customer["balance"], hosted_invoice_url=f"https://twin.invalid/i/{invoice['id']}",
        invoice_pdf=f"https://twin.invalid/i/{invoice['id']}/pdf",
    )  # fmt: skip
    invoice["status_transitions"]["finalized_at"] = now
    store.emit("invoice.finalized", invoice)
    if invoice["amount_due"] == 0:
        _settled(store, invoice)
    return invoice


def pay_invoice(store: Store, external_id: str, params: Params) -> Obj:
    """POST /v1/invoices/:id/pay, also out of band. 402 when the customer's card declines."""
    invoice = store.get("invoices", external_id)
    if invoice["status"] == "paid":
        raise ApiError("Invoice is already paid", code="invoice_already_paid", kept=True)
    _only(invoice, "draft", "open", "uncollectible")
    if invoice["status"] == "draft":
        finalize(store, invoice)
    if flag(params, "paid_out_of_band"):
        invoice["paid_out_of_band"] = True
        invoice["amount_paid"] = invoice["amount_due"]
        _settled(store, invoice)
    elif invoice["status"] != "paid" and not pay(store, invoice, params.get("payment_method")):
        raise declined()
    return invoice


def pay(store: Store, invoice: Obj, method: str | None = None) -> bool:
    """Charge what remains. False, and announced, when the card declines."""
    customer = store.get("customers", invoice["customer"])
    invoice["attempted"] = True
    invoice["attempt_count"] += 1
    if declines(store, customer, method):
        store.emit("invoice.payment_failed", invoice)
        return False
    intent = settle_intent(store, invoice["amount_remaining"], invoice["currency"], customer["id"], invoice["id"])
    invoice.update(payment_intent=intent["id"], charge=intent["latest_charge"], amount_paid=invoice["amount_remaining"])
    allocation = shapes.invoice_payment(store.id("inpay"), store.now())
    allocation.update(
        amount_paid=intent["amount"], amount_requested=intent["amount"], currency=invoice["currency"],
        invoice=invoice["id"], payment={"type": "payment_intent", "payment_intent": intent["id"]},
    )  # fmt: skip
    store.tables["invoice_payments"].add(allocation)
    store.emit("invoice_payment.paid", allocation)
    _settled(store, invoice)
    return True


def settle_intent(store: Store, amount: int, currency: str, customer: str | None, invoice: str | None) -> Obj:
    """A payment intent that has succeeded, with its charge."""
    now = store.now()
    intent = shapes.payment_intent(store.id("pi"), now)
    intent.update(amount=amount, currency=currency, customer=customer, invoice=invoice)
    store.tables["payment_intents"].add(intent)
    return succeed(store, intent)


def succeed(store: Store, intent: Obj) -> Obj:
    """Charge a payment intent."""
    charge = shapes.charge(store.id("ch"), store.now())
    amount = intent["amount"]
    same = {key: intent[key] for key in ("amount", "currency", "customer", "invoice", "payment_method")}
    charge.update(**same, amount_captured=amount, payment_intent=intent["id"])
    store.tables["charges"].add(charge)
    intent.update(status="succeeded", amount_received=amount, latest_charge=charge["id"])
    store.emit("charge.succeeded", charge)
    store.emit("payment_intent.succeeded", intent)
    return intent


def _settled(store: Store, invoice: Obj) -> None:
    invoice.update(status="paid", paid=True, amount_remaining=0, attempted=True)
    invoice["status_transitions"]["paid_at"] = store.now()
    store.emit("invoice.paid", invoice)
    store.emit("invoice.payment_succeeded", invoice)


def settled_by_credit(store: Store, invoice: Obj) -> None:
    """A credit note has taken all that was left to pay."""
    _settled(store, invoice)


def void_invoice(store: Store, external_id: str, _: Params) -> Obj:
    """POST /v1/invoices/:id/void."""
    return _close(store, external_id, "void", "voided", ("open", "uncollectible"))


def write_off(store: Store, external_id: str, _: Params) -> Obj:
    """POST /v1/invoices/:id/mark_uncollectible."""
    return _close(store, external_id, "uncollectible", "marked_uncollectible", ("draft", "open"))


def _close(store: Store, external_id: str, status: str, how: str, allowed: tuple[str, ...]) -> Obj:
    invoice = store.get("invoices", external_id)
    _only(invoice, *allowed)
    invoice["status"] = status
    invoice["status_transitions"][f"{how}_at"] = store.now()
    store.emit(f"invoice.{how}", invoice)
    return invoice


def _only(invoice: Obj, *statuses: str) -> None:
    if invoice["status"] not in statuses:
        message = f"This invoice is {invoice['status']}; only {' or '.join(statuses)} ones can do that."
        raise ApiError(message, code="invoice_not_editable", kept=True)


def list_invoices(store: Store, _: str, params: Params) -> Obj:
    """GET /v1/invoices by customer, subscription, status, collection method and creation."""
    wanted = {key: params[key] for key in ("customer", "subscription", "status", "collection_method") if key in params}
    return store.page("invoices", params, "/v1/invoices", lambda i: all(i[k] == v for k, v in wanted.items()))


def list_lines(store: Store, external_id: str, params: Params) -> Obj:
    """GET /v1/invoices/:id/lines, oldest first."""
    lines = store.get("invoices", external_id)["lines"]["data"]
    return page_of(lines, params, f"/v1/invoices/{external_id}/lines")


def page_of(rows: list[Obj], params: Params, url: str) -> Obj:
    """A page of a list that lives inside an object."""
    limit, after = whole(params, "limit", 10), params.get("starting_after")
    start = next((i + 1 for i, row in enumerate(rows) if row["id"] == after), 0) if after else 0
    return shapes.listed(rows[start : start + limit], url, len(rows) > start + limit)


def list_payments(store: Store, _: str, params: Params) -> Obj:
    """GET /v1/invoice_payments by invoice, status or payment."""
    intent = (params.get("payment") or {}).get("payment_intent")
    page = store.page(
        "invoice_payments", params, "/v1/invoice_payments",
        lambda p: params.get("invoice") in (None, p["invoice"]) and params.get("status") in (None, p["status"])
        and intent in (None, p["payment"]["payment_intent"]),
    )  # fmt: skip
    if "data.payment.payment_intent" not in params.get("expand", []):
        return page
    return {**page, "data": [_with_intent(store, paid) for paid in page["data"]]}


def _with_intent(store: Store, paid: Obj) -> Obj:
    intent = store.tables["payment_intents"].get(paid["payment"]["payment_intent"] or "")
    return {**paid, "payment": {**paid["payment"], "payment_intent": intent}}


ROUTES = {
    "POST invoiceitems": create_item,
    "POST invoices": create_invoice,
    "GET invoices": list_invoices,
    "POST invoices/*": update_invoice,
    "DELETE invoices/*": delete_invoice,
    "POST invoices/*/finalize": finalize_invoice,
    "POST invoices/*/pay": pay_invoice,
    "POST invoices/*/void": void_invoice,
    "POST invoices/*/mark_uncollectible": write_off,
    "GET invoices/*/lines": list_lines,
    "GET invoice_payments": list_payments,
}
