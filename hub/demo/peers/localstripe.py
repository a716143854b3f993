"""A real localstripe 1.15: the Stripe API as others understood it, installed and served on loopback by this module.

It has the API's shape of 2017 (plans, tax on the invoice), sends webhooks once, one second late, with real signatures,
and lists events oldest first. It lacks prices, credit notes, usage and idempotency: our own twin has those.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import requests

from hub.demo.peers import PeerUnavailable
from hub.demo.peers.process import Guarded, free_port

LOCK = Path(__file__).resolve().parents[3] / "requirements" / "peer-localstripe.txt"
API_KEY = "sk_test_not_a_real_key"
"""localstripe accepts every key; this one is visibly none."""
START_TIMEOUT = 30.0

# Its own command line listens on every interface, and keeps its state in a file in /tmp that all its runs share.
SERVER = """\
import sys
from aiohttp import web
from localstripe import resources, server
resources.Store.dump_to_disk = lambda store: None
web.run_app(server.app, host="127.0.0.1", port=int(sys.argv[1]), access_log=None, print=None)
"""


@dataclass(frozen=True, slots=True)
class LocalstripeInfo:
    """A running server and the key to use with it."""

    base_url: str
    api_key: str


class LocalstripePeer:
    """One server with its state in memory. `log` receives progress for people."""

    def __init__(self, state_dir: Path, port: int | None = None, *, log: Callable[[str], None] = lambda line: None) -> None:
        self.home = state_dir.resolve() / "peers" / "localstripe"
        self.venv = self.home / "venv"
        self.port = port or free_port()
        self.log = log
        self._server: Guarded | None = None

    def start(self) -> LocalstripeInfo:
        """Install, where that is still to be done, and serve. Raises PeerUnavailable with the reason."""
        self.home.mkdir(parents=True, exist_ok=True)
        try:
            with self._alone():
                self._install()
            self._serve()
        except (OSError, subprocess.SubprocessError) as error:
            self.stop()
            raise PeerUnavailable(f"localstripe: {error}") from error
        except BaseException:
            self.stop()
            raise
        self.log(f"localstripe serves at {self.base_url}")
        return LocalstripeInfo(self.base_url, API_KEY)

    def stop(self) -> None:
        """End the server; what it held is gone."""
        if self._server:
            self._server.stop()
            self._server = None

    @property
    def base_url(self) -> str:
        """Where it is, or will be."""
        return f"http://127.0.0.1:{self.port}"

    def deliver_to(self, url: str, secret: str) -> None:
        """Send its webhooks there, signed with that secret. Raises requests.RequestException."""
        hook = {"url": url, "secret": secret}
        requests.post(f"{self.base_url}/_config/webhooks/tieout", json=hook, timeout=5).raise_for_status()

    def reset(self) -> None:
        """Forget all objects. Raises requests.RequestException."""
        requests.delete(f"{self.base_url}/_config/data", timeout=5).raise_for_status()

    def _install(self) -> None:
        if not LOCK.exists():
            raise PeerUnavailable(f"localstripe: {LOCK.name} is missing")
        wanted = hashlib.sha256(LOCK.read_bytes()).hexdigest()
        stamp = self.venv / ".lock"
        if stamp.exists() and stamp.read_text() == wanted:
            return
        self.log("installing localstripe into an environment of its own")
        self._run(sys.executable, "-m", "venv", "--clear", str(self.venv))
        pip = (str(self.venv / "bin" / "pip"), "install", "--quiet", "--disable-pip-version-check", "--no-input")
        self._run(*pip, "--require-hashes", "--requirement", str(LOCK))
        stamp.write_text(wanted)

    def _serve(self) -> None:
        command = (str(self.venv / "bin" / "python"), "-I", "-c", SERVER, str(self.port))
        log = self.home / "server.log"
        self._server = Guarded(command, log=log, env=_environment())
        deadline = time.monotonic() + START_TIMEOUT
        while time.monotonic() < deadline and self._server.is_running:
            with suppress(requests.RequestException):
                if requests.get(f"{self.base_url}/v1/customers", auth=(API_KEY, ""), timeout=2).ok:
                    return
            time.sleep(0.05)
        raise PeerUnavailable(f"localstripe did not answer; see {log.name}: {log.read_text(errors='replace')[-800:]}")

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """One process at a time installs; the others find it done."""
        with (self.home / "lock").open("w") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield

    def _run(self, *command: str) -> None:
        done = subprocess.run(command, env=_environment(), capture_output=True, text=True, timeout=600)
        if done.returncode:
            said = (done.stderr or done.stdout).strip()[-800:]
            raise PeerUnavailable(f"localstripe: {Path(command[0]).name} failed: {said}")


def _environment() -> dict[str, str]:
    """Ours, without what would make the peer read the hub's packages or settings."""
    hidden = ("PYTHON", "DJANGO_", "VIRTUAL_ENV")
    return {name: value for name, value in os.environ.items() if not name.startswith(hidden)}
