"""/healthz: this process answers. /readyz: it can take deliveries; the broker's absence is told and harms nothing."""

from __future__ import annotations

import redis
from django.conf import settings
from django.db import DatabaseError, connection
from django.http import HttpRequest, JsonResponse


def healthz(request: HttpRequest) -> JsonResponse:
    """Alive."""
    return JsonResponse({"status": "ok"})


def readyz(request: HttpRequest) -> JsonResponse:
    """200 while PostgreSQL answers: without it nothing is accepted. Redis is reported."""
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except DatabaseError:
        return JsonResponse({"status": "not ready", "database": "away"}, status=503)
    return JsonResponse({"status": "ready", "database": "ok", "broker": _broker()})


def _broker() -> str:
    try:
        redis.Redis.from_url(settings.REDIS_URL, socket_timeout=1, socket_connect_timeout=1).ping()
    except redis.RedisError:
        return "away: work goes on without it, slower"
    return "ok"
