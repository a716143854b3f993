"""A real localstripe 1.15: the Stripe API as others understood it, installed and served on loopback by this module.

It has the API's shape of 2017 (plans, tax on the invoice), sends webhooks once, one second late, with real signatures,
and lists events oldest first. It lacks prices, credit notes, usage and idempotency: our own twin has those.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import requests

from hub.demo.peers import PeerUnavailable
from hub.demo.peers.place import Place, environment
from hub.demo.peers.process import Guarded, free_port

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
        self.place = Place(state_dir, "localstripe", "localstripe", log)
        self.port = port or free_port()
        self.log = log
        self._server: Guarded | None = None

    def start(self) -> LocalstripeInfo:
        """Install, where that is still to be done, and serve. Raises PeerUnavailable with the reason."""
        try:
            with self.place.alone():
                self.place.install()
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

    def _serve(self) -> None:
        command = (self.place.binary("python"), "-I", "-c", SERVER, str(self.port))
        log = self.place.home / "server.log"
        self._server = Guarded(command, log=log, env=environment())
        deadline = time.monotonic() + START_TIMEOUT
        while time.monotonic() < deadline and self._server.is_running:
            with suppress(requests.RequestException):
                if requests.get(f"{self.base_url}/v1/customers", auth=(API_KEY, ""), timeout=2).ok:
                    return
            time.sleep(0.05)
        raise PeerUnavailable(f"localstripe did not answer; see {log.name}: {log.read_text(errors='replace')[-800:]}")
