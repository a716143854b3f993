"""A whole workflow: order_to_cash from a paid invoice in billing to the settled one in the ERP, both of them twins.

Measured with histories of different sizes at the same time, each in a database of its own: a hub that slows down as
its tables grow shows here.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import date
from typing import Any

import psycopg
import requests
from django.contrib.auth.models import User
from django.db import connection, connections

from canonical.models import LegalEntity
from connectors.models import Connection
from hub import rulebook
from hub.bench import history as past
from hub.bench import lab
from hub.bench.lab import Contestant
from hub.bench.report import Row, compared
from hub.models import AccountingRule, CodeMapping

HISTORY = (1_000, 10_000, 100_000)
FLAT = 0.8
"""How fast the hub with the longest history has to be, beside the one with the shortest."""
API_KEY = "sk_test_bench"
REVENUE, DEFERRED, PRODUCT = "4.2.2", "2.2.2", "PLAN"
"""Codes in the books of the ERP's twin."""


def run(seconds: float, history: Sequence[int] = HISTORY) -> list[Row]:
    """Runs per second with each history, and what one run costs."""
    with ExitStack() as stack:
        company = found(stack)
        hubs = {runs: stack.enter_context(Contestant("worker", database=_copy(company, runs))) for runs in history}
        last: dict[int, dict[str, Any]] = {}
        rates = lab.turns(seconds * len(history), {str(runs): company.turn(hub, runs, last) for runs, hub in hubs.items()}, few=10)
    least, most = min(history), max(history)
    cost = last[least]
    units = cost["runs"]
    return [
        *(
            compared(f"workflow: order_to_cash runs with {runs:,} before", rates[str(runs)], "1/s", rates[str(least)], FLAT)
            if runs != least
            else Row(f"workflow: order_to_cash runs with {runs:,} before", rates[str(runs)], "1/s")
            for runs in history
        ),
        Row("workflow: steps", cost["settled"] / units, "a run"),
        Row("workflow: SQL statements", cost["statements"] / units, "a run"),
        Row("workflow: commits", cost["commits"] / units, "a run"),
        Row("workflow: vendor calls", cost["calls"] / units, "a run"),
        Row("workflow: memory of a worker at the start", hubs[most].ready["memory"], "MiB"),
        Row("workflow: memory of a worker at the end", last[most]["memory"], "MiB"),
    ]


@dataclass
class Company:
    """A legal entity with billing and books, and a shop that sells."""

    entity: LegalEntity
    billing: Connection
    erp: Connection
    shop: Shop

    def turn(self, hub: Contestant, runs: int, last: dict[int, dict[str, Any]]) -> Callable[[int], float]:
        """Sell and deliver the events beforehand; then the time until every run has ended."""

        def turn(count: int) -> float:
            hub.tell(deliver=[self.shop.sell() for _ in range(count)])
            hub.answer()
            seconds, said = lab.timed([hub])
            last[runs] = {**said[0], "runs": count}
            return seconds

        return turn


class Shop:
    """Sells subscriptions in the billing twin."""

    def __init__(self, base_url: str) -> None:
        self.base_url = base_url
        self.session = requests.Session()
        self.session.trust_env = False
        self.session.auth = (API_KEY, "")
        self.product = self.post("products", name="Team")["id"]
        monthly = {"recurring[interval]": "month"}
        self.price = self.post("prices", product=self.product, currency="usd", unit_amount=4900, **monthly)["id"]

    def post(self, path: str, **fields: Any) -> dict[str, Any]:
        """POST /v1/<path>."""
        answer = self.session.post(f"{self.base_url}/v1/{path}", data=fields, timeout=30)
        answer.raise_for_status()
        made: dict[str, Any] = answer.json()
        return made

    def sell(self) -> str:
        """A new customer subscribes and pays; returns the invoice."""
        customer = self.post("customers", name="Customer", email="billing@customer.example")["id"]
        sold = self.post("subscriptions", customer=customer, **{"items[0][price]": self.price})
        return str(sold["latest_invoice"])


def found(stack: ExitStack) -> Company:
    """Start the twins and connect an otherwise empty hub to them."""
    stripe = _first_line(stack, "connectors.vendors.stripe.fake", "--api-key", API_KEY).strip()
    books = json.loads(_first_line(stack, "connectors.vendors.tryton.fake"))
    entity = LegalEntity.objects.create(code="bench", name="Bench Inc", currency="USD", country="US")
    billing = _connect("billing", "stripe", entity, {"base_url": stripe}, {"api_key": API_KEY})
    erp = _connect(
        "erp", "tryton", entity, {name: books[name] for name in ("base_url", "database", "company")},
        {name: books[name] for name in ("rest_key", "login", "password")},
    )  # fmt: skip
    shop = Shop(stripe)
    ann, ben = User.objects.create(username="ann"), User.objects.create(username="ben")
    since: dict[str, Any] = {"valid_from": date(2020, 1, 1), "drafted_by": ann}
    rule = AccountingRule(legal_entity=entity, revenue_account=REVENUE, deferred_account=DEFERRED, **since)
    product = CodeMapping(what="product", source=billing, source_code=shop.product, target=erp, target_code=PRODUCT, **since)
    for draft in (rule, product):
        draft.save()
        rulebook.approve(draft, ben)
    return Company(entity, billing, erp, shop)


def _first_line(stack: ExitStack, module: str, *arguments: str) -> str:
    process = stack.enter_context(lab.running("-m", module, *arguments))
    assert process.stdout is not None
    return process.stdout.readline()


def _connect(slug: str, connector: str, entity: LegalEntity, settings: dict[str, Any], credentials: dict[str, Any]) -> Connection:
    made = Connection(slug=slug, title=slug, connector=connector, legal_entity=entity, settings=settings, state="active")
    made.set_credentials(credentials)
    made.save()
    return made


def _copy(company: Company, runs: int) -> str:
    """A copy of this database with so many runs in it; returns its name."""
    original = connection.settings_dict["NAME"]
    name = f"{original}_{runs}"
    connections.close_all()
    base = os.environ["DATABASE_URL"].rpartition("/")[0]
    with psycopg.connect(f"{base}/postgres", autocommit=True) as server:
        server.execute(f'CREATE DATABASE "{name}" TEMPLATE "{original}"'.encode())
    past.fill(f"{base}/{name}", runs, billing=company.billing.pk, erp=company.erp.pk, entity=company.entity.pk)
    return name
