"""Tryton 8 over its two doors: REST with a user-application key, and JSON-RPC with a session.

REST creates and reads. JSON-RPC does what REST cannot: wizards exist only there, and only there does a warning come
with the name that acknowledges it. Decimals, dates and datetimes travel as tagged objects both ways; a number with a
decimal point in an answer (only quantities have one) is read as Decimal too. Datetimes are naive UTC on the wire.
"""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import requests
from pydantic import BaseModel, ConfigDict, Field

from connectors.sdk.errors import Busy, Misconfigured, Refused, Unknown, VendorError
from connectors.sdk.http import Call, Http, classify

Row = dict[str, Any]
Domain = list[Any]
PERIODS_FOR = 60.0
"""Seconds the accounting periods are believed; a refused posting reads them again."""


class Settings(BaseModel):
    """Where the ERP is, and the names its books use for what every document needs."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    base_url: str = Field(title="Address", description="For example https://erp.example.com")
    database: str = Field(title="Database")
    company: int = Field(default=1, title="Company id")
    journal: str = Field(default="REV", title="Journal code", description="Used when a document names none")
    payment_method: str = Field(default="Bank", title="Payment method", description="Its name in the ERP")
    accepted_warnings: tuple[str, ...] = Field(
        default=("invoice_payment_term", "invoice_taxes", "invoice_date_future"),
        title="Warnings to acknowledge",
        description="A due date in the past, taxes other than the product's, a date in the future. Others refuse.",
    )


class Credentials(BaseModel):
    """A user-application key for REST, and a login for the wizards. Both should belong to one user of the hub's own."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    rest_key: str = Field(repr=False, min_length=8, title="REST key", description="Of a user application of kind REST")
    login: str = Field(title="Login")
    password: str = Field(repr=False, min_length=1, title="Password")


class Warned(Refused):
    """A warning that a person would have been asked about; `name` acknowledges it once."""

    def __init__(self, name: str, message: str) -> None:
        super().__init__(message, code=f"warning_{name.rpartition('.')[2]}")
        self.name = name

    @property
    def kind(self) -> str:
        """The warning without the digest of the records it is about."""
        return self.name.rpartition(".")[2]


class TrytonClient:
    """One company of one Tryton database; safe for several threads. Raises only the four errors."""

    def __init__(self, settings: Settings, credentials: Credentials, http: Http) -> None:
        self.settings = settings
        self._credentials = credentials
        self._http = http
        self._context = {"company": settings.company}
        self._rest_headers = {
            "Authorization": f"Bearer {credentials.rest_key}",
            "Content-Type": "application/json",
            "X-Tryton-Context": _header(self._context),
        }
        self._session: str | None = None
        self._login_lock = threading.Lock()
        self._ids: dict[tuple[str, str, str], int] = {}
        self._products: dict[str, tuple[int, int]] = {}
        self._periods: tuple[float, list[Row]] = (0.0, [])
        self._configuration: Row | None = None

    # reading ---------------------------------------------------------------------------------------------

    def search(
        self,
        call: Call,
        model: str,
        domain: Domain,
        fields: Sequence[str],
        *,
        order: Domain | None = None,
        limit: int = 1000,
    ) -> list[Row]:
        """Records of `model` that match, with `fields` (dots reach into relations)."""
        query = [("f", field) for field in fields] + [("d", _header(domain)), ("s", str(limit))]
        if order:
            query.append(("o", _header(order)))
        rows: list[Row] = self._rest(call, "GET", f"model/{model}", query=query)
        return rows

    def read(self, call: Call, model: str, record: int, fields: Sequence[str]) -> Row:
        """One record by id; Refused('not_found') when there is none."""
        row: Row = self._rest(call, "GET", f"model/{model}/{record}", query=[("f", field) for field in fields])
        return row

    def id_of(self, call: Call, model: str, field: str, code: str) -> int:
        """The id of the one record whose `field` is `code`, remembered; Refused('unknown_…') unless there is one."""
        known = self._ids.get((model, field, code))
        if known is not None:
            return known
        domain: Domain = [[field, "=", code]]
        if model in ("account.account", "account.tax", "account.invoice.payment.method"):
            domain.append(["company", "=", self.settings.company])
        found = self.search(call, model, domain, ["id"], limit=2)
        noun = model.rpartition(".")[2]
        if len(found) != 1:
            raise Refused(f"the ERP has {len(found) or 'no'} {noun} {code!r}", code=f"unknown_{noun}")
        self._ids[(model, field, code)] = int(found[0]["id"])
        return int(found[0]["id"])

    def product(self, call: Call, code: str) -> tuple[int, int]:
        """The ids of a product and of the unit it is counted in, remembered."""
        if code not in self._products:
            product = self.id_of(call, "product.product", "code", code)
            row = self.read(call, "product.product", product, ["default_uom"])
            self._products[code] = (product, int(row["default_uom"]))
        return self._products[code]

    def periods(self, call: Call, *, fresh: bool = False) -> list[Row]:
        """The company's standard periods, oldest first."""
        read_at, rows = self._periods
        if fresh or not rows or time.monotonic() - read_at > PERIODS_FOR:
            domain = [["company", "=", self.settings.company], ["type", "=", "standard"]]
            fields = ["name", "start_date", "end_date", "state", "fiscalyear"]
            rows = self.search(call, "account.period", domain, fields, order=[["start_date", "ASC"]])
            self._periods = (time.monotonic(), rows)
        return rows

    def configuration(self, call: Call) -> Row:
        """The company's default receivable account (id) and its deferred revenue account (id and code), remembered."""
        if self._configuration is None:
            fields = ["default_account_receivable", "deferred_account_revenue.code"]
            self._configuration = self.read(call, "account.configuration", 1, fields)
        return self._configuration

    def forget(self) -> None:
        """Read codes and configuration again: the books have been changed by people."""
        self._ids.clear()
        self._products.clear()
        self._configuration = None
        self._periods = (0.0, [])

    # writing ---------------------------------------------------------------------------------------------

    def create(self, call: Call, model: str, values: Mapping[str, Any]) -> int:
        """Create one record and return its id."""
        row = self._rest(call, "POST", f"model/{model}", values)
        if not isinstance(row, dict) or not isinstance(row.get("id"), int):
            raise Unknown("a success without an id", code="no_id")
        return int(row["id"])

    def write(self, call: Call, model: str, record: int, values: Mapping[str, Any]) -> None:
        """Change one record."""
        self._rest(call, "PUT", f"model/{model}/{record}", values)

    def delete(self, call: Call, model: str, record: int) -> None:
        """Delete one record; one that is gone already is fine."""
        try:
            self._rest(call, "DELETE", f"model/{model}/{record}")
        except Refused as refusal:
            if refusal.code != "not_found":
                raise

    def rpc(self, call: Call, method: str, *params: Any, write: bool = True, context: Mapping[str, Any] | None = None) -> Any:
        """Call a method in a session, logging in when there is none or it has ended."""
        arguments = [*params, {**self._context, **(context or {})}]
        session = self._session or self._login(call)
        try:
            return self._rpc(call, method, arguments, session, write)
        except Misconfigured as problem:
            if problem.code != "http_401":
                raise
            # Sessions end by themselves and nothing was done, so this is the one call that is worth repeating here.
            self._session = None
            return self._rpc(call, method, arguments, self._login(call), write)

    def press(self, call: Call, model: str, record: int, button: str) -> None:
        """Push a button of a record, acknowledging the warnings that the settings accept."""
        for _ in range(len(self.settings.accepted_warnings) + 1):
            try:
                self.rpc(call, f"model.{model}.{button}", [record])
            except Warned as warning:
                if warning.kind not in self.settings.accepted_warnings:
                    raise
                self.rpc(call, "model.res.user.warning.skip", warning.name, False)
            else:
                return
        raise Refused(f"{button}: the same warning again and again", code="warnings_repeat")

    def version(self, call: Call) -> str:
        """The server's series, '8.0'; proves that the login works."""
        self._login(call)
        body = _dumps({"id": 1, "method": "common.server.version", "params": []})
        return str(self._post_rpc(call, "rpc/", body, {}, write=False))

    def url_of(self, model: str, record: int) -> str:
        """Where a person opens the record in Tryton's web client."""
        return f"{self.settings.base_url.rstrip('/')}/#{self.settings.database}/model/{model}/{record}"

    # the wire --------------------------------------------------------------------------------------------

    def _rest(self, call: Call, method: str, path: str, body: Any = None, *, query: Sequence[tuple[str, str]] | None = None) -> Any:
        where = f"{self.settings.database}/rest/{path}"
        data = None if body is None else _dumps(body)
        options: dict[str, Any] = {"params": query, "data": data, "headers": self._rest_headers}
        answer = self._http.send(call, method, self.settings.base_url, where, classify=_classify_rest, **options)
        return None if answer.status_code == 204 else _loads(answer, write=method != "GET")

    def _login(self, call: Call) -> str:
        with self._login_lock:
            if self._session:
                return self._session
            login, password = self._credentials.login, self._credentials.password
            params = [login, {"password": password}, "en"]
            body = _dumps({"id": 1, "method": "common.db.login", "params": params})
            # A call of its own: neither the password nor the session may reach the timeline.
            private = Call(correlation_id=call.correlation_id, timeout=call.timeout)
            result = self._post_rpc(private, f"{self.settings.database}/rpc/", body, {}, write=False)
            if not result:
                raise Misconfigured("the login is refused", code="login_refused")
            self._session = base64.b64encode(f"{login}:{result[0]}:{result[1]}".encode()).decode()
            return self._session

    def _rpc(self, call: Call, method: str, params: list[Any], session: str, write: bool) -> Any:
        body = _dumps({"id": 1, "method": method, "params": params})
        where = f"{self.settings.database}/rpc/"
        return self._post_rpc(call, where, body, {"Authorization": f"Session {session}"}, write=write)

    def _post_rpc(self, call: Call, where: str, body: str, headers: Mapping[str, str], *, write: bool) -> Any:
        sent = {"Content-Type": "application/json", **headers}
        answer = self._http.send(call, "POST", self.settings.base_url, where, write=write, data=body, headers=sent)
        return _result(answer, write=write)


def _classify_rest(response: requests.Response, write: bool) -> VendorError | None:
    """A refusal with a message is JSON with status 400; a rolled-back crash is a 400 in HTML."""
    if response.status_code == 400:
        try:
            message = str(response.json()["message"])
        except (ValueError, KeyError, TypeError):
            return Refused("the ERP could not make sense of the request", code="http_400")
        return Refused(message[:500], code="user_error")
    return classify(response, write)


def _result(answer: requests.Response, *, write: bool) -> Any:
    """The result of a JSON-RPC answer. Errors come with status 200 and the name of their class first."""
    body = _loads(answer, write=write)
    if not isinstance(body, dict) or not body.keys() & {"error", "result"}:
        raise (Unknown if write else Busy)("neither a result nor an error", code="unreadable_answer")
    if "error" not in body:
        return body["result"]
    name, *rest = body["error"]
    details = rest[0] if rest and isinstance(rest[0], list) else rest
    text = str(details[0])[:500] if details else ""
    if name == "UserWarning":
        raise Warned(text, str(details[1])[:500])
    if name == "UserError":
        raise Refused(text, code="user_error")
    if name == "ConcurrencyException":
        raise Busy(text, code="concurrent_change")
    if name == "LoginException":
        raise Misconfigured("the login is refused", code="login_refused")
    raise (Unknown if write else Busy)(f"the ERP failed: {name}"[:200], code="server_error")


def _loads(answer: requests.Response, *, write: bool) -> Any:
    try:
        return json.loads(answer.content, object_hook=untag, parse_float=Decimal)
    except (ValueError, KeyError):
        message = f"{answer.status_code} with a body that is not JSON"
        raise (Unknown if write else Busy)(message, code="unreadable_answer") from None


def _dumps(value: Any) -> str:
    return json.dumps(value, default=_tag)


def _header(value: Any) -> str:
    return base64.urlsafe_b64encode(_dumps(value).encode()).decode()


def _tag(value: Any) -> Any:
    if isinstance(value, Decimal):
        return {"__class__": "Decimal", "decimal": str(value)}
    if isinstance(value, datetime):
        fields = ("year", "month", "day", "hour", "minute", "second", "microsecond")
        at = value.astimezone(UTC)
        return {"__class__": "datetime", **{field: getattr(at, field) for field in fields}}
    if isinstance(value, date):
        return {"__class__": "date", "year": value.year, "month": value.month, "day": value.day}
    raise TypeError(f"{type(value).__name__} has no form on the wire")


def untag(value: Row) -> Any:
    """A tagged object as the Decimal, date or datetime it stands for; any other as it is."""
    match value.get("__class__"):
        case "Decimal":
            return Decimal(value["decimal"])
        case "date":
            return date(value["year"], value["month"], value["day"])
        case "datetime":
            clock = (value["hour"], value["minute"], value["second"], value["microsecond"])
            return datetime(value["year"], value["month"], value["day"], *clock, tzinfo=UTC)
    return value
