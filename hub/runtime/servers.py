"""PostgreSQL and Redis as children: each knows how to start durably or fast, to stop, and to recognise an orphan."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar
from urllib.parse import quote

import psycopg
import redis
from psycopg import sql

from hub.runtime import binaries
from hub.runtime.binaries import Runner, ServicesError

TETHER = Path(__file__).with_name("tether.py")
HOST = "127.0.0.1"
START_TIMEOUT = 60.0
STOP_TIMEOUT = 20.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True


def tethered(command: list[str], death: signal.Signals, user: Runner | None = None) -> list[str]:
    """The command line that runs `command` for as long as this process lives."""
    who = str(user) if user else "-"
    return [sys.executable, "-I", "-S", str(TETHER), str(os.getpid()), str(int(death)), who, *command]


def command_line(pid: int) -> str:
    """What process `pid` was started with; empty when there is no such process."""
    if Path("/proc/self/cmdline").exists():
        with contextlib.suppress(OSError):
            return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        return ""
    shown = subprocess.run(["ps", "-o", "command=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return shown.stdout.strip()


def wait_until_gone(pid: int, timeout: float) -> bool:
    end = time.monotonic() + timeout
    while time.monotonic() < end:
        if not command_line(pid):
            return True
        time.sleep(0.05)
    return False


@dataclass
class Server:
    """A server below `home`, on a loopback port, with a password only this state directory knows."""

    home: Path
    logs: Path
    port: int
    password: str
    durable: bool
    run_as: Runner | None
    process: subprocess.Popen[bytes] | None = None

    name: ClassVar[str]
    polite: ClassVar[signal.Signals]
    """The signal that means: no new work, write everything down, stop now."""

    @property
    def url(self) -> str:
        raise NotImplementedError

    def command(self) -> list[str]:
        """Prepare the data directory and return how to start on it."""
        raise NotImplementedError

    def answers(self) -> bool:
        raise NotImplementedError

    def stop_orphan(self) -> None:
        """Stop a server an earlier parent left behind on our data; never anybody else's process."""
        raise NotImplementedError

    @property
    def alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def start(self) -> None:
        log = self.logs / f"{self.name}.log"
        with log.open("ab") as out:
            self.process = subprocess.Popen(
                tethered(self.command(), self.polite, self.run_as),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                cwd="/",
                start_new_session=True,
            )
        end = time.monotonic() + START_TIMEOUT
        while not self.answers():
            if not self.alive or time.monotonic() > end:
                self.stop()
                tail = "\n".join(log.read_text(errors="replace").splitlines()[-8:])
                raise ServicesError(f"{self.name} did not start; its log ends ({log}):\n{tail}")
            time.sleep(0.02)

    def stop(self) -> None:
        if self.process is None:
            return
        for wish in (self.polite, signal.SIGQUIT, signal.SIGKILL):
            if self.process.poll() is None:
                self.process.send_signal(wish)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self.process.wait(STOP_TIMEOUT)
        self.process = None

    def own(self, path: Path, mode: int) -> None:
        """Give something we made to the user the server runs as."""
        if self.run_as:
            os.chown(path, self.run_as.uid, self.run_as.gid)
        path.chmod(mode)


class Postgres(Server):
    """A cluster with one role, `tieout`, which is no superuser but may create databases (tests and peers need it)."""

    name = "postgres"
    polite = signal.SIGINT

    @property
    def bin(self) -> Path:
        return binaries.postgres(self.home, self.run_as)

    @property
    def data(self) -> Path:
        return self.home / "postgres"

    def dsn(self, user: str, database: str) -> str:
        return f"postgresql://{user}:{quote(self.password)}@{HOST}:{self.port}/{database}"

    @property
    def url(self) -> str:
        return self.dsn("tieout", "tieout")

    def command(self) -> list[str]:
        if (self.data / "PG_VERSION").exists():
            self._refuse_other_version()
        else:
            self._create_cluster()
        settings = {
            "listen_addresses": HOST,
            "port": str(self.port),
            "unix_socket_directories": "",
            "max_connections": "200",
            "timezone": "UTC",
            "log_timezone": "UTC",
        }
        if not self.durable:
            settings |= {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        return [str(self.bin / "postgres"), "-D", str(self.data), *options]

    def start(self) -> None:
        super().start()
        with psycopg.connect(self.dsn("postgres", "postgres"), autocommit=True) as connection:
            if not connection.execute("SELECT 1 FROM pg_roles WHERE rolname = 'tieout'").fetchone():
                password = sql.Literal(self.password)
                connection.execute(sql.SQL("CREATE ROLE tieout LOGIN CREATEDB PASSWORD {}").format(password))
            if not connection.execute("SELECT 1 FROM pg_database WHERE datname = 'tieout'").fetchone():
                connection.execute("CREATE DATABASE tieout OWNER tieout")

    def answers(self) -> bool:
        try:
            psycopg.connect(self.dsn("postgres", "postgres"), connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True

    def stop_orphan(self) -> None:
        pidfile = self.data / "postmaster.pid"
        if not pidfile.exists():
            return
        first = pidfile.read_text().splitlines()[:1]
        pid = int(first[0]) if first and first[0].strip().isdigit() else 0
        if pid and str(self.data) in command_line(pid):
            for wish in (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, wish)
                if wait_until_gone(pid, STOP_TIMEOUT):
                    break
        # Left by a crash, its number may by now be another process's, and PostgreSQL would refuse to start.
        pidfile.unlink(missing_ok=True)

    def _create_cluster(self) -> None:
        draft = self.home / "postgres.new"
        subprocess.run(["rm", "-rf", str(draft)], check=True)
        draft.mkdir(mode=0o700)
        self.own(draft, 0o700)
        secret = self.home / "postgres.password"
        secret.touch(mode=0o600)
        secret.write_text(self.password)
        self.own(secret, 0o600)
        options = ["--username=postgres", "--auth=scram-sha-256", f"--pwfile={secret}", "--encoding=UTF8", "--locale=C"]
        options += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--no-instructions"]
        options += [] if self.durable else ["--no-sync"]
        command = [str(self.bin / "initdb"), "-D", str(draft), *options]
        made = subprocess.run(tethered(command, signal.SIGKILL, self.run_as), cwd="/", capture_output=True, text=True, check=False)
        secret.unlink()
        if made.returncode:
            raise ServicesError(f"initdb failed:\n{made.stdout}{made.stderr}")
        draft.rename(self.data)

    def _refuse_other_version(self) -> None:
        has = (self.data / "PG_VERSION").read_text().strip()
        shown = subprocess.run([str(self.bin / "postgres"), "--version"], capture_output=True, text=True, check=True)
        if not shown.stdout.split()[2].startswith(f"{has}."):
            raise ServicesError(
                f"{self.data} was made by PostgreSQL {has}, and here is {shown.stdout.strip()}. Dump it with the old "
                "version and restore into a new state directory, or set TIEOUT_STATE_DIR to start with an empty one"
            )


class Redis(Server):
    """A broker that refuses to forget: no eviction, and when durable an append-only file."""

    name = "redis"
    polite = signal.SIGTERM

    @property
    def data(self) -> Path:
        return self.home / "redis"

    @property
    def url(self) -> str:
        return f"redis://:{quote(self.password)}@{HOST}:{self.port}/0"

    def command(self) -> list[str]:
        self.data.mkdir(exist_ok=True)
        self.own(self.data, 0o700)
        settings = {
            "bind": HOST,
            "port": self.port,
            "requirepass": self.password,
            "dir": self.data,
            "daemonize": "no",
            "save": '""',
            "appendonly": "yes" if self.durable else "no",
            "appendfsync": "everysec",
            "maxmemory-policy": "noeviction",
        }
        # In a file, because a password among the arguments is everybody's to read.
        config = self.data / "redis.conf"
        config.touch(mode=0o600)
        config.write_text("".join(f"{name} {value}\n" for name, value in settings.items()))
        self.own(config, 0o600)
        return [str(binaries.redis(self.home, self.run_as)), str(config)]

    def client(self) -> redis.Redis:
        client: redis.Redis = redis.Redis.from_url(self.url, socket_timeout=2, retry=None)
        return client

    def answers(self) -> bool:
        with self.client() as client:
            try:
                return bool(client.ping())
            except redis.RedisError:
                return False

    def stop_orphan(self) -> None:
        """Who answers on our port to our password is ours; it has renamed itself, so its command line tells nothing."""
        with self.client() as client:
            try:
                pid = int(client.info("server")["process_id"])
                client.shutdown(nosave=not self.durable, save=False)
            except redis.RedisError:
                return
        if not wait_until_gone(pid, STOP_TIMEOUT):
            os.kill(pid, signal.SIGKILL)
