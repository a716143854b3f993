"""How many SQL statements work may take. A change that makes one of these grow has to say why here.

Transactions (BEGIN, COMMIT) and savepoints are not counted: only what Django was asked to execute.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection as database
from django.test import Client
from django.utils import timezone

from connectors import registry
from connectors.clients import forget_clients
from connectors.models import Connection
from connectors.sdk.signatures import sign_stripe
from hub import flows
from hub.bench import ingest, noop, workflow
from hub.bench.contenders import worker as contender
from hub.engine import store
from hub.engine.perform import Outcome
from hub.engine.settle import settle
from hub.models import Run

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def bench() -> Iterator[None]:
    forget_clients()
    noop.register()
    yield
    flows.forget(noop.LOCAL, noop.CALLS)
    registry.CONNECTORS.pop(noop.CONNECTOR.slug, None)


@contextmanager
def statements() -> Iterator[list[str]]:
    """What is executed in the block, savepoints aside."""
    found: list[str] = []

    def keep(execute: Callable[..., Any], sql: str, params: Any, many: bool, context: dict[str, Any]) -> Any:
        if "SAVEPOINT" not in sql:
            found.append(" ".join(sql.split())[:200])
        return execute(sql, params, many, context)

    with database.execute_wrapper(keep):
        yield found


@pytest.mark.parametrize("runs", [1, 50])
def test_a_batch_is_claimed_and_settled_in_so_many_statements_whatever_its_size(runs: int) -> None:
    noop.connect("http://127.0.0.1:9")
    noop.fill(noop.LOCAL, runs)
    with statements() as claiming:
        claimed = store.claim(store.LOCAL, 50, "test")
    assert len(claimed) == runs
    assert len(claiming) == 4, claiming  # candidates, the steps with their runs, where these came from, the claim
    with statements() as settling:
        settle([(each, Outcome("done")) for each in claimed])
    # no healing meanwhile; still ours?; attempts, changes, next steps
    assert len(settling) == 5, settling


def test_the_last_steps_of_a_batch_end_their_runs_in_one_statement() -> None:
    noop.connect("http://127.0.0.1:9")
    noop.fill(noop.LOCAL, 20)
    for _ in noop.STEPS[:-1]:
        settle([(each, Outcome("done")) for each in store.claim(store.LOCAL, 50, "test")])
    claimed = store.claim(store.LOCAL, 50, "test")
    with statements() as settling:
        settle([(each, Outcome("done")) for each in claimed])
    assert len(settling) == 5, settling
    assert Run.objects.filter(state="done", ended_at__isnull=False).count() == 20


def test_claiming_for_a_connection_adds_its_lock_and_its_room() -> None:
    sink = noop.connect("http://127.0.0.1:9")
    noop.fill(noop.CALLS, 10)
    with statements() as claiming:
        assert len(store.claim(sink, 50, "test")) == 10
    assert len(claiming) == 6, claiming


def test_a_webhook_is_stored_with_its_run_and_first_step_in_one_statement(client: Client) -> None:
    source = Connection(slug=ingest.SLUG, connector="stripe", state="active")
    source.set_webhook_secret(ingest.SECRET)
    source.save()
    deliveries = ingest.Deliveries()
    counts = []
    for _ in range(2):
        body, headers = deliveries.one()
        with statements() as storing:
            answer = client.post(
                ingest.PATH, body, content_type="application/json",
                headers={name.replace("_", "-"): value for name, value in headers.items()},
            )  # fmt: skip
        assert answer.status_code == 202
        counts.append(len(storing))
    assert counts == [2, 1]  # the first one reads the door
    assert Run.objects.count() == 2


def test_a_door_that_was_changed_or_closed_elsewhere_is_seen(client: Client) -> None:
    source = Connection(slug=ingest.SLUG, connector="stripe", state="active")
    source.set_webhook_secret(ingest.SECRET)
    source.save()

    def post(secret: str) -> int:
        body, _ = deliveries.one()
        signed = sign_stripe(body, secret, int(timezone.now().timestamp()))
        return client.post(ingest.PATH, body, content_type="application/json", headers={"Stripe-Signature": signed}).status_code

    deliveries = ingest.Deliveries()
    assert post(ingest.SECRET) == 202
    source.set_webhook_secret("whsec_newer", overlap=timedelta(hours=1))
    # Not by save(), whose signal only this process would hear.
    Connection.objects.filter(pk=source.pk).update(sealed_webhook_secrets=source.sealed_webhook_secrets)
    assert post("whsec_newer") == 202
    assert post(ingest.SECRET) == 202
    assert post("whsec_wrong") == 401
    source.revoke()
    source.save()
    assert post("whsec_newer") == 404


MOST = 150
"""Statements of one order_to_cash run of ten, from the event of a paid invoice to the settled one, six steps."""


def test_an_order_to_cash_run_takes_no_more_statements_than_it_did() -> None:
    """Answers that come one by one are settled one by one: on a busy machine some of three tens are still settled together."""
    with ExitStack() as stack:
        company = workflow.found(stack)
        contender.work(deliver=[company.shop.sell()])
        contender.work()  # opens clients, reads what they keep
        tens: list[list[str]] = []
        while len(tens) < 3 and not any(len(ten) / 10 <= MOST for ten in tens):
            with statements() as executed:
                contender.work(deliver=[company.shop.sell() for _ in range(10)])
                contender.work()
            tens.append(executed)
    assert Run.objects.filter(state="done").count() == 1 + 10 * len(tens)
    least = min(tens, key=len)
    assert len(least) / 10 <= MOST, f"{len(least) / 10} a run:\n" + "\n".join(least)
