"""The twin's door: authentication, versions, idempotency keys, routes, test time and webhooks."""

from __future__ import annotations

import hashlib
from base64 import b64decode
from collections.abc import Callable
from typing import Any, Self
from urllib.parse import parse_qsl

import orjson

from connectors.sdk.twin import Answer, Asked, Twin
from connectors.vendors.stripe.fake import catalog, crediting, invoicing, shapes, subscribing
from connectors.vendors.stripe.fake.shapes import Obj
from connectors.vendors.stripe.fake.store import ApiError, Params, Store, nested
from connectors.vendors.stripe.fake.webhooks import Endpoint, Webhooks

OMISSIONS = {
    "proration": "subscription changes are never prorated; the next renewal bills the new state",
    "coupons": "no coupons, discounts or promotion codes; the mapping of discounts is checked with samples",
    "tiers": "no tiered prices",
    "cards": "a customer without a payment method pays; only the test cards that decline are told apart",
    "dunning": "a failed renewal is not tried again by itself",
    "search": "no search endpoints",
    "expand": "only tax_ids of a customer, latest_charge of a payment intent, the intents of invoice payments",
    "sublists": "objects embed all their lines unless there are more than ten; subscriptions embed all items",
}
"""Where the twin deliberately stops short of Stripe."""

ABSENT_KEYS = {
    "invoice": {"subscription": "left the documented API with 2025-03-31.basil; the fixture still carries it"},
}
"""Keys of the published fixtures that the twin's new shape does not have, and why."""

Route = Callable[[Store, str, Params], Obj]
ROUTES: dict[str, Route] = {
    **catalog.ROUTES, **invoicing.ROUTES, **crediting.ROUTES, **subscribing.ROUTES,
}  # fmt: skip
_PLAIN = [
    "products",
    "prices",
    "tax_rates",
    "payment_methods",
    "subscriptions",
    "invoices",
    "invoiceitems",
    "invoice_payments",
    "credit_notes",
    "payment_intents",
    "charges",
    "refunds",
    "customers",
]
KEYS_KEPT = 24 * 3600
"""Seconds after which Stripe may forget an idempotency key."""


class StripeTwin(Twin):
    """One Stripe account. With `api_key` it refuses every other key; `honours_keys` switches idempotency off."""

    vendor = "stripe"

    def __init__(self, api_key: str = "", *, honours_keys: bool = True) -> None:
        super().__init__()
        self.api_key = api_key
        self.honours_keys = honours_keys
        self.store = Store(self.clock.now)
        self.webhooks = Webhooks(self.clock, self._event_body)
        self.store.on_event = self.webhooks.enqueue
        self._keys: dict[str, tuple[int, str, Answer]] = {}

    def deliver_to(self, url: str, secret: str, **options: Any) -> Self:
        """Send webhooks there; see `webhooks.Endpoint` for the options."""
        self.webhooks.point_at(Endpoint(url, secret, **options))
        return self

    def stop(self) -> None:
        self.webhooks.stop()
        super().stop()

    def reset(self) -> None:
        """Forget all objects and keys; the webhook endpoint and test time stay."""
        self.store.clear()
        self._keys.clear()

    def advance(self, seconds: float) -> None:
        """Move test time on, renewing and ending subscriptions at the instants when that is due."""
        with self.lock:
            goal = self.clock.now() + int(seconds)
            while (due := subscribing.next_due(self.store)) is not None and due <= goal:
                self.clock.advance(max(0, due - self.clock.now()))
                subscribing.run_due(self.store)
            self.clock.advance(max(0, goal - self.clock.now()))
        self.webhooks.wake()

    def books(self) -> Any:
        """Every object by table, in the new shape; events only as ids and types."""
        tables = {name: shapes.shown(list(table), True) for name, table in self.store.tables.items() if name != "events"}
        events = [{"id": e["id"], "type": e["type"]} for e in self.store.tables["events"]]
        sent = {"delivered": self.webhooks.delivered, "failed": self.webhooks.failed, "dropped": self.webhooks.dropped}
        return {**tables, "events": events, "webhooks": sent}

    def control(self, asked: Asked) -> Answer | None:
        """POST /_twin/webhooks with the fields of `Endpoint`; DELETE stops delivery."""
        if asked.path == "/_twin/idempotency" and asked.method == "POST":
            self.honours_keys = bool(orjson.loads(asked.body)["honoured"])
            return Answer.json(200, {"honoured": self.honours_keys})
        if asked.path != "/_twin/webhooks":
            return None
        try:
            given = orjson.loads(asked.body or b"{}")
            self.webhooks.point_at(Endpoint(**given) if asked.method == "POST" else None)
        except (ValueError, TypeError) as error:
            return Answer.json(400, {"error": str(error)})
        return Answer.json(200, {"ok": True})

    def refusal(self, status: int) -> Any:
        """Stripe's error body for a status that was ordered."""
        kinds = {409: ("idempotency_error", "idempotency_key_in_use"), 402: ("card_error", "card_declined")}
        kind, code = kinds.get(status, ("api_error" if status >= 500 else "invalid_request_error", None))
        return {"error": {"type": kind, "code": code, "message": f"the twin was told to answer {status}"}}

    # requests ------------------------------------------------------------------------------------------------

    def handle(self, asked: Asked) -> Answer:
        """One API request, with its idempotency key honoured as documented."""
        new = shapes.is_new(asked.headers.get("stripe-version", ""))
        try:
            self._authenticate(asked)
            pairs = asked.query + parse_qsl(asked.body.decode(), keep_blank_values=True)
            key = asked.headers.get("idempotency-key", "") if asked.method == "POST" and self.honours_keys else ""
            if key:
                return self._once(key, asked, nested(pairs), new)
            return self._answer(asked, nested(pairs), new)
        except ApiError as error:
            return Answer.json(error.status, error.body)
        except UnicodeDecodeError:
            return Answer.json(400, ApiError("The body is not UTF-8").body)

    def _authenticate(self, asked: Asked) -> None:
        scheme, _, given = asked.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "basic":
            given = b64decode(given + "==").decode("utf-8", "replace").partition(":")[0]
        if not given or (self.api_key and given != self.api_key):
            raise ApiError("Invalid API Key provided", status=401, kind="authentication_error")

    def _once(self, key: str, asked: Asked, params: Params, new: bool) -> Answer:
        digest = hashlib.sha256(asked.path.encode() + orjson.dumps(params, option=orjson.OPT_SORT_KEYS)).hexdigest()
        known = self._keys.get(key)
        if known and known[0] > self.store.now() - KEYS_KEPT:
            if known[1] != digest:
                message = "Keys for idempotent requests can only be used with the same parameters they were first used with."
                raise ApiError(message, kind="idempotency_error")
            return Answer(known[2].status, known[2].body, {"Idempotent-Replayed": "true"})
        self.store.key = key
        try:
            answer = self._answer(asked, params, new)
        except ApiError as error:
            answer = Answer.json(error.status, error.body)
            if not error.kept:
                return answer
        finally:
            self.store.key = None
        self._keys[key] = (self.store.now(), digest, answer)
        return answer

    def _answer(self, asked: Asked, params: Params, new: bool) -> Answer:
        obj = shapes.shown(self._perform(asked, params, new), new)
        for row in obj.get("data", ()) if obj.get("object") == "list" else (obj,):
            _cut_lines(row)
        return Answer.json(200, obj, Request_Id="req_of_the_twin")

    def _perform(self, asked: Asked, params: Params, new: bool) -> Obj:
        parts = asked.path.strip("/").split("/")
        if parts[0] != "v1" or len(parts) < 2:
            raise _unknown(asked)
        if parts[1] == "billing" and len(parts) > 2:
            parts[1:3] = [f"billing.{parts[2]}"]
        external_id = parts[2] if len(parts) > 2 else ""
        name = "/".join([parts[1], "*", *parts[3:]] if external_id else [parts[1]])
        route = ROUTES.get(f"{asked.method} {name}")
        if route:
            return route(self.store, external_id, params)
        if asked.method == "GET" and parts[1] in _PLAIN and len(parts) <= 3:
            if external_id:
                return self.store.get(parts[1], external_id)
            return self.store.page(parts[1], params, asked.path, lambda row: not row.get("deleted"))
        if asked.method == "GET":
            return self._about_the_account(asked, name, external_id, params, new)
        raise _unknown(asked)

    def _about_the_account(self, asked: Asked, name: str, external_id: str, params: Params, new: bool) -> Obj:
        match name:
            case "account":
                return {"id": "acct_twin", "object": "account", "email": "twin@example.invalid"}
            case "balance":
                return {"object": "balance", "available": [], "pending": [], "livemode": False}
            case "events":
                kinds = params.get("types") or ([params["type"]] if params.get("type") else None)
                page = self.store.page("events", params, "/v1/events", lambda e: kinds is None or e["type"] in kinds)
                return {**page, "data": [self._event(event, new) for event in page["data"]]}
            case "events/*":
                return self._event(self.store.get("events", external_id), new)
        raise _unknown(asked)

    def _event(self, kept: Obj, new: bool) -> Obj:
        obj = shapes.shown(orjson.loads(kept["snapshot"]), new)
        _cut_lines(obj)
        return shapes.event(kept["id"], kept["created"], kept["type"], obj, kept["key"])

    def _event_body(self, kept: Obj, version: str) -> bytes:
        return orjson.dumps(self._event(kept, shapes.is_new(version)), option=orjson.OPT_INDENT_2)


def _cut_lines(obj: Any) -> None:
    """Objects embed the first ten of their lines; the rest is read from the list's own address."""
    lines = obj.get("lines") if isinstance(obj, dict) else None
    if isinstance(lines, dict) and len(lines["data"]) > 10:
        lines.update(data=lines["data"][:10], has_more=True)


def _unknown(asked: Asked) -> ApiError:
    return ApiError(f"Unrecognized request URL ({asked.method}: {asked.path}).", status=404)
