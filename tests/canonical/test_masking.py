"""No card number gets as far as a table; numbers that only look long are left alone."""

from __future__ import annotations

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from canonical.masking import mask, mask_bytes, passes_luhn
from connectors.sdk.redaction import without_cards

VISA = "4111111111111111"


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        (f"my card is {VISA}, charge it", "my card is ************1111, charge it"),
        ("4111 1111 1111 1111", "**** **** **** 1111"),
        ("378282246310005", "***********0005"),
        ("order 4111111111111112", "order 4111111111111112"),
        ("in_4111111111111111", "in_4111111111111111"),
        ("12345", "12345"),
        (f"{VISA} 1", "************1111 1"),
        (f"1 {VISA}-2", "1 ************1111-2"),
        (f"{VISA} 378282246310005", "************1111 ***********0005"),
        ("2026-11-23 04:30", "2026-11-23 04:30"),
        ("٤١١١١١١١١١١١١١١١", "٤١١١١١١١١١١١١١١١"),
        ("", ""),
    ],
)
def test_only_what_could_be_a_card_is_masked(text: str, masked: str) -> None:
    assert mask(text) == masked
    assert mask_bytes(text.encode()) == masked.encode()


@given(st.text())
def test_masking_again_changes_nothing_and_keeps_the_length(text: str) -> None:
    once = mask(text)
    assert mask(once) == once
    assert len(once) == len(text)


@given(st.text(alphabet="0123456789", min_size=12, max_size=18))
def test_every_number_with_a_right_check_digit_is_masked(digits: str) -> None:
    card = next(digits + check for check in "0123456789" if passes_luhn(digits + check))
    assert card not in mask(f"card {card}!")
    assert mask(card).endswith(card[-4:])


def test_a_delivery_keeps_the_vendors_ids_and_loses_the_cards() -> None:
    told = {"id": VISA, "ticket_id": int(VISA), "detail": {"text": f"use {VISA}", "numbers": [VISA, int(VISA)], "ok": True}}
    kept = orjson.loads(without_cards(orjson.dumps(told)))
    assert kept["id"] == VISA and kept["ticket_id"] == int(VISA)
    assert VISA not in orjson.dumps(kept["detail"]).decode()


def test_a_delivery_without_cards_is_kept_byte_for_byte() -> None:
    body = b'{"b" : 1,  "a": "2"}'
    assert without_cards(body) is body
    assert without_cards(b"no json " + VISA.encode()) == b"no json ************1111"
