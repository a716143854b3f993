"""A hub with work to do, and the real processes that do it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest
from django.db import connection as database

from canonical.models import LegalEntity
from connectors import registry
from connectors.models import Connection
from hub import inbox
from hub.config import ROOT
from hub.models import Run

PATIENCE = 60.0


@pytest.fixture
def billing(transactional_db: None) -> Iterator[Connection]:
    """A connection to a Stripe twin in a process of its own, with one customer to be read."""
    registry.load()
    command = [sys.executable, "-m", "connectors.vendors.stripe.fake"]
    twin = subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT)
    assert twin.stdout is not None
    url = twin.stdout.readline().decode().strip()
    entity = LegalEntity.objects.create(code="acme", name="Acme", currency="EUR")
    connection = Connection(slug="stripe", connector="stripe", legal_entity=entity, state="active", settings={"base_url": url})
    connection.set_credentials({"api_key": "sk_test_chaos"})
    connection.save()
    yield connection
    twin.kill()
    twin.wait()
    twin.stdout.close()


def customers_arrive(connection: Connection, count: int) -> None:
    """As many events as if that many customers had been created; each demands a read and a recording."""
    import requests

    for _ in range(count):
        made = requests.post(
            f"{connection.settings['base_url']}/v1/customers", data={"name": "Ann"}, auth=("sk_test_chaos", ""), timeout=10
        ).json()
        event = {"id": f"evt_{made['id']}", "object": "event", "type": "customer.created", "created": 1, "data": {"object": made}}
        inbox.receive(connection, json.dumps(event).encode())


def until(true: Callable[[], bool], what: str) -> None:
    """Poll for an effect of another process."""
    end = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < end, f"{what} did not happen within {PATIENCE} s"
        time.sleep(0.05)


def done() -> int:
    """How many runs have ended well."""
    return Run.objects.filter(state="done").count()


@contextmanager
def process(child_env: dict[str, str], *command: str, **env: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process of the hub on the test's database and broker; gone with its pool at the end."""
    started = subprocess.Popen(
        [sys.executable, *command], env={**child_env, **env}, cwd=ROOT, start_new_session=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        yield started
    finally:
        with suppress(ProcessLookupError):
            os.killpg(started.pid, signal.SIGKILL)
        started.wait()
        database.close()


WORKER = (
    "-m", "celery", "-q", "-A", "hub.celery", "worker", "--pool=prefork", "--concurrency=2", "--without-mingle", "--without-gossip",
)  # fmt: skip
