"""Child processes that end when we end, however we end.

A guard stands between us and the command: it holds the reading end of a pipe whose other end only we hold, so
that even our SIGKILL reaches it as an end of file, and it stops the command's whole process group. Unlike
PR_SET_PDEATHSIG this also reaches grandchildren (Tryton's worker leaves its pool behind) and works on macOS.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

GRACE = 5.0
"""Seconds between asking a command to stop and killing it."""


class Guarded:
    """A command running under a guard; its output is appended to `log`."""

    def __init__(self, command: Sequence[str], *, log: Path, env: Mapping[str, str]) -> None:
        self.log = log
        with log.open("ab") as output:
            self._guard = subprocess.Popen(
                [sys.executable, "-I", __file__, *command],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
                env=dict(env),
                start_new_session=True,
            )

    @property
    def is_running(self) -> bool:
        """False once the command has ended, for whatever reason."""
        return self._guard.poll() is None

    def ask_to_stop(self) -> None:
        """Begin to end the command and everything it started."""
        if self._guard.stdin is not None:
            with suppress(BrokenPipeError):
                self._guard.stdin.close()

    def stop(self) -> None:
        """End the command and everything it started; returns when they are gone."""
        self.ask_to_stop()
        self._guard.wait()


def free_port() -> int:
    """A loopback port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _guard(command: Sequence[str]) -> int:
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)

    def end_with_the_pipe() -> None:
        while os.read(0, 1024):
            pass
        _signal_group(child.pid, signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            child.wait(GRACE)
        _signal_group(child.pid, signal.SIGKILL)

    threading.Thread(target=end_with_the_pipe, daemon=True).start()
    status = child.wait()
    _signal_group(child.pid, signal.SIGKILL)
    return status


def _signal_group(group: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


if __name__ == "__main__":
    sys.exit(_guard(sys.argv[1:]))
