"""Secrets at rest: JSON under MultiFernet with the keys of TIEOUT_DATA_KEYS, bound to the row they belong to."""

from __future__ import annotations

import json
from typing import Any

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured


class Unreadable(Exception):
    """The stored secret was written under a key we no longer have, or for another row."""


def _keys() -> MultiFernet:
    keys: list[str] = list(settings.DATA_KEYS)
    if not keys:
        raise ImproperlyConfigured("TIEOUT_DATA_KEYS is empty: connection secrets cannot be stored or read")
    return MultiFernet([Fernet(key) for key in keys])


def seal(binding: str, secret: Any) -> str:
    """Encrypt JSON for the row named by `binding`; a ciphertext moved to another row cannot be opened."""
    return _keys().encrypt(json.dumps({"for": binding, "secret": secret}).encode()).decode()


def unseal(binding: str, sealed: str) -> Any:
    """Decrypt what `seal` made for the same binding. Raises Unreadable."""
    try:
        content = json.loads(_keys().decrypt(sealed.encode()))
    except InvalidToken:
        raise Unreadable("no key of TIEOUT_DATA_KEYS opens this secret") from None
    if content["for"] != binding:
        raise Unreadable("this secret belongs to another connection")
    return content["secret"]


def rotate(sealed: str) -> str:
    """The same secret under the newest key. Raises Unreadable."""
    try:
        return _keys().rotate(sealed.encode()).decode()
    except InvalidToken:
        raise Unreadable("no key of TIEOUT_DATA_KEYS opens this secret") from None
