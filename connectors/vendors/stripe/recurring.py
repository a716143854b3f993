"""What of an invoice recurs: the lines of a subscription's licensed prices that are no proration, at list price."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from connectors.sdk.errors import Refused
from connectors.sdk.http import Call
from connectors.vendors.stripe import documents
from connectors.vendors.stripe.client import Stripe, path_of
from connectors.vendors.stripe.fields import Json, money, part, ref, words


@dataclass(frozen=True, slots=True)
class Recurring:
    """`amount` is without tax and before discounts, None when nothing recurs. `lines` are what says for which period the
    invoice is: those that recur or, where none does, all. `is_proration`: parts of periods, and nothing that recurs."""

    amount: Decimal | None
    lines: Sequence[Json]
    is_proration: bool


def recurring(client: Stripe, lines: Sequence[Json], currency: str, call: Call) -> Recurring:
    """Sort the lines of an invoice. Raises BadPayload, and the four errors where the kind of a price is asked for."""
    found, amount, prorated = [], Decimal(0), False
    for line in lines:
        if _is_proration(line):
            prorated = True
        elif _is_of_subscription(line) and not _is_usage(client, line, call):
            found.append(line)
            _taxes, included = documents.taxes_of(line, currency)
            amount += money(line, "amount", currency) - included
    return Recurring(amount, found, False) if found else Recurring(None, lines, prorated)


def _is_proration(line: Json) -> bool:
    parent = part(line, "parent")
    details = part(parent, "subscription_item_details") or part(parent, "invoice_item_details")
    return bool(details.get("proration") if details else line.get("proration"))


def _is_of_subscription(line: Json) -> bool:
    """The subscription's own line, not an item that a person added to its invoice."""
    parent = part(line, "parent")
    return words(parent, "type") == "subscription_item_details" if parent else words(line, "type") == "subscription"


def _is_usage(client: Stripe, line: Json, call: Call) -> bool:
    tariff = part(line, "price") or part(line, "plan")
    if not tariff:
        price = ref(part(part(line, "pricing"), "price_details"), "price")
        if price is None:
            return False
        if price not in client.usage:
            client.usage[price] = _is_metered(_price(client, price, call))
        return client.usage[price]
    return _is_metered(tariff)


def _is_metered(tariff: Json) -> bool:
    return "metered" in (tariff.get("usage_type"), part(tariff, "recurring").get("usage_type"))


def _price(client: Stripe, price: str, call: Call) -> Json:
    """The price; one that was deleted beyond reading counts as licensed."""
    try:
        return client.get(call, path_of("prices", price))
    except Refused as error:
        if error.code != "not_found":
            raise
        return {}
