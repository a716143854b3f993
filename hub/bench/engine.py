"""The engine: steps per second that do nothing, and steps that make one call, beside what a loop by hand and Celery do."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from hub.bench import lab, noop
from hub.bench.lab import Contestant
from hub.bench.report import Row, compared
from hub.engine.flow import Flow

STEPS = len(noop.STEPS)


def run(seconds: float) -> list[Row]:
    """Steps per second, and what one costs."""
    noop.register()
    with ExitStack() as stack:
        enter = stack.enter_context
        sink = enter(Contestant("sink")).ready["base_url"]
        noop.connect(sink)
        hub, second, bare = enter(Contestant("worker")), enter(Contestant("worker")), enter(Contestant("bare", sink))
        enter(
            lab.running(
                "-m", "celery", "-q", "-A", "hub.bench.contenders.tasks", "worker", "--pool=prefork", "--concurrency=2",
                "--without-mingle", "--without-gossip", "--without-heartbeat", BENCH_SINK=sink,
            )
        )  # fmt: skip
        local, calls = Turn(noop.LOCAL), Turn(noop.CALLS)
        idle = lab.turns(seconds, {"hub": local.of("hub", hub), "bare": local.of("bare", bare)})
        call = lab.turns(
            2 * seconds,
            {
                "hub": calls.of("hub", hub), "bare": calls.of("bare", bare),
                "two": calls.of("two", hub, second), "celery": celery,
            },
        )  # fmt: skip
    return [
        compared("engine: local steps, beside a loop by hand", idle["hub"] * STEPS, "1/s", idle["bare"] * STEPS, 0.4),
        compared("engine: steps with a call, beside a loop by hand", call["hub"] * STEPS, "1/s", call["bare"] * STEPS, 0.4),
        compared("engine: steps with a call, 2 processes, beside Celery", call["two"] * STEPS, "1/s", call["celery"] * STEPS, 3),
        Row("engine: SQL statements of a local step", local.each("hub", "statements"), "a step"),
        Row("engine: SQL statements of a step with a call", calls.each("hub", "statements"), "a step"),
        compared("engine: commits of a local step", local.each("hub", "commits"), "a step", local.each("bare", "commits")),
        compared("engine: commits of a step with a call", calls.each("hub", "commits"), "a step", calls.each("bare", "commits")),
        Row("engine: calls of a step with a call", calls.each("hub", "calls"), "a step"),
        Row("engine: memory of a worker at the start", hub.ready["memory"], "MiB"),
        Row("engine: memory of a worker at the end", calls.last["hub"]["memory"], "MiB"),
    ]


class Turn:
    """Turns of contestants at one flow, and what their last ones cost."""

    def __init__(self, flow: Flow) -> None:
        self.flow = flow
        self.last: dict[str, dict[str, Any]] = {}

    def of(self, name: str, *contestants: Contestant) -> Callable[[int], float]:
        """A turn: so many runs, filled beforehand, worked by all of them together."""

        def turn(runs: int) -> float:
            noop.fill(self.flow, runs)
            seconds, said = lab.timed(contestants)
            assert sum(each["settled"] for each in said) == runs * STEPS, said
            self.last[name] = said[0]
            return seconds

        return turn

    def each(self, name: str, what: str) -> float:
        """So many of `what` a step in the last turn."""
        said = self.last[name]
        return float(said[what]) / float(said["settled"])


def celery(runs: int) -> float:
    """Celery's turn. Sending the first tasks is part of it, as somebody has to send each."""
    from hub.bench.contenders.tasks import step

    first = noop.fill(noop.CALLS, runs)
    started = time.perf_counter()
    for pk in first:
        step.delay(pk)
    while noop.unfinished():
        time.sleep(0.02)
    return time.perf_counter() - started
