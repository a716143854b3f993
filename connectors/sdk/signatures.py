"""Webhook signatures over raw bytes: hostile input is a BadSignature, never another exception.

Verifiers are built from a scheme and have the shape of `contract.Verify`. Timestamps are accepted from 300 seconds
in the past to 60 in the future; comparison is constant-time, and every live secret is tried, so that the time taken
does not tell which one matched.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from connectors.sdk.contract import Delivery
from connectors.sdk.errors import BadSignature

TOLERANCE_PAST = 300
TOLERANCE_FUTURE = 60
MAX_HEADER = 4096
"""Characters of a signature or timestamp header; Stripe's own with three secrets has 240."""
MAX_SIGNATURES = 8
_ISO = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?Z")


@dataclass(frozen=True, slots=True)
class StampedScheme:
    """`<header>: t=<unix>,v1=<hex>[,v1=<hex>…]`: HMAC-SHA256 over `<t>.<body>`, as Stripe signs.

    See https://docs.stripe.com/webhooks/signature. Schemes other than v1 are ignored, as Stripe asks.
    """

    header: str

    def verify(self, delivery: Delivery, secrets: Sequence[str], now: datetime) -> int:
        """Index of the secret that signed the delivery.

        Raises BadSignature with code `no_secret`, `missing`, `malformed`, `stale`, `future` or `mismatch`.
        """
        keys = _keys(secrets)
        stamps, signatures = [], []
        for part in _header(delivery, self.header.lower()).split(","):
            name, _, value = part.strip().partition("=")
            if name == "t":
                stamps.append(value)
            elif name == "v1":
                signatures.append(value)
        if len(stamps) != 1 or not 0 < len(signatures) <= MAX_SIGNATURES:
            raise BadSignature("malformed")
        _fresh(stamps[0], now)
        return _matching(keys, stamps[0].encode() + b"." + delivery.body, signatures)

    def sign(self, body: bytes, secret: str, at: int) -> dict[str, str]:
        """The header for a body sent at a Unix time."""
        return {self.header: f"t={at},v1={_digest(secret.encode(), str(at).encode() + b'.' + body)}"}


STRIPE = StampedScheme("Stripe-Signature")


def verify_stripe(delivery: Delivery, secrets: Sequence[str], now: datetime) -> int:
    """`StampedScheme.verify` for the header `Stripe-Signature`."""
    return STRIPE.verify(delivery, secrets, now)


def sign_stripe(body: bytes, secret: str, at: int) -> str:
    """The `Stripe-Signature` header for a body sent at a Unix time."""
    return STRIPE.sign(body, secret, at)[STRIPE.header]


@dataclass(frozen=True, slots=True)
class HmacScheme:
    """HMAC-SHA256 in a header of its own, over the body or, with `timestamp_header`, over timestamp + separator + body.

    Without a timestamp a recorded delivery stays valid for ever: only the unique event id stops a replay then.
    """

    header: str
    timestamp_header: str = ""
    separator: str = "."
    prefix: str = ""
    """What stands before the signature in the header, such as `sha256=`."""
    encoding: Literal["hex", "base64"] = "hex"
    clock: Literal["unix", "iso"] = "unix"
    """How the timestamp is written: Unix seconds, or ISO 8601 in UTC with a Z."""

    def verify(self, delivery: Delivery, secrets: Sequence[str], now: datetime) -> int:
        """Index of the secret that signed the delivery. Raises BadSignature like `StampedScheme.verify`."""
        keys = _keys(secrets)
        given = _header(delivery, self.header.lower())
        if not given.startswith(self.prefix):
            raise BadSignature("malformed")
        stamp = _header(delivery, self.timestamp_header.lower()).strip() if self.timestamp_header else ""
        if self.timestamp_header:
            _fresh(_unix(stamp) if self.clock == "iso" else stamp, now)
        return _matching(keys, self._signed(stamp, delivery.body), [given.removeprefix(self.prefix).strip()], self.encoding)

    def sign(self, body: bytes, secret: str, at: int) -> dict[str, str]:
        """The headers for a body sent at a Unix time."""
        written = datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if self.clock == "iso" else str(at)
        stamp = written if self.timestamp_header else ""
        signature = self.prefix + _digest(secret.encode(), self._signed(stamp, body), self.encoding)
        return {self.header: signature} | ({self.timestamp_header: stamp} if stamp else {})

    def _signed(self, stamp: str, body: bytes) -> bytes:
        return stamp.encode() + self.separator.encode() + body if stamp else body


def _keys(secrets: Sequence[str]) -> list[bytes]:
    # HMAC with an empty key is computable by anyone, so one empty secret must not open the door.
    if not secrets or not all(secrets):
        raise BadSignature("no_secret")
    return [secret.encode("utf-8", "surrogatepass") for secret in secrets]


def _header(delivery: Delivery, name: str) -> str:
    value = delivery.headers.get(name, "")
    if not value:
        raise BadSignature("missing")
    if len(value) > MAX_HEADER or not value.isascii():
        raise BadSignature("malformed")
    return value


def _fresh(stamp: str, now: datetime) -> None:
    if not (stamp.isascii() and stamp.isdigit() and len(stamp) <= 12):
        raise BadSignature("malformed")
    age = now.timestamp() - int(stamp)
    if age > TOLERANCE_PAST:
        raise BadSignature("stale")
    if age < -TOLERANCE_FUTURE:
        raise BadSignature("future")


def _unix(stamp: str) -> str:
    """ISO 8601 in UTC → Unix seconds; '' when it is anything else."""
    if not _ISO.fullmatch(stamp):
        return ""
    try:
        return str(max(0, int(datetime.fromisoformat(f"{stamp[:19]}+00:00").timestamp())))
    except ValueError:
        return ""


def _digest(key: bytes, signed: bytes, encoding: str = "hex") -> str:
    raw = hmac.new(key, signed, hashlib.sha256).digest()
    return raw.hex() if encoding == "hex" else b64encode(raw).decode()


def _matching(keys: Sequence[bytes], signed: bytes, signatures: Sequence[str], encoding: str = "hex") -> int:
    found = -1
    given = [signature.encode() for signature in signatures]
    for index, key in enumerate(keys):
        expected = _digest(key, signed, encoding).encode()
        matches = [hmac.compare_digest(expected, signature) for signature in given]
        if any(matches) and found < 0:
            found = index
    if found < 0:
        raise BadSignature("mismatch")
    return found
