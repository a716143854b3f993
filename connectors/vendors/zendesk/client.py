"""Calls to Zendesk's API: JSON over basic authentication with an API token."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Iterator, Mapping
from datetime import datetime
from decimal import Decimal
from email.utils import parsedate_to_datetime
from typing import Any

import requests
from pydantic import BaseModel, ConfigDict, Field

from connectors.sdk.contract import Health
from connectors.sdk.errors import Busy, Misconfigured, Refused, Unknown, VendorError
from connectors.sdk.http import Call, Http
from connectors.sdk.http import classify as by_status

LISTED = 100
"""Zendesk's maximum for a page by cursor, and for the ids of one `show_many`."""
STAFF = ("agent", "admin")
_FIELD = r"^[0-9]{0,19}$"


class Settings(BaseModel):
    """Where to call and as whom, and which custom fields mean what: ids of ticket fields, empty for those that are not used."""

    model_config = ConfigDict(extra="forbid")
    base_url: str = Field(description="https://SUBDOMAIN.zendesk.com")
    email: str = Field(min_length=3, description="address of the agent or admin whom the API token acts for; must see all tickets")
    field_block: str = Field("", pattern=_FIELD, description="written: multi-line text, what the hub tells the agents")
    field_state: str = Field("", pattern=_FIELD, description="written: text, the state of the credit")
    field_number: str = Field("", pattern=_FIELD, description="written: text, the credit's number in the ERP")
    field_amount: str = Field("", pattern=_FIELD, description="written: decimal, the credit's amount")
    field_currency: str = Field("", pattern=_FIELD, description="written: text, the currency of that amount")
    field_request_reason: str = Field("", pattern=_FIELD, description="read: why an agent asks for a credit")
    field_request_amount: str = Field("", pattern=_FIELD, description="read: decimal, the amount asked for, without tax")
    field_request_currency: str = Field("", pattern=_FIELD, description="read: the currency of that amount")
    field_request_note: str = Field("", pattern=_FIELD, description="read: what the agent adds for the reviewer")
    field_subscription: str = Field("", pattern=_FIELD, description="read: billing's id of the affected subscription")
    field_incident: str = Field("", pattern=_FIELD, description="read: the incident; else the linked problem ticket")
    field_plan: str = Field("", pattern=_FIELD, description="read: the plan; else the organisation's")
    organization_customer: str = Field("", description="key of the organisation field with billing's customer id; else external_id")
    organization_plan: str = Field("", description="key of the organisation field with the plan")
    hold_pauses: bool = Field(True, description="on-hold stops the clock of the resolution, as pending does")


class Credentials(BaseModel):
    """An API token of the account; whom it acts for is a setting, because Zendesk shows the address in its answers."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)
    api_token: str = Field(min_length=8, repr=False)


class Zendesk:
    """One account. Safe for several threads; its repr tells nothing secret."""

    def __init__(self, settings: Settings, credentials: Credentials, http: Http) -> None:
        self.settings = settings
        self._http = http
        # https://developer.zendesk.com/api-reference/introduction/security-and-auth/, "API token".
        signed_in = b64encode(f"{settings.email}/token:{credentials.api_token}".encode()).decode()
        self._headers = {"Authorization": f"Basic {signed_in}", "Accept": "application/json"}

    def __repr__(self) -> str:
        return f"Zendesk({self.settings.base_url})"

    def get(self, call: Call, path: str, **params: Any) -> dict[str, Any]:
        """Read one resource; numbers with a point are Decimals. Raises one of the four errors."""
        return _object(self.read(call, path, **params), Busy)

    def read(self, call: Call, path: str, **params: Any) -> requests.Response:
        """Like `get`, with the headers."""
        return self._http.send(call, "GET", self.settings.base_url, path, params=params, headers=self._headers, classify=classify)

    def put(self, call: Call, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Write. Raises one of the four errors."""
        answer = self._http.send(call, "PUT", self.settings.base_url, path, json=body, headers=self._headers, classify=classify)
        return _object(answer, Unknown)

    def all(self, call: Call, path: str, name: str) -> Iterator[dict[str, Any]]:
        """Every object of a list by cursor (https://developer.zendesk.com/api-reference/introduction/pagination/)."""
        after: dict[str, str] = {}
        while True:
            page = self.get(call, path, **{"page[size]": LISTED, **after})
            yield from objects(page, name)
            meta = page.get("meta")
            cursor = meta.get("after_cursor") if isinstance(meta, dict) and meta.get("has_more") else None
            if not isinstance(cursor, str) or after.get("page[after]") == cursor:
                return
            after = {"page[after]": cursor}


def _object(response: requests.Response, unreadable: type[VendorError]) -> dict[str, Any]:
    try:
        answer = json.loads(response.content, parse_float=Decimal)
    except (ValueError, RecursionError):
        answer = None
    if not isinstance(answer, dict):
        raise unreadable(f"{response.status_code} with a body that is not a JSON object", code="unreadable_answer")
    return answer


def objects(answer: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    """The objects under `name`. Raises Busy when they are not there: half an answer must not pass for a short one."""
    found = answer.get(name)
    if not isinstance(found, list) or not all(isinstance(item, dict) for item in found):
        raise Busy(f"an answer without {name}", code="unreadable_answer")
    return found


def inner(answer: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The object under `name`. Raises Busy when it is not there."""
    found = answer.get(name)
    if not isinstance(found, dict):
        raise Busy(f"an answer without a {name}", code="unreadable_answer")
    return found


def path_of(collection: str, external_id: str, more: str = "") -> str:
    """`/api/v2/tickets/35436.json`. Raises Refused('not_found') for what is no id."""
    if not (external_id.isascii() and external_id.isdigit()):
        raise Refused(f"{external_id[:40]!r} is no id of Zendesk's {collection}", code="not_found")
    return f"/api/v2/{collection}/{external_id}{more}.json"


def open_client(settings: Settings, credentials: Credentials, http: Http) -> Zendesk:
    """The contract's `open`."""
    return Zendesk(settings, credentials, http)


def check(client: Zendesk, call: Call) -> Health:
    """Who we are there. Misconfigured for end users, and for the anonymous user whom Zendesk shows to strangers."""
    response = client.read(call, "/api/v2/users/me.json")
    user = inner(_object(response, Busy), "user")
    if user.get("id") is None or user.get("role") not in STAFF:
        raise Misconfigured("these credentials are not those of an agent", code="not_an_agent")
    return Health(identity=str(user.get("email") or user["id"]), detail=str(user["role"]), clock=_clock(response))


def _clock(response: requests.Response) -> datetime | None:
    try:
        return parsedate_to_datetime(response.headers.get("Date", ""))
    except ValueError:
        return None


def classify(response: requests.Response, write: bool) -> VendorError | None:
    """Zendesk's own reading of a status, where it differs from the default.

    https://developer.zendesk.com/api-reference/introduction/requests/ lists the statuses. 409 is an update that collided
    with another; 422 a validation that failed, also for every update of a closed ticket. A 5xx after a write may be a
    time-out of the database behind a change that stands.
    """
    usual = by_status(response, write)
    status = response.status_code
    if usual is None:
        return None
    if status == 409:
        return Busy(usual.message, code="conflict")
    if write and status >= 500:
        return Unknown(usual.message, code=f"http_{status}")
    if isinstance(usual, Refused) and usual.code != "not_found":
        code, said = _error_of(response)
        closed = "closed prevents ticket update" in said
        return Refused(f"{usual.message} {said}".strip(), code="closed" if closed else code or usual.code)
    return usual


def _error_of(response: requests.Response) -> tuple[str, str]:
    """Zendesk's error code and its words: `{"error": …, "description": …, "details": {field: [{"description": …}]}}`."""
    try:
        answer = response.json()
        code, said = answer.get("error"), str(answer.get("description") or "")
        found = [str(each["description"]) for problems in (answer.get("details") or {}).values() for each in problems]
        return code if isinstance(code, str) else "", "; ".join(filter(None, [said, *found]))[:500]
    except (ValueError, KeyError, TypeError, AttributeError):
        return "", ""
