"""The twin: Roundup's REST over a tracker in memory, with our files in it, for tests and the demo.

    python -m connectors.vendors.roundup.fake --port 8430

Users are `hub`, `agent`, `customer` and `admin`, with one password. People act over REST as in the original, or in one
call each (`by` is a user name):

| request | effect |
|---|---|
| GET /_twin/entry | who there is, and their passwords |
| POST /_twin/open `{"by", "title", "text", "values"}` | a new issue with its first message; answers its id |
| POST /_twin/say `{"by", "issue", "text"}` | a message on the issue |
| POST /_twin/set `{"by", "issue", "values"}` | properties of the issue |
| POST /_twin/webhook `{"url", "secret"}` | deliver events there from now on; once, and after the change is done |

Faults and books: `connectors.sdk.twin`.
"""

from __future__ import annotations

import argparse
import json
import threading
import time
from base64 import b64decode
from collections.abc import Callable, Sequence
from typing import Any
from uuid import uuid4

import orjson
import requests

from connectors.sdk.twin import Answer, Asked, Twin
from connectors.vendors.roundup.fake_tracker import CLASSES, KEYS, LABELS, PROTECTED, TEXT, No, Row, Tracker, property_of
from connectors.vendors.roundup.mapping import SIGNATURE

PASSWORD = "twin-password"  # noqa: S105


class RoundupTwin(Twin):
    """One tracker at the root of its address."""

    vendor = "roundup"

    def __init__(self) -> None:
        super().__init__()
        self.webhook: tuple[str, str] | None = None
        self.reset()

    def reset(self) -> None:
        """The tracker as it is when it was just initialised."""
        self.tracker = Tracker(self.clock.now)
        self.tokens: dict[str, tuple[str, str, float]] = {}

    def books(self) -> Any:
        """Issues, messages and notes with their ids, and the journals."""
        kept = {kind: [{"id": item, **row} for item, row in self.tracker.items[kind].items()] for kind in ("issue", "msg", "note")}
        return {**kept, "journals": self.tracker.journals}

    def refusal(self, status: int) -> Any:
        """A refusal as Roundup words one."""
        return {"error": {"status": status, "msg": f"the twin was told to answer {status}"}}

    def deliver_to(self, url: str, secret: str) -> None:
        """Send events there from now on, signed with that secret."""
        self.webhook = (url, secret)

    # people ----------------------------------------------------------------------------------------------

    def open_issue(self, by: str, title: str, text: str = "", **values: Any) -> str:
        """A new issue by that user, its first message when there is a text; the issue's id."""
        with self.lock:
            messages = [self._message(by, text)] if text else []
            return self.tracker.create(self._id(by), "issue", {"title": title, "messages": messages, **values})

    def say(self, by: str, issue: str, text: str) -> str:
        """A message on the issue; its id."""
        with self.lock:
            message = self._message(by, text)
            self.tracker.change(self._id(by), "issue", issue, {"messages": [message]}, "add")
            return message

    def set(self, by: str, issue: str, **values: Any) -> None:
        """Change properties of the issue."""
        with self.lock:
            self.tracker.change(self._id(by), "issue", issue, values)

    def control(self, asked: Asked) -> Answer | None:
        """What people do, and where events go."""
        action = asked.path.removeprefix("/_twin/")
        if (asked.method, action) == ("GET", "entry"):
            return Answer.json(200, {"passwords": dict.fromkeys(("hub", "agent", "customer", "admin"), PASSWORD)})
        if asked.method != "POST" or action not in ("open", "say", "set", "webhook"):
            return None
        given = json.loads(asked.body or b"{}")
        try:
            if action == "webhook":
                self.deliver_to(given["url"], given["secret"])
                return Answer.json(200, {"ok": True})
            acts: dict[str, Callable[..., str | None]] = {"open": self.open_issue, "say": self.say, "set": self.set}
            act = acts[action]
            return Answer.json(200, {"id": act(**{**given.pop("values", {}), **given})})
        except (No, KeyError, TypeError) as error:
            return Answer.json(400, {"error": str(error)})

    def _message(self, by: str, text: str) -> str:
        return self.tracker.create(self._id(by), "msg", {"content": text, "author": self._id(by), "date": "."})

    def _id(self, name: str) -> str:
        return self.tracker.lookup("user", name)

    # HTTP ------------------------------------------------------------------------------------------------

    def answer(self, asked: Asked) -> Answer | None:
        """Answer, then deliver what it brought about: once, as the detector does."""
        answer = super().answer(asked)
        with self.lock:
            told, self.tracker.told = self.tracker.told, []
            webhook = self.webhook
        if webhook:
            for event in told:
                _deliver(event, *webhook)
        return answer

    def handle(self, asked: Asked) -> Answer:
        """Route one request as the original does."""
        try:
            by = self._enter(asked)
            body = orjson.loads(asked.body) if asked.body else {}
            parts = asked.path.strip("/").split("/")
            if parts[:2] == ["rest", "data"] and len(parts) > 2:
                return self._data(asked, by, parts[2], parts[3:], body)
            if parts[:3] == ["rest", "tieout", "journal"] and asked.method == "GET":
                return _told(200, self._journal(by, parts[3]))
            raise No(404, "Nothing matches the given URI")
        except No as no:
            if no.status == 401:
                return Answer(401, str(no).encode(), {"Content-Type": "text/plain"})
            return Answer.json(no.status, {"error": {"status": no.status, "msg": str(no)}})
        except (ValueError, IndexError) as error:
            return Answer.json(400, {"error": {"status": 400, "msg": str(error)}})

    def _enter(self, asked: Asked) -> str:
        """The id of the user whose password came along."""
        try:
            user, _, password = b64decode(asked.headers.get("authorization", "").removeprefix("Basic ")).decode().partition(":")
        except ValueError:
            user = password = ""
        if password != PASSWORD or user not in ("hub", "agent", "customer", "admin"):
            raise No(401, "Invalid Login - Invalid login")
        if asked.headers.get("origin") != f"http://{asked.headers.get('host')}":
            raise No(400, "Client is not allowed to use Rest Interface.")
        if asked.method != "GET" and "x-requested-with" not in asked.headers:
            raise No(400, "Required Header Missing")
        return self._id(user)

    def _data(self, asked: Asked, by: str, kind: str, rest: Sequence[str], body: Row) -> Answer:
        if kind not in CLASSES:
            raise No(404, f"Class {kind} not found")
        if kind == "note" and self.tracker.get("user", by)["roles"] == "User":
            raise No(403, "Permission to view note denied")
        match asked.method, *rest:
            case ["GET"]:
                return _told(200, self._list(kind, dict(asked.query)))
            case ["GET", item]:
                return _told(200, self._item(kind, self._named(kind, item), dict(asked.query)))
            case ["POST"]:
                return self._created(by, kind, body)
            case ["POST", "@poe"]:
                return _told(200, self._token(by, kind, body))
            case ["POST", "@poe", token]:
                self._use(token, by, kind)
                return self._created(by, kind, body)
            case [("PATCH" | "DELETE") as method, item]:
                if asked.headers.get("if-match") != self.tracker.etag(kind, item):
                    raise No(412, "If-Match is missing or does not match. Retrieve asset and retry modification if valid.")
                if method == "DELETE":
                    self.tracker.retire(by, kind, item)
                    return _told(200, {"status": "ok"})
                op = body.get("@op", "replace")
                values = {name: value for name, value in body.items() if not name.startswith("@")}
                changed = self.tracker.change(by, kind, item, values, op)
                return _told(200, {"id": item, "type": kind, "link": f"{kind}/{item}", "attribute": changed})
        raise No(405, f"Method {asked.method} not allowed.")

    def _created(self, by: str, kind: str, body: Row) -> Answer:
        item = self.tracker.create(by, kind, body)
        return _told(201, {"id": item, "link": f"{kind}/{item}"})

    def _token(self, by: str, kind: str, body: Row) -> Row:
        """A post-once-exactly token: used up by the first post, whatever becomes of it."""
        token, lifetime = uuid4().hex, int(body.get("lifetime", 1800))
        self.tokens[token] = (by, kind, self.clock.now() + lifetime)
        return {"link": f"{self.url}/rest/data/{kind}/@poe/{token}", "expires": self.clock.now() + lifetime}

    def _use(self, token: str, by: str, kind: str) -> None:
        owner, meant, until = self.tokens.pop(token, ("", "", 0.0))
        if (owner, meant) != (by, kind) or until < self.clock.now():
            raise No(400, f"POE token '{token}' not valid.")

    def _named(self, kind: str, item: str) -> str:
        if item.isdigit():
            return item
        key, _, value = item.rpartition("=")
        if key and key != KEYS.get(kind):
            raise No(400, f"Field {key} is not key property")
        if kind not in KEYS:
            raise No(404, f"Item '{item}' not found")
        return self.tracker.lookup(kind, value)

    def _list(self, kind: str, query: dict[str, str]) -> Row:
        found = self.tracker.find(kind, {name: value for name, value in query.items() if not name.startswith("@")})
        for name in reversed(list(filter(None, query.get("@sort", "id").split(",")))):
            field, backwards = name.lstrip("+-"), name.startswith("-")
            property_of(kind, field)
            found.sort(key=lambda item: self._order(kind, item, field), reverse=backwards)
        total = len(found)
        if size := int(query.get("@page_size", 0)):
            start = (int(query.get("@page_index", 1)) - 1) * size
            found = found[start : start + size]
        fields = list(filter(None, query.get("@fields", "").split(",")))
        verbose = int(query.get("@verbose", 1))
        rows = [{"id": item, "link": f"{kind}/{item}", **self._shown(kind, item, fields, verbose)} for item in found]
        return {"collection": rows, "@total_size": total}

    def _order(self, kind: str, item: str, field: str) -> Any:
        return int(item) if field == "id" else self.tracker.items[kind][item][field] or ""

    def _item(self, kind: str, item: str, query: dict[str, str]) -> Row:
        self.tracker.get(kind, item)
        fields = list(filter(None, query.get("@fields", "").split(","))) or [*CLASSES[kind], "id"]
        if query.get("@protected") == "true":
            fields += list(PROTECTED)
        attributes = self._shown(kind, item, fields, int(query.get("@verbose", 1)))
        return {
            "id": item,
            "type": kind,
            "link": f"{kind}/{item}",
            "attributes": attributes,
            "@etag": self.tracker.etag(kind, item),
        }

    def _shown(self, kind: str, item: str, fields: Sequence[str], verbose: int) -> Row:
        row = {"id": item, **self.tracker.get(kind, item)}
        shown: Row = {}
        for name in fields:
            holds, value = property_of(kind, name), row.get(name)
            if name == "content" and holds == TEXT and verbose < 3:
                shown[name] = {"link": f"{self.url}/{kind}{item}/"}
            elif isinstance(holds, list):
                shown[name] = [self._linked(holds[0], one, verbose) for one in value or ()]
            else:
                shown[name] = self._linked(holds, value, verbose) if holds in CLASSES and value else value
        return shown

    def _linked(self, kind: str, item: str, verbose: int) -> Any:
        if not verbose:
            return item
        label = {LABELS[kind]: self.tracker.get(kind, item)[LABELS[kind]]} if verbose > 1 else {}
        return {"id": item, "link": f"{self.url}/rest/data/{kind}/{item}", **label}

    def _journal(self, by: str, issue: str) -> Row:
        row = self.tracker.get("issue", issue)
        if self.tracker.get("user", by)["roles"] == "User":
            raise No(403, f"the journal of issue{issue} is not for this user")
        gone = ("issue", issue) in self.tracker.retired
        return {"issue": issue, "retired": gone, "now": self.tracker.named(row), "entries": self.tracker.journals[issue]}


def _told(status: int, data: Row) -> Answer:
    return Answer.json(status, {"data": data})


def _deliver(event: Row, url: str, secret: str) -> None:
    body = orjson.dumps(event)
    headers = {"Content-Type": "application/json", **SIGNATURE.sign(body, secret, int(time.time()))}
    try:
        requests.post(url, data=body, headers=headers, timeout=2, allow_redirects=False).close()
    except requests.RequestException:
        return


def main() -> None:
    """Serve one twin until interrupted."""
    options = argparse.ArgumentParser(description="Roundup in memory")
    options.add_argument("--port", type=int, default=0)
    twin = RoundupTwin().start(options.parse_args().port)
    print(json.dumps({"base_url": twin.url, "user": "hub", "password": PASSWORD}), flush=True)
    try:
        threading.Event().wait()
    except KeyboardInterrupt:
        twin.stop()


if __name__ == "__main__":
    main()
