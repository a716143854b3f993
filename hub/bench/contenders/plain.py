"""The reference of `ingest`: the least a Django view can do and still be safe. Verify, one raw INSERT, answer.

    gunicorn -c python:hub.runtime.web hub.bench.contenders.plain:application

Settings of its own: no middleware, no apps, a connection that stays open and is not checked.
"""

from __future__ import annotations

import hashlib
import hmac
import os
from typing import Any

from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.db import connection
from django.http import HttpRequest, HttpResponse
from django.urls import path

from hub import config

TABLE = "CREATE TABLE bench_raw (external_id text PRIMARY KEY, received_at timestamptz NOT NULL DEFAULT now(), body bytea NOT NULL)"
SECRET = os.environ.get("BENCH_SECRET", "").encode()


def intake(request: HttpRequest) -> HttpResponse:
    """Accept a Stripe event."""
    body = request.body
    parts = dict(part.split("=", 1) for part in request.headers["Stripe-Signature"].split(","))
    expected = hmac.new(SECRET, parts["t"].encode() + b"." + body, hashlib.sha256).hexdigest()
    if not hmac.compare_digest(expected, parts["v1"]):
        return HttpResponse(status=401, headers={"Content-Length": "0"})
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO bench_raw (external_id, body) VALUES (%s, %s) ON CONFLICT DO NOTHING",
            [request.headers["X-Event-Id"], body],
        )
    return HttpResponse(status=202, headers={"Content-Length": "0"})


urlpatterns = [path("ingest/billing/", intake)]


def __getattr__(name: str) -> Any:
    """The WSGI application, configured only when a server asks for it."""
    if name != "application":
        raise AttributeError(name)
    database = config.database(os.environ["DATABASE_URL"]) | {"CONN_MAX_AGE": None}
    settings.configure(
        ALLOWED_HOSTS=["127.0.0.1"],
        ROOT_URLCONF=__name__,
        SECRET_KEY="only for the bench",  # noqa: S106
        DATABASES={"default": database},
    )
    return get_wsgi_application()
