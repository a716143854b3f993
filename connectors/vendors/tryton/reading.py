"""The reads: health, periods, one object, and sweeps by modification time."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from canonical.types import CanonicalObject
from connectors.sdk.contract import Health, Page, Period, SourceEvent
from connectors.sdk.http import Call
from connectors.vendors.tryton import mapping
from connectors.vendors.tryton.client import Domain, TrytonClient

OVERLAP = timedelta(minutes=5)
"""Records become visible in the order of commits, not of `write_date`: a sweep looks back this far."""
PAGE = 100


def check(client: TrytonClient, call: Call) -> Health:
    """Prove the REST key, the company and the login. Refused('not_found'): no such database or company."""
    fields = ["party.name", "currency.code"]
    company = client.read(call, "company.company", client.settings.company, fields)
    identity = f"{company['party']['name']} ({company['currency']['code']})"
    return Health(identity=identity, detail=f"Tryton {client.version(call)}")


def periods(client: TrytonClient, call: Call) -> Sequence[Period]:
    """The company's accounting periods as they are now."""
    return mapping.periods(client.periods(call, fresh=True))


def fetch_party(client: TrytonClient, external_id: str, call: Call) -> Sequence[CanonicalObject]:
    """One customer."""
    return [mapping.party(client.read(call, "party.party", int(external_id), mapping.PARTY))]


def fetch_document(client: TrytonClient, external_id: str, call: Call) -> Sequence[CanonicalObject]:
    """One invoice or credit memo, and its customer."""
    document = mapping.document(client.read(call, "account.invoice", int(external_id), mapping.FULL_DOCUMENT))
    return [document, *fetch_party(client, document.party, call)]


def changed_parties(client: TrytonClient, since: datetime, cursor: str | None, call: Call) -> Page:
    """Customers written since an instant, oldest first."""
    return _sweep(client, "party.party", [], ["write_date"], since, cursor, call)


def changed_documents(client: TrytonClient, since: datetime, cursor: str | None, call: Call) -> Page:
    """Numbered customer documents written since an instant, oldest first: paid and cancelled ones too."""
    domain: Domain = [["type", "=", "out"], ["company", "=", client.settings.company], ["number", "!=", None]]
    return _sweep(client, "account.invoice", domain, ["write_date", "total_amount"], since, cursor, call)


def _sweep(
    client: TrytonClient,
    model: str,
    domain: Domain,
    fields: Sequence[str],
    since: datetime,
    cursor: str | None,
    call: Call,
) -> Page:
    order = [["write_date", "ASC"], ["id", "ASC"]]
    rows = client.search(call, model, [*domain, _after(since, cursor)], fields, order=order, limit=PAGE)
    bodies = [mapping.change_body(model, row) for row in rows]
    items = [SourceEvent(mapping.envelope(body), body) for body in bodies]
    if len(rows) < PAGE:
        return Page(items, None)
    last = rows[-1]
    return Page(items, json.dumps([last["write_date"].isoformat(), last["id"]]))


def _after(since: datetime, cursor: str | None) -> Domain:
    """Behind the last row of the page before; rows that are written meanwhile move to the end and are met there."""
    if cursor is None:
        return ["write_date", ">=", (since - OVERLAP).astimezone(UTC)]
    at, record = json.loads(cursor)
    when = datetime.fromisoformat(at)
    return ["OR", ["write_date", ">", when], [["write_date", "=", when], ["id", ">", record]]]
