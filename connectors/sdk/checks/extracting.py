"""Bulk readings for reconciliation: whole, exact, in pages, and proven by the source's own totals."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from canonical.money import is_exact
from canonical.readings import Reading, Total, Window
from connectors.sdk.contract import Client, Connector
from connectors.sdk.kit import Kit, NonConformance, call, require
from connectors.sdk.tallies import added, tally

PAGES_AT_MOST = 100
READINGS_AT_MOST = 5000
"""Of one page: what a worker holds in memory at once."""
CALLS_AT_MOST = 100
"""For one page of a count: a worker that asks for longer than its lease loses it, and everything it has counted."""


def extracts(kit: Kit) -> None:
    """A reading neither skips nor repeats, page by page, also while something comes in; and each one can be trusted."""
    kit.offered("extracts", kit.connector.extracts)
    for kind, twin, client, wanted, window in _filled(kit):
        quiet, pages = _read(kit, client, kind, window, lambda: None)
        require(pages > 1, f"KIT.fill[{kind!r}] does not fill a second page")
        _exactly(kind, quiet, wanted)
        for reading in quiet:
            _trustworthy(kind, reading)
        disturbed, _ = _read(kit, client, kind, window, partial(kit.disturb, twin) if kit.disturb else lambda: None)
        _exactly(kind, disturbed, wanted)


def extracts_since(kit: Kit) -> None:
    """What was made after an instant is brought by an incremental reading from that instant."""
    kit.offered("extracts_since", kit.connector.extracts)
    for kind, _, client, wanted, window in _filled(kit):
        since = window.model_copy(update={"since": window.until - timedelta(hours=1)})
        brought, _ = _read(kit, client, kind, since, lambda: None)
        _exactly(kind, brought, wanted)


def totals(kit: Kit) -> None:
    """The source's own totals are those of its readings, and differ from those of a reading that lost a page."""
    kit.offered("totals", kit.connector.totals)
    require(kit.connector.totals.keys() == kit.connector.extracts.keys(), "every kind of extracts has its totals")
    for kind, _, client, _, window in _filled(kit):
        pages = list(_pages(kit, client, kind, window))
        told = _sums(counted(kit.connector, client, kind, window))
        whole = [reading for page in pages for reading in page]
        require(told == _tallied(whole), f"{kind}: the source says {told}, its readings come to {_tallied(whole)}")
        for number, page in enumerate(pages):
            rest = [reading for other in pages if other is not page for reading in other]
            require(not page or told != _tallied(rest), f"{kind}: page {number} can be lost and the totals still agree")


def counted(connector: Connector, client: Client, kind: str, window: Window) -> list[Total]:
    """What the source says it has in a window, page after page. Raises NonConformance for a count that does not end."""
    found: list[Total] = []
    cursor: str | None = None
    for _ in range(PAGES_AT_MOST):
        asked = call()
        page = connector.totals[kind](client, window, cursor, asked)
        require(len(asked.exchanges) <= CALLS_AT_MOST, f"{kind}: {len(asked.exchanges)} calls for one page of the count")
        found += page.totals
        if page.cursor is None:
            return added(found)
        require(page.cursor != cursor, f"{kind}: the cursor of the count does not move")
        cursor = page.cursor
    raise NonConformance(f"{kind}: no end of the count after {PAGES_AT_MOST} pages")


def _filled(kit: Kit) -> Iterator[tuple[str, Any, Client, set[str], Window]]:
    """For every kind a twin with more than a page of it, and a window that ends now."""
    for kind in kit.connector.extracts:
        require(kind in kit.fill, f"KIT.fill[{kind!r}] is needed to check extracts")
        with kit.running() as (twin, client):
            wanted = kit.fill[kind](twin)
            yield kind, twin, client, wanted, Window(until=datetime.now(UTC) + timedelta(seconds=1))


def _pages(kit: Kit, client: Client, kind: str, window: Window) -> Iterator[Sequence[Reading]]:
    cursor: str | None = None
    for _ in range(PAGES_AT_MOST):
        page = kit.connector.extracts[kind](client, window, cursor, call())
        require(len(page.readings) <= READINGS_AT_MOST, f"{kind}: {len(page.readings)} readings in one page")
        yield page.readings
        if page.cursor is None:
            return
        require(page.cursor != cursor, f"{kind}: the cursor does not move")
        cursor = page.cursor
    raise NonConformance(f"{kind}: no end after {PAGES_AT_MOST} pages")


def _read(kit: Kit, client: Client, kind: str, window: Window, between: Callable[[], object]) -> tuple[list[Reading], int]:
    found: list[Reading] = []
    pages = 0
    for page in _pages(kit, client, kind, window):
        found, pages = [*found, *page], pages + 1
        between()
    return found, pages


def _exactly(kind: str, readings: Iterable[Reading], wanted: set[str]) -> None:
    counts = Counter(reading.external_id for reading in readings)
    missing = [external_id for external_id in wanted if not counts[external_id]]
    require(not missing, f"{kind}: {len(missing)} of {len(wanted)} objects are skipped, such as {missing[:1]}")
    twice = [name for name, count in counts.items() if count > 1]
    require(not twice, f"{kind}: {len(twice)} objects are repeated, such as {twice[:1]}")


def _trustworthy(kind: str, it: Reading) -> None:
    """Of the kind asked for, in one currency, exact, not below zero, and adding up."""
    where = f"{kind} {it.external_id}"
    require(it.kind == kind, f"{where} is a {it.kind}")
    amounts = [amount for amount in (it.net, it.tax, it.total) if amount is not None]
    if not amounts:
        return
    require(it.currency, f"{where} has an amount and no currency")
    require(all(is_exact(amount, it.currency or "") for amount in amounts), f"{where} has fractions of a minor unit")
    require(all(amount >= 0 for amount in amounts), f"{where} has an amount below zero")
    if len(amounts) == 3:
        require((it.net or 0) + (it.tax or 0) == it.total, f"{where}: net and tax do not come to the total")


def _tallied(readings: Iterable[Reading]) -> dict[str, tuple[int, Any]]:
    return _sums(tally((reading.currency or "", reading.total) for reading in readings))


def _sums(told: Iterable[Total]) -> dict[str, tuple[int, Any]]:
    return {total.currency: (total.count, total.amount) for total in added(told)}


CHECKS = {"extracts": extracts, "extracts_since": extracts_since, "totals": totals}
