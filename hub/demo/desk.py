"""The side of the demo that credits are about: a support desk, customers of a billing system that knows credit notes, promises."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import date

from django.contrib.auth.models import User
from django.utils import timezone

from canonical.models import LegalEntity
from connectors.models import Connection
from hub import rulebook
from hub.credits import starter
from hub.credits.models import SlaTerms
from hub.demo.biller import Biller
from hub.demo.company import Company, connect
from hub.demo.peers.roundup_people import Person
from hub.demo.peers.systems import System, deliver_cases


@dataclass
class Desk:
    """What the credit stories need besides the company."""

    billing: Connection
    """The billing system that knows credit notes."""
    cashier: Biller
    """Its user."""
    plan: str
    """What is sold there: its price."""
    support: Connection
    agent: Person
    customer: Person


def open_desk(company: Company, billing: System, desk: System, base_url: str) -> Desk:
    """Connect the two systems, sell the plan of the stories, and put the promises and credit rules in force."""
    till, cashier = company.billing, company.biller
    if billing.slug != till.slug:
        till, secret = _connect(billing, company.entity)
        cashier = Biller(billing.base_url, billing.credentials["api_key"])
        cashier.deliver_to(f"{base_url}/ingest/{till.slug}/", secret, is_real=billing.is_real)
    product, plan = cashier.make_plan("Instant support", INSTANT, 6_000_000, "usd", "month")
    company.map_code("product", product, "PLAN", till)
    support, secret = _connect(desk, company.entity)
    deliver_cases(desk, f"{base_url}/ingest/{support.slug}/", secret)
    _promise(company.people, company.entity)
    agent, customer = (Person(desk.base_url, name, desk.passwords[name]) for name in ("agent", "customer"))
    return Desk(till, cashier, plan, support, agent, customer)


INSTANT = "instant"
"""The plan of the credit stories: so quick a promise that it can be broken while one watches."""


def _connect(system: System, entity: LegalEntity) -> tuple[Connection, str]:
    """The connection, and the secret its webhooks are signed with."""
    connection, secret = connect(system, entity), f"whsec_{secrets.token_urlsafe(24)}"
    connection.set_webhook_secret(secret)
    connection.save()
    return connection, secret


def _promise(people: dict[str, User], entity: LegalEntity) -> None:
    """The starter set, and the promise of the plan `instant`: an answer within a minute, around the clock."""
    since = date(timezone.now().year - 2, 1, 1)
    starter.install(people["pola"], people["carl"], [entity], on=since)
    if not SlaTerms.objects.filter(plan=INSTANT).exists():
        terms = SlaTerms.objects.create(
            plan=INSTANT, first_response_minutes=1, resolution_minutes=600, uptime_percent="99.9", valid_from=since,
            drafted_by=people["pola"],
        )  # fmt: skip
        rulebook.approve(terms, people["carl"])
