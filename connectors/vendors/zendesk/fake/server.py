"""The twin's door: authentication, the API's routes, the export by cursor, and what people do, over `/_twin/`.

| request | effect |
|---|---|
| POST /_twin/webhooks with the fields of `webhooks.Endpoint`, DELETE | deliver events there; stop |
| POST /_twin/organizations `{"name", "external_id", "fields"}` | a new organisation |
| POST /_twin/users `{"name", "email", "role", "organization_id"}` | a new user: end-user, agent or admin |
| POST /_twin/tickets `{"subject", "body", "requester_id", …}` | a new ticket |
| POST /_twin/tickets/ID/reply `{"by", "body", "public", "status"}` | somebody says something |
| POST /_twin/tickets/ID `{"by", "status", "priority", "tags", "custom_fields", …}` | somebody changes it |
| POST /_twin/tickets/ID/metric_events `{"metric", "type", "target", "policy"}` | an SLA policy of Zendesk's says something |
| DELETE /_twin/tickets/ID | it is deleted |
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from typing import Any, Self

import orjson

from connectors.sdk.twin import Answer, Asked, Twin
from connectors.vendors.zendesk.fake.shapes import Obj
from connectors.vendors.zendesk.fake.store import ApiError, Store, missing
from connectors.vendors.zendesk.fake.webhooks import Endpoint, Webhooks

OMISSIONS = {
    "business rules": "no triggers, automations, macros or SLA policies: a ticket changes only when somebody changes it",
    "search": "no search, views or bulk jobs",
    "field types": "every custom field keeps the text it is given; Zendesk validates and reformats by type",
    "permissions": "every agent sees every ticket",
    "limits": "requests are not counted: arm the fault `status` with 429 and a Retry-After",
    "archive": "tickets are never archived or scrubbed",
    "retries": "a delivery that is answered 429 or 503, or not at all, is not tried again",
}
"""Where the twin deliberately stops short of Zendesk."""
EMAIL = "hub@acme.example"


class ZendeskTwin(Twin):
    """One Zendesk account. With `email` and `api_token` it refuses everybody else."""

    vendor = "zendesk"

    def __init__(self, email: str = "", api_token: str = "", *, settling: int = 60) -> None:
        super().__init__()
        self.signed_in = f"{email}/token:{api_token}" if email or api_token else ""
        self.settling = settling
        """Seconds for which the export does not tell of a change."""
        self.store = Store(self.clock.now, email or EMAIL)
        self.webhooks = Webhooks()
        self.store.on_event = self.webhooks.enqueue

    def deliver_to(self, url: str, secret: str, **options: Any) -> Self:
        """Send webhooks there; see `webhooks.Endpoint` for the options."""
        with self.lock:
            self.webhooks.point_at(Endpoint(url, secret, **options))
        return self

    def stop(self) -> None:
        self.webhooks.stop()
        super().stop()

    def reset(self) -> None:
        """Forget all objects; the webhook endpoint and test time stay."""
        self.store.clear()

    def books(self) -> Any:
        """Every ticket with its audits, organisations and users; events only as ids and types."""
        it = self.store
        sent = {"delivered": self.webhooks.delivered, "failed": self.webhooks.failed, "dropped": self.webhooks.dropped}
        return {
            "tickets": list(it.tickets.values()),
            "audits": {str(external_id): audits for external_id, audits in it.audits.items()},
            "organizations": list(it.organizations.values()),
            "users": list(it.users.values()),
            "events": [{"id": event["id"], "type": event["type"]} for event in it.events],
            "webhooks": sent,
        }

    def refusal(self, status: int) -> Any:
        """Zendesk's error body for a status that was ordered."""
        return {"error": "Ordered", "description": f"the twin was told to answer {status}"}

    # people --------------------------------------------------------------------------------------------------

    def control(self, asked: Asked) -> Answer | None:
        parts = asked.path.removeprefix("/_twin/").split("/")
        if parts[0] not in ("webhooks", "organizations", "users", "tickets"):
            return None
        try:
            with self.lock:
                done = self._people(asked.method, parts, orjson.loads(asked.body or b"{}"))
        except ApiError as error:
            return Answer.json(error.status, error.body)
        except (ValueError, TypeError, KeyError) as error:
            return Answer.json(400, {"error": f"{type(error).__name__}: {error}"})
        return Answer.json(404, {"error": f"no {asked.method} {asked.path}"}) if done is None else Answer.json(200, done)

    def _people(self, method: str, parts: list[str], given: Obj) -> Obj | None:
        match method, *parts:
            case "POST", "webhooks":
                self.webhooks.point_at(Endpoint(**given))
            case "DELETE", "webhooks":
                self.webhooks.point_at(None)
            case "POST", "organizations":
                return self.store.organization(**given)
            case "POST", "users":
                return self.store.user(**given)
            case "POST", "tickets":
                return self.store.open(**given)
            case "POST", "tickets", ticket_id, "reply":
                return self.store.reply(int(ticket_id), **given)
            case "POST", "tickets", ticket_id, "metric_events":
                return self.store.measure(int(ticket_id), **given)
            case "POST", "tickets", ticket_id:
                return self.store.update(int(ticket_id), given, given.pop("by", None))[0]
            case "DELETE", "tickets", ticket_id:
                self.store.delete(int(ticket_id))
            case _:
                return None
        return {"ok": True}

    # requests ------------------------------------------------------------------------------------------------

    def handle(self, asked: Asked) -> Answer:
        """One API request."""
        try:
            self._authenticate(asked)
            return Answer.json(200, self._answer(asked, dict(asked.query)))
        except ApiError as error:
            return Answer.json(error.status, error.body)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            return Answer.json(400, {"error": "BadRequest", "description": f"{type(error).__name__}: {error}"})

    def _authenticate(self, asked: Asked) -> None:
        scheme, _, given = asked.headers.get("authorization", "").partition(" ")
        said = b64decode(given + "==").decode("utf-8", "replace") if scheme.lower() == "basic" else ""
        if not said or (self.signed_in and said != self.signed_in):
            raise ApiError(401, "Couldn't authenticate you", "")

    def _answer(self, asked: Asked, query: dict[str, str]) -> Obj:
        it = self.store
        match asked.method, *asked.path.removesuffix(".json").strip("/").split("/")[2:]:
            case "GET", "users", "me":
                return {"user": it.users[it.me]}
            case "GET", "users", "show_many":
                wanted = [int(external_id) for external_id in query["ids"].split(",")]
                return {"users": [it.users[one] for one in wanted if one in it.users], "next_page": None, "count": len(wanted)}
            case "GET", "users", external_id:
                return {"user": _known(it.users, external_id)}
            case "GET", "organizations":
                return _page(list(it.organizations.values()), query, "organizations")
            case "GET", "organizations", "count":
                return {"count": {"value": len(it.organizations), "refreshed_at": None}}
            case "GET", "organizations", external_id:
                return {"organization": _known(it.organizations, external_id)}
            case "GET", "incremental", "tickets", "cursor":
                return self._export(query)
            case "GET", "incremental", "tickets":
                return self._export_by_time(query)
            case "GET", "tickets", external_id:
                return {"ticket": it.shown(int(external_id), query.get("include", ""))}
            case "GET", "tickets", external_id, "audits":
                return _page(it.audits[it.living(int(external_id))["id"]], query, "audits")
            case "PUT", "tickets", external_id:
                ticket, audit = it.update(int(external_id), orjson.loads(asked.body)["ticket"])
                return {"ticket": ticket, "audit": audit}
        raise ApiError(404, "InvalidEndpoint", "Not found")

    def _export(self, query: dict[str, str]) -> Obj:
        """Tickets by the time of their last change, and by id within a second; the cursor names the last one told."""
        until = self.clock.now() - self.settling
        if "cursor" in query:
            at, _, external_id = b64decode(query["cursor"]).decode().partition("|")
            after = (int(at), int(external_id))
        else:
            after = (int(query["start_time"]), -1)
            if after[0] > until:
                raise ApiError(422, "StartTimeTooRecent", "Too recent start_time. Use a start_time older than 1 minute")
        limit = _limit(query)
        rows = sorted(self.store.tickets.values(), key=_changed)
        due = [row for row in rows if _changed(row) > after and row["generated_timestamp"] <= until]
        told = due[:limit]
        last = _changed(told[-1]) if told else after
        cursor = b64encode(f"{last[0]}|{last[1]}".encode()).decode()
        path = "/api/v2/incremental/tickets/cursor.json"
        return {
            "tickets": told, "after_cursor": cursor, "after_url": f"{self.url}{path}?cursor={cursor}",
            "before_cursor": None, "before_url": None, "end_of_stream": len(due) <= limit,
        }  # fmt: skip

    def _export_by_time(self, query: dict[str, str]) -> Obj:
        """Tickets changed at or after `start_time`; the next page starts at `end_time`, and repeats what is of that second."""
        start, until = int(query["start_time"]), self.clock.now() - self.settling
        if start > until:
            raise ApiError(422, "StartTimeTooRecent", "Too recent start_time. Use a start_time older than 1 minute")
        rows = sorted(self.store.tickets.values(), key=_changed)
        due = [row for row in rows if start <= row["generated_timestamp"] <= until]
        told = _by_time(due, _limit(query))
        end = told[-1]["generated_timestamp"] if told else start
        return {"tickets": told, "count": len(told), "end_time": end, "end_of_stream": len(told) == len(due), "next_page": None}


def _limit(query: dict[str, str]) -> int:
    return min(int(query.get("per_page", 1000)), 1000)


def _by_time(rows: list[Obj], limit: int) -> list[Obj]:
    """A page goes on to the end of its last second, or the next one would begin with the same tickets for ever."""
    last = rows[limit - 1]["generated_timestamp"] if len(rows) > limit else None
    return rows if last is None else [row for row in rows if row["generated_timestamp"] <= last]


def _changed(ticket: Obj) -> tuple[int, int]:
    return ticket["generated_timestamp"], ticket["id"]


def _known(table: dict[int, Obj], external_id: str) -> Obj:
    try:
        return table[int(external_id)]
    except (KeyError, ValueError):
        raise missing() from None


def _page(rows: list[Obj], query: dict[str, str], name: str) -> Obj:
    """One page of a list by cursor, oldest first; the cursor is the place in the list."""
    start, size = int(query.get("page[after]", 0)), min(int(query.get("page[size]", 100)), 100)
    told = rows[start : start + size]
    more = start + size < len(rows)
    meta = {"has_more": more, "after_cursor": str(start + size) if more else None, "before_cursor": str(start)}
    return {name: told, "meta": meta, "links": {"prev": None, "next": None}}
