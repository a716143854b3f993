"""Calls to Stripe's API: form-encoded, pinned to one version, with an idempotency key on every POST."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, tzinfo
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import quote, urlencode
from zoneinfo import ZoneInfo

import requests
from pydantic import BaseModel, ConfigDict, Field

from connectors.sdk.contract import Health
from connectors.sdk.errors import BadPayload, Busy, Misconfigured, Refused, Unknown, VendorError
from connectors.sdk.http import Call, Http
from connectors.sdk.http import classify as by_status

API_VERSION = "2025-03-31.basil"
"""The version our reads ask for. Webhooks come in the version of their endpoint: `mapping` reads all of them."""
PAGE = 100
"""Stripe's maximum."""


class Settings(BaseModel):
    """Where and how to call. Nothing here is secret."""

    model_config = ConfigDict(extra="forbid")
    base_url: str = "https://api.stripe.com"
    api_version: str = API_VERSION
    timezone: str = "UTC"
    """IANA name of the legal entity's calendar: the days of documents are read there."""
    sweep_days: int = Field(default=400, ge=1)
    """How long before the asked instant an invoice may have been created and still be looked at by a sweep."""


class Credentials(BaseModel):
    """A secret or, better, a restricted key."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)
    api_key: str = Field(min_length=8, repr=False)


class Stripe:
    """One account. Safe for several threads; its repr tells nothing secret."""

    def __init__(self, settings: Settings, credentials: Credentials, http: Http) -> None:
        self.settings = settings
        self.zone: tzinfo = UTC if settings.timezone == "UTC" else ZoneInfo(settings.timezone)
        self.usage: dict[str, bool] = {}
        """Price → whether usage decides what it comes to; that never changes."""
        self._http = http
        self._headers = {"Authorization": f"Bearer {credentials.api_key}"}
        if settings.api_version:
            self._headers["Stripe-Version"] = settings.api_version

    def __repr__(self) -> str:
        return f"Stripe({self.settings.base_url})"

    def get(self, call: Call, path: str, **params: Any) -> dict[str, Any]:
        """Read one resource. Raises one of the four errors."""
        return _json(self.read(call, path, **params))

    def read(self, call: Call, path: str, **params: Any) -> requests.Response:
        """Like `get`, with the headers."""
        asked = form(params)
        return self._http.send(call, "GET", self.settings.base_url, path, params=asked, headers=self._headers, classify=classify)

    def post(self, call: Call, path: str, params: Mapping[str, Any], key: str) -> dict[str, Any]:
        """Write, at most once per `key` (https://docs.stripe.com/api/idempotent_requests). Raises the four errors."""
        headers = {
            **self._headers,
            "Idempotency-Key": key,
            "Content-Type": "application/x-www-form-urlencoded",
        }
        answer = self._http.json(
            call, "POST", self.settings.base_url, path, data=urlencode(form(params)), headers=headers, classify=classify
        )
        if not isinstance(answer, dict) or not answer.get("id"):
            raise Unknown("success without an id", code="unreadable_answer")
        return answer

    def all(self, call: Call, path: str, **params: Any) -> Iterator[dict[str, Any]]:
        """Every object of a list, page by page."""
        after: dict[str, str] = {}
        while True:
            page = self.get(call, path, limit=PAGE, **params, **after)
            items = objects(page)
            yield from items
            if not page.get("has_more") or not items:
                return
            after = {"starting_after": items[-1]["id"]}

    def complete(self, call: Call, obj: dict[str, Any], field: str, path: str, **params: Any) -> dict[str, Any]:
        """The object with the list in `field` read to its end; Stripe embeds only the first ten."""
        embedded = obj.get(field)
        if not isinstance(embedded, dict) or not embedded.get("has_more"):
            return obj
        return {**obj, field: {**embedded, "data": list(self.all(call, path, **params)), "has_more": False}}


def _json(response: requests.Response) -> dict[str, Any]:
    try:
        answer = response.json()
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        raise Busy(f"{response.status_code} with a body that is not a JSON object", code="unreadable_answer")
    return answer


def open_client(settings: Settings, credentials: Credentials, http: Http) -> Stripe:
    """The contract's `open`. Raises Misconfigured for a time zone that does not exist."""
    try:
        return Stripe(settings, credentials, http)
    except (KeyError, ValueError, OSError):
        raise Misconfigured(f"no such time zone: {settings.timezone!r}", code="bad_timezone") from None


def check(client: Stripe, call: Call) -> Health:
    """One read that any key may do; the account's id where the key may see it, and Stripe's own clock."""
    try:
        response = client.read(call, "/v1/account")
    except VendorError as error:
        # A restricted key may lack the right to read the account and still do all our work.
        if error.code not in ("not_found", "http_403"):
            raise
        response = client.read(call, "/v1/events", limit=1)
    identity = _json(response).get("id") or "account not shown to this key"
    try:
        clock = parsedate_to_datetime(response.headers.get("Date", ""))
    except ValueError:
        clock = None
    return Health(identity=str(identity), detail=client.settings.api_version, clock=clock)


def objects(page: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The objects of one page. Raises BadPayload."""
    items = page.get("data")
    if not isinstance(items, list) or not all(isinstance(item, dict) and item.get("id") for item in items):
        raise BadPayload("a list without objects that have ids")
    return items


def path_of(collection: str, external_id: str) -> str:
    """`/v1/invoices/in_1`; the id cannot leave its place in the path."""
    return f"/v1/{collection}/{quote(external_id, safe='')}"


def form(params: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Stripe's form encoding: `a[b]=…` for objects, `a[0][b]=…` for lists; None is left out."""
    pairs: list[tuple[str, str]] = []
    for key, value in params.items():
        name = f"{prefix}[{key}]" if prefix else key
        if value is None:
            continue
        if isinstance(value, list | tuple):
            value = dict(enumerate(value))
        if isinstance(value, Mapping):
            pairs += form({str(k): v for k, v in value.items()}, name)
        else:
            pairs.append((name, str(value).lower() if isinstance(value, bool) else str(value)))
    return pairs


def classify(response: requests.Response, write: bool) -> VendorError | None:
    """Stripe's own reading of a status (https://docs.stripe.com/api/errors), where it differs from the default."""
    usual = by_status(response, write)
    if usual is None:
        return None
    status, kind, code, said = response.status_code, *_error_of(response)
    message = f"{status} {code or kind}: {said}" if said else usual.message
    if write and (status >= 500 or status == 424):
        # Stripe keeps a 500 under the idempotency key and repeats it, so even a repeated one proves nothing.
        return Unknown(usual.message, code=f"http_{status}")
    if status == 424:
        return Busy(usual.message, code="http_424")
    if status == 409 and (kind == "idempotency_error" or code == "idempotency_key_in_use"):
        return Busy(message, code="idempotency_key_in_use")
    if status == 400 and kind == "idempotency_error":
        return Refused(message, code="idempotency_error")
    if isinstance(usual, Refused):
        return Refused(message, code="not_found" if status in (404, 410) else code or usual.code)
    return usual


def _error_of(response: requests.Response) -> tuple[str, str, str]:
    try:
        error = response.json()["error"]
        return str(error.get("type") or ""), str(error.get("code") or ""), str(error.get("message") or "")[:500]
    except (ValueError, KeyError, TypeError, AttributeError):
        return "", "", ""
