"""What the peer promises about processes and about machines that cannot have it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from hub.demo.peers import PeerUnavailable, process
from hub.demo.peers.process import Guarded
from hub.demo.peers.tryton import TrytonPeer

# A stubborn command: it and its child ignore TERM, and both hold the write end of a FIFO, which so ends with the last.
STUBBORN = """
import os, signal, sys
signal.signal(signal.SIGTERM, signal.SIG_IGN)
fifo = open(sys.argv[1], "w")
os.fork()
fifo.write("up ")
fifo.flush()
signal.pause()
"""
PARENT = """
import runpy, signal, sys
from pathlib import Path
Guarded = runpy.run_path(sys.argv[1])["Guarded"]
kept = Guarded([sys.executable, "-c", sys.argv[2], sys.argv[3]], log=Path(sys.argv[4]), env={})
signal.pause()
"""


@pytest.fixture
def fifo(tmp_path: Path) -> Path:
    path = tmp_path / "alive"
    os.mkfifo(path)
    return path


@pytest.fixture(autouse=True)
def no_grace(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Copy the guard with a grace of next to nothing, for commands that never obey."""
    source = Path(process.__file__).read_text().replace("GRACE = 5.0", "GRACE = 0.05")
    assert "GRACE = 0.05" in source
    (tmp_path / "process.py").write_text(source)
    monkeypatch.setattr(process, "__file__", str(tmp_path / "process.py"))


def test_stopping_ends_grandchildren_that_ignore_the_signal(fifo: Path, tmp_path: Path) -> None:
    running = Guarded([sys.executable, "-c", STUBBORN, str(fifo)], log=tmp_path / "log", env={})
    with fifo.open() as alive:
        assert alive.read(6) == "up up "
        assert running.is_running
        running.stop()
        assert alive.read() == ""
    assert not running.is_running


def test_a_killed_parent_takes_its_peers_with_it(fifo: Path, tmp_path: Path) -> None:
    guard = str(tmp_path / "process.py")
    arguments = [sys.executable, "-c", PARENT, guard, STUBBORN, str(fifo), str(tmp_path / "log")]
    with subprocess.Popen(arguments) as parent, fifo.open() as alive:
        assert alive.read(6) == "up up "
        parent.send_signal(signal.SIGKILL)
        assert alive.read() == ""


def test_what_cannot_be_installed_says_so(tmp_path: Path) -> None:
    peer = TrytonPeer(tmp_path / "state", os.environ["DATABASE_URL"])
    peer.place.lock = tmp_path / "lock.txt"
    peer.place.lock.write_text("trytond==8.0.12\n")
    with pytest.raises(PeerUnavailable, match=r"(?i)hash"):
        peer.start()


def test_without_a_lock_there_is_nothing_to_install(tmp_path: Path) -> None:
    peer = TrytonPeer(tmp_path / "state", os.environ["DATABASE_URL"])
    peer.place.lock = tmp_path / "missing.txt"
    with pytest.raises(PeerUnavailable, match=r"missing\.txt is missing"):
        peer.start()
