"""Stories told by the official Stripe SDK, for anything that speaks Stripe's API: the twin and localstripe alike."""

from __future__ import annotations

from dataclasses import dataclass

import stripe

from connectors.sdk.http import Call, Http
from connectors.vendors.stripe import CONNECTOR
from connectors.vendors.stripe.client import Credentials, Settings, Stripe

API_KEY = "sk_test_not_a_real_key"
CARD = {"number": "4242424242424242", "exp_month": 12, "exp_year": 2099, "cvc": "123"}


def sdk(base_url: str) -> stripe.StripeClient:
    """Stripe's own client, pointed at a server."""
    return stripe.StripeClient(API_KEY, base_addresses={"api": base_url}, max_network_retries=0)  # type: ignore[typeddict-item]


def ours(base_url: str, version: str = "2025-03-31.basil") -> Stripe:
    """Our connector's client for the same server."""
    settings = Settings(base_url=base_url, api_version=version)
    client: Stripe = CONNECTOR.open(settings, Credentials(api_key=API_KEY), Http())
    return client


@dataclass(frozen=True, slots=True)
class Subscribed:
    """A customer with a card and a running subscription to 3 × 19.99 EUR a month, plus 19 % VAT."""

    customer: str
    product: str
    plan: str
    tax_rate: str
    subscription: str
    item: str
    invoice: str


def subscribe(client: stripe.StripeClient) -> Subscribed:
    """A customer subscribes; the first invoice is paid by card."""
    product = client.v1.products.create({"name": "Platform", "type": "service"})
    vat = client.v1.tax_rates.create({"display_name": "VAT", "percentage": 19, "inclusive": False})
    plan = client.v1.plans.create({"product": product.id, "amount": 1999, "currency": "eur", "interval": "month"})
    customer = client.v1.customers.create(
        {"name": "Acme GmbH", "email": "ap@acme.example", "address": {"city": "Bonn", "country": "DE"}}
    )
    card = client.v1.payment_methods.create({"type": "card", "card": CARD})  # type: ignore[typeddict-item]
    client.v1.payment_methods.attach(card.id, {"customer": customer.id})
    client.v1.customers.update(customer.id, {"invoice_settings": {"default_payment_method": card.id}})
    subscription = client.v1.subscriptions.create(
        {"customer": customer.id, "items": [{"plan": plan.id, "quantity": 3}], "default_tax_rates": [vat.id]}
    )
    item = subscription["items"].data[0].id
    invoice = str(subscription.latest_invoice)
    return Subscribed(customer.id, product.id, plan.id, vat.id, subscription.id, item, invoice)


def upgrade(client: stripe.StripeClient, made: Subscribed, quantity: int) -> None:
    """The customer takes more seats."""
    items = [{"id": made.item, "plan": made.plan, "quantity": quantity}]
    client.v1.subscriptions.update(made.subscription, {"items": items})  # type: ignore[typeddict-item]


def cancel(client: stripe.StripeClient, made: Subscribed) -> None:
    """The customer leaves at once."""
    client.v1.subscriptions.cancel(made.subscription)


def call() -> Call:
    """A call that gives up soon."""
    return Call(timeout=10)
