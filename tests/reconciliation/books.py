"""A scan of a company's systems that tests fill with readings, and what a match made of them."""

from __future__ import annotations

import json
from typing import Any

from django.db import connection

from canonical.models import LegalEntity
from connectors.models import Connection
from reconciliation.matching import Tolerances
from reconciliation.models import Scan
from tests.reconciliation.corpus import AS_OF, CLOSED_UNTIL, Corpus

TOLERANCES = Tolerances(closed_until=CLOSED_UNTIL)


def company(code: str = "books") -> tuple[LegalEntity, Connection, Connection, Connection]:
    """An entity with billing, ERP and support."""
    entity = LegalEntity.objects.create(code=code, name=code, currency="EUR")
    made = [
        Connection.objects.create(slug=f"{code}-{name}", connector=name, legal_entity=entity, state="active")
        for name in ("stripe", "tryton", "zendesk")
    ]
    return entity, made[0], made[1], made[2]


def scan_of(entity: LegalEntity) -> Scan:
    """A scan whose readings are complete."""
    Scan.objects.filter(legal_entity=entity, state="matching").update(state="done", ended_at=AS_OF)
    return Scan.objects.create(legal_entity=entity, state="matching", as_of=AS_OF, started_by="test")


def corpus(seed: int, code: str = "books") -> Corpus:
    """An empty corpus of a new company."""
    entity, billing, erp, support = company(code)
    return Corpus(scan_of(entity), billing, erp, support, seed)


def candidates() -> list[tuple[str, str, Any, Any]]:
    """(pair, type, left, right) of what the last match of this session found."""
    with connection.cursor() as cursor:
        cursor.execute('SELECT pair, type, "left", "right" FROM recon_candidate')
        return [(pair, type_, _json(left), _json(right)) for pair, type_, left, right in cursor.fetchall()]


def _json(value: Any) -> Any:
    return json.loads(value) if isinstance(value, str) else value
