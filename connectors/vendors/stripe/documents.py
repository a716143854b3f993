"""Stripe's invoices and credit notes → canonical documents: lines, discounts, taxes and shipping, to the cent. Pure.

A line's `amount` is before discounts and before exclusive tax; a canonical line's net is after discounts and without
any tax, so net = amount − discounts − inclusive tax. The canonical document checks that it all adds up.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, timedelta, tzinfo
from decimal import ROUND_DOWN, Decimal
from typing import Any

from canonical.money import quantum
from canonical.types import CreditMemo, Invoice, InvoiceLine, InvoiceStatus, TaxAmount
from connectors.sdk.errors import BadPayload
from connectors.vendors.stripe.fields import (
    Json,
    currency_of,
    day,
    instant,
    many,
    money,
    need,
    need_instant,
    need_ref,
    number,
    part,
    ref,
    text,
    where,
    words,
)  # fmt: skip


def invoice(obj: Json, zone: tzinfo = UTC) -> Invoice:
    """An invoice with all its lines. `zone` is where the legal entity reads its calendar."""
    currency = currency_of(obj)
    total = money(obj, "total", currency)
    lines = [_line(line, currency, zone) for line in many_lines(obj)]
    lines += _shipping(obj, currency)
    lines = _with_document_tax(obj, lines, currency)
    tax = sum((line.tax for line in lines), Decimal(0))
    steps = part(obj, "status_transitions")
    effective = instant(obj, "effective_at") or instant(steps, "finalized_at")
    issued = effective or need_instant(obj, "created", "date")
    due = instant(obj, "due_date")
    return Invoice(
        external_id=text(obj, "id"),
        number=words(obj, "number"),
        party=need_ref(obj, "customer"),
        currency=currency,
        issued_on=day(issued, zone),
        lines=tuple(lines),
        net=total - tax,
        tax=tax,
        total=total,
        legal_entity=words(part(obj, "metadata"), "legal_entity"),
        status=InvoiceStatus(text(obj, "status")),
        due_on=day(due, zone) if due else None,
        paid=money(obj, "amount_paid", currency),
        paid_at=instant(steps, "paid_at"),
        voided_at=instant(steps, "voided_at"),
        subscription=subscription_of(obj),
        payment=_payment_of(obj),
    )


def many_lines(obj: Json) -> list[Json]:
    """The lines of a document, which must carry the field."""
    need(obj, "lines")
    return many(obj, "lines")


def subscription_of(obj: Json) -> str | None:
    """The subscription an invoice bills, in the new shape or the old one."""
    if obj.get("parent") is not None:
        return ref(part(part(obj, "parent"), "subscription_details"), "subscription")
    if "subscription" not in obj and "parent" not in obj:
        raise BadPayload(f"{where(obj, 'subscription')} has moved again")
    return ref(obj, "subscription")


def _payment_of(obj: Json) -> str | None:
    paid = [p for p in many(obj, "payments") if p.get("status") == "paid"] if obj.get("payments") else []
    if paid:
        means = part(paid[0], "payment")
        return ref(means, "payment_intent") or ref(means, "charge")
    return ref(obj, "payment_intent") or ref(obj, "charge")


def _line(line: Json, currency: str, zone: tzinfo) -> InvoiceLine:
    product_id, price_id = _what_was_sold(line)
    origin = part(line, "parent")
    details = part(origin, "subscription_item_details") or part(origin, "invoice_item_details")
    item = ref(details, "subscription_item") if details else ref(line, "subscription_item")
    taxes, included = taxes_of(line, currency)
    period = part(line, "period")
    start, end = need_instant(period, "start"), need_instant(period, "end")
    quantity = line.get("quantity_decimal") or line.get("quantity")
    return InvoiceLine(
        external_id=text(line, "id"),
        description=words(line, "description"),
        product=product_id,
        price=price_id,
        subscription=ref(details, "subscription") if details else ref(line, "subscription"),
        subscription_item=item,
        quantity=Decimal(1) if quantity is None else number(quantity, where(line, "quantity")),
        net=money(line, "amount", currency) - _discounts(line, currency) - included,
        taxes=taxes,
        # A period without length is a moment, not a service over time. The day a period ends on belongs to the next
        # one, which begins at that instant, so that no day is served twice.
        service_from=day(start, zone) if end > start else None,
        service_to=max(day(start, zone), day(end, zone) - timedelta(days=1)) if end > start else None,
        proration=bool(details.get("proration") if details else line.get("proration")),
    )


def _what_was_sold(line: Json) -> tuple[str | None, str | None]:
    if line.get("pricing"):
        details = part(part(line, "pricing"), "price_details")
        return (need_ref(details, "product"), need_ref(details, "price")) if details else (None, None)
    tariff = part(line, "price") or part(line, "plan")
    if not tariff and not {"pricing", "price", "plan"} & line.keys():
        raise BadPayload(f"{where(line, 'pricing')} has moved again")
    return (need_ref(tariff, "product"), text(tariff, "id")) if tariff else (None, None)


def _discounts(line: Json, currency: str) -> Decimal:
    discounts = sum((money(d, "amount", currency) for d in many(line, "discount_amounts")), Decimal(0))
    # `pretax_credit_amounts` repeats the discounts and adds the credit grants.
    credits = [c for c in many(line, "pretax_credit_amounts") if c.get("type") == "credit_balance_transaction"]
    return discounts + sum((money(c, "amount", currency) for c in credits), Decimal(0))


def taxes_of(line: Json, currency: str) -> tuple[tuple[TaxAmount, ...], Decimal]:
    """The taxes of a line, and how much of them its amount includes."""
    percentages = {rate["id"]: rate.get("percentage") for rate in many(line, "tax_rates") if "id" in rate}
    taxes, included = [], Decimal(0)
    for tax in many(line, "taxes"):
        code = need_ref(part(tax, "tax_rate_details"), "tax_rate")
        taxes.append(_tax(code, money(tax, "amount", currency), percentages.get(code)))
        included += taxes[-1].amount if text(tax, "tax_behavior") == "inclusive" else 0
    if taxes or "taxes" in line:
        return tuple(taxes), included
    for tax in many(line, "tax_amounts"):
        code = need_ref(tax, "tax_rate")
        taxes.append(_tax(code, money(tax, "amount", currency), percentages.get(code)))
        included += taxes[-1].amount if need(tax, "inclusive") else 0
    return tuple(taxes), included


def _tax(code: str, amount: Decimal, percentage: Any) -> TaxAmount:
    known = None if percentage is None else number(percentage, f"percentage of {code}")
    return TaxAmount(code=code, amount=amount, percentage=known)


def _shipping(obj: Json, currency: str) -> list[InvoiceLine]:
    """Shipping is part of the total but not a line there; it becomes one here."""
    cost = part(obj, "shipping_cost")
    if not cost or not obj.get("amount_shipping"):
        return []
    tax = money(cost, "amount_tax", currency)
    taxes = (TaxAmount(code="shipping", amount=tax),) if tax else ()
    net = money(cost, "amount_total", currency) - tax
    return [InvoiceLine(external_id=f"{text(obj, 'id')}:shipping", description="Shipping", net=net, taxes=taxes)]


def _with_document_tax(obj: Json, lines: list[InvoiceLine], currency: str) -> list[InvoiceLine]:
    """Spread tax that only the invoice tells over its lines, by net amount, to the cent (shapes before 2020)."""
    if any(line.taxes for line in lines) or not lines:
        return lines
    per_code: dict[str, Decimal] = {}
    for tax in many(obj, "total_tax_amounts"):
        if need(tax, "inclusive"):
            raise BadPayload(f"{where(obj, 'total_tax_amounts')}: included in lines that do not tell it")
        code = need_ref(tax, "tax_rate")
        per_code[code] = per_code.get(code, Decimal(0)) + money(tax, "amount", currency)
    percent = obj.get("tax_percent")
    if not per_code and percent is not None:
        rate = number(percent, where(obj, "tax_percent")).normalize()
        per_code[f"tax_percent:{rate:f}"] = money(obj, "tax", currency)
    if not per_code:
        return lines
    shares = {code: _spread(amount, [line.net for line in lines], currency) for code, amount in per_code.items()}
    return [
        line.model_copy(update={"taxes": tuple(TaxAmount(code=c, amount=share[i]) for c, share in shares.items())})
        for i, line in enumerate(lines)
    ]


def _spread(amount: Decimal, weights: Sequence[Decimal], currency: str) -> list[Decimal]:
    """Shares in proportion to the weights that add up exactly; what rounding leaves goes to the last share."""
    total = sum(weights, Decimal(0))
    if not total:
        return [Decimal(0)] * (len(weights) - 1) + [amount]
    shares = [(amount * w / total).quantize(quantum(currency), rounding=ROUND_DOWN) for w in weights]
    shares[-1] += amount - sum(shares, Decimal(0))
    return shares


def credit_memo(obj: Json, zone: tzinfo = UTC) -> CreditMemo:
    """A credit note with all its lines; amounts are positive there too."""
    currency = currency_of(obj)
    total = money(obj, "total", currency)
    lines = [_credit_line(line, currency) for line in many_lines(obj)] + _shipping(obj, currency)
    tax = sum((line.tax for line in lines), Decimal(0))
    issued = instant(obj, "effective_at") or need_instant(obj, "created")
    return CreditMemo(
        external_id=text(obj, "id"),
        number=words(obj, "number"),
        party=need_ref(obj, "customer"),
        currency=currency,
        issued_on=day(issued, zone),
        lines=tuple(lines),
        net=total - tax,
        tax=tax,
        total=total,
        legal_entity=words(part(obj, "metadata"), "legal_entity"),
        invoice=need_ref(obj, "invoice"),
        status="void" if text(obj, "status") == "void" else "issued",
        reason=words(obj, "reason") or words(obj, "memo"),
    )


def _credit_line(line: Json, currency: str) -> InvoiceLine:
    taxes, included = taxes_of(line, currency)
    quantity = line.get("quantity")
    return InvoiceLine(
        external_id=text(line, "id"),
        description=words(line, "description"),
        quantity=Decimal(1) if quantity is None else number(quantity, where(line, "quantity")),
        net=money(line, "amount", currency) - _discounts(line, currency) - included,
        taxes=taxes,
    )
