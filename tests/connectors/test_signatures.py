"""What the webhook verifiers believe. The same holds for every byte string, which is why most of it is generated."""

from __future__ import annotations

import hashlib
import hmac
from datetime import UTC, datetime, timedelta

import pytest
import stripe
from hypothesis import example, given
from hypothesis import strategies as st

from connectors.sdk.contract import Delivery
from connectors.sdk.errors import BadSignature
from connectors.sdk.signatures import HmacScheme, sign_stripe, verify_stripe

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
AT = int(NOW.timestamp())
SECRET, OLDER = "whsec_not_a_real_secret", "whsec_an_older_one"
BODY = b'{"id": "evt_1", "object": "event"}'
ZENDESK = HmacScheme("x-zendesk-webhook-signature", "x-zendesk-webhook-signature-timestamp", "", encoding="base64")
PLAIN = HmacScheme("x-hub-signature-256", prefix="sha256=")


def delivery(header: str, body: bytes = BODY) -> Delivery:
    return Delivery({"stripe-signature": header}, body)


def code_of(header: str, body: bytes = BODY, *secrets: str) -> str:
    with pytest.raises(BadSignature) as refused:
        verify_stripe(delivery(header, body), secrets or [SECRET], NOW)
    return refused.value.code


@given(st.binary())
def test_what_we_sign_is_accepted(body: bytes) -> None:
    assert verify_stripe(delivery(sign_stripe(body, SECRET, AT), body), [SECRET], NOW) == 0


def test_what_the_official_sdk_accepts_is_what_we_sign() -> None:
    now = int(datetime.now(UTC).timestamp())
    event = stripe.Webhook.construct_event(BODY, sign_stripe(BODY, SECRET, now), SECRET)
    assert event.id == "evt_1"


def test_the_signature_is_the_documented_one() -> None:
    expected = hmac.new(SECRET.encode(), f"{AT}.".encode() + BODY, hashlib.sha256).hexdigest()
    assert sign_stripe(BODY, SECRET, AT) == f"t={AT},v1={expected}"


@given(st.binary(min_size=1), st.data())
def test_one_flipped_bit_is_refused(body: bytes, data: st.DataObject) -> None:
    header = sign_stripe(body, SECRET, AT)
    bit = data.draw(st.integers(0, len(body) * 8 - 1))
    flipped = bytearray(body)
    flipped[bit // 8] ^= 1 << bit % 8
    assert code_of(header, bytes(flipped)) == "mismatch"


@given(st.integers(0, 63), st.sampled_from("0123456789abcdef"))
def test_one_changed_digit_of_the_signature_is_refused(place: int, digit: str) -> None:
    stamp, _, signature = sign_stripe(BODY, SECRET, AT).partition(",v1=")
    changed = signature[:place] + digit + signature[place + 1 :]
    if changed != signature:
        assert code_of(f"{stamp},v1={changed}") == "mismatch"


@pytest.mark.parametrize(("age", "code"), [(301, "stale"), (-61, "future")])
def test_a_delivery_outside_the_window_is_refused(age: int, code: str) -> None:
    assert code_of(sign_stripe(BODY, SECRET, AT - age)) == code


@pytest.mark.parametrize("age", [299, 0, -59])
def test_a_delivery_inside_the_window_is_accepted(age: int) -> None:
    assert verify_stripe(delivery(sign_stripe(BODY, SECRET, AT - age)), [SECRET], NOW) == 0


def test_a_recorded_signature_cannot_be_given_a_new_timestamp() -> None:
    old = sign_stripe(BODY, SECRET, AT - 1000).partition(",")[2]
    assert code_of(f"t={AT},{old}") == "mismatch"


def test_during_a_roll_the_matching_secret_is_named() -> None:
    header = sign_stripe(BODY, OLDER, AT)
    assert verify_stripe(delivery(header), [SECRET, OLDER], NOW) == 1
    assert code_of(header, BODY, SECRET) == "mismatch"


def test_several_signatures_in_one_header_are_all_tried() -> None:
    signature = sign_stripe(BODY, SECRET, AT).partition(",")[2]
    header = f"t={AT},v1={'0' * 64},{signature},v0=ignored"
    assert verify_stripe(delivery(header), [SECRET], NOW) == 0


@pytest.mark.parametrize("secrets", [[], [""], [SECRET, ""]])
def test_an_empty_secret_opens_nothing(secrets: list[str]) -> None:
    with pytest.raises(BadSignature, match="no_secret"):
        verify_stripe(delivery(sign_stripe(BODY, "", AT)), secrets, NOW)


@pytest.mark.parametrize("scheme", ["v0", "V1", "v1 ", "v2"])
def test_other_schemes_do_not_count(scheme: str) -> None:
    signature = sign_stripe(BODY, SECRET, AT).partition("v1=")[2]
    assert code_of(f"t={AT},{scheme}={signature}") in ("malformed", "mismatch")


@given(st.text(), st.binary())
@example("t=,v1=", b"")
@example("no comma at all", b"\xff\xfe")
@example("t=99999999999999999999,v1=00", b"")
@example(f"t={AT},v1=\u00e9", b"")
@example(f"t=\u0661\u0662,v1={'0' * 64}", b"")
@example("," * 5000, b"")
@example(f"t={AT}," + "v1=0," * 500, b"")
@example("t=1,t=2,v1=00", b"")
def test_hostile_input_is_bad_signature_and_nothing_else(header: str, body: bytes) -> None:
    for verify, names in (
        (verify_stripe, ("stripe-signature",)),
        (ZENDESK.verify, (ZENDESK.header, ZENDESK.timestamp_header)),
        (PLAIN.verify, (PLAIN.header,)),
    ):
        with pytest.raises(BadSignature):
            verify(Delivery(dict.fromkeys(names, header), body), [SECRET], NOW)


@pytest.mark.parametrize("scheme", [ZENDESK, PLAIN], ids=["zendesk", "plain"])
def test_a_header_scheme_accepts_its_own_and_no_changed_body(scheme: HmacScheme) -> None:
    headers = {name.lower(): value for name, value in scheme.sign(BODY, SECRET, AT).items()}
    assert scheme.verify(Delivery(headers, BODY), [OLDER, SECRET], NOW) == 1
    with pytest.raises(BadSignature, match="mismatch"):
        scheme.verify(Delivery(headers, BODY + b" "), [SECRET], NOW)


def test_a_header_scheme_with_a_timestamp_grows_stale() -> None:
    headers = ZENDESK.sign(BODY, SECRET, AT)
    with pytest.raises(BadSignature, match="stale"):
        ZENDESK.verify(Delivery(headers, BODY), [SECRET], NOW + timedelta(minutes=6))
