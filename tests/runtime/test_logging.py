"""Whatever is logged, by whom ever, carries no secret and the id of what caused it."""

from __future__ import annotations

import io
import json
import logging
import logging.config
from collections.abc import Iterator

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from hub import logging as hub_logging
from hub.logging import REDACTED, clean

SECRETS = {
    "stripe": "sk_live_51HxAbCdEfGh",
    "stripe test": "sk_test_4eC39HqLyjWDarjtT1zdp7dc",
    "restricted": "rk_live_abc123def",
    "webhook": "whsec_bWFkZS11cC1ieS1h",
    "bearer": "Bearer abc.def-123456",
    "basic": "Basic dXNlcjpwYXNzd29yZA==",
    "url": "postgresql://hub:hunter2pass@db.example.com/hub",
}


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    """The configured log, as JSON lines."""
    config = hub_logging.configure("INFO", "json")
    out = io.StringIO()
    config["handlers"]["stderr"]["stream"] = out
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    logging.config.dictConfig({**config, "loggers": {}})
    structlog.contextvars.clear_contextvars()
    yield out
    structlog.contextvars.clear_contextvars()
    root.handlers[:], root.level = handlers, level


@pytest.mark.parametrize("secret", SECRETS.values(), ids=SECRETS)
def test_log_redacts_secrets(secret: str, stream: io.StringIO) -> None:
    hard_part = "hunter2pass" if "hunter2pass" in secret else secret.split()[-1]
    structlog.get_logger("ours").info("call failed", url=secret, nested={"list": [f"said {secret} twice"]})
    logging.getLogger("library").warning("header was %s", secret)
    try:
        raise RuntimeError(f"refused {secret}")
    except RuntimeError:
        logging.getLogger("library").exception("it broke")
        structlog.get_logger("ours").exception("it broke")
    assert stream.getvalue().count("\n") == 4
    assert hard_part not in stream.getvalue()
    assert REDACTED in stream.getvalue()


@pytest.mark.parametrize(
    "name",
    ["password", "api_key", "apiKey", "Authorization", "webhook_secret", "access_token", "Stripe-Signature", "cookie"],
)
def test_a_telling_name_hides_the_value(name: str, stream: io.StringIO) -> None:
    structlog.get_logger("ours").info("event", payload={name: "quite ordinary"})
    assert json.loads(stream.getvalue())["payload"] == {name: REDACTED}


def test_ordinary_values_stay_readable(stream: io.StringIO) -> None:
    structlog.get_logger("ours").info("posted", invoice="INV-7", amount="12.50", at="https://erp.example.com/a/b")
    line = json.loads(stream.getvalue())
    assert (line["invoice"], line["amount"], line["at"]) == ("INV-7", "12.50", "https://erp.example.com/a/b")


def test_every_line_carries_the_correlation_id(stream: io.StringIO) -> None:
    with structlog.contextvars.bound_contextvars(correlation_id="c-1"):
        structlog.get_logger("ours").info("one")
        logging.getLogger("library").warning("two")
    logging.getLogger("library").warning("three")
    ids = [json.loads(line).get("correlation_id") for line in stream.getvalue().splitlines()]
    assert ids == ["c-1", "c-1", None]


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=20,
    )
)
def test_cleaning_takes_anything_and_is_stable(value: object) -> None:
    once = clean({"value": value})
    assert repr(clean(once)) == repr(once)
