"""What a chaos run consists of: a PostgreSQL, a Redis, two vendors' twins and every process of the hub, all of its own."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests

from hub.config import ROOT
from hub.runtime.servers import tethered
from hub.runtime.supervisor import ChildSpec

STOP_GRACE = 5.0
START_TIMEOUT = 30.0


@dataclass
class Member:
    """A process that is started again as soon as it is seen dead."""

    spec: ChildSpec
    log: Path
    process: subprocess.Popen[bytes]
    starts: int = 1


@dataclass
class Crew:
    """The processes under fire. Used from one thread: the kernel ties children to the thread that started them."""

    logs: Path
    members: dict[str, Member] = field(default_factory=dict)

    def start(self, spec: ChildSpec) -> None:
        """Start a process and keep it running from now on."""
        log = self.logs / f"{spec.name}.log"
        self.members[spec.name] = Member(spec, log, _spawn(spec, log))

    def mend(self) -> None:
        """Start again whatever has died."""
        for member in self.members.values():
            if member.process.poll() is not None:
                member.process = _spawn(member.spec, member.log)
                member.starts += 1

    def kill(self, name: str) -> int:
        """SIGKILL to the process alone; its children become orphans, as after an out-of-memory kill."""
        pid = self.members[name].process.pid
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        return pid

    def kill_group(self, name: str) -> int:
        """SIGKILL to the process and everything below it, as when a machine is lost."""
        pid = self.members[name].process.pid
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)
        return pid

    def children(self, name: str) -> list[int]:
        """The pool of a process."""
        parent = self.members[name].process.pid
        listed = Path(f"/proc/{parent}/task/{parent}/children")
        if listed.exists():
            return [int(pid) for pid in listed.read_text().split()]
        every = subprocess.run(["ps", "-A", "-o", "pid=,ppid="], capture_output=True, text=True, check=True).stdout
        return [int(pid) for pid, above in (line.split() for line in every.splitlines()) if int(above) == parent]

    def stop(self) -> None:
        """End everything, politely first."""
        for member in self.members.values():
            with contextlib.suppress(ProcessLookupError):
                member.process.send_signal(member.spec.stop_signal)
        end = time.monotonic() + STOP_GRACE
        for name, member in self.members.items():
            with contextlib.suppress(subprocess.TimeoutExpired):
                member.process.wait(max(0.1, end - time.monotonic()))
            self.kill_group(name)
            member.process.wait()


def _spawn(spec: ChildSpec, log: Path) -> subprocess.Popen[bytes]:
    with log.open("ab") as out:
        return subprocess.Popen(
            tethered(list(spec.command), spec.stop_signal), stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONUNBUFFERED": "1", **spec.env}, cwd=spec.cwd, start_new_session=True,
        )  # fmt: skip


class TwinProcess:
    """A vendor's twin in a process of its own, which nobody kills: it is the witness."""

    def __init__(self, vendor: str, logs: Path) -> None:
        command = [sys.executable, "-m", f"connectors.vendors.{vendor}.fake"]
        with (logs / f"{vendor}-twin.log").open("ab") as errors:
            self.process = subprocess.Popen(
                tethered(command, signal.SIGTERM), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors, cwd=ROOT,
            )  # fmt: skip
        if self.process.stdout is None:
            raise RuntimeError("no pipe")
        said = self.process.stdout.readline().decode().strip()
        self.entry: Mapping[str, Any] = json.loads(said) if said.startswith("{") else {}
        self.url = str(self.entry.get("base_url", said))
        self.session = requests.Session()
        self.session.trust_env = False

    def steer(self, method: str, what: str, **fields: Any) -> Any:
        """A request below /_twin/. Raises requests.RequestException."""
        answer = self.session.request(method, f"{self.url}/_twin/{what}", json=fields or None, timeout=30)
        answer.raise_for_status()
        return answer.json()

    def stop(self) -> None:
        """End it."""
        self.process.terminate()
        self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()


def wait_for_web(base_url: str) -> None:
    """Return when the hub answers. Raises TimeoutError."""
    end = time.monotonic() + START_TIMEOUT
    while time.monotonic() < end:
        with contextlib.suppress(requests.RequestException):
            if requests.get(f"{base_url}/healthz", timeout=2).ok:
                return
        time.sleep(0.2)
    raise TimeoutError("the hub's web process does not answer")
