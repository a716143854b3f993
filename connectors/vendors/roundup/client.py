"""Calls to a Roundup tracker's REST interface (https://www.roundup-tracker.org/docs/rest.html)."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import requests
from pydantic import BaseModel, ConfigDict, Field

from connectors.sdk.errors import Busy, Misconfigured, Refused, Unknown, VendorError
from connectors.sdk.http import Call, Http
from connectors.sdk.http import classify as by_status

Row = dict[str, Any]
NOT_OUR_DOOR = ("Client is not allowed to use Rest Interface", "Required Header Missing", "Invalid Referer", "Invalid Origin")
"""How Roundup words it, with status 400, when a request does not come from the address it believes to have."""
FAILED = "An error occurred"
"""How Roundup words a failure of its own, with status 400 (such as a database that stayed locked)."""


class Settings(BaseModel):
    """Where the tracker is, what its states and roles mean, and what it calls our properties."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    base_url: str = Field(title="Address", description="The tracker's own `web` address, such as https://example.com/support/")
    waiting: tuple[str, ...] = Field(
        default=("need-eg",), title="States that wait for the customer", description="The clock of the resolution stands still"
    )
    resolved: tuple[str, ...] = Field(default=("done-cbb", "resolved"), title="States that end a case")
    staff_roles: tuple[str, ...] = Field(
        default=("Agent", "Admin"), title="Roles of staff", description="Whose answers count, and who may ask for a credit"
    )
    properties: dict[str, str] = Field(
        default_factory=dict, title="Names of properties", description="Ours to the tracker's, where they differ"
    )

    def property(self, ours: str) -> str:
        """What the tracker calls a property of ours."""
        return self.properties.get(ours, ours)


class Credentials(BaseModel):
    """The hub's own user in the tracker."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    user: str = Field(min_length=1, title="User")
    password: str = Field(repr=False, min_length=1, title="Password")


class Stale(Exception):
    """The item has changed since it was read; nothing was written."""


class Roundup:
    """One tracker; safe for several threads. Raises only the four errors, and `patch` Stale; its repr tells nothing secret."""

    def __init__(self, settings: Settings, credentials: Credentials, http: Http) -> None:
        self.settings = settings
        self.user = credentials.user
        self._http = http
        self._base = settings.base_url.rstrip("/") + "/"
        parts = urlsplit(self._base)
        secret = b64encode(f"{credentials.user}:{credentials.password}".encode()).decode()
        # Roundup refuses calls that another site could have made a browser send.
        self._headers = {
            "Authorization": f"Basic {secret}",
            "Accept": "application/json",
            "X-Requested-With": "rest",
            "Origin": f"{parts.scheme}://{parts.netloc}",
            "Referer": self._base,
        }
        self._own_id = ""

    def __repr__(self) -> str:
        return f"Roundup({self.settings.base_url})"

    def page_of(self, issue: str) -> str:
        """Where people see the issue."""
        return f"{self._base}issue{issue}"

    def send(self, call: Call, path: str, params: Mapping[str, str]) -> requests.Response:
        """Read something below `rest/`."""
        return self._http.send(call, "GET", self._base, f"rest/{path}", params=params, headers=self._headers, classify=classify)

    def get(self, call: Call, path: str, **params: str) -> Row:
        """What `data` says of something below `rest/`. Control words are given without their @."""
        return self.select(call, path, {f"@{name}": value for name, value in params.items()})

    def select(self, call: Call, path: str, query: Mapping[str, str]) -> Row:
        """Like `get`, with properties to search by."""
        return _data(partial(self.send, call, path, query), Busy)

    def find(self, call: Call, kind: str, **wanted: str) -> list[Row]:
        """The items of a class, not retired, whose text properties are exactly these; in the order of their ids."""
        exact = {f"{name}:": value for name, value in wanted.items()}
        return items(self.select(call, f"data/{kind}", {"@sort": "id", **exact}))

    def create(self, call: Call, kind: str, values: Mapping[str, Any]) -> str:
        """Make an item; its id."""
        post = partial(
            self._http.send, call, "POST", self._base, f"rest/data/{kind}",
            json=dict(values), headers=self._headers, classify=classify,
        )  # fmt: skip
        made = _data(post, Unknown).get("id")
        if not isinstance(made, str) or not made:
            raise Unknown("success without an id", code="unreadable_answer")
        return made

    def patch(self, call: Call, kind: str, item: str, values: Mapping[str, Any], etag: str) -> None:
        """Set properties of an item that is still as it was read. Raises Stale when it is not.

        Roundup compares just before it writes, not with it: of two changes in the same instant both may be made.
        """
        headers = {**self._headers, "If-Match": etag}
        patch = partial(
            self._http.send, call, "PATCH", self._base, f"rest/data/{kind}/{item}",
            json=dict(values), headers=headers, classify=classify,
        )  # fmt: skip
        try:
            _data(patch, Unknown)
        except Refused as refusal:
            if refusal.code == "http_412":
                raise Stale from None
            raise

    def issue(self, call: Call, issue: str) -> Row:
        """An issue with names beside ids, `@etag` among its attributes. Refused('not_found') when there is none."""
        return self.item(call, "issue", issue, verbose="2")

    def item(self, call: Call, kind: str, item: str, verbose: str) -> Row:
        """All attributes of an item, the protected ones too. Refused('not_found') for what cannot be an id."""
        if not (item.isascii() and item.isdigit()):
            raise Refused(f"there is no {kind} {item!r}", code="not_found")
        told = self.get(call, f"data/{kind}/{item}", verbose=verbose, protected="true")
        attributes, etag = told.get("attributes"), told.get("@etag")
        if not isinstance(attributes, dict) or not isinstance(etag, str):
            raise Busy(f"an answer without the attributes of {kind}{item}", code="unreadable_answer")
        return {**attributes, "id": item, "@etag": etag}

    def own_id(self, call: Call) -> str:
        """The id of the hub's own user, remembered."""
        if not self._own_id:
            told = self.get(call, f"data/user/username={self.user}", fields="username").get("id")
            if not isinstance(told, str) or not told:
                raise Busy("an answer without the hub's user", code="unreadable_answer")
            self._own_id = told
        return self._own_id


def items(data: Row) -> list[Row]:
    """The items of a collection. Raises Busy when the answer is none."""
    found = data.get("collection")
    if not isinstance(found, list) or not all(isinstance(row, dict) and isinstance(row.get("id"), str) for row in found):
        raise Busy("an answer without a collection", code="unreadable_answer")
    return found


def _data(send: partial[requests.Response], lost: type[Busy] | type[Unknown]) -> Row:
    response = send()
    try:
        data = response.json()["data"]
    except (ValueError, KeyError, TypeError):
        data = None
    if not isinstance(data, dict):
        raise lost(f"{response.status_code} with a body that is not Roundup's JSON", code="unreadable_answer")
    return data


def classify(response: requests.Response, write: bool) -> VendorError | None:
    """Roundup's own reading of a status, where it differs from the default."""
    usual = by_status(response, write)
    if not isinstance(usual, Refused):
        return usual
    try:
        said = str(response.json()["error"]["msg"])[:500]
    except (ValueError, KeyError, TypeError):
        said = ""
    if FAILED in said:
        lost = Unknown if write else Busy
        return lost(f"{response.status_code} the tracker failed", code="tracker_failed")
    if any(words in said for words in NOT_OUR_DOOR):
        return Misconfigured(f"{said}: the address in the settings is not the tracker's own", code="not_our_door")
    return Refused(f"{usual.message}: {said}" if said else usual.message, code=usual.code)
