"""A small company for tests: billing and ERP as twins over real HTTP, a legal entity, and its approved rules."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from typing import Any

import orjson
import requests
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from canonical.models import LegalEntity
from connectors.models import Connection
from connectors.sdk.signatures import sign_stripe
from connectors.vendors.stripe.client import form
from hub.models import AccountingRule, CodeMapping

SECRET = "whsec_of_the_test"
API_KEY = "sk_test_of_the_twin"
LONG_AGO = date(2020, 1, 1)
CODES = {"revenue": "4.2.2", "deferred": "2.2.2", "product": "PLAN", "tax": "VAT20"}
"""What the books of the twin and of the demo's real Tryton call things."""


def sign(body: bytes, secret: str = SECRET, *, age: int = 0) -> str:
    """The signature header of a delivery that was sent `age` seconds ago."""
    return sign_stripe(body, secret, int(timezone.now().timestamp()) - age)


def post(client: Client, body: bytes, slug: str = "stripe", **headers: str) -> Any:
    """Deliver a body at the door, signed unless a signature is given."""
    given = {"stripe-signature": sign(body), **headers}
    return client.post(f"/ingest/{slug}/", data=body, content_type="application/json", headers=given)


def billing_connection(
    base_url: str = "http://127.0.0.1:9", *, slug: str = "stripe", entity: LegalEntity | None = None
) -> Connection:
    """An active connection to a Stripe, with webhooks signed by SECRET."""
    connection = Connection(
        slug=slug, connector="stripe", legal_entity=entity, settings={"base_url": base_url}, state="active",
    )  # fmt: skip
    connection.set_credentials({"api_key": API_KEY})
    connection.set_webhook_secret(SECRET)
    connection.save()
    return connection


def erp_connection(entry: dict[str, Any], entity: LegalEntity) -> Connection:
    """An active connection to a Tryton; `entry` has its base_url and the way in."""
    connection = Connection(
        slug="tryton", connector="tryton", legal_entity=entity, state="active",
        settings={name: entry[name] for name in ("base_url", "database", "company")},
    )  # fmt: skip
    connection.set_credentials({name: entry[name] for name in ("rest_key", "login", "password")})
    connection.save()
    return connection


def people() -> tuple[User, User]:
    """A maker and a checker."""
    return tuple(User.objects.get_or_create(username=name)[0] for name in ("maker", "checker"))  # type: ignore[return-value]


def approved(kind: type[Any], **fields: Any) -> Any:
    """A rule or a mapping that is in force since long ago, unless told otherwise."""
    maker, checker = people()
    told = {"valid_from": LONG_AGO, "state": "active", "approved_at": timezone.now(), "approved_by": checker, **fields}
    return kind.objects.create(drafted_by=maker, **told)


def drafted(kind: type[Any], **fields: Any) -> Any:
    """A rule or a mapping that waits for its checker."""
    return approved(kind, **{"state": "draft", "approved_by": None, "approved_at": None, **fields})


def map_code(what: str, source: Connection, source_code: str, target: Connection, target_code: str, **told: Any) -> CodeMapping:
    """An approved mapping of a code."""
    fields = {"what": what, "source": source, "source_code": source_code, "target": target, "target_code": target_code}
    made: CodeMapping = approved(CodeMapping, **fields, **told)
    return made


def rule_for(entity: LegalEntity, **told: Any) -> AccountingRule:
    """An approved accounting rule, by default for everything."""
    made: AccountingRule = approved(AccountingRule, legal_entity=entity, revenue_account=CODES["revenue"], **told)
    return made


class Billing:
    """Stripe's API as its user calls it: `ask("POST", "customers", name="Acme")`."""

    def __init__(self, base_url: str) -> None:
        self.base_url = base_url
        self.session = requests.Session()
        self.session.trust_env = False
        self.session.headers["Authorization"] = f"Bearer {API_KEY}"

    def ask(self, method: str, path: str, **params: Any) -> Any:
        """One request; raises requests.HTTPError for a refusal."""
        told = {"params" if method == "GET" else "data": form(params)}
        answer = self.session.request(method, f"{self.base_url}/v1/{path}", timeout=10, **told)  # type: ignore[arg-type]
        answer.raise_for_status()
        return answer.json()

    def twin(self, path: str) -> Any:
        """What `/_twin/<path>` answers."""
        return self.session.get(f"{self.base_url}/_twin/{path}", timeout=10).json()

    def events(self) -> list[dict[str, Any]]:
        """Every event there is, oldest first."""
        found: list[dict[str, Any]] = []
        after: dict[str, str] = {}
        while True:
            page = self.ask("GET", "events", limit=100, **after)
            found += page["data"]
            if not page["has_more"]:
                return found[::-1]
            after = {"starting_after": page["data"][-1]["id"]}


@dataclass
class World:
    """Both systems, the connections to them, and what is sold."""

    billing: Billing
    erp_url: str
    source: Connection
    erp: Connection
    entity: LegalEntity
    products: dict[str, str] = field(default_factory=dict)
    """Currency → price id of a plan in it."""
    tax: str = ""
    delivered: set[str] = field(default_factory=set)
    door: Client = field(default_factory=Client)

    def sells(self, currency: str, unit_amount: int) -> str:
        """A monthly plan in a currency, its product mapped to the ERP's; returns the price."""
        product = self.billing.ask("POST", "products", name=f"Plan {currency}")
        told = {"currency": currency, "unit_amount": unit_amount, "recurring": {"interval": "month"}}
        self.products[currency] = self.billing.ask("POST", "prices", product=product["id"], **told)["id"]
        map_code("product", self.source, product["id"], self.erp, CODES["product"])
        return self.products[currency]

    def taxes(self, percentage: str = "20") -> str:
        """A tax rate of billing, mapped to the ERP's."""
        rate = self.billing.ask("POST", "tax_rates", display_name="VAT", percentage=percentage, inclusive=False)
        map_code("tax", self.source, rate["id"], self.erp, CODES["tax"])
        self.tax = rate["id"]
        return self.tax

    def customer(self, **told: Any) -> str:
        """A customer of billing."""
        given = {
            "name": "Acme GmbH",
            "email": "ap@acme.example",
            "address": {"country": "DE", "city": "Berlin", "line1": "Hauptstr. 1"},
        }
        return str(self.billing.ask("POST", "customers", **{**given, **told})["id"])

    def subscribe(self, currency: str = "eur", *, paid: bool = False, quantity: int = 1, customer: str = "") -> dict[str, Any]:
        """A subscription with tax; its first invoice is paid at once, or due in 14 days."""
        how = {} if paid else {"collection_method": "send_invoice", "days_until_due": 14}
        items = [{"price": self.products[currency], "quantity": quantity}]
        rates = [self.tax] if self.tax else []
        told = {"customer": customer or self.customer(), "items": items, "default_tax_rates": rates, **how}
        return dict(self.billing.ask("POST", "subscriptions", **told))

    def new_events(self) -> list[dict[str, Any]]:
        """What billing announced since the last time, oldest first."""
        fresh = [event for event in self.billing.events() if event["id"] not in self.delivered]
        self.delivered |= {event["id"] for event in fresh}
        return fresh

    def deliver(self, *events: dict[str, Any]) -> list[int]:
        """Bring events to the door, signed; all new ones when none are given. Returns the answers."""
        return [post(self.door, orjson.dumps(event), self.source.slug).status_code for event in events or self.new_events()]

    def documents(self) -> list[dict[str, Any]]:
        """The ERP's own books: every document that became money."""
        books: list[dict[str, Any]] = requests.get(f"{self.erp_url}/_twin/books", timeout=10).json()["documents"]
        return books

    def payments(self) -> list[dict[str, Any]]:
        """The ERP's own books: every payment."""
        books: list[dict[str, Any]] = requests.get(f"{self.erp_url}/_twin/books", timeout=10).json()["payments"]
        return books


def amount(text: str) -> Decimal:
    """A number of the twin's books, without the zeros it may end with."""
    return Decimal(text).normalize()
