"""A billing connection with a door, and nobody behind it."""

from __future__ import annotations

import pytest

from canonical.models import LegalEntity
from connectors.models import Connection
from tests.support.world import billing_connection


@pytest.fixture
def door(db: None) -> Connection:
    entity = LegalEntity.objects.create(code="main", name="Main", currency="USD")
    return billing_connection(entity=entity)
