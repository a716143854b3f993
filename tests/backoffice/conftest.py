"""People of every role, a billing and an ERP connection, and a client that is logged in."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from django.contrib.auth.models import User
from django.core.cache import caches
from django.test import Client

from connectors import clients, registry
from connectors.models import Connection
from hub import roles
from tests.backoffice import factories as make

Login = Callable[[str], Client]


@pytest.fixture(autouse=True)
def vendors() -> Iterator[None]:
    """The pretended vendors, known for one test."""
    make.register()
    yield
    for spec in (make.BILLING, make.ERP):
        registry.CONNECTORS.pop(spec.slug, None)
    clients.forget_clients()
    caches["process"].clear()


@pytest.fixture
def people(db: None) -> dict[str, User]:
    """One person for each role, and a superuser, by role."""
    found = {role: make.user(role.split()[0], role) for role in roles.ROLES}
    return found | {"superuser": make.user("root", superuser=True)}


@pytest.fixture
def login(people: dict[str, User]) -> Login:
    """A client logged in as a role."""

    def as_role(role: str) -> Client:
        client = Client()
        client.force_login(people[role])
        return client

    return as_role


@pytest.fixture
def billing(db: None) -> Connection:
    return make.connection("billing", make.BILLING)


@pytest.fixture
def erp(db: None) -> Connection:
    return make.connection("erp", make.ERP)
