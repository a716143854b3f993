"""The hub's own PostgreSQL and Redis, one pair per state directory, for as long as somebody uses them.

    with ensure_services(state_dir) as services:
        connect(services.database_url, services.redis_url)

The first process to come owns the pair: it holds `owner.lock`, starts both on free loopback ports (remembered in
`services.json`, readable by its owner only) and stops both at the end. Every later process attaches. The kernel
releases the lock however the owner dies, so the next start always knows a running pair from an orphan.
On Linux orphans do not occur: the servers die with the process that started them.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, Self

from hub.runtime import binaries
from hub.runtime.binaries import ServicesError
from hub.runtime.servers import Postgres, Redis, Server, free_port, is_free

__all__ = ["Services", "ServicesError", "ensure_services"]

ATTACH_TIMEOUT = 90.0
Log = Callable[[str], None]


class Services:
    """A running pair. `owned` says whether it is ours to stop or another process's we are guests of."""

    def __init__(self, database_url: str, redis_url: str, servers: list[Server], locks: list[IO[str]], log: Log) -> None:
        self.database_url = database_url
        self.redis_url = redis_url
        self.servers = servers
        self._locks = locks
        self._log = log

    @property
    def owned(self) -> bool:
        return bool(self.servers)

    def mend(self) -> list[str]:
        """Start again whichever server has died, on its port and data; return the names."""
        dead = [server for server in self.servers if not server.alive]
        for server in dead:
            server.stop_orphan()
            server.start()
        return [server.name for server in dead]

    def stop(self, *, wait_for_guests: bool = False) -> None:
        """Stop what we own. With `wait_for_guests`, first let processes that attached to it finish."""
        if self.owned and wait_for_guests:
            users = self._locks[-1]
            if not _lock(users, fcntl.LOCK_EX | fcntl.LOCK_NB):
                self._log("other commands still use this PostgreSQL; waiting for them (Ctrl-C stops it anyway)")
                _lock(users, fcntl.LOCK_EX)
        for server in reversed(self.servers):
            server.stop()
        self.servers = []
        for lock in self._locks:
            lock.close()
        self._locks = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def ensure_services(
    state_dir: Path, durable: bool = True, *, sole: bool = False, log: Log = lambda text: print(text, file=sys.stderr)
) -> Services:
    """Attach to the pair of `state_dir`, or start it. `sole` insists on owning it, waiting a while for short commands.

    Raises `ServicesError` with a message for people.
    """
    state_dir = state_dir.resolve()
    state_dir.mkdir(mode=0o755, parents=True, exist_ok=True)
    owner, users = _open(state_dir / "owner.lock"), _open(state_dir / "users.lock")
    end = time.monotonic() + ATTACH_TIMEOUT
    told = False
    while not _lock(owner, fcntl.LOCK_EX | fcntl.LOCK_NB):
        if not sole and (running := _running(state_dir, owner)):
            _lock(users, fcntl.LOCK_SH)
            return Services(running["postgres"]["url"], running["redis"]["url"], [], [owner, users], log)
        who = _read(owner) or {"pid": "?", "command": "a command that is just starting"}
        if time.monotonic() > end or (sole and who.get("sole")):
            raise ServicesError(
                f"the PostgreSQL of {state_dir} belongs to process {who['pid']} ({who['command']}); "
                "stop that one first, or set TIEOUT_STATE_DIR"
            )
        if sole and not told:
            log(f"waiting for process {who['pid']} ({who['command']}) to finish with PostgreSQL")
            told = True
        time.sleep(0.1)
    _write(owner, {"pid": os.getpid(), "command": " ".join(sys.argv[:2]), "sole": sole})
    return _start(state_dir, durable, [owner, users], log)


def _start(state_dir: Path, durable: bool, locks: list[IO[str]], log: Log) -> Services:
    memory = state_dir / "services.json"
    known = json.loads(memory.read_text()) if memory.exists() else {}
    memory.unlink(missing_ok=True)
    run_as = binaries.runner()
    place = binaries.home(state_dir, run_as)
    if place != state_dir:
        log(f"{state_dir} is closed to the user the servers run as; their data is in {place}")
    logs = state_dir / "logs"
    logs.mkdir(exist_ok=True)
    services = Services("", "", [], locks, log)
    try:
        for kind in (Postgres, Redis):
            before = known.get(kind.name, {})
            password = before.get("password") or secrets.token_urlsafe(24)
            server = kind(place, logs, before.get("port") or free_port(), password, durable, run_as)
            server.stop_orphan()
            if not is_free(server.port):
                server.port = free_port()
            known[kind.name] = {"port": server.port, "password": password, "url": server.url}
            # Written before the start: a password that only the dead cluster knows would lock us out of our data.
            _remember(memory, known | {"owner": None})
            services.servers.append(server)
            server.start()
    except BaseException:
        services.stop()
        raise
    _remember(memory, known | {"owner": os.getpid()})
    services.database_url, services.redis_url = (server.url for server in services.servers)
    return services


def _running(state_dir: Path, owner: IO[str]) -> dict[str, Any] | None:
    """What the present owner has finished starting; None while it is still at it."""
    try:
        running: dict[str, Any] = json.loads((state_dir / "services.json").read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return None
    who = _read(owner)
    return running if who and running.get("owner") == who["pid"] else None


def _remember(path: Path, content: dict[str, Any]) -> None:
    draft = path.with_suffix(".tmp")
    draft.touch(mode=0o600)
    draft.write_text(json.dumps(content, indent=1))
    draft.replace(path)


def _open(path: Path) -> IO[str]:
    return open(path, "a+", opener=lambda name, flags: os.open(name, flags, 0o600))


def _lock(file: IO[str], how: int) -> bool:
    try:
        fcntl.flock(file, how)
    except BlockingIOError:
        return False
    return True


def _read(file: IO[str]) -> dict[str, Any] | None:
    file.seek(0)
    try:
        content: dict[str, Any] = json.loads(file.read())
    except json.JSONDecodeError:
        return None
    return content


def _write(file: IO[str], content: dict[str, Any]) -> None:
    file.truncate(0)
    file.write(json.dumps(content))
    file.flush()
