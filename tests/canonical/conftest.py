"""Two connections and an entity."""

from __future__ import annotations

import pytest

from canonical.models import LegalEntity
from canonical.record import Recorder
from connectors.models import Connection
from tests.support.world import billing_connection


@pytest.fixture
def entity(db: None) -> LegalEntity:
    return LegalEntity.objects.create(code="main", name="Main", currency="EUR", timezone="Pacific/Auckland")


@pytest.fixture
def source(entity: LegalEntity) -> Connection:
    return billing_connection(entity=entity)


@pytest.fixture
def erp(entity: LegalEntity) -> Connection:
    return Connection.objects.create(slug="tryton", connector="tryton", legal_entity=entity, state="active")


@pytest.fixture
def recorder(source: Connection, entity: LegalEntity) -> Recorder:
    return Recorder(source.pk, entity, "test")
