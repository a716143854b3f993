"""The hub's own worker: drains whatever is due each time it is told to."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from typing import Any

import django

if __name__ == "__main__":
    django.setup()

from django.db import connection

from connectors.models import Connection
from hub import inbox
from hub.bench import lab, noop
from hub.bench.counting import counted
from hub.engine.worker import Worker

PATIENCE = 120.0


def work(deliver: Sequence[str] = ()) -> dict[str, Any]:
    """Drain until no run is open, or put events of these paid invoices into the inbox and leave them there."""
    if deliver:
        return {"delivered": [receive(invoice) for invoice in deliver]}
    before, last, settled, give_up = lab.commits(), noop.newest_attempt(), 0, time.monotonic() + PATIENCE
    with counted() as statements, Worker() as worker:
        # Another worker may hold the last steps, or one may wait for a retry: an idle drain is no proof of the end.
        while noop.unfinished():
            settled += worker.drain(PATIENCE)
            time.sleep(0.002)
            if time.monotonic() > give_up:
                raise RuntimeError(f"the work does not end: {noop.stuck()}")
    return {
        "settled": settled, "statements": statements.count, "commits": lab.commits() - before, "memory": lab.memory(),
        "calls": noop.calls(last),
    }  # fmt: skip


def receive(invoice: str) -> int:
    """The event of a paid invoice, as its webhook would bring it."""
    event = {
        "id": f"evt_{invoice}", "object": "event", "created": int(time.time()), "type": "invoice.paid",
        "data": {"object": {"id": invoice, "object": "invoice"}},
    }  # fmt: skip
    return inbox.receive(Connection.objects.get(slug="billing"), json.dumps(event).encode()).event_id


if __name__ == "__main__":
    noop.register()
    connection.ensure_connection()
    lab.serve(work, memory=lab.memory())
