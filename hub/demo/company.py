"""The demo's company: its legal entity, people with their roles, connections, accounting rules and mappings."""

from __future__ import annotations

import json
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from django.conf import settings
from django.contrib.auth.models import Group, User
from django.utils import timezone

from canonical.models import LegalEntity, move
from connectors.models import Connection
from hub import roles, rulebook
from hub.demo.biller import Biller, Catalog
from hub.demo.peers.systems import System
from hub.models import AccountingRule, CodeMapping

PEOPLE = {
    "admin": ("administrator", roles.ADMINISTRATOR),
    "rosa": ("finance reviewer, drafts mappings", roles.FINANCE),
    "felix": ("finance reviewer, approves them", roles.FINANCE),
    "sonja": ("senior finance reviewer", roles.SENIOR),
    "carl": ("controller, approves policies and large credits", roles.CONTROLLER),
    "pola": ("policy admin, drafts credit policies", roles.POLICY),
    "amy": ("support agent, asks for credits", roles.AGENT),
    "otto": ("operator", roles.OPERATOR),
    "iris": ("integration engineer", roles.ENGINEER),
    "ada": ("auditor, reads everything", roles.AUDITOR),
}
QUIET_SECONDS = 20
"""The peers are on this machine and answer within a second or two: a lost call has landed by then or never will."""
REVENUE, DEFERRED = "4.2.2", "2.2.2"
"""Accounts of the ERP's chart (`hub.demo.peers.tryton_books`, and the twin's)."""


@dataclass
class Company:
    """What the stories need to know."""

    entity: LegalEntity
    billing: Connection
    erp: Connection
    biller: Biller
    catalog: Catalog
    people: dict[str, User]
    logins: Sequence[tuple[str, str, str]]

    def map_product(self, product: str) -> int:
        """rosa says what a billing product is in the ERP, felix approves; returns how many waiting steps go on."""
        return self.map_code("product", product, "PLAN")

    def map_code(self, what: str, source_code: str, target_code: str, source: Connection | None = None) -> int:
        """rosa maps a code, felix approves; returns how many waiting steps go on."""
        draft = CodeMapping.objects.create(
            what=what, source=source or self.billing, source_code=source_code, target=self.erp, target_code=target_code,
            valid_from=date(timezone.now().year - 1, 1, 1), drafted_by=self.people["rosa"],
        )  # fmt: skip
        return rulebook.approve(draft, self.people["felix"])

    def book_everything(self) -> None:
        """The rule that covers whatever no other rule does, and the codes of the catalogue."""
        if not AccountingRule.objects.filter(legal_entity=self.entity, state="active").exists():
            rule = AccountingRule.objects.create(
                legal_entity=self.entity, revenue_account=REVENUE, deferred_account=DEFERRED, drafted_by=self.people["rosa"],
                valid_from=date(timezone.now().year - 1, 1, 1),
            )  # fmt: skip
            rulebook.approve(rule, self.people["felix"])
        for product in self.catalog.mapped_products:
            self.map_product(product)
        for tax_rate, erp_code in self.catalog.tax_rates.items():
            self.map_code("tax", tax_rate, erp_code)


def found(billing: System, erp: System, base_url: str) -> Company:
    """Fill the database; on a later start, connect it to the peers' new addresses and catalogue."""
    password = _password()
    people = {name: _person(name, role, password) for name, (_, role) in PEOPLE.items()}
    entity, _ = LegalEntity.objects.get_or_create(
        code="tieout-demo" if erp.is_real else "tieout-twin",
        defaults={"name": "Tieout Demo Inc", "currency": "USD", "country": "US"},
    )
    books, money = connect(erp, entity), connect(billing, entity)
    biller = Biller(billing.base_url, billing.credentials["api_key"])
    secret = f"whsec_{secrets.token_urlsafe(24)}"
    money.set_webhook_secret(secret)
    money.save()
    biller.deliver_to(f"{base_url}/ingest/{money.slug}/", secret, is_real=billing.is_real)
    logins = [(who, name, password) for name, (who, _) in PEOPLE.items()]
    company = Company(entity, money, books, biller, biller.make_catalog(), people, logins)
    company.book_everything()
    return company


def _password() -> str:
    """One password for all demo people, made up once for this state directory."""
    path = settings.STATE_DIR / "demo.json"
    if not path.exists():
        path.touch(mode=0o600)
        path.write_text(json.dumps({"password": "-".join(secrets.token_hex(3) for _ in range(3))}))
    password: str = json.loads(path.read_text())["password"]
    return password


def _person(name: str, role: str, password: str) -> User:
    person, is_new = User.objects.get_or_create(username=name, defaults={"is_staff": True, "first_name": name.capitalize()})
    if is_new or not person.check_password(password):
        person.set_password(password)
        person.save()
    person.groups.set([Group.objects.get(name=role)])
    return person


def connect(system: System, entity: LegalEntity) -> Connection:
    """An active connection to a peer."""
    values: dict[str, Any] = {
        "title": system.title, "connector": system.connector, "legal_entity": entity, "settings": system.settings,
        "quiet_seconds": QUIET_SECONDS,
    }  # fmt: skip
    connection, _ = Connection.objects.update_or_create(slug=system.slug, defaults=values)
    connection.set_credentials(system.credentials)
    connection.save()
    if connection.state != "active":
        move(connection, "activate", by="demo", save=["pause_reason", "not_before", "failures_in_row"])
    return connection
