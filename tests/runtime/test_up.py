"""`manage.py up` from an empty directory: the whole hub comes up, heals, and goes away completely."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from hub.config import ROOT
from hub.runtime.servers import free_port
from tests.runtime.support import eventually, processes_of

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


def environment(state_dir: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TIEOUT_")}
    del kept["DATABASE_URL"], kept["REDIS_URL"]
    return kept | {"TIEOUT_STATE_DIR": str(state_dir), "TIEOUT_WORKERS": "1", "TIEOUT_WEB_WORKERS": "1"}


def children_of(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_up_comes_up_heals_and_leaves_nothing(place: Path) -> None:
    port, log = free_port(), place / "up.log"
    command = [sys.executable, "manage.py", "up", "--port", str(port)]
    with (
        log.open("w") as out,
        subprocess.Popen(command, cwd=ROOT, env=environment(place), stdout=out, stderr=out) as up,
    ):
        try:
            assert eventually(lambda: "Tieout is up" in log.read_text(), 90), log.read_text()
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=10) as answer:
                assert answer.status == 200
            family = children_of(up.pid)
            assert len(family) == 6, "PostgreSQL, Redis, web, worker, beat, work"

            beat = next(pid for pid in processes_of("\0beat\0") if pid in family)
            os.kill(beat, signal.SIGKILL)
            assert eventually(lambda: "beat died (killed by SIGKILL)" in log.read_text())
            postgres = next(pid for pid in processes_of(str(place / "postgres")) if pid in family)
            os.kill(postgres, signal.SIGKILL)
            assert eventually(lambda: "postgres had died and is running again" in log.read_text())
            assert eventually(lambda: len(children_of(up.pid)) == 6)
            family = sorted({*family, *children_of(up.pid)})
        finally:
            up.send_signal(signal.SIGTERM)
        assert up.wait(60) == 0, log.read_text()
    assert not [pid for pid in family if Path(f"/proc/{pid}").exists()]
    assert not processes_of(str(place))


def test_a_taken_port_is_said_before_anything_starts(place: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", LISTENER], stdout=subprocess.PIPE, text=True) as listener:
        assert listener.stdout is not None
        port = listener.stdout.readline().strip()
        refused = subprocess.run(
            [sys.executable, "manage.py", "up", "--port", port],
            cwd=ROOT, env=environment(place), capture_output=True, text=True, check=False,
        )  # fmt: skip
        listener.kill()
    assert refused.returncode == 1
    assert f"port {port} is in use" in refused.stderr
    assert not processes_of(str(place))


LISTENER = """
import socket, time
s = socket.create_server(("127.0.0.1", 0))
print(s.getsockname()[1], flush=True)
time.sleep(120)
"""
