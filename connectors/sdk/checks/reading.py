"""Reading one object and sweeping many."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta

from connectors.sdk.contract import Client, SourceEvent
from connectors.sdk.errors import Refused
from connectors.sdk.kit import Kit, NonConformance, call, require

PAGES_AT_MOST = 100


def fetch(kit: Kit) -> None:
    """An object comes first and is the one that was asked for; one that is not there is Refused('not_found')."""
    kit.offered("fetch", kit.connector.fetch)
    with kit.running() as (twin, client):
        for kind, read in kit.connector.fetch.items():
            require(kind in kit.known, f"KIT.known[{kind!r}] is needed to check fetch")
            external_id = kit.known[kind](twin)
            found = read(client, external_id, call())
            require(found, f"fetch[{kind!r}] brings nothing")
            require(found[0].kind == kind, f"fetch[{kind!r}] brings a {found[0].kind} first")
            require(found[0].external_id == external_id, f"fetch[{kind!r}] brings another one first")
            _is_not_found(kit, client, kind, _missing(external_id))


def _missing(external_id: str) -> str:
    return "987654321" if external_id.isdigit() else f"{external_id[:4]}nowhere"


def _is_not_found(kit: Kit, client: Client, kind: str, external_id: str) -> None:
    try:
        kit.connector.fetch[kind](client, external_id, call())
    except Refused as error:
        require(error.code == "not_found", f"a {kind} that is not there is refused as {error.code!r}")
    else:
        raise NonConformance(f"fetch[{kind!r}] finds what is not there")


def paging(kit: Kit) -> None:
    """A sweep neither skips nor repeats, also while something new comes in."""
    kit.offered("paging", kit.connector.pages)
    for stream in kit.connector.pages:
        require(stream in kit.fill, f"KIT.fill[{stream!r}] is needed to check paging")
        with kit.running() as (twin, client):
            since = datetime.now(UTC) - timedelta(hours=1)
            wanted = kit.fill[stream](twin)
            quiet, pages = _sweep(kit, client, stream, since, lambda: None)
            require(pages > 1, f"KIT.fill[{stream!r}] does not fill a second page")
            _exactly(stream, quiet, wanted)
            names = [item.envelope.external_id for item in quiet]
            require(len(names) == len(set(names)), f"{stream}: two items of one sweep have the same id")
            disturbed, _ = _sweep(kit, client, stream, since, lambda: kit.disturb and kit.disturb(twin))
            _exactly(stream, disturbed, wanted)


def sweep_is_stable(kit: Kit) -> None:
    """Sweeping again brings the same ids with the same bytes, and the envelope can be read back from the bytes."""
    kit.offered("sweep_is_stable", kit.connector.pages)
    for stream in kit.connector.pages:
        with kit.running() as (twin, client):
            kit.fill[stream](twin)
            since = datetime.now(UTC) - timedelta(hours=1)
            first, _ = _sweep(kit, client, stream, since, lambda: None)
            second, _ = _sweep(kit, client, stream, since, lambda: None)
            bodies = {item.envelope.external_id: item.body for item in first}
            for item in second:
                require(bodies.get(item.envelope.external_id) == item.body, f"{stream}: an unchanged object changed")
                if kit.connector.envelope:
                    read = kit.connector.envelope(item.body)
                    require(read == item.envelope, f"{stream}: {read} in the bytes, {item.envelope} beside them")


def _sweep(kit: Kit, client: Client, stream: str, since: datetime, between: object) -> tuple[list[SourceEvent], int]:
    items: list[SourceEvent] = []
    cursor: str | None = None
    for number in range(1, PAGES_AT_MOST):
        page = kit.connector.pages[stream](client, since, cursor, call())
        items += page.items
        if page.cursor is None:
            return items, number
        require(page.cursor != cursor, f"{stream}: the cursor does not move")
        cursor = page.cursor
        if callable(between):
            between()
    raise NonConformance(f"{stream}: no end after {PAGES_AT_MOST} pages")


def _exactly(stream: str, items: list[SourceEvent], wanted: set[str]) -> None:
    counts = Counter(item.envelope.subject_id for item in items)
    missing = [external_id for external_id in wanted if not counts[external_id]]
    require(not missing, f"{stream}: {len(missing)} of {len(wanted)} objects are skipped")
    doubled = [item.envelope.external_id for item in items]
    twice = [name for name, count in Counter(doubled).items() if count > 1]
    require(not twice, f"{stream}: {len(twice)} items are repeated")


CHECKS = {"fetch": fetch, "paging": paging, "sweep_is_stable": sweep_is_stable}
