"""What may be configured, read from the environment once, typed, and refused at boot when it is wrong.

`DATABASE_URL` and `REDIS_URL` keep their usual names; everything else is `TIEOUT_<NAME>`. Outside production nothing is
required: `hub.runtime` starts its own PostgreSQL and Redis, and the keys are generated once into the state directory.
"""

from __future__ import annotations

import json
import os
import secrets
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import parse_qsl, unquote, urlsplit

from cryptography.fernet import Fernet
from pydantic import AfterValidator, Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from canonical.money import normal_currency

ROOT = Path(__file__).resolve().parent.parent


class ConfigError(Exception):
    """The environment is not one the hub can run in. The message names each variable and what it should be."""


class Config(BaseSettings):
    """The hub's configuration. Frozen: what a process was started with is what it runs with."""

    model_config = SettingsConfigDict(env_prefix="TIEOUT_", frozen=True, extra="ignore", hide_input_in_errors=True)

    env: Literal["development", "demo", "production"] = "development"
    debug: bool = False
    database_url: SecretStr = Field(SecretStr(""), validation_alias="DATABASE_URL")
    redis_url: SecretStr = Field(SecretStr(""), validation_alias="REDIS_URL")
    secret_key: SecretStr = SecretStr("")
    data_keys: Annotated[list[SecretStr], NoDecode] = []
    allowed_hosts: Annotated[list[str], NoDecode] = ["localhost", "127.0.0.1", "[::1]"]
    csrf_trusted_origins: Annotated[list[str], NoDecode] = []
    trust_proxy: bool = False
    state_dir: Path = ROOT / ".local"
    workers: int = Field(2, ge=1, le=64)
    lease_seconds: int = Field(45, ge=5, le=3600)
    reporting_currency: Annotated[str, AfterValidator(normal_currency)] = "USD"
    undo_minutes: int = Field(10, ge=0, le=1440)
    grace_minutes: int = Field(60, ge=0, le=1440)
    readings_days: int = Field(7, ge=1, le=3650)
    audit_anchors: Path | None = None
    require_mfa: bool = False
    public_url: str = "http://127.0.0.1:8000"
    email_url: SecretStr = SecretStr("")
    email_from: str = "Tieout <tieout@localhost>"
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    log_format: Literal["console", "json"] | None = None

    @field_validator("data_keys", "allowed_hosts", "csrf_trusted_origins", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value

    @field_validator("data_keys")
    @classmethod
    def _fernet(cls, keys: list[SecretStr]) -> list[SecretStr]:
        for key in keys:
            try:
                Fernet(key.get_secret_value())
            except ValueError:
                raise ValueError("each key must be 32 url-safe base64-encoded bytes, newest first") from None
        return keys

    @field_validator("database_url")
    @classmethod
    def _postgresql(cls, url: SecretStr) -> SecretStr:
        if url.get_secret_value() and urlsplit(url.get_secret_value()).scheme not in {"postgres", "postgresql"}:
            raise ValueError("must begin with postgresql:// (PostgreSQL is the only database there is support for)")
        return url

    @field_validator("redis_url")
    @classmethod
    def _redis(cls, url: SecretStr) -> SecretStr:
        if url.get_secret_value() and urlsplit(url.get_secret_value()).scheme not in {"redis", "rediss", "unix"}:
            raise ValueError("must begin with redis://, rediss:// or unix://")
        return url

    @field_validator("public_url")
    @classmethod
    def _web_address(cls, url: str) -> str:
        if urlsplit(url).scheme not in {"http", "https"} or not urlsplit(url).hostname:
            raise ValueError("must begin with http:// or https://, and name the host people reach the back office by")
        return url.rstrip("/")

    @field_validator("email_url")
    @classmethod
    def _mail_server(cls, url: SecretStr) -> SecretStr:
        mail(url.get_secret_value(), Path())
        return url

    @field_validator("state_dir")
    @classmethod
    def _absolute(cls, path: Path) -> Path:
        return path if path.is_absolute() else (ROOT / path)

    @model_validator(mode="after")
    def _production_is_explicit(self) -> Self:
        if not self.production:
            return self
        needed = {
            "DATABASE_URL": bool(self.database_url.get_secret_value()),
            "REDIS_URL": bool(self.redis_url.get_secret_value()),
            "TIEOUT_SECRET_KEY": len(self.secret_key.get_secret_value()) >= 50,
            "TIEOUT_DATA_KEYS": bool(self.data_keys),
            "TIEOUT_ALLOWED_HOSTS": "allowed_hosts" in self.model_fields_set,
        }
        if missing := [name for name, given in needed.items() if not given]:
            raise ValueError(
                f"production needs {', '.join(missing)} in the environment (the secret key with 50 characters or more)"
            )
        if self.debug:
            raise ValueError("TIEOUT_DEBUG must be off in production")
        if self.secret_key in self.data_keys:
            raise ValueError("TIEOUT_DATA_KEYS must not contain TIEOUT_SECRET_KEY")
        return self

    @property
    def production(self) -> bool:
        return self.env == "production"


def load() -> Config:
    """Read the environment, or raise `ConfigError`. Outside production, missing keys are made up and remembered."""
    try:
        config = Config()
    except ValidationError as error:
        raise ConfigError("Tieout cannot start:\n" + "\n".join(f"  {line}" for line in _explain(error))) from None
    if config.production or (config.secret_key.get_secret_value() and config.data_keys):
        return config
    kept = _kept_keys(config.state_dir)
    return config.model_copy(
        update={
            "secret_key": config.secret_key if config.secret_key.get_secret_value() else SecretStr(kept["secret_key"]),
            "data_keys": config.data_keys or [SecretStr(key) for key in kept["data_keys"]],
        }
    )


def _explain(error: ValidationError) -> list[str]:
    def variable(location: tuple[int | str, ...]) -> str:
        name = str(location[0]) if location else ""
        return name if name.isupper() else f"TIEOUT_{name.upper()}"

    return [
        (f"{variable(each['loc'])}: " if each["loc"] else "") + each["msg"].removeprefix("Value error, ")
        for each in error.errors(include_input=False, include_url=False)
    ]


def _kept_keys(state_dir: Path) -> dict[str, Any]:
    """The keys of this state directory, created on first use. Two processes may come first together: one wins."""
    path = state_dir / "keys.json"
    if not path.exists():
        state_dir.mkdir(parents=True, exist_ok=True)
        fresh = {"secret_key": secrets.token_urlsafe(64), "data_keys": [Fernet.generate_key().decode()]}
        draft = state_dir / f"keys.{os.getpid()}.tmp"
        draft.touch(mode=0o600)
        draft.write_text(json.dumps(fresh))
        try:
            os.link(draft, path)  # unlike rename, it never replaces the keys another process has just begun to use
        except FileExistsError:
            pass
        finally:
            draft.unlink()
    kept: dict[str, Any] = json.loads(path.read_text())
    return kept


def database(url: str) -> dict[str, Any]:
    """Django's description of the database at `url`. Query parameters go to libpq (`?sslmode=verify-full`)."""
    parts = urlsplit(url)
    options: dict[str, Any] = dict(parse_qsl(parts.query))
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": unquote(parts.path.lstrip("/")) or "tieout",
        "USER": unquote(parts.username or ""),
        "PASSWORD": unquote(parts.password or ""),
        "HOST": options.pop("host", unquote(parts.hostname or "")),
        "PORT": str(parts.port or ""),
        "OPTIONS": options,
    }


def mail(url: str, state_dir: Path) -> dict[str, Any]:
    """Django's settings for the mail server at `url`; without one, mails are files in the state directory.

    `smtp+tls://user:password@host:587` begins in the clear and turns to TLS, `smtps://` is TLS from the first byte,
    `smtp://` stays in the clear, `console:` prints. Raises ValueError for anything else.
    """
    backends = "django.core.mail.backends"
    if not url:
        return {"EMAIL_BACKEND": f"{backends}.filebased.EmailBackend", "EMAIL_FILE_PATH": str(state_dir / "mail")}
    if url == "console:":
        return {"EMAIL_BACKEND": f"{backends}.console.EmailBackend"}
    parts = urlsplit(url)
    ports = {"smtp": 25, "smtp+tls": 587, "smtps": 465}
    if parts.scheme not in ports or not parts.hostname:
        raise ValueError("must be smtp+tls://user:password@host:587, smtps://…, smtp://…, or console:")
    return {
        "EMAIL_BACKEND": f"{backends}.smtp.EmailBackend",
        "EMAIL_HOST": parts.hostname,
        "EMAIL_PORT": parts.port or ports[parts.scheme],
        "EMAIL_HOST_USER": unquote(parts.username or ""),
        "EMAIL_HOST_PASSWORD": unquote(parts.password or ""),
        "EMAIL_USE_TLS": parts.scheme == "smtp+tls",
        "EMAIL_USE_SSL": parts.scheme == "smtps",
        "EMAIL_TIMEOUT": 10,
    }
