"""Configuration is refused at boot, by name."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.fernet import Fernet

from hub import config
from hub.config import ROOT, ConfigError, load


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith("TIEOUT_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("TIEOUT_STATE_DIR", str(tmp_path))


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("TIEOUT_WORKERS", "many"),
        ("TIEOUT_WORKERS", "0"),
        ("TIEOUT_LEASE_SECONDS", "1"),
        ("TIEOUT_ENV", "staging"),
        ("TIEOUT_LOG_LEVEL", "LOUD"),
        ("TIEOUT_DATA_KEYS", "too-short"),
        ("DATABASE_URL", "sqlite:///tieout.db"),
        ("REDIS_URL", "amqp://localhost"),
        ("TIEOUT_PUBLIC_URL", "hub.example"),
        ("TIEOUT_EMAIL_URL", "mail.example:25"),
    ],
)
def test_config_errors_name_the_variable(variable: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(ConfigError, match=f"{variable}: "):
        load()


def test_an_error_does_not_repeat_a_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIEOUT_DATA_KEYS", "hunter2hunter2")
    monkeypatch.setenv("DATABASE_URL", "mysql://root:hunter2@localhost/x")
    with pytest.raises(ConfigError) as caught:
        load()
    assert "hunter2" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_production_demands_everything_it_needs_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIEOUT_ENV", "production")
    for name in ("DATABASE_URL", "REDIS_URL"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ConfigError) as caught:
        load()
    for name in ("DATABASE_URL", "REDIS_URL", "TIEOUT_SECRET_KEY", "TIEOUT_DATA_KEYS", "TIEOUT_ALLOWED_HOSTS"):
        assert name in str(caught.value)


def test_production_never_makes_up_keys(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    production(monkeypatch)
    load()
    assert not (tmp_path / "keys.json").exists()


def test_production_refuses_debug(monkeypatch: pytest.MonkeyPatch) -> None:
    production(monkeypatch)
    monkeypatch.setenv("TIEOUT_DEBUG", "1")
    with pytest.raises(ConfigError, match="TIEOUT_DEBUG"):
        load()


def production(monkeypatch: pytest.MonkeyPatch) -> None:
    values = {
        "TIEOUT_ENV": "production",
        "TIEOUT_SECRET_KEY": "x7" * 30,
        "TIEOUT_DATA_KEYS": f"{Fernet.generate_key().decode()}, {Fernet.generate_key().decode()}",
        "TIEOUT_ALLOWED_HOSTS": "hub.example.com, admin.example.com",
        "DATABASE_URL": "postgresql://hub:pw@db/hub",
        "REDIS_URL": "redis://redis/0",
    }
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    loaded = load()
    assert loaded.allowed_hosts == ["hub.example.com", "admin.example.com"]
    assert len(loaded.data_keys) == 2


def test_made_up_keys_are_private_and_stay_the_same(tmp_path: Path) -> None:
    first, second = load(), load()
    assert first.secret_key == second.secret_key
    assert first.data_keys == second.data_keys
    assert stat.S_IMODE((tmp_path / "keys.json").stat().st_mode) == 0o600


def test_two_first_processes_agree_on_the_keys(tmp_path: Path) -> None:
    code = "from hub.config import load; print(load().secret_key.get_secret_value())"
    both = [subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    seen = {each.communicate(timeout=60)[0].strip() for each in both}
    assert seen == {json.loads((tmp_path / "keys.json").read_text())["secret_key"]}
    assert [path.name for path in tmp_path.iterdir()] == ["keys.json"]


def test_the_configuration_does_not_print_its_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://hub:hunter2@db/hub")
    shown = repr(load())
    assert "hunter2" not in shown
    assert load().secret_key.get_secret_value() not in shown


def test_a_database_url_is_read_as_libpq_would() -> None:
    read = config.database("postgresql://us%40er:p%2Fw@db.example.com:6432/hub?sslmode=verify-full")
    assert (read["USER"], read["PASSWORD"], read["HOST"], read["PORT"], read["NAME"]) == (
        "us@er",
        "p/w",
        "db.example.com",
        "6432",
        "hub",
    )
    assert read["OPTIONS"] == {"sslmode": "verify-full"}


def test_the_command_line_ends_with_the_message_and_no_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIEOUT_WORKERS", "many")
    shown = subprocess.run([sys.executable, "manage.py", "migrate"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert shown.returncode == 1
    assert "TIEOUT_WORKERS" in shown.stderr
    assert "Traceback" not in shown.stderr


def test_mails_go_to_the_server_that_was_named_and_to_files_without_one(tmp_path: Path) -> None:
    told = config.mail("smtp+tls://tie%40out:p%3Aw@mail.example", tmp_path)
    assert (told["EMAIL_HOST"], told["EMAIL_PORT"]) == ("mail.example", 587)
    assert (told["EMAIL_HOST_USER"], told["EMAIL_HOST_PASSWORD"]) == ("tie@out", "p:w")
    assert (told["EMAIL_USE_TLS"], told["EMAIL_USE_SSL"]) == (True, False)
    assert config.mail("smtps://mail.example:4465", tmp_path)["EMAIL_PORT"] == 4465
    assert config.mail("", tmp_path)["EMAIL_FILE_PATH"] == str(tmp_path / "mail")
    assert "console" in config.mail("console:", tmp_path)["EMAIL_BACKEND"]
