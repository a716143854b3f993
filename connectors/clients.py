"""Opened clients: one per connection, process and version of its settings, shared by the worker's threads."""

from __future__ import annotations

import threading
from typing import Any

from pydantic import ValidationError

from connectors.models import Connection
from connectors.sdk.errors import Misconfigured
from connectors.sdk.http import Http
from connectors.secrets import Unreadable

_lock = threading.Lock()
_open: dict[int, tuple[tuple[str, str], Any]] = {}


def client_for(connection: Connection) -> Any:
    """The vendor client of a connection. Raises Misconfigured when its settings or secrets are not usable."""
    version = (repr(sorted(connection.settings.items())), connection.sealed_credentials)
    with _lock:
        known = _open.get(connection.pk)
        if known and known[0] == version:
            return known[1]
        spec = connection.spec
        try:
            settings = spec.settings.model_validate(connection.settings)
            credentials = connection.read_credentials()
        except ValidationError as error:
            fields = ", ".join(".".join(map(str, e["loc"])) for e in error.errors())
            raise Misconfigured(f"settings or credentials are incomplete: {fields}", code="incomplete_settings") from None
        except Unreadable as error:
            raise Misconfigured(str(error), code="unreadable_secret") from None
        client = spec.open(settings, credentials, Http(pool=max(16, spec.limits.max_in_flight)))
        _open[connection.pk] = (version, client)
        return client


def forget_clients() -> None:
    """Drop every opened client (after a fork, and between tests)."""
    with _lock:
        _open.clear()
