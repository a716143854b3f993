"""Three systems in memory that can be read for reconciliation: pages of readings, totals, and faults to order."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from pydantic import BaseModel

from canonical.readings import Reading, Window
from connectors.sdk.contract import Connector, Count, Extract, Health, Period, Role
from connectors.sdk.errors import Busy, Misconfigured, Refused
from connectors.sdk.http import Call, Exchange
from connectors.sdk.tallies import tally

COUNTED = 4
"""Objects on a page of a count."""


class Nothing(BaseModel):
    """No settings, no secrets."""


@dataclass
class Books:
    """What one system holds, by kind and id. `faults` are taken one a page, first first."""

    held: dict[str, dict[str, Reading]] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    lost: set[str] = field(default_factory=set)
    """Ids that its pages leave out, and its totals count."""
    twice: bool = False
    """Every page begins with the last object of the one before."""
    between: list[Callable[[], None]] = field(default_factory=list)
    """What happens after a page was read, first first."""
    pages: list[tuple[str, str | None]] = field(default_factory=list)
    page_size: int = 3
    lock: Any = field(default_factory=threading.Lock)

    def put(self, reading: Reading) -> None:
        """Hold an object, or hold it anew."""
        self.held.setdefault(reading.kind, {})[reading.external_id] = reading

    def drop(self, kind: str, external_id: str) -> None:
        """Hold it no more."""
        del self.held[kind][external_id]

    def within(self, kind: str, window: Window) -> list[Reading]:
        """What lies in a window, in order of ids."""
        everything = sorted(self.held.get(kind, {}).values(), key=lambda r: r.external_id)
        return [r for r in everything if window.since is None or r.updated_at is None or r.updated_at > window.since]


BOOKS: dict[str, Books] = {}
KINDS = {"billing": ("invoice", "party"), "erp": ("invoice", "party"), "support": ("support_credit",)}


def reset() -> None:
    for role in KINDS:
        BOOKS[role] = Books()


def _extract(role: str, kind: str) -> Any:
    def extract(client: Any, window: Window, cursor: str | None, call: Call) -> Extract:
        books = BOOKS[role]
        with books.lock:
            call.exchanges.append(Exchange("GET", f"http://{role}.test/{kind}?after={cursor}"))
            books.pages.append((kind, cursor))
            match books.faults.pop(0) if books.faults else "":
                case "refuse":
                    raise Refused("no such list", code="not_found")
                case "busy":
                    raise Busy("later", code="http_503")
                case "credentials":
                    raise Misconfigured("bad key", code="http_401")
            everything = [r for r in books.within(kind, window) if r.external_id not in books.lost]
            left = [r for r in everything if cursor is None or r.external_id > cursor]
            page = left[: books.page_size]
            following = page[-1].external_id if len(left) > len(page) else None
            if books.twice and cursor is not None:
                page = [*(r for r in everything if r.external_id == cursor), *page]
            if books.between:
                books.between.pop(0)()
            return Extract(page, following)

    return extract


def _count(role: str, kind: str) -> Any:
    def count(client: Any, window: Window, cursor: str | None, call: Call) -> Count:
        call.exchanges.append(Exchange("GET", f"http://{role}.test/{kind}/count/{cursor or 0}"))
        begin, everything = int(cursor or 0), BOOKS[role].within(kind, window)
        page = everything[begin : begin + COUNTED]
        told = tally((r.currency or "", r.total) for r in page)
        return Count(told, str(begin + COUNTED) if begin + COUNTED < len(everything) else None)

    return count


def _periods(client: Any, call: Call) -> list[Period]:
    call.exchanges.append(Exchange("GET", "http://erp.test/periods"))
    months = [("October", 10, 31, False), ("November", 11, 30, True), ("December", 12, 31, False)]
    return [Period(name, date(2026, month, 1), date(2026, month, last), is_open) for name, month, last, is_open in months]


def connector(role: Role) -> Connector:
    """One of the three."""
    return Connector(
        slug=f"read-{role}", title=f"Read {role}", role=role, settings=Nothing, credentials=Nothing, open=lambda s, c, h: role,
        check=lambda client, call: Health(identity=role),
        periods=_periods if role == "erp" else None,
        extracts={kind: _extract(role, kind) for kind in KINDS[role]}, totals={kind: _count(role, kind) for kind in KINDS[role]},
    )  # fmt: skip
