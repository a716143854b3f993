"""Fixtures every test may use. The services behind them are started by `tests.services`."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
import redis as redis_py
from django.conf import settings
from django.db import connection
from django.db.backends.postgresql.operations import DatabaseOperations
from hypothesis import settings as hypothesis_settings

from tests.facts import open_facts

hypothesis_settings.register_profile("default", deadline=None)
hypothesis_settings.register_profile("deep", deadline=None, max_examples=1000)
hypothesis_settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))


@pytest.fixture
def redis() -> Iterator[redis_py.Redis]:
    """The session's Redis, empty."""
    client = redis_py.Redis.from_url(settings.REDIS_URL)
    client.flushdb()
    yield client
    client.flushdb()
    client.close()


@pytest.fixture
def child_env(transactional_db: None) -> dict[str, str]:
    """The environment for a process a test starts: it sees the test database, and only what the test has committed."""
    base = os.environ["DATABASE_URL"].rpartition("/")[0]
    return {**os.environ, "DATABASE_URL": f"{base}/{connection.settings_dict['NAME']}", "PYTHONUNBUFFERED": "1"}


@pytest.fixture(scope="session", autouse=True)
def _facts_can_be_cleared_between_tests() -> Iterator[None]:
    """Clearing the database after a test truncates tables whose triggers refuse just that."""
    flush = DatabaseOperations.execute_sql_flush

    def execute_sql_flush(self: DatabaseOperations, sql_list: list[str]) -> None:
        with open_facts():
            flush(self, sql_list)

    DatabaseOperations.execute_sql_flush = execute_sql_flush
    yield
    DatabaseOperations.execute_sql_flush = flush
