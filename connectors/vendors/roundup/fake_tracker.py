"""The tracker behind the twin: items, their rules and the journal of issues, as Roundup's classic template has them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from connectors.vendors.roundup.commands import SHOWN
from connectors.vendors.roundup.mapping import REQUEST

Row = dict[str, Any]
TEXT, DATE = "text", "date"
OURS = ("billing_customer", "plan", "subscription", "incident", "external_id", "tieout_block", *REQUEST, *SHOWN, "last_note")
CLASSES: dict[str, dict[str, Any]] = {
    "user": dict.fromkeys(("username", "address", "realname", "organisation", "phone", "roles", "timezone"), TEXT),
    "status": {"name": TEXT},
    "priority": {"name": TEXT},
    "keyword": {"name": TEXT},
    "msg": {"content": TEXT, "messageid": TEXT, "date": DATE, "author": "user"},
    "note": {"content": TEXT, "messageid": TEXT, "issue": "issue"},
    "issue": {
        "title": TEXT, "status": "status", "priority": "priority", "messages": ["msg"], "keyword": ["keyword"],
        "nosy": ["user"], **dict.fromkeys(OURS, TEXT),
    },
}  # fmt: skip
"""Property → what it holds: text, a date, an item of a class, or several of them."""
PROTECTED = {"creation": DATE, "activity": DATE, "creator": "user", "actor": "user"}
KEYS = {"user": "username", "status": "name", "priority": "name", "keyword": "name", "note": "messageid"}
LABELS = {**KEYS, "msg": "activity", "issue": "title"}
STATES = ("unread", "deferred", "chatting", "need-eg", "in-progress", "testing", "done-cbb", "resolved")
PRIORITIES = ("critical", "urgent", "bug", "feature", "wish")
PEOPLE = {"admin": "Admin", "anonymous": "Anonymous", "hub": "User,Tieout", "agent": "User,Agent", "customer": "User"}


class No(Exception):
    """A refusal: the status and what Roundup would say."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Tracker:
    """Everything one tracker holds. `now` gives Unix seconds; `told` collects the events of the detector."""

    def __init__(self, now: Callable[[], int]) -> None:
        self.now = now
        self.items: dict[str, dict[str, Row]] = {kind: {} for kind in CLASSES}
        self.retired: set[tuple[str, str]] = set()
        self.journals: dict[str, list[Row]] = {}
        self.told: list[Row] = []
        for name, roles in PEOPLE.items():
            self.create("1", "user", {"username": name, "roles": roles, "address": f"{name}@example.com", "timezone": "UTC"})
        for kind, names in (("status", STATES), ("priority", PRIORITIES)):
            for name in names:
                self.create("1", kind, {"name": name})

    # reading ---------------------------------------------------------------------------------------------

    def get(self, kind: str, item: str) -> Row:
        """An item, also a retired one."""
        if kind not in self.items or item not in self.items[kind]:
            raise No(404, f"no such {kind} {item}")
        return self.items[kind][item]

    def lookup(self, kind: str, name: str) -> str:
        """The id of the item whose key is `name`."""
        for item, row in self._present(kind):
            if row[KEYS[kind]] == name:
                return item
        raise No(400, f"No key ({KEYS[kind]}) value {name!r} for {kind!r}")

    def find(self, kind: str, wanted: Mapping[str, str]) -> list[str]:
        """The items that match: `name:` exactly, `name` as a part, links by id or name, dates by a range."""
        if kind not in CLASSES:
            raise No(404, f"Class {kind} not found")
        return [item for item, row in self._present(kind) if all(self._matches(kind, row, *one) for one in wanted.items())]

    def etag(self, kind: str, item: str) -> str:
        """Changes with every property."""
        return f'"{hashlib.md5(json.dumps(self.get(kind, item), sort_keys=True).encode(), usedforsecurity=False).hexdigest()}"'

    def _present(self, kind: str) -> Iterator[tuple[str, Row]]:
        return ((item, row) for item, row in self.items[kind].items() if (kind, item) not in self.retired)

    def _matches(self, kind: str, row: Row, name: str, wanted: str) -> bool:
        plain = name.removesuffix(":")
        holds = property_of(kind, plain)
        value = row[plain]
        if holds == DATE:
            first, _, last = wanted.partition(";")
            return (not first or value >= first) and (not last or value <= last)
        if holds == TEXT:
            return (value or "") == wanted if name != plain else wanted.lower() in (value or "").lower()
        return value in (wanted, self.lookup(holds, wanted) if not wanted.isdigit() else wanted)

    # writing ---------------------------------------------------------------------------------------------

    def create(self, by: str, kind: str, given: Mapping[str, Any]) -> str:
        """Make an item; its id."""
        values = self._values(kind, given)
        key = KEYS.get(kind)
        if key and any(row[key] == values.get(key) for _, row in self._present(kind)):
            raise No(409, f'node with key "{values.get(key)}" exists')
        row: Row = {name: [] if isinstance(holds, list) else None for name, holds in CLASSES[kind].items()} | values
        if kind == "issue":
            if not row["title"]:
                raise No(400, "Must provide the title property.")
            row["status"] = row["status"] or "1"
            self._mailable(row["messages"])
        item, stamp = str(len(self.items[kind]) + 1), self._stamp()
        self.items[kind][item] = row | {"creation": stamp, "activity": stamp, "creator": by, "actor": by}
        if kind == "issue":
            self._enter(by, item, "create", {}, [])
        if kind == "note" and row["issue"] and "Tieout" not in self.items["user"][by]["roles"]:
            self.change(by, "issue", row["issue"], {"last_note": item})
        return item

    def change(self, by: str, kind: str, item: str, given: Mapping[str, Any], op: str = "replace") -> Row:
        """Set properties; what really changed."""
        row, values = self.get(kind, item), self._values(kind, given)
        for name, value in values.items():
            values[name] = _patched(op, row[name], value)
        if kind == "issue":
            self._reopen(row, values)
        was = {name: row[name] for name, value in values.items() if row[name] != value}
        if not was:
            return {}
        new = [message for message in values.get("messages", ()) if message not in row.get("messages", ())]
        self._mailable(new)
        row |= {**values, "activity": self._stamp(), "actor": by}
        if kind == "issue":
            self._enter(by, item, "set", was, new)
        return {name: row[name] for name in was}

    def retire(self, by: str, kind: str, item: str) -> None:
        """Hide an item from every list."""
        self.get(kind, item)
        self.retired.add((kind, item))
        if kind == "issue":
            self._enter(by, item, "retired", {}, [])

    def _values(self, kind: str, given: Mapping[str, Any]) -> Row:
        if kind not in CLASSES:
            raise No(404, f"Class {kind} not found")
        unknown = [name for name in given if name not in CLASSES[kind]]
        if unknown:
            raise No(400, f"Property {unknown[0]} not found in class {kind}")
        return {name: self._value(kind, name, value) for name, value in given.items()}

    def _value(self, kind: str, name: str, value: Any) -> Any:
        holds = CLASSES[kind][name]
        if isinstance(holds, list):
            return list(dict.fromkeys(self._link(holds[0], one) for one in value or ()))
        if value in (None, ""):
            return None
        if holds == DATE:
            return self._stamp() if value == "." else value
        if holds != TEXT:
            return self._link(holds, value)
        text = str(value).strip()
        return text if name == "content" else text.replace("\r\n", "\n").replace("\r", "\n")

    def _link(self, kind: str, value: Any) -> str:
        if str(value) in self.items[kind]:
            return str(value)
        if kind not in KEYS:
            raise No(409, f"no such {kind} {value}")
        return self.lookup(kind, str(value))

    def _reopen(self, row: Row, values: Row) -> None:
        """The template's rule: a new message makes a new or ended issue `chatting`, unless the change names the state."""
        talks = "messages" in values and values["messages"] != row["messages"]
        if talks and "status" not in values and self.items["status"][row["status"]]["name"] in ("unread", "resolved", "done-cbb"):
            values["status"] = self.lookup("status", "chatting")

    def _mailable(self, messages: list[str]) -> None:
        for message in messages:
            if self.get("msg", message)["author"] is None:
                raise No(409, "no such user None")

    def _enter(self, by: str, issue: str, action: str, was: Row, messages: list[str]) -> None:
        person = self.items["user"][by]
        self.journals.setdefault(issue, []).append({
            "at": datetime.fromtimestamp(self.now(), UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "by": {"id": by, "username": person["username"], "roles": person["roles"]},
            "action": action, "changed": sorted(was), "was": self.named(was), "messages": messages,
        })  # fmt: skip
        kind = {"create": "created", "set": "changed"}.get(action, action)
        self.told.append({"id": uuid4().hex, "kind": f"issue.{kind}", "issue": issue, "at": self.journals[issue][-1]["at"]})

    def named(self, row: Row) -> dict[str, str]:
        """State and priority of a row by name, as far as it has them."""
        kinds = [kind for kind in ("status", "priority") if kind in row]
        return {kind: self.items[kind][row[kind]]["name"] if row[kind] else "" for kind in kinds}

    def _stamp(self) -> str:
        return datetime.fromtimestamp(self.now(), UTC).strftime("%Y-%m-%d.%H:%M:%S")


def property_of(kind: str, name: str) -> Any:
    """What a property holds, the protected ones included."""
    holds = {"id": TEXT, **CLASSES[kind], **PROTECTED}.get(name)
    if holds is None:
        raise No(400, f"'Unknown property: {name}'")
    return holds


def _patched(op: str, old: Any, new: Any) -> Any:
    if op == "add":
        return new if old is None else list(dict.fromkeys([*old, *new])) if isinstance(old, list) else old + (new or "")
    if op == "remove":
        return [one for one in old if one not in new] if isinstance(old, list) and new else [] if isinstance(old, list) else None
    if op != "replace":
        raise No(400, f"PATCH Operation {op} is not allowed")
    return new
