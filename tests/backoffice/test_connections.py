"""Connections: secrets go in and never come out, settings are checked, and the switches do what they say."""

from __future__ import annotations

from typing import Any

import pytest
from django.urls import reverse

from connectors.models import Connection
from hub import roles
from hub.admin_ui import url_of
from hub.models import Run
from tests.backoffice import factories as make
from tests.backoffice.conftest import Login
from tests.backoffice.support import page_url

pytestmark = pytest.mark.django_db


def save(client: Any, connection: Connection, **data: str) -> Any:
    given = {"title": connection.title, "legal_entity": connection.legal_entity_id, "settings": '{"base_url": "https://x.example"}'}
    return client.post(page_url(connection), {**given, **data})


def press(client: Any, connection: Connection, button: str, **data: str) -> str:
    url = reverse(f"admin:connectors_connection_{button}", args=[connection.pk])
    return str(client.post(url, data, follow=True).content.decode())


@pytest.mark.parametrize("role", [*roles.ROLES, "superuser"])
def test_secrets_are_never_in_a_page(role: str, login: Login, billing: Connection) -> None:
    client = login(role)
    save(client, billing, credential_api_key="short", webhook_secret=make.WEBHOOK_SECRET + "x")
    billing.refresh_from_db()
    urls = [
        page_url(billing),
        page_url(billing, "history"),
        reverse("admin:connectors_connection_changelist"),
        reverse("admin:index"),
    ]
    for page in (client.get(url).content.decode() for url in urls):
        for secret in (
            make.SECRET,
            make.WEBHOOK_SECRET,
            billing.sealed_credentials,
            billing.sealed_webhook_secrets,
            make.SECRET[:12],
        ):
            assert secret not in page


def test_a_page_says_whether_a_secret_is_set_by_its_end(login: Login, billing: Connection) -> None:
    page = login(roles.ENGINEER).get(page_url(billing)).content.decode()
    assert "set, ••••4242" in page
    assert "set, ••••9999" in page
    assert "not set" in page


def test_a_rejected_form_does_not_give_back_what_was_typed(login: Login, billing: Connection) -> None:
    answer = save(login(roles.ENGINEER), billing, credential_api_key="typed-in-secret", settings="{}")
    assert answer.status_code == 200
    assert "typed-in-secret" not in answer.content.decode()


def test_an_empty_secret_changes_nothing_and_a_new_one_replaces(login: Login, billing: Connection) -> None:
    client = login(roles.ENGINEER)
    assert save(client, billing).status_code == 302
    billing.refresh_from_db()
    assert billing.read_credentials().api_key == make.SECRET
    assert billing.live_webhook_secrets() == [make.WEBHOOK_SECRET]
    assert save(client, billing, credential_api_key="sk_new_secret_1", webhook_secret="whsec_new").status_code == 302
    billing.refresh_from_db()
    assert billing.read_credentials().api_key == "sk_new_secret_1"
    assert billing.live_webhook_secrets() == ["whsec_new", make.WEBHOOK_SECRET]


def test_settings_are_checked_by_the_connector_in_words(login: Login, billing: Connection) -> None:
    client = login(roles.ENGINEER)
    page = save(client, billing, settings='{"page_size": 0, "nonsense": 1}').content.decode()
    for words in ("base_url: Field required", "page_size: Input should be greater than or equal to 1", "nonsense: Extra inputs"):
        assert words in page
    assert "Enter a valid JSON" in save(client, billing, settings="{").content.decode()
    assert "at least 8 characters" in save(client, billing, credential_api_key="short").content.decode()


def test_a_connection_is_made_in_two_steps(login: Login) -> None:
    client = login(roles.ENGINEER)
    data = {"connector": "pretend-erp", "slug": "books", "title": "Books", "legal_entity": make.entity().pk}
    answer = client.post(reverse("admin:connectors_connection_add"), data)
    made = Connection.objects.get()
    assert answer.url == url_of(made)
    assert (made.role, made.state) == ("erp", "draft")
    assert "cannot be activated" in press(client, made, "activate")
    assert save(client, made, credential_api_key="a-long-secret").status_code == 302
    assert "It works: Example Ltd (version 8)" in press(client, made, "test")
    assert "Active" in press(client, made, "activate")


def test_a_failing_test_says_what_the_system_said(login: Login, billing: Connection) -> None:
    Connection.objects.update(settings={"base_url": "https://broken.example"})
    assert "It does not work: Misconfigured, 401 Unauthorized" in press(login(roles.OPERATOR), billing, "test")


def test_pausing_needs_a_reason_and_resuming_clears_it(login: Login, billing: Connection) -> None:
    client = login(roles.OPERATOR)
    assert "Say why" in press(client, billing, "pause", reason="")
    press(client, billing, "pause", reason="maintenance at the vendor")
    billing.refresh_from_db()
    assert (billing.state, billing.pause_reason) == ("paused", "maintenance at the vendor")
    assert "maintenance at the vendor" in client.get(reverse("admin:index")).content.decode()
    press(client, billing, "activate")
    billing.refresh_from_db()
    assert (billing.state, billing.pause_reason) == ("active", "")
    assert "maintenance at the vendor" in client.get(page_url(billing)).content.decode()


def test_revoking_needs_the_slug_and_forgets_the_secrets(login: Login, billing: Connection) -> None:
    client = login(roles.ADMINISTRATOR)
    assert "Type billing to confirm" in press(client, billing, "revoke", confirm="yes")
    press(client, billing, "revoke", confirm="billing")
    billing.refresh_from_db()
    assert (billing.state, billing.sealed_credentials, billing.sealed_webhook_secrets) == ("revoked", "", "")
    assert 'type="password"' not in client.get(page_url(billing)).content.decode()
    assert "that cannot be done" in press(client, billing, "pause", reason="never mind")


def test_a_stream_is_swept_on_demand(login: Login, billing: Connection) -> None:
    client = login(roles.OPERATOR)
    assert "Sweep of events started" in press(client, billing, "sweep", stream="events")
    assert Run.objects.get().started_by == "operator"
    assert "has no stream nothing" in press(client, billing, "sweep", stream="nothing")
    press(client, billing, "pause", reason="maintenance")
    assert "Only an active connection" in press(client, billing, "sweep", stream="events")


def test_a_second_live_erp_of_an_entity_is_refused_in_words(login: Login, erp: Connection) -> None:
    data = {"connector": "pretend-erp", "slug": "books2", "title": "Books 2", "legal_entity": erp.legal_entity_id}
    answer = login(roles.ENGINEER).post(reverse("admin:connectors_connection_add"), data)
    assert "keeps the books of de already" in answer.content.decode()
    assert Connection.objects.count() == 1


def test_a_connection_of_a_connector_taken_out_can_still_be_looked_at(login: Login, billing: Connection) -> None:
    Connection.objects.update(connector="gone")
    page = login(roles.ENGINEER).get(page_url(billing)).content.decode()
    assert "this release has no connector gone" in page
    assert 'name="settings"' not in page
