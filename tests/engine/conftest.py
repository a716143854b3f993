"""The engine on real PostgreSQL, with time that tests move and two vendors in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from django.db import connection as database

from connectors import registry
from connectors.clients import forget_clients
from connectors.models import Connection
from hub import flows, inbox
from hub.engine import crash, pump
from hub.engine.flow import Effect, Flow, Keep, Local, Undo
from hub.engine.worker import Worker
from hub.models import Run, Step
from tests.engine import vendor


@pytest.fixture(autouse=True)
def vendors(transactional_db: None) -> Iterator[dict[str, vendor.Books]]:
    vendor.reset()
    forget_clients()
    for name in vendor.BOOKS:
        registry.register(vendor.connector(name))
        Connection.objects.create(slug=name, connector=f"test-{name}", state="active")
    yield vendor.BOOKS
    crash.disarm()
    for name in vendor.BOOKS:
        registry.CONNECTORS.pop(f"test-{name}", None)


def to(name: str) -> Callable[[Run], Connection]:
    return lambda run: Connection.objects.get(slug=name)


def put(name: str) -> Callable[[Run], vendor.Put]:
    return lambda run: vendor.Put(key=f"{run.subject_id}/{name}")


def take_back(name: str) -> Undo:
    return Undo("take_back", lambda run: vendor.Put(key=f"{run.subject_id}/{name}/undo"), lambda run, written: None)


def note(name: str) -> Callable[[Run, object], None]:
    def apply(run: Run, written: object = None) -> None:
        run.context = {**run.context, name: run.context.get(name, 0) + 1}

    return apply


@pytest.fixture
def story() -> Iterator[Callable[..., Flow]]:
    """Makes and registers the flow local → a → b."""
    made: list[Flow] = []

    def make(name: str = "story", on_refusal: str = "person", undo_a: Undo | Keep | None = None) -> Flow:
        flow = Flow(
            name=name, title=name, on_refusal=on_refusal,  # type: ignore[arg-type]
            steps=(
                Local("think", note("think")),
                Effect("a", "put", to("a"), put("a"), note("a"), undo_a or take_back("a")),
                Effect("b", "put", to("b"), put("b"), note("b"), Keep("the last word")),
            ),
        )  # fmt: skip
        flows.register(flow)
        made.append(flow)
        return flow

    yield make
    flows.forget(*made)


def start(flow: Flow, subject: str = "s1") -> Run:
    return inbox.start(flow, subject_kind="thing", subject_id=subject, by="test")


def elapse(seconds: float) -> None:
    """Let time pass for everything that waits, without waiting."""
    with database.cursor() as cursor:
        cursor.execute(
            "UPDATE hub_step SET due_at = due_at - %s * interval '1 second', lease_until = lease_until - %s * interval '1 second'",
            [seconds, seconds],
        )
        cursor.execute("UPDATE connectors_connection SET not_before = not_before - %s * interval '1 second'", [seconds])


def work(hours: int = 200) -> None:
    """Drain until nothing is open, or only people can help; crashes happen on the way, and time passes."""
    for _ in range(hours):
        try:
            with Worker("test", threads=4) as worker:
                worker.drain(budget=10)
        except crash.SimulatedCrash:
            pass
        able = Step.objects.filter(state__in=["ready", "running", "unknown"]).exclude(connection__state="paused")
        if not able.exclude(run__lane__in=Run.objects.filter(state="parked").values("lane")).exists():
            return
        elapse(600)
        pump.expire_leases()
    raise AssertionError("never idle: " + str(list(Step.objects.values("name", "state", "due_at", "error", "run__state"))))
