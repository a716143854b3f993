"""The hub's own PostgreSQL and Redis: private, tied to whoever started them, and never in the way of the next start."""

from __future__ import annotations

import os
import shutil
import socket
import stat
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest
import redis

from hub.config import ROOT
from hub.runtime import binaries
from hub.runtime.embedded import ServicesError, ensure_services
from hub.runtime.servers import Postgres
from tests.runtime.support import eventually, hold_services, is_running, processes_of, remembered

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


@linux_only
def test_killed_parent_leaves_no_orphan_that_blocks_the_next_start(place: Path) -> None:
    holder = hold_services(place, durable=True)
    urls = remembered(place)
    with psycopg.connect(urls["postgres"]["url"]) as connection:
        connection.execute("CREATE TABLE kept (word text)")
        connection.execute("INSERT INTO kept VALUES ('yes')")
    with redis.Redis.from_url(urls["redis"]["url"]) as client:
        client.set("kept", "yes")
        assert eventually(lambda: client.info("persistence")["aof_pending_bio_fsync"] == 0)

    with holder:
        holder.kill()

    assert eventually(lambda: not processes_of(str(place))), "PostgreSQL outlived its parent"
    with ensure_services(place, durable=True) as services:
        with psycopg.connect(services.database_url) as connection:
            assert connection.execute("SELECT word FROM kept").fetchall() == [("yes",)]
        with redis.Redis.from_url(services.redis_url) as client:
            assert client.get("kept") == b"yes"
        assert remembered(place)["postgres"]["url"] == urls["postgres"]["url"], "clients would have to look for a new port"


@linux_only
def test_an_orphan_that_did_survive_is_stopped_by_the_next_start(place: Path) -> None:
    """As on a platform whose kernel does not tie children to parents."""
    with subprocess.Popen([sys.executable, "-c", UNTIED, place], cwd=ROOT, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        orphans = [int(word) for word in holder.stdout.readline().split()]
        holder.kill()
    assert [is_running(pid) for pid in orphans] == [True, True]

    with ensure_services(place, durable=True) as services:
        assert [is_running(pid) for pid in orphans] == [False, False]
        with psycopg.connect(services.database_url) as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)


UNTIED = """
import sys, time
from pathlib import Path
from hub.runtime import servers
from hub.runtime.embedded import ensure_services
tied = servers.tethered
servers.tethered = lambda command, death, user=None: tied(command, 0, user)
print(*(server.process.pid for server in ensure_services(Path(sys.argv[1])).servers), flush=True)
time.sleep(300)
"""


def test_a_pid_file_of_a_reused_pid_does_not_block_the_start(place: Path) -> None:
    with ensure_services(place, durable=False) as services:
        postgres = services.servers[0]
        assert isinstance(postgres, Postgres)
        pidfile = postgres.data / "postmaster.pid"
        lines = pidfile.read_text().splitlines()
    pidfile.write_text("\n".join([str(os.getpid()), *lines[1:]]))
    with ensure_services(place, durable=False) as services:
        psycopg.connect(services.database_url).close()


def test_services_listen_on_loopback_only(place: Path) -> None:
    with ensure_services(place, durable=False) as services:
        for server in services.servers:
            socket.create_connection(("127.0.0.1", server.port), 1).close()
            for other in ("127.0.0.2", *addresses()):
                with pytest.raises(OSError, match="refused"):
                    socket.create_connection((other, server.port), 1).close()


def addresses() -> list[str]:
    """Addresses of this machine that other machines could use."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # nothing is sent; the kernel only chooses a source address
        except OSError:
            return []
        found: str = probe.getsockname()[0]
    return [] if found.startswith("127.") else [found]


def test_nobody_gets_in_without_the_password(place: Path) -> None:
    with ensure_services(place, durable=False) as services:
        postgres, broker = services.servers
        with pytest.raises(psycopg.OperationalError, match="password"):
            psycopg.connect(f"postgresql://postgres@127.0.0.1:{postgres.port}/postgres", passfile="/nonexistent")
        with redis.Redis(port=broker.port, retry=None) as client, pytest.raises(redis.AuthenticationError):
            client.ping()
        assert stat.S_IMODE((place / "services.json").stat().st_mode) == 0o600
        assert not processes_of(postgres.password)
        assert not processes_of(broker.password)


def test_the_hub_is_no_superuser_of_its_own_database(place: Path) -> None:
    with ensure_services(place, durable=False) as services, psycopg.connect(services.database_url) as connection:
        row = connection.execute("SELECT rolsuper, rolcreatedb FROM pg_roles WHERE rolname = current_user").fetchone()
    assert row == (False, True)


@pytest.mark.parametrize("mode", [0o700, 0o711, 0o750])
def test_parent_folder_modes_are_untouched(place: Path, mode: int) -> None:
    parent = place / "home"
    parent.mkdir()
    state_dir = parent / "work" / "state"
    state_dir.mkdir(parents=True)
    parent.chmod(mode)
    said: list[str] = []
    try:
        with ensure_services(state_dir, durable=False, log=said.append) as services:
            psycopg.connect(services.database_url).close()
            assert stat.S_IMODE(parent.stat().st_mode) == mode
            assert stat.S_IMODE(place.stat().st_mode) == 0o711
        closed_to_us = os.geteuid() == 0 and not mode & 0o001
        assert bool(said) == closed_to_us
    finally:
        data = binaries.home(state_dir, binaries.runner())
        if binaries.REFUGE in data.parents:
            shutil.rmtree(data)


def test_a_second_process_attaches_and_does_not_stop_what_it_found(place: Path) -> None:
    with ensure_services(place, durable=False) as owner:
        guest = subprocess.run([sys.executable, "-c", GUEST, str(place)], cwd=ROOT, capture_output=True, text=True, check=True)
        assert guest.stdout.split() == ["False", owner.database_url]
        psycopg.connect(owner.database_url).close()


GUEST = """
import sys
from pathlib import Path
from hub.runtime.embedded import ensure_services
with ensure_services(Path(sys.argv[1])) as services:
    print(services.owned, services.database_url)
"""


def test_two_starts_at_once_end_with_one_pair(place: Path) -> None:
    both = [
        subprocess.Popen([sys.executable, "-c", RACER, str(place)], cwd=ROOT, stdout=subprocess.PIPE, text=True) for _ in range(3)
    ]
    answers = [racer.communicate(timeout=60)[0].split() for racer in both]
    assert len({url for _, url in answers}) == 1
    assert sorted(owned for owned, _ in answers) == ["False", "False", "True"]


RACER = """
import sys, time
from pathlib import Path
import psycopg
from hub.runtime.embedded import ensure_services
services = ensure_services(Path(sys.argv[1]), durable=False)
time.sleep(1)
psycopg.connect(services.database_url).close()
print(services.owned, services.database_url, flush=True)
services.stop(wait_for_guests=True)
"""


def test_sole_ownership_names_who_stands_in_the_way(place: Path) -> None:
    with ensure_services(place, durable=False, sole=True):
        code = "import sys, pathlib; from hub.runtime.embedded import ensure_services as e; "
        code += "e(pathlib.Path(sys.argv[1]), sole=True)"
        second = subprocess.run([sys.executable, "-c", code, str(place)], cwd=ROOT, capture_output=True, text=True, check=False)
    assert second.returncode == 1
    assert f"belongs to process {os.getpid()}" in second.stderr


def test_a_taken_port_is_left_to_its_owner(place: Path) -> None:
    with ensure_services(place, durable=False) as services:
        first = services.servers[0].port
    with socket.socket() as squatter:
        squatter.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        squatter.bind(("127.0.0.1", first))
        squatter.listen()
        with ensure_services(place, durable=False) as services:
            assert services.servers[0].port != first
            psycopg.connect(services.database_url).close()


def test_data_of_another_postgresql_version_is_refused_with_a_way_out(place: Path) -> None:
    with ensure_services(place, durable=False) as services:
        postgres = services.servers[0]
        assert isinstance(postgres, Postgres)
        version = postgres.data / "PG_VERSION"
    version.write_text("9\n")
    with pytest.raises(ServicesError, match=r"made by PostgreSQL 9.*TIEOUT_STATE_DIR"):
        ensure_services(place, durable=False)


def test_a_server_that_dies_is_mended_on_the_same_address(place: Path) -> None:
    with ensure_services(place, durable=True) as services:
        for server in services.servers:
            assert server.process is not None
            server.process.kill()
            server.process.wait()
        assert services.mend() == ["postgres", "redis"]
        psycopg.connect(services.database_url).close()
        with redis.Redis.from_url(services.redis_url) as client:
            assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
            assert client.config_get("appendonly") == {"appendonly": "yes"}
        assert services.mend() == []
