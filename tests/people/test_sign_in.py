"""Signing in, second factors, and proving again who one is."""

from __future__ import annotations

import re
import subprocess
import sys
from datetime import timedelta

import pytest
import time_machine
from allauth.mfa.models import Authenticator
from allauth.mfa.totp.internal.auth import format_hotp_value, hotp_value, yield_hotp_counters_from_time
from django.contrib.auth.models import User
from django.core.cache import cache
from django.test import Client, RequestFactory
from django.utils import timezone

from hub.config import ROOT
from hub.people import stepup

pytestmark = pytest.mark.django_db
PASSWORD = "correct-horse-battery"


@pytest.fixture(autouse=True)
def no_limits_left_over() -> None:
    cache.clear()


@pytest.fixture
def ann() -> User:
    return User.objects.create_user("ann", password=PASSWORD, is_staff=True)


def sign_in(client: Client, password: str = PASSWORD, to: str = "/admin/") -> str:
    """Where the browser is sent after the password."""
    answer = client.post(f"/accounts/login/?next={to}", {"login": "ann", "password": password, "next": to})
    return answer.headers.get("Location", "")


def code_of(secret: str) -> str:
    """What an authenticator app shows now."""
    return format_hotp_value(hotp_value(secret, next(yield_hotp_counters_from_time())))


def set_up(client: Client) -> str:
    """Add an authenticator app as its page does; returns the secret."""
    client.post("/accounts/reauthenticate/", {"password": PASSWORD})
    page = client.get("/accounts/second-factor/totp/activate/").content.decode()
    found = re.search(r'value="([A-Z2-7]{32})"', page)
    assert found, "the page shows the secret for apps that cannot scan"
    answer = client.post("/accounts/second-factor/totp/activate/", {"code": code_of(found[1])})
    assert answer.status_code == 302, answer.content.decode()
    return found[1]


def test_the_back_office_sends_strangers_to_the_one_login_there_is(client: Client, ann: User) -> None:
    answer = client.get("/admin/hub/run/", follow=True)
    assert answer.redirect_chain[-1][0].startswith("/accounts/login/?next=")
    assert sign_in(client, "wrong") == ""
    assert sign_in(client, to="/admin/hub/run/") == "/admin/hub/run/"


def test_nobody_signs_up_and_nobody_is_led_elsewhere(client: Client, ann: User) -> None:
    for path in ("signup", "reset_password", "email"):
        assert client.get(f"/accounts/closed/{path}/").status_code == 404
    assert sign_in(client, to="https://evil.example/") == "/admin/"


def test_guessing_is_slowed_down(client: Client, ann: User) -> None:
    for _ in range(6):
        sign_in(client, "wrong")
    assert sign_in(client) == "", "too many failed attempts"


GUESS = """
import django; django.setup()
from django.test import Client
for _ in range(3):
    answer = Client(HTTP_HOST="localhost").post("/accounts/login/", {"login": "ann", "password": "wrong"})
    assert answer.status_code == 200, answer
"""


@pytest.mark.django_db(transaction=True)
def test_guesses_count_for_all_web_processes(ann: User, child_env: dict[str, str]) -> None:
    for _ in range(2):
        subprocess.run([sys.executable, "-W", "ignore", "-c", GUESS], env=child_env, check=True, cwd=ROOT, capture_output=True)
    assert sign_in(Client(HTTP_HOST="localhost")) == "", "six attempts failed elsewhere"


def test_people_without_the_staff_flag_do_not_come_in(client: Client) -> None:
    User.objects.create_user("ann", password=PASSWORD)
    sign_in(client)
    assert client.get("/admin/", follow=True).status_code == 403


def test_with_a_second_factor_the_password_alone_is_not_enough(client: Client, ann: User) -> None:
    sign_in(client)
    secret = set_up(client)
    client.logout()
    assert sign_in(client) == "/accounts/second-factor/authenticate/?next=/admin/" or "second-factor" in sign_in(client)
    assert client.get("/admin/").status_code == 302
    with time_machine.travel(timezone.now() + timedelta(minutes=1)):
        client.post("/accounts/second-factor/authenticate/", {"code": "000000"})
        assert client.get("/admin/").status_code == 302
        client.post("/accounts/second-factor/authenticate/", {"code": code_of(secret)})
        assert client.get("/admin/").status_code == 200


def test_the_secret_of_an_app_is_sealed_in_the_database(client: Client, ann: User) -> None:
    sign_in(client)
    secret = set_up(client)
    stored = str(Authenticator.objects.get(type=Authenticator.Type.TOTP).data)
    assert secret not in stored


def test_a_deployment_can_demand_a_second_factor(client: Client, ann: User, settings: object) -> None:
    settings.REQUIRE_MFA = True  # type: ignore[attr-defined]
    sign_in(client)
    for page in ("/admin/", "/admin/hub/run/", "/admin/find/?q=x"):
        assert client.get(page).headers["Location"] == "/accounts/second-factor/"
    assert client.get("/accounts/second-factor/").status_code == 200
    set_up(client)
    assert client.get("/admin/").status_code == 200


def proof(client: Client, user: User) -> object:
    request = RequestFactory().get("/")
    request.user, request.session = user, client.session
    return stepup.confirmed_at(request)


def test_signing_in_proves_it_and_time_wears_it_off(client: Client, ann: User) -> None:
    assert proof(client, ann) is None
    sign_in(client)
    first = proof(client, ann)
    with time_machine.travel(timezone.now() + timedelta(hours=1)):
        client.post("/accounts/reauthenticate/", {"password": PASSWORD})
        second = proof(client, ann)
    assert first is not None and second is not None and second > first  # type: ignore[operator]


def test_who_has_a_second_factor_proves_it_with_that(client: Client, ann: User) -> None:
    sign_in(client)
    set_up(client)
    client.logout()
    with time_machine.travel(timezone.now() + timedelta(minutes=2)):
        client.force_login(ann)
        client.post("/accounts/reauthenticate/", {"password": PASSWORD})
        assert proof(client, ann) is None, "the password alone does not count"
    request = RequestFactory().get("/")
    request.user = ann
    answer = stepup.redirect_to_confirm(request, "/admin/desk/1/")
    assert answer.headers["Location"] == "/accounts/second-factor/reauthenticate/?next=%2Fadmin%2Fdesk%2F1%2F"
