"""The objects of Stripe's API, fresh and complete, and what each API version shows of them.

Inside the twin an object has the fields of both shapes, before and after 2025-03-31.basil; `shown` leaves out what the
asked version does not have.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Obj = dict[str, Any]

BASIL = "2025-03-31"
"""The version that moved periods to subscription items and an invoice's subscription into its parent."""

_ONLY_BEFORE = {
    "subscription": {"current_period_start", "current_period_end", "tax_percent", "start"},
    "invoice": {"subscription", "payment_intent", "charge", "paid", "paid_out_of_band", "tax", "total_tax_amounts"},
    "line_item": {
        "price",
        "plan",
        "tax_amounts",
        "tax_rates",
        "subscription_item",
        "invoice_item",
        "proration",
        "type",
    },
    "credit_note": {"tax_amounts"},
    "credit_note_line_item": {"tax_amounts"},
    "payment_intent": {"invoice"},
    "charge": {"invoice"},
}
_ONLY_SINCE = {
    "subscription": set(),
    "subscription_item": {"current_period_start", "current_period_end"},
    "invoice": {"parent", "total_taxes", "payments"},
    "line_item": {"parent", "pricing", "taxes"},
    "credit_note": {"total_taxes"},
    "credit_note_line_item": {"taxes"},
}


def is_new(version: str) -> bool:
    """True for versions that have the new shape; '' is the newest."""
    return not version or version[:10] >= BASIL


def shown(value: Any, new: bool) -> Any:
    """An object, and those inside it, as one of the two shapes shows them."""
    if isinstance(value, list):
        return [shown(item, new) for item in value]
    if not isinstance(value, dict):
        return value
    kind = value.get("object")
    # In an event, `object` is the object itself and not the name of its kind.
    hidden = (_ONLY_BEFORE if new else _ONLY_SINCE).get(kind, ()) if isinstance(kind, str) else ()
    return {k: shown(v, new) if isinstance(v, dict | list) else v for k, v in value.items() if k not in hidden and k[0] != "_"}


def _nulls(names: str) -> Obj:
    return dict.fromkeys(names.split())


def _new(kind: str, external_id: str, now: int, **fields: Any) -> Obj:
    return {"id": external_id, "object": kind, "created": now, "livemode": False, "metadata": {}, **fields}


def listed(items: list[Obj], url: str, has_more: bool = False) -> Obj:
    """Stripe's list object."""
    return {"object": "list", "data": items, "has_more": has_more, "url": url}


def customer(external_id: str, now: int) -> Obj:
    """A customer."""
    return _new(
        "customer", external_id, now,
        **_nulls("address currency default_source description discount email name phone shipping test_clock"),
        balance=0, delinquent=False, invoice_prefix=external_id[-8:].upper(), next_invoice_sequence=1,
        preferred_locales=[], tax_exempt="none",
        invoice_settings=_nulls("custom_fields default_payment_method footer rendering_options"),
    )  # fmt: skip


def product(external_id: str, now: int) -> Obj:
    """A product."""
    return _new(
        "product", external_id, now,
        **_nulls("default_price description package_dimensions shippable statement_descriptor tax_code unit_label url"),
        active=True, images=[], marketing_features=[], name="", updated=now, type="service",
    )  # fmt: skip


def price(external_id: str, now: int) -> Obj:
    """A price."""
    return _new(
        "price", external_id, now,
        **_nulls("custom_unit_amount lookup_key nickname recurring tiers_mode transform_quantity"),
        active=True, billing_scheme="per_unit", tax_behavior="unspecified", type="one_time",
    )  # fmt: skip


def plan(price: Obj) -> Obj:
    """The plan that a recurring price also is."""
    cycle = price["recurring"]
    same = ("id", "created", "livemode", "metadata", "active", "billing_scheme", "currency", "nickname", "product")
    return {
        "object": "plan",
        **{key: price[key] for key in (*same, "tiers_mode")},
        **{key: cycle[key] for key in ("interval", "interval_count", "meter", "trial_period_days", "usage_type")},
        "amount": price["unit_amount"],
        "amount_decimal": price["unit_amount_decimal"],
        "transform_usage": None,
    }


def tax_rate(external_id: str, now: int) -> Obj:
    """A tax rate."""
    return _new(
        "tax_rate", external_id, now,
        **_nulls("country description effective_percentage jurisdiction jurisdiction_level state tax_type flat_amount"),
        active=True, inclusive=False, rate_type="percentage",
    )  # fmt: skip


def subscription(external_id: str, now: int) -> Obj:
    """A subscription without items."""
    return _new(
        "subscription", external_id, now,
        **_nulls(
            "application application_fee_percent billing_cycle_anchor_config cancel_at canceled_at days_until_due "
            "default_payment_method default_source description ended_at latest_invoice "
            "next_pending_invoice_item_invoice on_behalf_of pause_collection pending_invoice_item_interval "
            "pending_setup_intent pending_update schedule test_clock transfer_data trial_end trial_start "
            "billing_thresholds customer_account tax_percent billing_schedules managed_payments"
        ),
        automatic_tax={"enabled": False, "liability": None, "disabled_reason": None},
        cancellation_details=_nulls("comment feedback reason"), cancel_at_period_end=False,
        collection_method="charge_automatically", default_tax_rates=[], discounts=[],
        invoice_settings={"issuer": {"type": "self"}, **_nulls("account_tax_ids custom_fields description footer")},
        payment_settings=_nulls("payment_method_options payment_method_types save_default_payment_method"),
        trial_settings={"end_behavior": {"missing_payment_method": "create_invoice"}},
        billing_mode={"type": "classic", "flexible": None}, billing_cycle_anchor=now, start_date=now, start=now,
        status="active",
    )  # fmt: skip


def subscription_item(external_id: str, now: int) -> Obj:
    """One item of a subscription."""
    item = _new("subscription_item", external_id, now, discounts=[], tax_rates=[], billing_thresholds=None)
    del item["livemode"]
    return item


def invoice(external_id: str, now: int) -> Obj:
    """A draft without lines."""
    return _new(
        "invoice", external_id, now,
        **_nulls(
            "account_name account_tax_ids application custom_fields customer_address customer_email customer_name "
            "customer_phone customer_shipping default_payment_method default_source description due_date effective_at "
            "ending_balance footer from_invoice hosted_invoice_url invoice_pdf last_finalization_error latest_revision "
            "next_payment_attempt number on_behalf_of receipt_number shipping_cost shipping_details "
            "statement_descriptor subscription test_clock webhooks_delivered_at automatically_finalizes_at "
            "total_pretax_credit_amounts parent customer_account payment_intent charge rendering tax"
        ),
        account_country="US", amount_due=0, amount_paid=0, amount_remaining=0, amount_shipping=0, amount_overpaid=0,
        attempt_count=0, attempted=False, auto_advance=False,
        automatic_tax={"enabled": False, **_nulls("liability status disabled_reason provider")},
        billing_reason="manual", collection_method="charge_automatically", customer_tax_exempt="none",
        customer_tax_ids=[], default_tax_rates=[], discounts=[], issuer={"type": "self"}, paid=False,
        paid_out_of_band=False, payment_settings=_nulls("default_mandate payment_method_options payment_method_types"),
        period_end=now, period_start=now, post_payment_credit_notes_amount=0, pre_payment_credit_notes_amount=0,
        starting_balance=0, status="draft", subtotal=0, subtotal_excluding_tax=0, total=0, total_discount_amounts=[],
        total_excluding_tax=0, total_tax_amounts=[], total_taxes=[],
        status_transitions=_nulls("finalized_at marked_uncollectible_at paid_at voided_at"),
        lines=listed([], f"/v1/invoices/{external_id}/lines"),
    )  # fmt: skip


def line_item(external_id: str, invoice_id: str) -> Obj:
    """One line of an invoice."""
    line = _new(
        "line_item", external_id, 0,
        **_nulls(
            "description subscription subscription_item invoice_item price plan parent pricing pretax_credit_amounts "
            "quantity_decimal"
        ),
        discount_amounts=[], discountable=True, discounts=[], invoice=invoice_id, proration=False, quantity=1,
        tax_amounts=[], tax_rates=[], taxes=[], type="invoiceitem",
    )  # fmt: skip
    del line["created"]
    return line


def invoiceitem(external_id: str, now: int) -> Obj:
    """A pending invoice item."""
    item = _new(
        "invoiceitem", external_id, now,
        **_nulls("description invoice test_clock parent pricing customer_account"),
        date=now, discountable=True, discounts=[], period={"start": now, "end": now}, proration=False, quantity=1,
        quantity_decimal="1", tax_rates=[],
    )  # fmt: skip
    del item["created"]
    return item


def invoice_payment(external_id: str, now: int) -> Obj:
    """The allocation of a payment to an invoice."""
    made = _new("invoice_payment", external_id, now, is_default=True, status="paid")
    del made["metadata"]
    return made | {"status_transitions": {"canceled_at": None, "paid_at": now}}


def credit_note(external_id: str, now: int) -> Obj:
    """An issued credit note without lines."""
    return _new(
        "credit_note", external_id, now,
        **_nulls(
            "customer_balance_transaction memo out_of_band_amount shipping_cost voided_at reason customer_account"
        ),
        amount_shipping=0, discount_amount=0, discount_amounts=[], effective_at=now, pretax_credit_amounts=[],
        pdf=f"https://twin.invalid/credit_notes/{external_id}/pdf", refunds=[], status="issued", tax_amounts=[],
        total_taxes=[], post_payment_amount=0, pre_payment_amount=0, type="pre_payment",
        lines=listed([], f"/v1/credit_notes/{external_id}/lines"),
    )  # fmt: skip


def credit_note_line(external_id: str) -> Obj:
    """One line of a credit note."""
    line = _new(
        "credit_note_line_item", external_id, 0,
        **_nulls("description invoice_line_item unit_amount unit_amount_decimal"),
        discount_amount=0, discount_amounts=[], pretax_credit_amounts=[], quantity=1, tax_amounts=[], tax_rates=[],
        taxes=[], type="custom_line_item",
    )  # fmt: skip
    del line["created"]
    return line


def balance_transaction(external_id: str, now: int) -> Obj:
    """An entry of a customer's balance; negative amounts are the customer's credit."""
    nulls = _nulls("credit_note description invoice checkout_session customer_account")
    return _new("customer_balance_transaction", external_id, now, **nulls, type="adjustment")


def payment_method(external_id: str, now: int, number: str) -> Obj:
    """A card, of which only the last four digits are kept."""
    address = _nulls("city country line1 line2 postal_code state")
    card = {
        **_nulls("checks country display_brand fingerprint generated_from networks regulated_status wallet"),
        "brand": "visa", "exp_month": 12, "exp_year": 2099, "funding": "credit", "last4": number[-4:],
        "three_d_secure_usage": {"supported": True},
    }  # fmt: skip
    return _new(
        "payment_method", external_id, now, allow_redisplay="unspecified", card=card, customer=None, type="card",
        customer_account=None, billing_details={"address": address, **_nulls("email name phone tax_id")},
    )  # fmt: skip


def payment_intent(external_id: str, now: int) -> Obj:
    """A payment intent that still lacks a payment method."""
    return _new(
        "payment_intent", external_id, now,
        **_nulls(
            "application application_fee_amount automatic_payment_methods canceled_at cancellation_reason customer "
            "description invoice last_payment_error latest_charge next_action on_behalf_of payment_method "
            "payment_method_configuration_details processing receipt_email review setup_future_usage shipping "
            "statement_descriptor statement_descriptor_suffix transfer_data transfer_group source "
            "excluded_payment_method_types customer_account managed_payments"
        ),
        amount_capturable=0, amount_details={"tip": {}}, amount_received=0, capture_method="automatic",
        client_secret=f"{external_id}_of_the_twin", confirmation_method="automatic", payment_method_options={},
        payment_method_types=["card"], status="requires_payment_method",
    )  # fmt: skip


def charge(external_id: str, now: int) -> Obj:
    """A succeeded charge."""
    return _new(
        "charge", external_id, now,
        **_nulls(
            "application application_fee application_fee_amount balance_transaction calculated_statement_descriptor "
            "customer description failure_balance_transaction failure_code failure_message invoice on_behalf_of "
            "outcome payment_intent payment_method payment_method_details receipt_email receipt_number receipt_url "
            "review shipping source_transfer statement_descriptor statement_descriptor_suffix transfer_data "
            "transfer_group source"
        ),
        amount_captured=0, amount_refunded=0, captured=True, disputed=False, fraud_details={}, paid=True,
        refunded=False, billing_details={"address": None, **_nulls("email name phone tax_id")}, status="succeeded",
        refunds=listed([], f"/v1/charges/{external_id}/refunds"),
    )  # fmt: skip


def refund(external_id: str, now: int) -> Obj:
    """A succeeded refund."""
    made = _new(
        "refund", external_id, now,
        **_nulls(
            "balance_transaction charge destination_details payment_intent reason receipt_number "
            "source_transfer_reversal transfer_reversal customer customer_account payment_method"
        ),
        status="succeeded",
    )  # fmt: skip
    del made["livemode"]
    return made


def meter(external_id: str, now: int) -> Obj:
    """A billing meter."""
    made = _new(
        "billing.meter", external_id, now, event_time_window=None, status="active", updated=now,
        customer_mapping={"event_payload_key": "stripe_customer_id", "type": "by_id"},
        status_transitions={"deactivated_at": None}, value_settings={"event_payload_key": "value"},
    )  # fmt: skip
    del made["metadata"]
    return made


def event(external_id: str, now: int, kind: str, obj: Mapping[str, Any], key: str | None) -> Obj:
    """An event about an object; the object is shown as it was."""
    return {
        "id": external_id, "object": "event", "api_version": None, "created": now, "data": {"object": obj},
        "livemode": False, "pending_webhooks": 0, "request": {"id": None, "idempotency_key": key}, "type": kind,
    }  # fmt: skip
