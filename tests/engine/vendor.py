"""A vendor in memory for tests of the engine: two commands, faults to order, and books to check against."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from pydantic import BaseModel

from canonical.commands import Request, Written
from connectors.sdk.contract import Command, Connector, Health, Limits, WriteSafety
from connectors.sdk.errors import Busy, Misconfigured, Refused, Unknown
from connectors.sdk.http import Call, Exchange


class Put(Request):
    """Create the document of this key."""

    text: str = ""


class Nothing(BaseModel):
    """No settings, no secrets."""


@dataclass
class Books:
    """What the vendor holds. `faults` are taken one a call, first first."""

    documents: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    find_faults: list[str] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)
    honours_keys: bool = False
    in_flight: int = 0
    most_in_flight: int = 0
    lock: Any = field(default_factory=threading.Lock)

    def put(self, key: str) -> Written:
        if not (self.honours_keys and key in self.documents):
            self.documents.append(key)
        return Written(external_id=f"doc-{key}", number=f"N{len(self.documents)}")


BOOKS: dict[str, Books] = {"a": Books(), "b": Books()}


def reset() -> None:
    for name in BOOKS:
        BOOKS[name] = Books()


def _put(name: str) -> Any:
    def run(client: Any, request: Put, call: Call) -> Written:
        books = BOOKS[name]
        with books.lock:
            call.exchanges.append(Exchange("POST", f"http://{name}.test/documents", request=request.model_dump_json()))
            books.calls.append(request.key)
            fault = books.faults.pop(0) if books.faults else ""
            match fault:
                case "refuse":
                    raise Refused("not in this period", code="period_closed")
                case "busy":
                    raise Busy("later", code="http_503")
                case "throttle":
                    raise Busy("slow down", code="http_429", retry_after=60.0)
                case "credentials":
                    raise Misconfigured("bad key", code="http_401")
                case "lose":
                    books.put(request.key)
                    raise Unknown("no answer", code="no_answer")
                case "lose_unsent":
                    raise Unknown("no answer", code="no_answer")
                case "bug":
                    raise ZeroDivisionError("a bug of ours")
            return books.put(request.key)

    return run


def _find(name: str) -> Any:
    def find(client: Any, request: Put, call: Call) -> Written | None:
        books = BOOKS[name]
        with books.lock:
            if books.find_faults:
                books.find_faults.pop(0)
                raise Busy("cannot search now", code="http_503")
            return Written(external_id=f"doc-{request.key}", number="N") if request.key in books.documents else None

    return find


def connector(name: str, *, safety: WriteSafety = WriteSafety.LOOKUP, searchable: bool = True, limit: int = 8) -> Connector:
    commands: Sequence[Command] = (
        Command("put", Put, _put(name), _find(name) if searchable else None, safety, money=safety is not WriteSafety.NONE),
        Command("take_back", Put, _put(name), _find(name) if searchable else None, safety),
    )
    return Connector(
        slug=f"test-{name}", title=f"Test {name}", role="support", settings=Nothing, credentials=Nothing, open=lambda s, c, h: name,
        check=lambda client, call: Health(identity=name), commands={c.name: c for c in commands}, quiet=timedelta(seconds=30),
        limits=Limits(max_in_flight=limit),
    )  # fmt: skip
