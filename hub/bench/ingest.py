"""Intake: signed Stripe invoice events through the real door, beside the least a Django view can do."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

from django.db import connection
from django.test import Client

from connectors.models import Connection
from connectors.sdk.signatures import sign_stripe
from hub.bench import lab, load
from hub.bench.contenders import plain
from hub.bench.counting import counted
from hub.bench.report import Row, bounded, compared
from hub.runtime.servers import free_port

SIZE = 8600
"""Bytes of a usual invoice event."""
SLUG, SECRET = "billing", "whsec_bench"
PATH = f"/ingest/{SLUG}/"
WITHIN = 250.0
"""Milliseconds at the 99th percentile; a vendor gives up after seconds."""


def run(seconds: float) -> list[Row]:
    """Requests per second of both, latency at 80 % of the hub's peak, and what one delivery costs."""
    source = Connection(slug=SLUG, connector="stripe", state="active")
    source.set_webhook_secret(SECRET)
    source.save()
    with connection.cursor() as cursor:
        cursor.execute(plain.TABLE)
    deliveries = Deliveries()
    statements, commits = _cost_of_one(deliveries)
    with ExitStack() as stack:
        hub, raw = (stack.enter_context(Server(app)) for app in ("hub.wsgi", "hub.bench.contenders.plain"))
        before = hub.memory()
        peaks: dict[str, load.Load] = {}

        def peak(name: str, server: Server) -> Callable[[int], float]:
            def turn(count: int) -> float:
                peaks[name] = load.closed(server.port, deliveries.take(count))
                assert peaks[name].accepted == count, f"{name} refused deliveries"
                return peaks[name].seconds

            return turn

        rates = lab.turns(2 * seconds, {"hub": peak("hub", hub), "raw": peak("raw", raw)}, few=200)
        rate = 0.8 * rates["hub"]
        calm = {
            name: load.steady(server.port, deliveries.take(round(rate * seconds)), rate)
            for name, server in (("hub", hub), ("raw", raw))
        }
        after = hub.memory()
    return [
        compared("ingest: webhooks accepted", rates["hub"], "1/s", rates["raw"], 0.6),
        compared("ingest: p50 at the peak", peaks["hub"].percentile(0.5), "ms", peaks["raw"].percentile(0.5)),
        compared("ingest: p99 at the peak", peaks["hub"].percentile(0.99), "ms", peaks["raw"].percentile(0.99)),
        compared("ingest: p50 at 80 % of the peak", calm["hub"].percentile(0.5), "ms", calm["raw"].percentile(0.5)),
        bounded("ingest: p99 at 80 % of the peak", calm["hub"].percentile(0.99), "ms", WITHIN, calm["raw"].percentile(0.99)),
        compared("ingest: SQL statements", statements, "a webhook", 1),
        compared("ingest: commits", commits, "a webhook", 1),
        Row("ingest: memory of the web workers at the start", before, "MiB"),
        Row("ingest: memory of the web workers at the end", after, "MiB"),
    ]


class Server:
    """gunicorn with the hub's own settings, serving an application."""

    def __init__(self, app: str) -> None:
        self.port = free_port()
        self.app = app
        self._stack = ExitStack()

    def __enter__(self) -> Server:
        self.process = self._stack.enter_context(
            lab.running(
                "-m", "gunicorn", "-c", "python:hub.runtime.web", f"{self.app}:application",
                TIEOUT_BIND=f"127.0.0.1:{self.port}", BENCH_SECRET=SECRET,
            )
        )  # fmt: skip
        give_up = time.monotonic() + 30
        while time.monotonic() < give_up:
            if load.answers(self.port):
                return self
            time.sleep(0.1)
        self._stack.close()
        raise RuntimeError(f"{self.app} did not start")

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def memory(self) -> float:
        """MiB of all workers together."""
        return sum(lab.memory(pid) for pid in lab.children(self.process.pid))


class Deliveries:
    """Signed deliveries, each with an event and an invoice of its own."""

    def __init__(self) -> None:
        self.numbers: Iterator[int] = itertools.count(1)

    def take(self, count: int) -> list[bytes]:
        """So many requests as they go on the wire."""
        return [load.post(PATH, body, **headers) for body, headers in (self.one() for _ in range(count))]

    def one(self) -> tuple[bytes, dict[str, str]]:
        """The next body and its headers."""
        number = next(self.numbers)
        body = TEMPLATE.replace(MARK, f"{number:012d}".encode())
        return body, {"Stripe_Signature": sign_stripe(body, SECRET, int(time.time())), "X_Event_Id": f"evt_{number:012d}"}


def _cost_of_one(deliveries: Deliveries, count: int = 100) -> tuple[float, float]:
    """Statements and commits a delivery makes, counted in this process."""
    client = Client(SERVER_NAME="127.0.0.1")
    bodies = [deliveries.one() for _ in range(count)]
    _post(client, *deliveries.one())
    before = lab.commits()
    with counted() as statements:
        for body, headers in bodies:
            _post(client, body, headers)
    return statements.count / count, (lab.commits() - before - 1) / count


def _post(client: Client, body: bytes, headers: dict[str, str]) -> None:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    answer = client.post(PATH, body, content_type="application/json", headers=named)
    assert answer.status_code == 202, answer.content


MARK = b"000000000000"


def invoice_event() -> bytes:
    """An `invoice.finalized` with four lines, as Stripe writes it, `SIZE` bytes long."""
    mark = MARK.decode()
    line: dict[str, Any] = {
        "object": "line_item", "amount": 4900, "currency": "usd", "description": "1 × Team (at $49.00 / month)",
        "discountable": True, "discounts": [], "invoice": f"in_{mark}", "livemode": False, "metadata": {"region": "emea"},
        "parent": {
            "type": "subscription_item_details",
            "subscription_item_details": {"subscription": f"sub_{mark}", "subscription_item": f"si_{mark}", "proration": False},
        },
        "period": {"start": 1764547200, "end": 1767225600},
        "pricing": {"type": "price_details", "price_details": {"price": "price_team", "product": "prod_team"}},
        "quantity": 1, "taxes": [{"amount": 980, "tax_behavior": "exclusive", "taxable_amount": 4900, "type": "tax_rate_details"}],
    }  # fmt: skip
    invoice = {
        "id": f"in_{mark}", "object": "invoice", "account_country": "US", "account_name": "Example Inc", "amount_due": 23520,
        "amount_paid": 0, "amount_remaining": 23520, "attempt_count": 0, "attempted": False, "auto_advance": True,
        "billing_reason": "subscription_cycle", "collection_method": "charge_automatically", "created": 1764547200,
        "currency": "usd",
        "customer": f"cus_{mark}", "customer_address": {"city": "Berlin", "country": "DE", "line1": "Weg 1"},
        "customer_email": "billing@customer.example", "customer_name": "Customer GmbH", "default_tax_rates": [], "discounts": [],
        "hosted_invoice_url": f"https://invoice.example/i/{mark}", "invoice_pdf": f"https://pay.example/{mark}/pdf",
        "lines": {"object": "list", "data": [{"id": f"il_{n}_{mark}", **line} for n in range(4)], "has_more": False},
        "livemode": False, "metadata": {}, "number": f"INV-{mark}", "period_end": 1764547200, "period_start": 1761955200,
        "status": "open", "subtotal": 19600, "total": 23520, "footer": "",
    }  # fmt: skip
    event: dict[str, Any] = {
        "id": f"evt_{mark}", "object": "event", "api_version": "2025-03-31.basil", "created": 1764547201,
        "data": {"object": invoice}, "livemode": False, "pending_webhooks": 1,
        "request": {"id": None, "idempotency_key": None}, "type": "invoice.finalized",
    }  # fmt: skip
    invoice["footer"] = "x" * (SIZE - len(json.dumps(event, indent=2)))
    return json.dumps(event, indent=2).encode()


TEMPLATE = invoice_event()
