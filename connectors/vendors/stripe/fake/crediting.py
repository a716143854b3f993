"""Credit notes, payments on their own, and refunds."""

from __future__ import annotations

from typing import Any

from connectors.vendors.stripe.fake import shapes
from connectors.vendors.stripe.fake.catalog import change_balance, declined, declines, living
from connectors.vendors.stripe.fake.invoicing import (
    page_of,
    settled_by_credit,
    succeed,
    summed,
    tax_of,
)
from connectors.vendors.stripe.fake.shapes import Obj
from connectors.vendors.stripe.fake.store import ApiError, Params, Store, flag, remember, texts, whole


def create_credit_note(store: Store, _: str, params: Params) -> Obj:
    """POST /v1/credit_notes on a finalized invoice, up to what is not credited yet."""
    invoice = store.named("invoices", params, "invoice")
    if invoice["status"] not in ("open", "paid", "uncollectible"):
        raise ApiError(f"You can't credit an invoice that is {invoice['status']}.", code="invoice_status", kept=True)
    note = shapes.credit_note(store.id("cn"), store.now())
    lines = [_line(store, invoice, given) for given in params.get("lines") or [_whole_amount(params)]]
    taxes = [tax for line in lines for tax in line["tax_amounts"]]
    tax = sum(t["amount"] for t in taxes)
    included = sum(t["amount"] for t in taxes if t["inclusive"])
    subtotal = sum(line["amount"] for line in lines)
    total = subtotal + tax - included
    if total <= 0 or total > creditable(store, invoice):
        raise ApiError("The credit note exceeds what can be credited", code="credit_note_amount_too_large", kept=True)
    before = [n for n in store.tables["credit_notes"] if n["invoice"] == invoice["id"]]
    note.update(
        invoice=invoice["id"], customer=invoice["customer"], currency=invoice["currency"], amount=total, total=total,
        subtotal=subtotal, subtotal_excluding_tax=subtotal - included, total_excluding_tax=total - tax,
        number=f"{invoice['number']}-CN-{len(before) + 1:02d}",
        total_taxes=summed(lines, "taxes", ("tax_rate_details", "tax_behavior")),
        tax_amounts=summed(lines, "tax_amounts", ("tax_rate", "inclusive")),
    )  # fmt: skip
    note["lines"]["data"] = lines
    texts(params, note, "memo reason")
    remember(params, note)
    _give(store, invoice, note, params)
    store.tables["credit_notes"].add(note)
    store.emit("credit_note.created", note)
    return note


def creditable(store: Store, invoice: Obj) -> int:
    """What of an invoice has not been credited yet."""
    notes = (n for n in store.tables["credit_notes"] if n["invoice"] == invoice["id"] and n["status"] == "issued")
    return int(invoice["total"]) - sum(int(n["total"]) for n in notes)


def _whole_amount(params: Params) -> Params:
    return {"type": "custom_line_item", "description": "Credit", "unit_amount": whole(params, "amount"), "quantity": 1}


def _line(store: Store, invoice: Obj, given: Params) -> Obj:
    line = shapes.credit_note_line(store.id("cnli"))
    quantity = whole(given, "quantity", 1)
    if given.get("type") == "invoice_line_item":
        billed = next((row for row in invoice["lines"]["data"] if row["id"] == given.get("invoice_line_item")), None)
        if billed is None:
            raise ApiError("No such invoice line item", code="resource_missing")
        share = billed["amount"] * quantity // billed["quantity"] if "quantity" in given else billed["amount"]
        amount = whole(given, "amount", share)
        codes = [tax["tax_rate"] for tax in billed["tax_amounts"]]
        line.update(type="invoice_line_item", invoice_line_item=billed["id"], description=billed["description"])
    else:
        unit = whole(given, "unit_amount")
        amount, codes = unit * quantity, given.get("tax_rates") or []
        line.update(unit_amount=unit, unit_amount_decimal=str(unit), description=given.get("description"))
    line.update(amount=amount, quantity=quantity)
    said = {tax["tax_rate"]: whole(tax, "amount") for tax in given.get("tax_amounts") or []}
    for code in said or codes:
        rate = store.named("tax_rates", {"tax_rate": code}, "tax_rate")
        _tax(line, rate, said.get(code, tax_of(amount, rate)))
    return line


def _tax(line: Obj, rate: Obj, amount: int) -> None:
    net = line["amount"] - (amount if rate["inclusive"] else 0)
    reason = {"taxability_reason": "standard_rated", "taxable_amount": net}
    behavior = "inclusive" if rate["inclusive"] else "exclusive"
    old = {"amount": amount, "inclusive": rate["inclusive"], "tax_rate": rate["id"], **reason}
    details = {"tax_rate_details": {"tax_rate": rate["id"]}, "type": "tax_rate_details"}
    line["tax_amounts"].append(old)
    line["taxes"].append({"amount": amount, "tax_behavior": behavior, **details, **reason})
    line["tax_rates"].append(rate)


def _give(store: Store, invoice: Obj, note: Obj, params: Params) -> None:
    """Lower what is due, not below zero; the rest goes where the caller says."""
    before = min(note["total"], invoice["amount_remaining"])
    rest = note["total"] - before
    to_balance, back = whole(params, "credit_amount", 0), whole(params, "refund_amount", 0)
    elsewhere = whole(params, "out_of_band_amount", 0)
    if to_balance + back + elsewhere != rest:
        message = f"The sum of credit_amount, refund_amount and out_of_band_amount must equal {rest}"
        raise ApiError(message, code="credit_note_amounts", kept=True)
    note.update(type="mixed" if before and rest else "post_payment" if rest else "pre_payment")
    note.update(pre_payment_amount=before, post_payment_amount=rest, out_of_band_amount=elsewhere or None)
    if before:
        invoice["pre_payment_credit_notes_amount"] += before
        invoice["amount_due"] -= before
        invoice["amount_remaining"] -= before
        if invoice["amount_remaining"] == 0:
            settled_by_credit(store, invoice)
    invoice["post_payment_credit_notes_amount"] += rest
    customer = store.get("customers", invoice["customer"])
    if to_balance:
        entry = change_balance(
            store,
            customer,
            -to_balance,
            invoice["currency"],
            "credit_note",
            credit_note=note["id"],
            invoice=invoice["id"],
        )
        note["customer_balance_transaction"] = entry["id"]
    if back:
        refunded = create_refund(store, "", {"payment_intent": invoice["payment_intent"], "amount": back})
        note["refunds"] = [{"amount_refunded": back, "refund": refunded["id"], "type": "refund"}]


def update_credit_note(store: Store, external_id: str, params: Params) -> Obj:
    """POST /v1/credit_notes/:id."""
    note = store.get("credit_notes", external_id)
    texts(params, note, "memo")
    remember(params, note)
    store.emit("credit_note.updated", note)
    return note


def void_credit_note(store: Store, external_id: str, _: Params) -> Obj:
    """POST /v1/credit_notes/:id/void, while the invoice is open."""
    note = store.get("credit_notes", external_id)
    invoice = store.get("invoices", note["invoice"])
    if note["status"] == "void" or invoice["status"] != "open":
        raise ApiError("This credit note can't be voided.", code="credit_note_status", kept=True)
    note.update(status="void", voided_at=store.now())
    invoice["pre_payment_credit_notes_amount"] -= note["total"]
    invoice["amount_due"] += note["total"]
    invoice["amount_remaining"] += note["total"]
    store.emit("credit_note.voided", note)
    return note


def list_credit_notes(store: Store, _: str, params: Params) -> Obj:
    """GET /v1/credit_notes by invoice or customer."""
    wanted = {key: params[key] for key in ("invoice", "customer") if key in params}
    return store.page("credit_notes", params, "/v1/credit_notes", lambda n: all(n[k] == v for k, v in wanted.items()))


def list_note_lines(store: Store, external_id: str, params: Params) -> Obj:
    """GET /v1/credit_notes/:id/lines."""
    lines = store.get("credit_notes", external_id)["lines"]["data"]
    return page_of(lines, params, f"/v1/credit_notes/{external_id}/lines")


def create_intent(store: Store, _: str, params: Params) -> Obj:
    """POST /v1/payment_intents, confirmed at once when asked."""
    intent = shapes.payment_intent(store.id("pi"), store.now())
    customer = living(store, params)["id"] if params.get("customer") else None
    currency = str(params.get("currency") or "").lower()
    intent.update(amount=whole(params, "amount"), currency=currency, customer=customer)
    texts(params, intent, "description payment_method")
    remember(params, intent)
    store.tables["payment_intents"].add(intent)
    store.emit("payment_intent.created", intent)
    return _confirm(store, intent) if flag(params, "confirm") else intent


def confirm_intent(store: Store, external_id: str, params: Params) -> Obj:
    """POST /v1/payment_intents/:id/confirm."""
    intent = store.get("payment_intents", external_id)
    texts(params, intent, "payment_method")
    return _confirm(store, intent)


def _confirm(store: Store, intent: Obj) -> Obj:
    method = store.tables["payment_methods"].get(intent["payment_method"] or "")
    customer: dict[str, Any] = {"invoice_settings": {}}
    if intent["status"] not in ("requires_payment_method", "requires_confirmation"):
        raise ApiError("This payment intent can't be confirmed", code="payment_intent_unexpected_state", kept=True)
    if method and declines(store, customer, method["id"]):
        store.emit("payment_intent.payment_failed", intent)
        raise declined()
    return succeed(store, intent)


def cancel_intent(store: Store, external_id: str, params: Params) -> Obj:
    """POST /v1/payment_intents/:id/cancel."""
    intent = store.get("payment_intents", external_id)
    if intent["status"] == "succeeded":
        raise ApiError("It has succeeded already", code="payment_intent_unexpected_state", kept=True)
    intent.update(status="canceled", canceled_at=store.now(), cancellation_reason=params.get("cancellation_reason"))
    store.emit("payment_intent.canceled", intent)
    return intent


def create_refund(store: Store, _: str, params: Params) -> Obj:
    """POST /v1/refunds of a payment intent or a charge, up to what was not given back yet."""
    charge = _charge_of(store, params)
    left = charge["amount"] - charge["amount_refunded"]
    amount = whole(params, "amount", left)
    if not 0 < amount <= left:
        raise ApiError(f"Refund amount ({amount}) is greater than {left}", code="amount_too_large", kept=True)
    refund = shapes.refund(store.id("re"), store.now())
    refund.update(amount=amount, charge=charge["id"], currency=charge["currency"], customer=charge["customer"])
    refund["payment_intent"] = charge["payment_intent"]
    texts(params, refund, "reason")
    remember(params, refund)
    store.tables["refunds"].add(refund)
    charge["amount_refunded"] += amount
    charge["refunded"] = charge["amount_refunded"] == charge["amount"]
    store.emit("refund.created", refund)
    store.emit("charge.refunded", charge)
    return refund


def _charge_of(store: Store, params: Params) -> Obj:
    if params.get("payment_intent"):
        intent = store.named("payment_intents", params, "payment_intent")
        if intent["status"] != "succeeded":
            raise ApiError("This payment intent has no charge", code="payment_intent_unexpected_state", kept=True)
        return store.get("charges", intent["latest_charge"])
    return store.named("charges", params, "charge")


def get_intent(store: Store, external_id: str, params: Params) -> Obj:
    """GET /v1/payment_intents/:id, with its charge when that is asked for."""
    intent = store.get("payment_intents", external_id)
    if intent["latest_charge"] and "latest_charge" in params.get("expand", []):
        return {**intent, "latest_charge": store.get("charges", intent["latest_charge"])}
    return intent


ROUTES = {
    "POST credit_notes": create_credit_note,
    "GET credit_notes": list_credit_notes,
    "POST credit_notes/*": update_credit_note,
    "POST credit_notes/*/void": void_credit_note,
    "GET credit_notes/*/lines": list_note_lines,
    "POST payment_intents": create_intent,
    "GET payment_intents/*": get_intent,
    "POST payment_intents/*/confirm": confirm_intent,
    "POST payment_intents/*/cancel": cancel_intent,
    "POST refunds": create_refund,
}
