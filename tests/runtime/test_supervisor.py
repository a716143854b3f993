"""One supervisor for all processes: it restarts what dies and leaves nothing behind."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from hub.config import ROOT
from hub.runtime import supervisor as module
from hub.runtime.supervisor import ChildSpec, Supervisor
from tests.runtime.support import eventually, is_running

PY = sys.executable


def script(code: str) -> list[str]:
    return [PY, "-c", code]


def run_until(supervisor: Supervisor, *enough: str, out: io.StringIO, timeout: float = 20) -> None:
    """Supervise until all of `enough` is in the log."""
    end = time.monotonic() + timeout

    def has_all() -> bool:
        return all(each in out.getvalue() for each in enough)

    supervisor._tick = lambda: supervisor.finish(0) if has_all() or time.monotonic() > end else None
    supervisor.run()
    assert has_all(), out.getvalue()


def test_supervisor_restarts_a_dead_child(tmp_path: Path) -> None:
    out, counter = io.StringIO(), tmp_path / "starts"
    code = f"import time; f = open({str(counter)!r}, 'a+'); f.write('x'); f.seek(0); n = len(f.read()); f.close()\n"
    code += "print('start', n, flush=True)\nif n > 1: time.sleep(60)\nraise SystemExit(3)"
    run_until(Supervisor([ChildSpec("frail", script(code))], out=out), "start 2", out=out)
    assert "frail died (exit code 3); starting it again in 0.5 s" in out.getvalue()


def test_a_child_that_keeps_dying_is_started_less_and_less_often() -> None:
    out = io.StringIO()
    run_until(Supervisor([ChildSpec("hopeless", script("raise SystemExit(1)"))], out=out), "again in 2 s", out=out)
    assert [word for word in ("0.5 s", "1 s", "2 s") if f"again in {word}" in out.getvalue()] == ["0.5 s", "1 s", "2 s"]


def test_a_child_that_may_end_is_not_started_again() -> None:
    out = io.StringIO()
    run_until(Supervisor([ChildSpec("once", script("print('done')"), restart=False)], out=out), "once has ended", out=out)
    assert out.getvalue().count("once   │ done") == 1


def test_every_line_carries_the_name_of_who_wrote_it() -> None:
    out = io.StringIO()
    specs = [ChildSpec(name, script(f"print('from {name}')"), restart=False) for name in ("web", "worker")]
    supervisor = Supervisor(specs, out=out)
    run_until(supervisor, "worker has ended", "web has ended", out=out)
    assert "web    │ from web\n" in out.getvalue()
    assert "worker │ from worker\n" in out.getvalue()


STUBBORN = """
import os, signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
deaf = "import signal, time; signal.signal(15, signal.SIG_IGN); time.sleep(60)"
child = subprocess.Popen([sys.executable, "-c", deaf])
print("pids", os.getpid(), child.pid, flush=True)
time.sleep(60)
"""


def test_stop_leaves_no_child() -> None:
    """Not even one that ignores the wish to stop, nor its own children."""
    out = io.StringIO()
    polite = ChildSpec("polite", script("import time; time.sleep(60)"))
    supervisor = Supervisor([ChildSpec("stubborn", script(STUBBORN), grace=0.5), polite], out=out)
    run_until(supervisor, "pids", out=out)
    line = next(line for line in out.getvalue().splitlines() if "pids" in line)
    pids = [int(word) for word in line.split()[-2:]]
    assert eventually(lambda: not any(is_running(pid) for pid in pids))
    assert all(child.process is None for child in supervisor.children)
    assert "killing it" in out.getvalue()


@pytest.mark.parametrize("wish", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_run_in_order(wish: signal.Signals) -> None:
    out = io.StringIO()
    supervisor = Supervisor([ChildSpec("any", script("import time; print('up', flush=True); time.sleep(60)"))], out=out)
    threading.Timer(1.0, os.kill, (os.getpid(), wish)).start()
    before = signal.getsignal(wish)
    assert supervisor.run() == 0
    assert "stopping any" in out.getvalue()
    assert signal.getsignal(wish) == before


@pytest.mark.skipif(sys.platform != "linux", reason="the tie to the parent is the kernel's")
def test_children_die_with_a_killed_supervisor(tmp_path: Path) -> None:
    noted = tmp_path / "pid"
    child = f"import os, time; open({str(noted)!r}, 'w').write(str(os.getpid())); time.sleep(60)"
    code = "import sys; from hub.runtime.supervisor import *\n"
    code += "Supervisor([ChildSpec('c', [sys.executable, '-c', sys.argv[1]])]).run()"
    parent = subprocess.Popen([PY, "-c", code, child], cwd=ROOT, stdout=subprocess.DEVNULL)
    assert eventually(lambda: noted.exists() and noted.read_text())
    parent.kill()
    parent.wait()
    assert eventually(lambda: not is_running(int(noted.read_text())))


def test_a_steady_child_is_forgiven(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "STEADY", 0.0)
    out = io.StringIO()
    supervisor = Supervisor([ChildSpec("now-and-then", script("raise SystemExit(1)"))], out=out)
    end = time.monotonic() + 4
    supervisor._tick = lambda: supervisor.finish(0) if time.monotonic() > end else None
    supervisor.run()
    assert out.getvalue().count("again in 0.5 s") >= 2
    assert "again in 1 s" not in out.getvalue()
