"""Card numbers do not belong here: digit runs that could be one are masked before anything is stored. Pure.

A run of 13 to 19 digits, spaces and dashes between them allowed, that passes the Luhn check (ISO/IEC 7812-1 annex B) is
taken for a card number. The last four digits stay readable, as PCI DSS 3.4.1 allows.
"""

from __future__ import annotations

import re

_RUN = re.compile(r"(?<!\w)\d+(?:[ -]\d+)*(?!\w)", re.ASCII)
_RAW = re.compile(rb"(?<!\w)\d+(?:[ -]\d+)*(?!\w)")
_GROUP = re.compile(r"\d+")
SHORTEST, LONGEST = 13, 19


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
    """A run may be several numbers in a row: what is looked at begins and ends where a group of digits does."""
    groups = [found.span() for found in _GROUP.finditer(run)]
    characters, first = list(run), 0
    while first < len(groups):
        last = _card_from(run, groups, first)
        if last is None:
            first += 1
            continue
        places = [place for place in range(groups[first][0], groups[last][1]) if run[place].isdigit()]
        for place in places[:-4]:
            characters[place] = "*"
        first = last + 1
    return "".join(characters)


def _card_from(run: str, groups: list[tuple[int, int]], first: int) -> int | None:
    """The last group of the longest card number that begins with group `first`, or None."""
    digits, found = "", None
    for last in range(first, len(groups)):
        digits += run[slice(*groups[last])]
        if len(digits) > LONGEST:
            break
        if len(digits) >= SHORTEST and passes_luhn(digits):
            found = last
    return found
