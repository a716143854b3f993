"""POST /ingest/<connection>/: verify the signature on the raw bytes, store, answer. No business work, no broker.

202 stored, 200 seen before, 401 not the vendor's (nothing kept but a counter), 404 no such connection,
405 not a POST, 413 too large. A delivery that is signed but not understood is stored and quarantined: 202.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.db import InterfaceError, OperationalError
from django.db import connection as database
from django.db.models.signals import post_save
from django.http import HttpRequest, JsonResponse
from django.utils import timezone
from django.views.decorators.csrf import csrf_exempt

from connectors.models import Connection
from connectors.sdk.contract import Delivery, Verify
from connectors.sdk.errors import BadSignature
from hub import inbox

MAX_BODY = 1024 * 1024
"""Bytes; Stripe's largest events are far below."""


DOOR_KEPT = 1.0
"""Seconds a process may take an active door as it was. Reading and unsealing it costs as much as storing a delivery."""


@dataclass(frozen=True, slots=True)
class Door:
    """A connection that takes deliveries, and the secrets that open it. Shared by threads: never written to."""

    connection: Connection
    verify: Verify
    secrets: Sequence[str]
    read_at: float


_doors: dict[str, Door] = {}


def door(slug: str) -> Door | None:
    """The door of that name as it was within `DOOR_KEPT`, or None."""
    known = _doors.get(slug)
    if known and time.monotonic() - known.read_at < DOOR_KEPT:
        return known
    return _read_door(slug)


def _read_door(slug: str) -> Door | None:
    _doors.pop(slug, None)
    connection = Connection.objects.filter(slug=slug).exclude(state="revoked").first()
    if connection is None or connection.spec.verify is None:
        return None
    read = _doors[slug] = Door(connection, connection.spec.verify, connection.live_webhook_secrets(), time.monotonic())
    return read


def _forget_door(instance: Connection, **_: Any) -> None:
    _doors.pop(instance.slug, None)


post_save.connect(_forget_door, Connection, dispatch_uid="doors")


@csrf_exempt
def ingest(request: HttpRequest, slug: str) -> JsonResponse:
    """The door of one connection."""
    if request.method != "POST":
        return JsonResponse({"error": "POST only"}, status=405, headers={"Allow": "POST"})
    entrance = door(slug)
    if entrance is None:
        return JsonResponse({"error": "no such door"}, status=404)
    body = _body(request)
    if body is None:
        return JsonResponse({"error": f"larger than {MAX_BODY} bytes"}, status=413)
    headers = {name.lower(): value for name, value in request.headers.items()}
    try:
        entrance = _admit(entrance, Delivery(headers, body))
    except BadSignature as refusal:
        _count(entrance.connection, refusal.code)
        return JsonResponse({"error": "not accepted"}, status=401)
    receipt = _receive(entrance.connection, body)
    return JsonResponse(
        {"event": receipt.event_id, "correlation_id": str(receipt.correlation_id), "disposition": receipt.disposition},
        status=202 if receipt.is_new else 200,
        headers={"X-Correlation-Id": str(receipt.correlation_id)},
    )


def _receive(connection: Connection, body: bytes) -> inbox.Receipt:
    """Store it; once more with a new session when PostgreSQL hung up. Whatever had been stored is seen before, then."""
    try:
        return inbox.receive(connection, body)
    except (OperationalError, InterfaceError):
        database.close()
        return inbox.receive(connection, body)


def _admit(entrance: Door, delivery: Delivery) -> Door:
    """Verify the signature; what does not open a remembered door is tried on the door as it is now."""
    try:
        entrance.verify(delivery, entrance.secrets, timezone.now())
    except BadSignature:
        current = _read_door(entrance.connection.slug)
        if current is None or current.secrets == entrance.secrets:
            raise
        current.verify(delivery, current.secrets, timezone.now())
        return current
    return entrance


def _body(request: HttpRequest) -> bytes | None:
    """The raw bytes, or None when there are too many; a body without a length is read no further than the limit."""
    try:
        declared = int(request.META.get("CONTENT_LENGTH") or 0)
    except ValueError:
        declared = 0
    if declared > MAX_BODY:
        return None
    body = request.read(MAX_BODY + 1)
    return None if len(body) > MAX_BODY else body


def _count(connection: Connection, reason: str) -> None:
    with database.cursor() as cursor:
        cursor.execute(
            """INSERT INTO hub_rejecteddelivery (connection_id, day, reason, count) VALUES (%s, current_date, %s, 1)
               ON CONFLICT (connection_id, day, reason) DO UPDATE SET count = hub_rejecteddelivery.count + 1""",
            [connection.pk, reason[:40]],
        )
