"""Gates: steps that wait for a decision of ours, and judge again whenever they are woken or their time has come."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from hub import flows, inbox
from hub.engine import store
from hub.engine.flow import Effect, Flow, Gate, Keep
from hub.engine.worker import Worker
from tests.engine import vendor
from tests.engine.conftest import elapse, put, to


def drain() -> None:
    """Work what is due now; time stands still."""
    with Worker("test", threads=2) as worker:
        worker.drain(budget=10)


@pytest.fixture
def gate() -> Iterator[dict[str, bool | float]]:
    """A flow whose gate opens as the test says, and then writes to a."""
    said: dict[str, bool | float] = {"opens": False}
    flow = Flow(
        name="gated",
        title="gated",
        steps=(
            Gate("wait", lambda run: said["opens"]),
            Effect("a", "put", to("a"), put("a"), lambda run, written: None, Keep("a test")),
        ),
    )
    flows.register(flow)
    yield said
    flows.forget(flow)


def test_a_gate_waits_until_it_is_woken_and_opens(gate: dict[str, bool | float]) -> None:
    run = inbox.start(flows.current("gated"), subject_kind="thing", subject_id="t1", by="ann")
    drain()
    assert [(s.name, s.state) for s in run.steps.all()] == [("wait", "waiting")]
    store.wake("thing", "t1")
    drain()
    assert run.steps.get().state == "waiting", "woken, it judges again"
    gate["opens"] = True
    drain()
    assert run.steps.get().state == "waiting", "nobody woke it"
    store.wake("thing", "another")
    drain()
    assert run.steps.get().state == "waiting", "another subject's change is not its own"
    store.wake("thing", "t1")
    drain()
    run.refresh_from_db()
    assert run.state == "done" and vendor.BOOKS["a"].documents


def test_a_gate_with_a_time_opens_when_it_has_come(gate: dict[str, bool | float]) -> None:
    gate["opens"] = 600.0
    run = inbox.start(flows.current("gated"), subject_kind="thing", subject_id="t2", by="ann")
    drain()
    assert run.steps.get().state == "ready" and run.steps.get().attempts == 0
    gate["opens"] = True
    drain()
    assert run.steps.get().attempts == 0, "its time has not come"
    elapse(601)
    drain()
    run.refresh_from_db()
    assert run.state == "done"


def test_an_open_gate_leaves_no_row(gate: dict[str, bool | float]) -> None:
    gate["opens"] = True
    run = inbox.start(flows.current("gated"), subject_kind="thing", subject_id="t3", by="ann")
    drain()
    assert [s.name for s in run.steps.all()] == ["a"]
