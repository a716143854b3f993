"""What has to be true before Django's settings load: every command finds a PostgreSQL and a Redis.

`manage.py` and the tests come through here. Given `DATABASE_URL` and `REDIS_URL`, nothing is started.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from hub import config
from hub.runtime.embedded import Services, ensure_services

OFFLINE = {"", "--help", "--version", "bench", "chaos", "check", "collectstatic", "diffsettings", "help", "version"}
"""Commands that need no database, or bring their own."""

services: Services | None = None
"""The embedded pair of this process, if it uses one."""


def use(found: Services) -> None:
    """Make `found` the database and the broker of this process and its children, where none is given."""
    os.environ.setdefault("DATABASE_URL", found.database_url)
    os.environ.setdefault("REDIS_URL", found.redis_url)


def is_given() -> bool:
    return bool(os.environ.get("DATABASE_URL") and os.environ.get("REDIS_URL"))


@contextmanager
def prepared(argv: Sequence[str], *, durable: bool = True) -> Iterator[None]:
    """Run a management command with its services; `up` owns them, any other command shares them."""
    global services
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "hub.settings")
    command = argv[1] if len(argv) > 1 else ""
    if command == "up" and "--demo" in argv:
        os.environ.setdefault("TIEOUT_ENV", "demo")
    settings = config.load()
    if settings.production or command in OFFLINE or "--help" in argv or is_given():
        yield
        return
    is_up = command == "up"
    if is_up:
        print("tieout: starting PostgreSQL and Redis…", flush=True)
    services = ensure_services(Path(settings.state_dir), durable, sole=is_up)
    try:
        use(services)
        yield
    finally:
        services.stop(wait_for_guests=not is_up)
