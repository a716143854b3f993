"""The card of the home page: open breaks by money, and the last scan of every entity."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest

from reconciliation.admin.breaks import by_type
from reconciliation.admin.words import mark
from reconciliation.models import Break, Scan
from reconciliation.models.breaks import OPEN_BREAK

TEMPLATE = "admin/reconciliation/home.html"
ENTITIES = TYPES = 8
"""How many legal entities and types of breaks are shown."""


def card(request: HttpRequest) -> dict[str, Any]:
    """What the card shows. Two queries."""
    last = Scan.objects.select_related("legal_entity").defer("parameters", "progress").order_by("legal_entity", "-as_of", "-pk")
    return {"types": by_type()[:TYPES], "scans": [(scan, mark(scan.state)) for scan in last.distinct("legal_entity")[:ENTITIES]]}


def badge(request: HttpRequest) -> str:
    """How many breaks are not closed (the badge in the navigation)."""
    count = Break.objects.filter(state__in=OPEN_BREAK).order_by()[:1000].count()
    return f"{count}" if count < 1000 else "999+"
