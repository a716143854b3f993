"""Stored secrets: bound to their row, readable under every live key, moved to the newest by one command."""

from __future__ import annotations

import pytest
from cryptography.fernet import Fernet
from django.conf import LazySettings
from django.core.management import CommandError, call_command

from connectors import secrets
from connectors.models import Connection

pytestmark = pytest.mark.django_db


def a_connection(slug: str = "stripe") -> Connection:
    connection = Connection(slug=slug, connector="stripe")
    connection.set_credentials({"api_key": "sk_test_of_nobody"})
    connection.set_webhook_secret("whsec_of_nobody")
    connection.save()
    return connection


def test_after_rotation_the_old_key_is_not_needed_and_without_it_nothing_is_read(settings: LazySettings) -> None:
    old, new = Fernet.generate_key().decode(), Fernet.generate_key().decode()
    settings.DATA_KEYS = [old]
    pk = a_connection().pk
    settings.DATA_KEYS = [new]
    with pytest.raises(secrets.Unreadable):
        Connection.objects.get(pk=pk).read_credentials()
    with pytest.raises(CommandError, match="nothing was changed"):
        call_command("rotate_keys")
    settings.DATA_KEYS = [new, old]
    call_command("rotate_keys")
    settings.DATA_KEYS = [new]
    connection = Connection.objects.get(pk=pk)
    assert connection.read_credentials().api_key == "sk_test_of_nobody"
    assert connection.live_webhook_secrets() == ["whsec_of_nobody"]


def test_a_secret_moved_to_another_row_is_refused() -> None:
    first, second = a_connection("one"), a_connection("two")
    second.sealed_credentials = first.sealed_credentials
    with pytest.raises(secrets.Unreadable, match="another connection"):
        second.read_credentials()


def test_no_plain_secret_is_in_the_row() -> None:
    row = str(Connection.objects.filter(pk=a_connection().pk).values())
    assert "of_nobody" not in row
