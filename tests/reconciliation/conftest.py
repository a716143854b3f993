"""Three systems in memory for one legal entity."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.contrib.auth.models import User

from canonical.models import LegalEntity
from connectors import registry
from connectors.clients import forget_clients
from connectors.models import Connection
from hub import roles
from hub.engine import crash
from tests.reconciliation import vendor
from tests.reconciliation.staff import person


@pytest.fixture
def ann(transactional_db: None) -> User:
    """She proposes and prepares."""
    return person("ann", roles.FINANCE)


@pytest.fixture
def carla(transactional_db: None) -> User:
    """She approves and signs."""
    return person("carla", roles.CONTROLLER)


@pytest.fixture
def books(transactional_db: None) -> Iterator[dict[str, vendor.Books]]:
    """What the three systems hold; a test fills it."""
    vendor.reset()
    forget_clients()
    acme = LegalEntity.objects.create(code="acme", name="Acme", currency="EUR")
    for role in ("billing", "erp", "support"):
        registry.register(vendor.connector(role))  # type: ignore[arg-type]
        Connection.objects.create(slug=role, connector=f"read-{role}", legal_entity=acme, state="active")
    yield vendor.BOOKS
    crash.disarm()
    forget_clients()
    for role in vendor.KINDS:
        registry.CONNECTORS.pop(f"read-{role}", None)
