"""Card numbers do not belong here: digit runs that could be one are masked before anything is stored. Pure.

A run of 13 to 19 digits, spaces and dashes between them allowed, that passes the Luhn check (ISO/IEC 7812-1 annex B) is
taken for a card number. The last four digits stay readable, as PCI DSS 3.4.1 allows.
"""

from __future__ import annotations

import re

_RUN = re.compile(r"(?<![\w])\d(?:[ -]?\d){12,18}(?![\w])")
_RAW = re.compile(rb"(?<![\w])\d(?:[ -]?\d){12,18}(?![\w])")


def passes_luhn(digits: str) -> bool:
    """Whether the check digit of a card number is right."""
    total = 0
    for place, digit in enumerate(reversed(digits)):
        value = int(digit) * (2 if place % 2 else 1)
        total += value - 9 if value > 9 else value
    return total % 10 == 0


def mask(text: str) -> str:
    """The text with every number that could be a card's reduced to stars and its last four digits; same length."""
    return _RUN.sub(lambda found: _masked(found.group()), text)


def mask_bytes(raw: bytes) -> bytes:
    """Like `mask`, on bytes of any ASCII-compatible encoding; what is not a number stays byte for byte."""
    return _RAW.sub(lambda found: _masked(found.group().decode("ascii")).encode("ascii"), raw)


def _masked(run: str) -> str:
    digits = [character for character in run if character.isdigit()]
    if not passes_luhn("".join(digits)):
        return run
    keep = len(digits) - 4
    masked, seen = [], 0
    for character in run:
        if character.isdigit():
            seen += 1
            masked.append("*" if seen <= keep else character)
        else:
            masked.append(character)
    return "".join(masked)
