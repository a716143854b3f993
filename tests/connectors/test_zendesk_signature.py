"""Zendesk's webhook signature: base64 HMAC-SHA256 over an ISO 8601 timestamp and the body, nothing between them."""

from __future__ import annotations

import base64
import hashlib
import hmac
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from connectors.sdk.contract import Delivery
from connectors.sdk.errors import BadSignature
from connectors.vendors.zendesk.events import SIGNATURE

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
AT = int(NOW.timestamp())
SECRET, OLDER = "dGhpc19zZWNyZXRfaXNfZm9yX3Rlc3Rz", "an_older_one"
SIGNED, STAMPED = "x-zendesk-webhook-signature", "x-zendesk-webhook-signature-timestamp"


def delivery(body: bytes, stamp: str, secret: str = SECRET) -> Delivery:
    """Signed as the documentation says, without our own code."""
    digest = hmac.new(secret.encode(), stamp.encode() + body, hashlib.sha256).digest()
    return Delivery({SIGNED: base64.b64encode(digest).decode(), STAMPED: stamp}, body)


def code_of(it: Delivery, *secrets: str) -> str:
    with pytest.raises(BadSignature) as refused:
        SIGNATURE.verify(it, secrets or [SECRET], NOW)
    return refused.value.code


@given(st.binary())
def test_what_the_documentation_signs_is_accepted_and_is_what_we_sign(body: bytes) -> None:
    it = delivery(body, "2026-03-01T12:00:00Z")
    assert SIGNATURE.verify(it, [OLDER, SECRET], NOW) == 1
    assert {name.lower(): value for name, value in SIGNATURE.sign(body, SECRET, AT).items()} == it.headers


@pytest.mark.parametrize("stamp", ["2026-03-01T11:55:01Z", "2026-03-01T12:00:59Z", "2026-03-01T12:00:00.906323869Z"])
def test_a_timestamp_inside_the_window_is_accepted(stamp: str) -> None:
    assert SIGNATURE.verify(delivery(b"{}", stamp), [SECRET], NOW) == 0


@pytest.mark.parametrize(
    ("stamp", "code"),
    [
        ("2026-03-01T11:54:59Z", "stale"),
        ("1969-12-31T23:59:59Z", "stale"),
        ("2026-03-01T12:01:01Z", "future"),
        ("9999-12-31T23:59:59Z", "future"),
        (str(AT), "malformed"),
        ("2026-03-01T12:00:00", "malformed"),
        ("2026-03-01T12:00:00+00:00", "malformed"),
        ("2026-02-30T12:00:00Z", "malformed"),
        ("2026-03-01T25:00:00Z", "malformed"),
        ("0000-00-00T00:00:00Z", "malformed"),
        ("2026-03-01T12:00:00.Z", "malformed"),
    ],
)
def test_any_other_timestamp_is_refused_though_it_is_signed(stamp: str, code: str) -> None:
    assert code_of(delivery(b"{}", stamp)) == code


def test_a_recorded_signature_cannot_be_given_a_new_timestamp() -> None:
    old = delivery(b"{}", "2026-03-01T11:00:00Z")
    assert code_of(Delivery({**old.headers, STAMPED: "2026-03-01T12:00:00Z"}, b"{}")) == "mismatch"


def test_the_timestamp_is_part_of_what_is_signed_with_nothing_between() -> None:
    it = delivery(b"0{}", "2026-03-01T12:00:00Z")
    assert code_of(Delivery(it.headers, b"{}")) == "mismatch"
    assert code_of(it, OLDER) == "mismatch"
    with pytest.raises(BadSignature, match="stale"):
        SIGNATURE.verify(it, [SECRET], NOW + timedelta(minutes=6))


@given(st.text(), st.text(), st.binary())
@example("\u0662026-03-01T12:00:00Z", "", b"")
@example("2026-03-01T12:00:00Z\n", "x", b"")
@example("9" * 100_000, "9" * 100_000, b"")
@example("2026-03-01T12:00:00Z", "\udcff", b"")
@example("2026-03-01T12:00:00Z", "====", b"\xff\xfe")
def test_hostile_input_is_bad_signature_and_nothing_else(stamp: str, signature: str, body: bytes) -> None:
    with pytest.raises(BadSignature):
        SIGNATURE.verify(Delivery({SIGNED: signature, STAMPED: stamp}, body), [SECRET], NOW)
