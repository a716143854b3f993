"""Named crash points: where tests kill the hub, to prove that nothing is lost or done twice.

Armed in-process by tests (`arm`), or for a real process by TIEOUT_CRASH="point:after_n_passes", which is SIGKILL.
Not armed, a point costs one dictionary lookup.
"""

from __future__ import annotations

import os
import signal

POINTS = (
    "intake_before_insert", "intake_after_insert",
    "after_claim", "before_call", "after_call", "before_settle", "before_settle_commit", "after_settle",
)  # fmt: skip


class SimulatedCrash(BaseException):
    """The process is gone, as far as the code that raised this is concerned."""


_armed: dict[str, int] = {}
_fatal: dict[str, int] = {}

if _setting := os.environ.get("TIEOUT_CRASH"):
    _name, _, _passes = _setting.partition(":")
    _fatal[_name] = int(_passes or 0)


def arm(name: str, times: int = 1) -> None:
    """Crash at the next `times` passes of a point."""
    if name not in POINTS:
        raise LookupError(name)
    _armed[name] = _armed.get(name, 0) + times


def disarm() -> None:
    """Forget everything armed in-process."""
    _armed.clear()


def point(name: str) -> None:
    """A place where the power may go."""
    if _armed.get(name):
        _armed[name] -= 1
        raise SimulatedCrash(name)
    if name in _fatal:
        _fatal[name] -= 1
        if _fatal[name] < 0:
            os.kill(os.getpid(), signal.SIGKILL)
