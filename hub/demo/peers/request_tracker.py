"""A real Request Tracker 5, the support platform of the peer tests: set up and served on loopback by this module.

RT comes from Debian's packages (`PACKAGES`); nothing is installed here. Every start makes a database of its own (SQLite,
some seconds) from the files under `rt/`: a queue, the custom fields the connector knows, the hub's user, an agent, and
the scrip that sends the webhooks.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from email.message import EmailMessage
from email.utils import make_msgid
from pathlib import Path

import requests

from hub.demo.peers import PeerUnavailable
from hub.demo.peers.process import Guarded, free_port

PACKAGES = ("request-tracker5", "rt5-standalone", "rt5-db-sqlite", "dbconfig-no-thanks", "nullmailer")
"""For `apt-get install --no-install-recommends`: about 210 MB."""
SETUP = Path("/usr/sbin/rt-setup-database-5")
SERVER = Path("/usr/share/request-tracker5/libexec/rt-server")
DATA = Path(__file__).with_name("rt")
QUEUE, LOGIN, AGENT = "Support", "hub", "ines"
SETUP_TIMEOUT, START_TIMEOUT = 120.0, 60.0


@dataclass(frozen=True, slots=True)
class RequestTrackerInfo:
    """A running server, and how to get in: as the hub, and as an agent of the support team."""

    base_url: str
    queue: str
    login: str
    """The hub's own user."""
    token: str = field(repr=False)
    agent_login: str
    agent_token: str = field(repr=False)
    password: str = field(repr=False)
    """Of the agent and of `root`, for the web pages."""
    webhook_secret: str = field(repr=False)

    def write_in(self, sender: str, subject: str, text: str) -> None:
        """A customer's mail, through RT's mail gateway; `[support.example #7]` in the subject answers ticket 7.

        Raises requests.RequestException, and ValueError when RT does not take it.
        """
        mail = EmailMessage()
        mail["From"], mail["To"], mail["Subject"] = sender, "support@support.example", subject
        mail["Message-ID"] = make_msgid(domain="customer.example")
        mail.set_content(text)
        form = {"message": mail.as_string(), "queue": self.queue, "action": "correspond", "SessionType": "REST"}
        answer = requests.post(f"{self.base_url}/REST/1.0/NoAuth/mail-gateway", data=form, timeout=30)
        answer.raise_for_status()
        if not answer.text.startswith("ok"):
            raise ValueError(f"the mail gateway says {answer.text[:200]!r}")


class RequestTrackerPeer:
    """One server with a database of its own, which ends with `stop`. `log` receives progress for people.

    Its webhooks go to `webhook_url` signed with `webhook_secret`; without a URL there are none.
    """

    def __init__(
        self,
        state_dir: Path,
        port: int | None = None,
        *,
        webhook_url: str = "",
        webhook_secret: str = "",
        log: Callable[[str], None] = lambda line: None,
    ) -> None:
        self.place = state_dir.resolve() / "peers" / "request_tracker"
        self.port = port or free_port()
        self.webhook_url = webhook_url
        self.webhook_secret = webhook_secret
        self.password = secrets.token_urlsafe(18)
        self.log = log
        self._home: Path | None = None
        self._server: Guarded | None = None

    @staticmethod
    def installable() -> bool:
        """True where Debian's packages are installed."""
        return SETUP.exists() and SERVER.exists()

    @property
    def base_url(self) -> str:
        """Where it is, or will be."""
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> RequestTrackerInfo:
        """Make the database and serve it. Raises PeerUnavailable with the reason."""
        if not self.installable():
            raise PeerUnavailable(f"Request Tracker: not installed (apt-get install {' '.join(PACKAGES)})")
        try:
            self.place.mkdir(parents=True, exist_ok=True)
            self._home = home = Path(tempfile.mkdtemp(prefix="run-", dir=self.place))
            tokens = self._set_up(home)
            self._serve(home, tokens[LOGIN])
        except (OSError, subprocess.SubprocessError, ValueError, KeyError) as error:
            self.stop()
            raise PeerUnavailable(f"Request Tracker: {error}") from error
        except BaseException:
            self.stop()
            raise
        self.log(f"Request Tracker serves at {self.base_url}")
        return RequestTrackerInfo(
            self.base_url, QUEUE, LOGIN, tokens[LOGIN], AGENT, tokens[AGENT], self.password, self.webhook_secret
        )

    def stop(self) -> None:
        """End the server; its database is gone."""
        if self._server:
            self._server.stop()
            self._server = None
        if self._home:
            shutil.rmtree(self._home, ignore_errors=True)
            self._home = None

    def _set_up(self, home: Path) -> dict[str, str]:
        """Create the database and what the hub needs in it; the tokens by login."""
        for part in ("conf.d", "var/mason_data/obj", "var/session_data", "var/html"):
            (home / part).mkdir(parents=True)
        shutil.copyfile(DATA / "SiteConfig.pm", home / "RT_SiteConfig.pm")
        (home / "root-password").write_text(f"{self.password}\n")
        self.log("making a database for Request Tracker")
        self._run(home, "--action", "init", "--root-password-file", str(home / "root-password"))
        self._run(home, "--action", "insert", "--skip-create", "--datafile", str(DATA / "initialdata"))
        (home / "root-password").unlink()
        tokens: dict[str, str] = json.loads((home / "tokens.json").read_text())
        (home / "tokens.json").unlink()
        return tokens

    def _run(self, home: Path, *options: str) -> None:
        command = (str(SETUP), *options)
        done = subprocess.run(command, env=self._environment(home), capture_output=True, text=True, timeout=SETUP_TIMEOUT)
        if done.returncode:
            raise PeerUnavailable(f"Request Tracker: {SETUP.name} failed: {(done.stderr or done.stdout).strip()[-800:]}")

    def _serve(self, home: Path, token: str) -> None:
        command = (str(SERVER), "--host", "127.0.0.1", "--port", str(self.port), "--max-workers", "3")
        log = home / "server.log"
        self._server = Guarded(command, log=log, env=self._environment(home))
        headers, deadline = {"Authorization": f"token {token}"}, time.monotonic() + START_TIMEOUT
        while time.monotonic() < deadline and self._server.is_running:
            with suppress(requests.RequestException):
                if requests.get(f"{self.base_url}/REST/2.0/rt", headers=headers, timeout=5).ok:
                    return
            time.sleep(0.05)
        raise PeerUnavailable(f"Request Tracker did not answer: {log.read_text(errors='replace')[-800:]}")

    def _environment(self, home: Path) -> Mapping[str, str]:
        hidden = ("RT_", "PERL", "TIEOUT_", "DJANGO_")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(hidden)}
        return kept | {
            "RT_SITE_CONFIG": str(home / "RT_SiteConfig.pm"),
            "RT_SITE_CONFIG_DIR": str(home / "conf.d"),
            "TIEOUT_RT_HOME": str(home),
            "TIEOUT_RT_PORT": str(self.port),
            "TIEOUT_RT_PASSWORD": self.password,
            "TIEOUT_RT_WEBHOOK_URL": self.webhook_url,
            "TIEOUT_RT_WEBHOOK_SECRET": self.webhook_secret,
        }
