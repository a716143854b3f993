"""The people of billing: they make products and sell subscriptions, over the Stripe API, on localstripe or the twin."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import requests

GOOD_CARD = "4242424242424242"
DECLINED_CARD = "4000000000000341"
"""Stripe's test number that attaches and then fails to pay (https://docs.stripe.com/testing)."""


@dataclass
class Catalog:
    """What is for sale: ids in the billing system."""

    plans: dict[str, str]
    tax_rates: dict[str, str]
    """Tax rate → the ERP's code of it."""
    mapped_products: list[str]
    unmapped_product: str
    left_product: str
    """Another one, which the demo leaves for its visitor to map."""


@dataclass
class Sale:
    """A subscription sold, and the invoice it began with."""

    customer: str
    subscription: str
    invoice: str
    totals: dict[str, Any] = field(default_factory=dict)


class Biller:
    """One account of a Stripe-compatible server. Raises requests.RequestException when it does not answer."""

    def __init__(self, base_url: str, api_key: str) -> None:
        self.base_url = base_url
        self.session = requests.Session()
        self.session.trust_env = False
        self.session.auth = (api_key, "")
        self.session.headers["Connection"] = "close"  # a server may end an idle one just as a sale is on its way

    def deliver_to(self, url: str, secret: str, *, is_real: bool) -> None:
        """Have webhooks sent there, signed."""
        path = "/_config/webhooks/tieout" if is_real else "/_twin/webhooks"
        self.session.post(self.base_url + path, json={"url": url, "secret": secret}, timeout=10).raise_for_status()

    def get(self, path: str, **params: Any) -> dict[str, Any]:
        """GET /v1/<path>."""
        answer = self.session.get(f"{self.base_url}/v1/{path}", params=params, timeout=10)
        answer.raise_for_status()
        found: dict[str, Any] = answer.json()
        return found

    def post(self, path: str, **fields: Any) -> dict[str, Any]:
        """POST /v1/<path>, form-encoded; nested names are given in brackets."""
        answer = self.session.post(f"{self.base_url}/v1/{path}", data=fields, timeout=10)
        if not answer.ok:
            raise requests.HTTPError(f"POST {path}: {answer.status_code} {answer.text[:300]}", response=answer)
        made: dict[str, Any] = answer.json()
        return made

    def make_catalog(self) -> Catalog:
        """Products, plans and tax rates of a fresh start."""
        names = ("Team", "Archive", "Beta lab", "Training day")
        team, archive, beta, training = (self.post("products", name=name, type="service")["id"] for name in names)
        plans = {
            "team-month-usd": self._plan(team, 4900, "usd", "month"),
            "team-year-eur": self._plan(team, 49000, "eur", "year"),
            "archive-year-jpy": self._plan(archive, 50000, "jpy", "year"),
            "beta-month-usd": self._plan(beta, 1900, "usd", "month"),
            "training-year-eur": self._plan(training, 120000, "eur", "year"),
        }
        rates = {self._tax("VAT 20 %", 20): "VAT20", self._tax("VAT 7 %", 7): "VAT7"}
        return Catalog(plans, rates, [team, archive], beta, training)

    def make_plan(self, name: str, family: str, amount: int, currency: str, interval: str) -> tuple[str, str]:
        """A product of a family, and its only plan; their ids."""
        product = str(self.post("products", name=name, **{"metadata[family]": family})["id"])
        return product, self._plan(product, amount, currency, interval)

    def sell(self, who: str, plan: str, *, quantity: int = 1, tax_rate: str = "", card: str = GOOD_CARD) -> Sale:
        """A new customer with a card buys a plan."""
        customer = self.post("customers", name=who, email=f"billing@{who.lower().replace(' ', '-')}.example")["id"]
        self._give_card(customer, card)
        return self.subscribe(customer, plan, quantity=quantity, tax_rate=tax_rate)

    def subscribe(self, customer: str, plan: str, *, quantity: int = 1, tax_rate: str = "") -> Sale:
        """A customer with a card buys a plan, or another one."""
        asked: dict[str, Any] = {"customer": customer, "items[0][plan]": plan, "items[0][quantity]": quantity}
        if tax_rate:
            asked["default_tax_rates[0]"] = tax_rate
        sold = self.post("subscriptions", **asked)
        invoice = sold["latest_invoice"]
        return Sale(customer, sold["id"], invoice if isinstance(invoice, str) else invoice["id"])

    def seats(self, sale: Sale, plan: str, quantity: int) -> None:
        """Change the quantity of a subscription from now on; nobody invoices the rest of the period."""
        item = self.get(f"subscriptions/{sale.subscription}")["items"]["data"][0]["id"]
        changed = {"items[0][id]": item, "items[0][plan]": plan, "items[0][quantity]": quantity}
        self.post(f"subscriptions/{sale.subscription}", **changed)

    def cancel(self, subscription: str) -> None:
        """End a subscription now; nothing is given back."""
        self.session.delete(f"{self.base_url}/v1/subscriptions/{subscription}", timeout=10).raise_for_status()

    def credit(self, invoice: str, amount: int) -> str:
        """Give a credit note of so many minor units on an invoice; its id."""
        return str(self.post("credit_notes", invoice=invoice, amount=amount)["id"])

    def void(self, invoice: str) -> None:
        """Void an open invoice."""
        self.post(f"invoices/{invoice}/void")

    def _give_card(self, customer: str, number: str) -> None:
        card = {"card[number]": number, "card[exp_month]": 12, "card[exp_year]": 2030, "card[cvc]": "123"}
        method = self.post("payment_methods", type="card", **card)["id"]
        self.post(f"payment_methods/{method}/attach", customer=customer)
        self.post(f"customers/{customer}", **{"invoice_settings[default_payment_method]": method})

    def _plan(self, product: str, amount: int, currency: str, interval: str) -> str:
        plan = self.post("plans", product=product, amount=amount, currency=currency, interval=interval)
        return str(plan["id"])

    def _tax(self, name: str, percentage: int) -> str:
        rate = self.post("tax_rates", display_name=name, percentage=percentage, inclusive="false")
        return str(rate["id"])
