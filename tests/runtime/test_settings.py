"""What a deployment may rely on without reading the settings."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.fernet import Fernet
from django.conf import settings
from django.test import Client

from hub.config import ROOT


def production(tmp_path: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TIEOUT_")}
    return kept | {
        "TIEOUT_ENV": "production",
        "TIEOUT_ALLOWED_HOSTS": "hub.example.com",
        "TIEOUT_STATE_DIR": str(tmp_path),
        "TIEOUT_SECRET_KEY": secrets.token_urlsafe(48),
        "TIEOUT_DATA_KEYS": Fernet.generate_key().decode(),
    }


def manage(*command: str, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "manage.py", *command], cwd=ROOT, env=env, capture_output=True, text=True, check=False)


def test_production_passes_djangos_deployment_check(tmp_path: Path) -> None:
    checked = manage("check", "--deploy", "--fail-level", "WARNING", env=production(tmp_path))
    assert checked.returncode == 0, checked.stderr


def test_production_starts_no_services_of_its_own(tmp_path: Path) -> None:
    env = production(tmp_path)
    del env["DATABASE_URL"]
    started = manage("migrate", env=env)
    assert started.returncode == 1
    assert "DATABASE_URL" in started.stderr
    assert not list(tmp_path.iterdir())


def test_the_browser_is_told_what_it_may_do(client: Client, db: None) -> None:
    answer = client.get("/accounts/login/")
    policy = {rule.split()[0]: rule.split()[1:] for rule in answer.headers["Content-Security-Policy"].split("; ")}
    assert policy["default-src"] == ["'self'"]
    assert "'unsafe-inline'" not in policy["script-src"]
    assert policy["frame-ancestors"] == policy["object-src"] == policy["base-uri"] == ["'none'"]
    assert answer.headers["X-Frame-Options"] == "DENY"
    assert answer.headers["Referrer-Policy"] == "same-origin"
    assert "camera=()" in answer.headers["Permissions-Policy"]
    assert answer.cookies["csrftoken"]["samesite"] == "Strict"


@pytest.mark.parametrize(("given", "kept"), [("abc-123", True), ("a" * 65, False), ("x\ty", False), ("", False)])
def test_a_harmless_request_id_is_taken_over(given: str, kept: bool, client: Client, db: None) -> None:
    answer = client.get("/accounts/login/", headers={"X-Request-ID": given})
    assert (answer.headers["X-Request-ID"] == given) is kept
    assert answer.headers["X-Request-ID"]


def test_the_broker_cannot_lose_work_by_its_settings() -> None:
    assert settings.CELERY_TASK_ACKS_LATE
    assert settings.CELERY_TASK_REJECT_ON_WORKER_LOST
    assert settings.CELERY_WORKER_PREFETCH_MULTIPLIER == 1
    assert settings.CELERY_ACCEPT_CONTENT == ["json"]
    assert not hasattr(settings, "CELERY_RESULT_BACKEND")


def test_a_forgotten_transaction_is_ended_by_the_database(db: None) -> None:
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute("SHOW idle_in_transaction_session_timeout")
        assert cursor.fetchone() == ("30s",)
