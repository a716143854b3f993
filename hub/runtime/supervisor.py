"""Runs the hub's processes as one: one log, restart with back-off, and an end that leaves nothing behind.

    supervisor = Supervisor([ChildSpec("web", [...]), ChildSpec("worker", [...])])
    code = supervisor.run()          # until SIGINT, SIGTERM or supervisor.finish(code)

Every child leads a process group of its own and is tied to this process (`tether`). It is asked to stop with its
`stop_signal`, given `grace` seconds, and then its whole group is killed. One thread does it all, because the kernel
ties a child to the thread that started it.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path
from types import FrameType
from typing import TextIO

from hub.runtime.servers import tethered

BACK_OFF = (0.5, 1, 2, 4, 8, 15, 30)
STEADY = 30.0
"""A child that has lived so many seconds begins again with the shortest back-off."""
TICK = 0.2
COLOURS = ("36", "32", "35", "33", "34", "96", "92", "95")


@dataclass(frozen=True)
class ChildSpec:
    """A process to keep running. `restart=False`: it may end, and that is no accident."""

    name: str
    command: Sequence[str]
    env: Mapping[str, str] = field(default_factory=dict)
    cwd: Path | None = None
    stop_signal: signal.Signals = signal.SIGTERM
    grace: float = 10.0
    restart: bool = True


@dataclass
class Child:
    spec: ChildSpec
    process: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0
    failures: int = 0
    start_at: float | None = 0.0
    """When to start it (monotonic); None while it runs or is not to be started again."""
    rest: bytes = b""

    @property
    def alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def start(self) -> None:
        self.process = subprocess.Popen(
            tethered(list(self.spec.command), self.spec.stop_signal),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONUNBUFFERED": "1", **self.spec.env},
            cwd=self.spec.cwd,
            start_new_session=True,
        )
        assert self.process.stdout is not None
        os.set_blocking(self.process.stdout.fileno(), False)
        self.started_at, self.start_at = time.monotonic(), None

    def read(self) -> Iterator[str]:
        """The complete lines it has written since the last call."""
        if self.process is None or self.process.stdout is None:
            return
        with contextlib.suppress(BlockingIOError, OSError):
            while piece := os.read(self.process.stdout.fileno(), 65536):
                *lines, self.rest = (self.rest + piece).split(b"\n")
                yield from (line.decode(errors="replace") for line in lines)

    def kill_group(self) -> None:
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.process.pid, signal.SIGKILL)


class Supervisor:
    """Keeps the children of `specs` running. `tick` is called about five times a second, for the caller's own watch."""

    def __init__(self, specs: Sequence[ChildSpec], *, tick: Callable[[], None] = lambda: None, out: TextIO = sys.stdout) -> None:
        self.children = [Child(spec) for spec in specs]
        self._tick = tick
        self._out = out
        self._width = max(len(name) for name in ["tieout", *(spec.name for spec in specs)])
        self._colour = dict(zip((spec.name for spec in specs), cycle(COLOURS), strict=False))
        self._selector = selectors.DefaultSelector()
        self._code: int | None = None
        self._interrupts = 0

    def finish(self, code: int) -> None:
        """End the run with `code`; may be called from any thread."""
        self._code = code

    def say(self, text: str, name: str = "tieout") -> None:
        for line in text.splitlines() or [""]:
            mark = f"{name:<{self._width}} │"
            if self._out.isatty():
                mark = f"\033[{self._colour.get(name, '1')}m{mark}\033[0m"
            print(f"{mark} {line}", file=self._out, flush=True)

    def run(self) -> int:
        """Supervise until told to stop; return 0 after a signal, else what `finish` was given."""
        before = {wish: signal.signal(wish, self._interrupt) for wish in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
        try:
            while self._code is None and not self._interrupts:
                self._start_due()
                self._relay(TICK)
                self._notice_deaths()
                self._tick()
            return self._code or 0
        finally:
            try:
                self._stop_all()
            finally:
                for wish, handler in before.items():
                    signal.signal(wish, handler)

    def _interrupt(self, _signum: int, _frame: FrameType | None) -> None:
        self._interrupts += 1

    def _start_due(self) -> None:
        for child in self.children:
            if child.start_at is not None and child.start_at <= time.monotonic():
                child.start()
                assert child.process is not None
                assert child.process.stdout is not None
                self._selector.register(child.process.stdout, selectors.EVENT_READ, child)

    def _relay(self, timeout: float) -> None:
        if not self._selector.get_map():
            time.sleep(timeout)
        for key, _ in self._selector.select(timeout):
            child: Child = key.data
            for line in child.read():
                self.say(line, child.spec.name)

    def _notice_deaths(self) -> None:
        for child in self.children:
            if child.process is None or child.process.poll() is None:
                continue
            code, lived = child.process.returncode, time.monotonic() - child.started_at
            self._bury(child)
            if not child.spec.restart:
                self.say(f"{child.spec.name} has ended ({_reason(code)})")
                continue
            child.failures = 0 if lived > STEADY else child.failures
            pause = BACK_OFF[min(child.failures, len(BACK_OFF) - 1)]
            child.failures += 1
            child.start_at = time.monotonic() + pause
            self.say(f"{child.spec.name} died ({_reason(code)}); starting it again in {pause:g} s")

    def _bury(self, child: Child) -> None:
        """Read its last words, end what is left of its group, and let go of it."""
        if child.process is None or child.process.stdout is None:
            return
        child.kill_group()
        for line in child.read():
            self.say(line, child.spec.name)
        if child.rest:
            self.say(child.rest.decode(errors="replace"), child.spec.name)
            child.rest = b""
        self._selector.unregister(child.process.stdout)
        child.process.stdout.close()
        child.process.wait()
        child.process = None

    def _stop_all(self) -> None:
        """Ask every child, wait within its grace (a second Ctrl-C ends the waiting), kill what is left."""
        asked, interrupts = time.monotonic(), self._interrupts
        for child in self.children:
            child.start_at = None
            if child.process is not None and child.alive:
                self.say(f"stopping {child.spec.name}")
                child.process.send_signal(child.spec.stop_signal)
        while any(child.process for child in self.children):
            self._relay(TICK / 4)
            for child in self.children:
                late = time.monotonic() - asked > child.spec.grace or self._interrupts > interrupts
                if child.alive and late:
                    self.say(f"{child.spec.name} did not stop in time; killing it")
                    child.kill_group()
                    assert child.process is not None
                    child.process.wait()
                if child.process is not None and not child.alive:
                    self._bury(child)
        self._selector.close()


def _reason(code: int) -> str:
    return f"exit code {code}" if code >= 0 else f"killed by {signal.Signals(-code).name}"
