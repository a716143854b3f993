"""What a delivery with free text may keep: everything but numbers that could be a card's. Pure."""

from __future__ import annotations

from typing import Any

import orjson

from canonical.masking import mask, mask_bytes


def without_cards(body: bytes) -> bytes:
    """The body with possible card numbers masked, wherever a person may have typed one; unchanged when there is none.

    Values under names that end in "id" are the vendor's own numbers, and stay. What is not JSON is masked as it stands.
    """
    try:
        told = orjson.loads(body)
    except orjson.JSONDecodeError:
        return mask_bytes(body)
    masked = _masked(told, "")
    return body if masked == told else orjson.dumps(masked)


def _masked(value: Any, name: str) -> Any:
    if isinstance(value, dict):
        return {key: _masked(inner, str(key)) for key, inner in value.items()}
    if isinstance(value, list):
        return [_masked(inner, name) for inner in value]
    if name.lower().endswith("id"):
        return value
    if isinstance(value, str):
        return mask(value)
    if isinstance(value, int) and not isinstance(value, bool) and (text := mask(str(value))) != str(value):
        return text
    return value
