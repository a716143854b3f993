"""POST /ingest/<connection>/: verify the signature on the raw bytes, store, answer. No business work, no broker.

202 stored, 200 seen before, 401 not the vendor's (nothing kept but a counter), 404 no such connection,
405 not a POST, 413 too large. A delivery that is signed but not understood is stored and quarantined: 202.
"""

from __future__ import annotations

from django.db import connection as database
from django.http import HttpRequest, JsonResponse
from django.utils import timezone
from django.views.decorators.csrf import csrf_exempt

from connectors.models import Connection
from connectors.sdk.contract import Delivery
from connectors.sdk.errors import BadSignature
from hub import inbox

MAX_BODY = 1024 * 1024
"""Bytes; Stripe's largest events are far below."""


@csrf_exempt
def ingest(request: HttpRequest, slug: str) -> JsonResponse:
    """The door of one connection."""
    if request.method != "POST":
        return JsonResponse({"error": "POST only"}, status=405, headers={"Allow": "POST"})
    connection = Connection.objects.select_related("legal_entity").filter(slug=slug).exclude(state="revoked").first()
    verify = connection.spec.verify if connection else None
    if connection is None or verify is None:
        return JsonResponse({"error": "no such door"}, status=404)
    body = _body(request)
    if body is None:
        return JsonResponse({"error": f"larger than {MAX_BODY} bytes"}, status=413)
    headers = {name.lower(): value for name, value in request.headers.items()}
    try:
        verify(Delivery(headers, body), connection.live_webhook_secrets(), timezone.now())
    except BadSignature as refusal:
        _count(connection, refusal.code)
        return JsonResponse({"error": "not accepted"}, status=401)
    receipt = inbox.receive(connection, body)
    return JsonResponse(
        {"event": receipt.event_id, "correlation_id": str(receipt.correlation_id), "disposition": receipt.disposition},
        status=202 if receipt.is_new else 200,
        headers={"X-Correlation-Id": str(receipt.correlation_id)},
    )


def _body(request: HttpRequest) -> bytes | None:
    """The raw bytes, or None when there are too many; a body without a length is read no further than the limit."""
    declared = request.META.get("CONTENT_LENGTH") or ""
    if declared.isdigit() and int(declared) > MAX_BODY:
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
