"""Gives the tests a real PostgreSQL and Redis before Django's settings load (`-p tests.services`, see pyproject.toml).

Both are fast (no fsync) and live in a temporary state directory for one session. `DATABASE_URL` and `REDIS_URL` are
honoured when given: tests create `test_<name>` in that PostgreSQL and flush that Redis, so give them ones of their own.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Generator
from pathlib import Path

import pytest

from hub.runtime import environment
from hub.runtime.embedded import ensure_services

_state_dir: Path | None = None
OF_THE_CONTROLLER = "TIEOUT_TESTS_STARTED_SERVICES"


# A wrapper, because pytest-django loads the settings in a `tryfirst` implementation of the same hook.
@pytest.hookimpl(wrapper=True)
def pytest_load_initial_conftests() -> Generator[None, None, None]:
    global _state_dir
    # Not pytest's own temporary directory, which is closed to the user PostgreSQL runs as when we are root.
    _state_dir = Path(tempfile.mkdtemp(prefix="tieout-tests-"))
    _state_dir.chmod(0o711)
    os.environ["TIEOUT_STATE_DIR"] = str(_state_dir)
    if "PYTEST_XDIST_WORKER" in os.environ and os.environ.pop(OF_THE_CONTROLLER, None):
        # Each worker has a pair of its own: tests stop, flush and kill theirs.
        del os.environ["DATABASE_URL"], os.environ["REDIS_URL"]
    if not environment.is_given():
        os.environ[OF_THE_CONTROLLER] = "yes"
        environment.services = ensure_services(_state_dir, durable=False)
        environment.use(environment.services)
    try:
        yield
    except BaseException:
        pytest_unconfigure()
        raise


def pytest_unconfigure() -> None:
    global _state_dir
    if environment.services:
        environment.services.stop()
        environment.services = None
    if _state_dir:
        shutil.rmtree(_state_dir, ignore_errors=True)
        _state_dir = None
