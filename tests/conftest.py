"""Fixtures every test may use. The services behind them are started by `tests.services`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from unittest import mock

import pytest
import redis as redis_py
from django.conf import settings
from django.db import connection
from django.test import TransactionTestCase
from hypothesis import settings as hypothesis_settings
from pytest_django import DjangoDbBlocker

from tests import facts

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


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    """The test database, which is as the migrations left it after every test that commits."""
    with django_db_blocker.unblock():
        facts.keep_baseline()
    with mock.patch.object(TransactionTestCase, "_fixture_teardown", staticmethod(facts.restore_baseline)):
        yield
