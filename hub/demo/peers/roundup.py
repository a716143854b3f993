"""A real Roundup 2.6, the support desk of the peer tests: installed, set up and served by this module.

Every start makes a tracker anew: the classic template on SQLite, extended by the files that the connector asks of an
administrator (`connectors/vendors/roundup/tracker`). Mail goes to a file.

It is served as production set-ups do, by its WSGI application. Roundup's own small server refuses to run as root, and
the Python of a user's home, root's too, cannot be run by anyone else.
"""

from __future__ import annotations

import secrets
import shutil
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import requests

from hub.config import ROOT
from hub.demo.peers import PeerUnavailable
from hub.demo.peers.place import Place, environment
from hub.demo.peers.process import Guarded, free_port

OURS = ROOT / "connectors" / "vendors" / "roundup" / "tracker"
START_TIMEOUT = 30.0

PEOPLE = {"hub": "User,Tieout", "agent": "User,Agent", "customer": "User"}
"""Who may enter besides the administrator, and in which roles."""
SCHEMA = "\nimport tieout_schema\ntieout_schema.extend(db, Class, issue)\n"
USER = """
user.create(username={name!r}, password=type(adminpw)({password!r}, config=db.config), address={mail!r}, roles={roles!r},
    timezone="UTC")
"""
SERVER = """\
import sys
from socketserver import ThreadingMixIn
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server
from roundup.cgi.wsgi_handler import RequestDispatcher

class Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True

class Quiet(WSGIRequestHandler):
    def log_message(self, *told):
        pass

make_server("127.0.0.1", int(sys.argv[2]), RequestDispatcher(sys.argv[1]), Server, Quiet).serve_forever()
"""


@dataclass(frozen=True, slots=True)
class RoundupInfo:
    """A running tracker and the passwords of `PEOPLE` and of `admin`: random for each start, and good on loopback only."""

    base_url: str
    passwords: dict[str, str] = field(repr=False)

    @property
    def user(self) -> str:
        """The hub's own user."""
        return "hub"

    @property
    def password(self) -> str:
        """The password of the hub's own user."""
        return self.passwords[self.user]


class RoundupPeer:
    """One tracker, new with every start and gone with `stop`. `log` receives progress for people."""

    def __init__(self, state_dir: Path, port: int | None = None, *, log: Callable[[str], None] = lambda line: None) -> None:
        self.place = Place(state_dir, "roundup", "Roundup", log)
        self.port = port or free_port()
        self.tracker = self.place.home / f"tracker-{self.port}"
        self.log = log
        self._server: Guarded | None = None
        self._info: RoundupInfo | None = None

    @property
    def info(self) -> RoundupInfo:
        """How to get in. Raises RuntimeError before `start`."""
        if self._info is None:
            raise RuntimeError("Roundup is not started")
        return self._info

    @property
    def base_url(self) -> str:
        """Where the tracker is, or will be."""
        return f"http://127.0.0.1:{self.port}/"

    def start(self) -> RoundupInfo:
        """Install, where that is still to be done, set up and serve. Raises PeerUnavailable with the reason."""
        passwords = {name: secrets.token_urlsafe(12) for name in ("admin", *PEOPLE)}
        try:
            with self.place.alone():
                self.place.install()
            self._set_up(passwords)
            self._serve()
        except (OSError, subprocess.SubprocessError) as error:
            self.stop()
            raise PeerUnavailable(f"Roundup: {error}") from error
        except BaseException:
            self.stop()
            raise
        self.log(f"Roundup serves at {self.base_url}")
        self._info = RoundupInfo(self.base_url, passwords)
        return self._info

    def stop(self) -> None:
        """End the server and remove the tracker."""
        if self._server:
            self._server.stop()
            self._server = None
        shutil.rmtree(self.tracker, ignore_errors=True)

    def deliver_to(self, url: str, secret: str) -> None:
        """Send webhooks there from the next change on, signed with that secret."""
        path = self.tracker / "tieout.ini"
        path.touch(mode=0o600)
        path.write_text(f"[webhook]\nurl = {url}\nsecret = {secret}\n")

    def deliver_nothing(self) -> None:
        """Send no webhooks any more."""
        (self.tracker / "tieout.ini").unlink(missing_ok=True)

    def _set_up(self, passwords: dict[str, str]) -> None:
        """A tracker of the classic template with our files and people in it."""
        shutil.rmtree(self.tracker, ignore_errors=True)
        self.tracker.mkdir(mode=0o700)
        admin = (self.place.binary("roundup-admin"), "-i", str(self.tracker))
        # Few rounds: every call logs in, the passwords are random, and nobody reads them but this process.
        mail = f"mail_domain=support.example,mail_host=localhost,mail_debug={self.tracker / 'mail.log'}"
        settings = f"tracker_web={self.base_url},{mail},password_pbkdf2_default_rounds=1000"
        self.place.run(*admin, "install", "classic", "sqlite", settings)
        shutil.copy(OURS / "tieout_rest.py", self.tracker / "interfaces.py")
        shutil.copy(OURS / "tieout_detector.py", self.tracker / "detectors")
        (self.tracker / "lib").mkdir(exist_ok=True)
        shutil.copy(OURS / "tieout_schema.py", self.tracker / "lib")
        with (self.tracker / "schema.py").open("a") as schema:
            schema.write(SCHEMA)
        with (self.tracker / "initial_data.py").open("a") as data:
            for name, roles in PEOPLE.items():
                data.write(USER.format(name=name, password=passwords[name], mail=f"{name}@example.com", roles=roles))
        self.place.run(*admin, "initialise", passwords["admin"])

    def _serve(self) -> None:
        log = self.place.home / "server.log"
        command = (self.place.binary("python"), "-I", "-c", SERVER, str(self.tracker), str(self.port))
        self._server = Guarded(command, log=log, env=environment())
        deadline = time.monotonic() + START_TIMEOUT
        while time.monotonic() < deadline and self._server.is_running:
            with suppress(requests.RequestException):
                if requests.get(self.base_url, timeout=5).ok:
                    return
            time.sleep(0.05)
        raise PeerUnavailable(f"Roundup did not answer; see {log.name}: {log.read_text(errors='replace')[-800:]}")
