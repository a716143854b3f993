"""Where a peer lives: a folder under the state directory, with a virtual environment of its own in it."""

from __future__ import annotations

import fcntl
import hashlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from hub.config import ROOT
from hub.demo.peers import PeerUnavailable

OURS = ("PYTHON", "DJANGO_", "VIRTUAL_ENV", "TRYTON", "TRACKER_HOME", "ROUNDUP")
"""Beginnings of variables that would make a peer read the hub's packages or settings."""


class Place:
    """The folder of one kind of peer. What several processes share in it is made by one at a time (`alone`)."""

    def __init__(self, state_dir: Path, slug: str, title: str, log: Callable[[str], None]) -> None:
        self.home = state_dir.resolve() / "peers" / slug
        self.venv = self.home / "venv"
        self.lock = ROOT / "requirements" / f"peer-{slug}.txt"
        self.title, self.log = title, log

    @property
    def series(self) -> str:
        """Names what the lock file says: another lock file is another environment. Raises PeerUnavailable without one."""
        if not self.lock.exists():
            raise PeerUnavailable(f"{self.title}: {self.lock.name} is missing")
        return hashlib.sha256(self.lock.read_bytes()).hexdigest()[:12]

    @contextmanager
    def alone(self) -> Iterator[None]:
        """One process at a time; the others find done what it did."""
        self.home.mkdir(parents=True, exist_ok=True)
        with (self.home / "lock").open("w") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield

    def binary(self, name: str) -> str:
        """A program of the peer's environment."""
        return str(self.venv / "bin" / name)

    def install(self) -> None:
        """Install the locked packages, unless they are. Inside `alone`. Raises PeerUnavailable."""
        wanted, stamp = self.series, self.venv / ".lock"
        if stamp.exists() and stamp.read_text() == wanted:
            return
        self.log(f"installing {self.title} into an environment of its own")
        self.run(sys.executable, "-m", "venv", "--clear", str(self.venv))
        pip = (self.binary("pip"), "install", "--quiet", "--disable-pip-version-check", "--no-input")
        self.run(*pip, "--require-hashes", "--requirement", str(self.lock))
        stamp.write_text(wanted)

    def run(self, *command: str, **extra: str) -> None:
        """Run a command to its end, with `extra` in its environment. Raises PeerUnavailable with what it said."""
        done = subprocess.run(command, env=environment(**extra), capture_output=True, text=True, timeout=900)
        if done.returncode:
            said = (done.stderr or done.stdout).strip()[-800:]
            raise PeerUnavailable(f"{self.title}: {Path(command[0]).name} failed: {said}")


def environment(**extra: str) -> dict[str, str]:
    """The variables a peer is started with: ours, without those that are about the hub."""
    return {**{name: value for name, value in os.environ.items() if not name.startswith(OURS)}, **extra}
