"""Calls to RT's REST 2 (https://docs.bestpractical.com/rt/5.0.3/RT/REST2.html) with an authentication token.

What a status does not say, RT says in a list of messages beside status 200: nothing here takes a 200 of a write for
success, the commands read back. Collections leave out what the user may not see only after they have been cut into
pages, so a short page is not the last one; pages are asked for by id, until one is empty or old enough.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any
from urllib.parse import quote

import requests
from pydantic import BaseModel, ConfigDict, Field

from connectors.sdk.errors import Busy, Misconfigured, Refused, Unknown, VendorError
from connectors.sdk.http import Call, Http
from connectors.sdk.http import classify as by_status

Json = dict[str, Any]
API = "REST/2.0"
PAGE = 100
"""RT's maximum; it takes more for 100."""
TOLD = "Type,Field,OldValue,NewValue,Created,Creator,ObjectId"
"""What we ask of a transaction."""
SILENT = "Type != 'EmailRecord' AND Type != 'CommentEmailRecord'"
"""RT notes every mail it sends as a transaction of its own; those start no scrips and say nothing about a case."""
Name = Annotated[str, Field(min_length=1, max_length=200)]


class Settings(BaseModel):
    """Where RT is, which queue is ours, and what its custom fields are called."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    base_url: str = Field(title="Address", description="For example https://rt.example.com")
    queue: Name = Field(default="Support", title="Queue", description="Its name; other queues are not looked at")
    login: Name = Field(default="hub", title="The hub's user", description="Its answers are not those of the staff")
    customer_field: Name = Field(default="Billing Customer", description="Billing's id of the customer")
    plan_field: Name = Field(default="Plan Tier")
    subscription_field: Name = Field(default="Subscription", description="Billing's id of the affected subscription")
    incident_field: Name = Field(default="Incident")
    request_reason_field: Name = Field(default="Credit Request Reason")
    request_amount_field: Name = Field(default="Credit Request Amount", description="Digits with a decimal point, such as 120.50")
    request_currency_field: Name = Field(default="Credit Request Currency")
    request_note_field: Name = Field(default="Credit Request Note")
    block_field: Name = Field(default="Tieout Block", description="Written by the hub; a text of several lines")
    state_field: Name = Field(default="Credit State", description="Written by the hub")
    number_field: Name = Field(default="Credit Number", description="Written by the hub")
    amount_field: Name = Field(default="Credit Amount", description="Written by the hub, with the currency")
    severities: dict[str, int] = Field(
        default={"low": 0, "medium": 50, "high": 100},
        title="Severities",
        description="Name → the lowest priority it stands for. These are the names RT 5 shows for its numbers",
    )
    paused_statuses: tuple[str, ...] = Field(default=("stalled",), description="The case waits for the customer")
    resolved_statuses: tuple[str, ...] = Field(default=("resolved",))
    closed_statuses: tuple[str, ...] = Field(default=("rejected", "deleted"), description="Ended without being resolved")


class Credentials(BaseModel):
    """A token of the hub's own user."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    token: str = Field(min_length=8, repr=False, title="REST 2 token", description="From Logged in as → Settings → Auth Tokens")


class RequestTracker:
    """One queue of one RT; safe for several threads. Raises only the four errors."""

    def __init__(self, settings: Settings, credentials: Credentials, http: Http) -> None:
        self.settings = settings
        self._http = http
        self._headers = {"Authorization": f"token {credentials.token}"}
        self._privileged: dict[str, bool] = {}

    def __repr__(self) -> str:
        return f"RequestTracker({self.settings.base_url}, {self.settings.queue})"

    def get(self, call: Call, path: str, **params: Any) -> Json:
        """Read one resource."""
        return object_of(self.read(call, path, **params))

    def read(self, call: Call, path: str, **params: Any) -> requests.Response:
        """Like `get`, with the headers."""
        return self._http.send(call, "GET", self.settings.base_url, f"{API}/{path}", params=params, headers=self._headers)

    def queue(self, call: Call) -> Json:
        """Our queue. Misconfigured when the user may not see it, or there is none: RT does not tell which."""
        return self.get(call, f"queue/{quote(self.settings.queue, safe='')}")

    def ticket(self, call: Call, external_id: str) -> tuple[Json, str]:
        """A ticket and its ETag. For one that was merged into another RT shows that other one.

        Refused('not_found') also for one that we may not see any more, because it was moved to another queue.
        """
        if not (external_id.isascii() and external_id.isdigit()):
            raise Refused(f"{external_id!r} is no number of a ticket", code="not_found")
        try:
            response = self.read(call, f"ticket/{external_id}")
        except Misconfigured as error:
            if error.code != "http_403":
                raise
            self.queue(call)
            raise Refused(f"ticket {external_id} is not for us to see; it may have left the queue", code="not_found") from None
        return object_of(response), response.headers.get("ETag", "")

    def transactions(self, call: Call, query: str, *, newest_first: bool = False) -> list[Json]:
        """The first page of what happened on tickets, in the order of ids. Empty: there is no more."""
        asked = f"ObjectType = 'RT::Ticket' AND {SILENT} AND {query}"
        order = "DESC" if newest_first else "ASC"
        return items_of(self.get(call, "transactions", query=asked, orderby="id", order=order, per_page=PAGE, fields=TOLD))

    def history(self, call: Call, ticket: str) -> Iterator[Json]:
        """Everything that happened on one ticket itself, not on those merged into it."""
        after = 0
        while page := self.transactions(call, f"ObjectId = {ticket} AND id > {after}"):
            yield from page
            after = max(int(item["id"]) for item in page)

    def attachments(self, call: Call, ticket: str, wanted: Mapping[str, tuple[str, str | int]]) -> list[Json]:
        """The texts of a ticket that meet all conditions, field → (operator, value), oldest first; at most one page."""
        conditions = [{"field": field, "operator": how, "value": value} for field, (how, value) in wanted.items()]
        params = {"fields": "TransactionId,Content,ContentType", "orderby": "id", "per_page": PAGE}
        answer = self._http.send(
            call, "POST", self.settings.base_url, f"{API}/ticket/{ticket}/attachments",
            write=False, params=params, json=conditions, headers=self._headers,
        )  # fmt: skip
        return items_of(object_of(answer))

    def user(self, call: Call, login: str) -> Json:
        """What RT tells us of a user: for those who administer nothing it is name, address and whether they are staff."""
        return self.get(call, f"user/{quote(login, safe='')}")

    def is_privileged(self, call: Call, login: str) -> bool:
        """Whether a user is one of the staff, remembered; False for one who is gone."""
        if login not in self._privileged:
            try:
                self._privileged[login] = str(self.user(call, login).get("Privileged")) == "1"
            except Refused as error:
                if error.code != "not_found":
                    raise
                return False
        return self._privileged[login]

    def put(self, call: Call, path: str, values: Mapping[str, Any], *, etag: str) -> list[str]:
        """Change what is at `path`, unless it has changed since `etag` (then Busy). What RT says to it, good or bad."""
        answer = self._http.json(
            call, "PUT", self.settings.base_url, f"{API}/{path}",
            json=values, headers={**self._headers, "If-Match": etag}, classify=classify,
        )  # fmt: skip
        if not isinstance(answer, list):
            raise Unknown("a change was answered with something else than messages", code="unreadable_answer")
        return [str(message) for message in answer]

    def post(self, call: Call, path: str, values: Mapping[str, Any]) -> str:
        """Create something; the last part of its address. A 201 without one is Unknown."""
        answer = self._http.send(
            call, "POST", self.settings.base_url, f"{API}/{path}", json=values, headers=self._headers, classify=classify
        )
        made = answer.headers.get("Location", "").rpartition("/")[2]
        if answer.status_code != 201 or not made.isdigit():
            raise Unknown("a success without an id", code="no_id")
        return made

    def url_of(self, ticket: str) -> str:
        """Where a person opens the ticket."""
        return f"{self.settings.base_url.rstrip('/')}/Ticket/Display.html?id={ticket}"


def classify(response: requests.Response, write: bool) -> VendorError | None:
    """The default reading of a status, and 412: the ticket has changed since it was read, so nothing was written."""
    if response.status_code == 412:
        return Busy("412: changed since it was read", code="http_412")
    error = by_status(response, write)
    if isinstance(error, Refused):
        return Refused(f"{error.message} {_said(response)}".strip(), code=error.code)
    return error


def quoted(text: str) -> str:
    """A string of TicketSQL."""
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def _said(response: requests.Response) -> str:
    try:
        return str(response.json()["message"])[:500]
    except (ValueError, KeyError, TypeError):
        return ""


def object_of(response: requests.Response) -> Json:
    """The JSON object of an answer to a read. Raises Busy when there is none."""
    try:
        answer = response.json()
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        raise Busy(f"{response.status_code} with a body that is not a JSON object", code="unreadable_answer")
    return answer


def items_of(page: Json) -> list[Json]:
    """The items of one page. Raises Busy when the answer is none."""
    items = page.get("items")
    if not isinstance(items, list) or not all(isinstance(item, dict) and str(item.get("id")).isdigit() for item in items):
        raise Busy("a page without items that have ids", code="unreadable_answer")
    return items
