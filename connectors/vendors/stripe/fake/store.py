"""Where the twin keeps its objects, and the conventions every resource shares: ids, lists, metadata, events, errors."""

from __future__ import annotations

import itertools
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import orjson

from connectors.vendors.stripe.fake.shapes import Obj

Params = dict[str, Any]


class ApiError(Exception):
    """An error answer. `kept`: its idempotency key remembers it; Stripe does not keep failed validation."""

    def __init__(self, message: str, *, status: int = 400, code: str = "", kind: str = "", kept: bool = False) -> None:
        super().__init__(message)
        self.status = status
        self.kept = kept
        self.body = {"error": {"type": kind or "invalid_request_error", "code": code or None, "message": message}}


class Table:
    """Objects of one kind in the order of their creation; paging by id takes no search."""

    def __init__(self) -> None:
        self._rows: list[Obj | None] = []
        self._index: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._index)

    def __iter__(self) -> Iterator[Obj]:
        return (row for row in self._rows if row is not None)

    def add(self, obj: Obj) -> Obj:
        """Keep a new object; ids given by callers must be new."""
        if obj["id"] in self._index:
            raise ApiError(f"{obj['id']} already exists", code="resource_already_exists")
        self._index[obj["id"]] = len(self._rows)
        self._rows.append(obj)
        return obj

    def get(self, external_id: str) -> Obj | None:
        """The object, or None."""
        place = self._index.get(external_id)
        return None if place is None else self._rows[place]

    def drop(self, external_id: str) -> None:
        """Forget an object."""
        self._rows[self._index.pop(external_id)] = None

    def newest(self, after: str | None, before: str | None) -> Iterable[Obj]:
        """Newest first, older than `after`; or, oldest first, newer than `before`."""
        if before is not None:
            rows: Iterable[Obj | None] = itertools.islice(self._rows, self._place(before) + 1, None)
        else:
            end = len(self._rows) if after is None else self._place(after)
            rows = (self._rows[i] for i in range(end - 1, -1, -1))
        return (row for row in rows if row is not None)

    def _place(self, external_id: str) -> int:
        if external_id not in self._index:
            raise ApiError(f"No such object: '{external_id}'", code="resource_missing")
        return self._index[external_id]


class Store:
    """All of one account."""

    def __init__(self, now: Callable[[], int]) -> None:
        self.now = now
        self.tables: dict[str, Table] = defaultdict(Table)
        self.key: str | None = None
        """Idempotency key of the request being answered; events tell it."""
        self.on_event: Callable[[Obj], None] = lambda event: None
        # Ids go on after a reset, so that nobody takes a new object for an old one.
        self._birth = _base36(time.time_ns() // 1_000_000)
        self._numbers = itertools.count(1)

    def clear(self) -> None:
        """Forget every object."""
        self.tables.clear()

    def id(self, prefix: str) -> str:
        """A new id in Stripe's style; later ids sort after earlier ones."""
        return f"{prefix}_{self._birth}{next(self._numbers):07d}"

    def get(self, table: str, external_id: Any) -> Obj:
        """The object. Raises the 404 of Stripe."""
        found = self.tables[table].get(str(external_id))
        if found is None:
            raise ApiError(f"No such {table[:-1]}: '{external_id}'", status=404, code="resource_missing")
        return found

    def named(self, table: str, params: Params, name: str) -> Obj:
        """The object a required parameter names."""
        value = params.get(name)
        if not value:
            raise ApiError(f"Missing required param: {name}.", code="parameter_missing")
        found = self.tables[table].get(str(value))
        if found is None:
            raise ApiError(f"No such {table[:-1]}: '{value}'", code="resource_missing")
        return found

    def emit(self, kind: str, obj: Obj) -> None:
        """Announce a change; the event keeps the object as it is now."""
        snapshot = orjson.dumps(obj)
        event = {"id": self.id("evt"), "created": self.now(), "type": kind, "snapshot": snapshot, "key": self.key}
        self.on_event(self.tables["events"].add(event))

    def page(self, table: str, params: Params, url: str, fits: Callable[[Obj], bool] = lambda obj: True) -> Obj:
        """One page as Stripe lists: newest first, at most 100, by `starting_after` or `ending_before`."""
        limit = whole(params, "limit", 10)
        if not 1 <= limit <= 100:
            raise ApiError("Invalid integer: limit must be between 1 and 100", code="parameter_invalid_integer")
        before = params.get("ending_before")
        created = _window(params.get("created"))
        rows = self.tables[table].newest(params.get("starting_after"), before)
        matching = (row for row in rows if created(row) and fits(row))
        found = list(itertools.islice(matching, limit + 1))
        data = found[:limit]
        if before is not None:
            data.reverse()
        return {"object": "list", "data": data, "has_more": len(found) > limit, "url": url}


def whole(params: Params, name: str, default: int | None = None) -> int:
    """An integer parameter."""
    value = params.get(name)
    if value is None or value == "":
        if default is None:
            raise ApiError(f"Missing required param: {name}.", code="parameter_missing")
        return default
    try:
        return int(value)
    except (TypeError, ValueError):
        raise ApiError(f"Invalid integer: {name}", code="parameter_invalid_integer") from None


def flag(params: Params, name: str, default: bool = False) -> bool:
    """A boolean parameter."""
    value = params.get(name)
    return default if value is None else str(value).lower() == "true"


def texts(params: Params, obj: Obj, names: str) -> bool:
    """Copy the given text parameters to an object; '' unsets one. True when something was given."""
    given = [name for name in names.split() if name in params]
    for name in given:
        obj[name] = params[name] or None
    return bool(given)


def remember(params: Params, obj: Obj) -> None:
    """Merge the metadata parameter: keys that are not given stay, '' removes one."""
    given = params.get("metadata")
    if given == "":
        obj["metadata"] = {}
    elif isinstance(given, dict):
        merged = {**(obj.get("metadata") or {}), **{k: str(v) for k, v in given.items()}}
        if len(merged) > 50 or any(len(k) > 40 or len(v) > 500 for k, v in merged.items()):
            raise ApiError("Metadata: at most 50 keys of 40 characters, values of 500", code="parameter_invalid")
        obj["metadata"] = {key: value for key, value in merged.items() if value != ""}


def nested(pairs: Iterable[tuple[str, str]]) -> Params:
    """Stripe's form encoding read back: `a[b]=1`, `a[0][c]=2`, `a[]=3` → nested dicts and lists."""
    root: Params = {}
    for name, value in pairs:
        keys = [part.rstrip("]") for part in name.split("[")]
        level = root
        for key, following in itertools.pairwise([*keys, None]):
            place = str(len(level)) if key == "" else str(key)
            if following is None:
                level[place] = value
            else:
                level = level.setdefault(place, {})
                if not isinstance(level, dict):
                    raise ApiError(f"Invalid parameter: {name}", code="parameter_unknown")
    return {key: _lists(value) for key, value in root.items()}


def _lists(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    inner = {key: _lists(item) for key, item in value.items()}
    return list(inner.values()) if inner and all(key.isdigit() for key in inner) else inner


def _window(created: Any) -> Callable[[Obj], bool]:
    if created is None:
        return lambda row: True
    if not isinstance(created, dict):
        moment = int(created)
        return lambda row: bool(row["created"] == moment)
    low = max(int(created.get("gte", 0)), int(created.get("gt", -1)) + 1)
    high = min(int(created.get("lte", 1 << 62)), int(created.get("lt", 1 << 62)) - 1)
    return lambda row: low <= row["created"] <= high


def _base36(number: int) -> str:
    digits = ""
    while number:
        number, digit = divmod(number, 36)
        digits = "0123456789abcdefghijklmnopqrstuvwxyz"[digit] + digits
    return digits
