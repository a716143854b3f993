"""What every request gets: an id that follows it through logs and runs, and headers Django has no setting for."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable

import structlog
from django.http import HttpRequest, HttpResponse
from django.urls import Resolver404, resolve

# A caller's id ends up in logs and headers, so only a harmless one is taken over.
ACCEPTABLE = re.compile(r"[\w.:-]{1,64}")
PERMISSIONS = "camera=(), geolocation=(), microphone=(), payment=(), usb=()"

DELIVERIES = "/ingest/"
Handler = Callable[[HttpRequest], HttpResponse]


def correlate(get_response: Handler) -> Handler:
    """Bind `correlation_id` for the request, from `X-Request-ID` when it is acceptable, and answer with it."""

    def handle(request: HttpRequest) -> HttpResponse:
        given = request.headers.get("X-Request-ID", "")
        correlation_id = given if ACCEPTABLE.fullmatch(given) else uuid.uuid4().hex
        with structlog.contextvars.bound_contextvars(correlation_id=correlation_id):
            response = get_response(request)
        response.headers["X-Request-ID"] = correlation_id
        response.headers.setdefault("Permissions-Policy", PERMISSIONS)
        return response

    return handle


def deliveries_first(get_response: Handler) -> Handler:
    """Take deliveries of machines straight to their door, which needs nothing of what is here for browsers.

    Sessions, CSRF, CSP and redirects cost a fifth of a delivery; what a delivery is trusted for is its signature.
    """

    def handle(request: HttpRequest) -> HttpResponse:
        if not request.path_info.startswith(DELIVERIES):
            return get_response(request)
        try:
            match = resolve(request.path_info)
        except Resolver404:
            return get_response(request)
        response: HttpResponse = match.func(request, *match.args, **match.kwargs)
        response.headers.setdefault("Content-Length", str(len(response.content)))
        return response

    return handle
