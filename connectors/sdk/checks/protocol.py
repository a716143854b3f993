"""Signatures, errors and secrets: what must hold whatever arrives and whatever goes wrong."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import Any

from connectors.sdk.contract import Client, Delivery
from connectors.sdk.errors import BadSignature, Busy, Misconfigured, Refused, Unknown, VendorError
from connectors.sdk.http import Call, Http
from connectors.sdk.kit import Kit, NonConformance, call, require, secrets_of

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
AT = int(NOW.timestamp())
SECRET, OLDER = "whsec_conformance_new", "whsec_conformance_old"
STATUSES = (301, 400, 401, 403, 404, 409, 410, 422, 429, 500, 502, 503, 504)
FOUR = (Refused, Busy, Misconfigured, Unknown)


def signature(kit: Kit) -> None:
    """A genuine delivery is accepted under either live secret; anything else is BadSignature."""
    kit.offered("signature", kit.connector.verify and kit.sign)
    body = kit.samples[0].read_bytes() if kit.samples else b"{}"
    good = _signed(kit, body, SECRET)
    _accepted(kit, good, [SECRET], 0)
    _accepted(kit, _signed(kit, body, OLDER), [SECRET, OLDER], 1)
    _refused(kit, _signed(kit, body, OLDER), [SECRET], "an old secret after the roll")
    _refused(kit, good, [], "no secret at all")
    _refused(kit, _signed(kit, body, ""), [""], "an empty secret")
    _refused(kit, Delivery({}, body), [SECRET], "no signature")
    rng = random.Random(1)
    for place in {0, len(body) - 1, *(rng.randrange(len(body)) for _ in range(40))}:
        flipped = body[:place] + bytes([body[place] ^ 1]) + body[place + 1 :]
        _refused(kit, replace(good, body=flipped), [SECRET], f"byte {place} flipped")
    for name, value in good.headers.items():
        for bad in ("", "é", "x" * 100_000, value[:-1], f"{value}0", "t=,v1=", "t=x,v1=y", "\udcff"):
            _refused(kit, replace(good, headers={**good.headers, name: bad}), [SECRET], f"{name} is {bad[:20]!r}")


def timestamp(kit: Kit) -> None:
    """A delivery is fresh for five minutes, and may come from a clock that is a minute ahead."""
    kit.offered("timestamp", kit.connector.verify and kit.sign and "timestamp" not in kit.omissions)
    for age, fresh in ((-59, True), (-61, False), (299, True), (301, False)):
        delivery = _signed(kit, b"{}", SECRET, AT - age)
        if fresh:
            _accepted(kit, delivery, [SECRET], 0)
        else:
            _refused(kit, delivery, [SECRET], f"{age} seconds old")


def statuses(kit: Kit) -> None:
    """Each HTTP status is exactly one of the four errors, for reads and for writes."""
    with kit.running() as (twin, client):
        for write, attempt, match in _attempts(kit, twin, client):
            for status in STATUSES:
                twin.disarm()
                twin.arm("status", status=status, match=match, times=100)
                error = _failure(attempt, f"status {status}")
                what = f"status {status} of a {'write' if write else 'read'} is {type(error).__name__}"
                require(status != 401 or isinstance(error, Misconfigured), what)
                require(status != 429 or isinstance(error, Busy), what)
                require(status < 500 or isinstance(error, Unknown | Busy if write else Busy), what)
                require(status not in (400, 404, 422) or isinstance(error, Refused), what)
            twin.disarm()
            twin.arm("status", status=429, retry_after="7", match=match, times=100)
            error = _failure(attempt, "status 429 with Retry-After")
            require(isinstance(error, Busy) and error.retry_after == 7, "Retry-After is kept to")


def transport(kit: Kit) -> None:
    """A lost or unreadable answer leaves a write Unknown and a read Busy; not connected at all is Busy.

    A write that does not need the answer, because it reads back what is there, may also succeed.
    """
    with kit.running() as (twin, client):
        for write, attempt, match in _attempts(kit, twin, client):
            expected = Unknown if write else Busy
            for fault in ("drop_reply", "cut", "garbage"):
                twin.disarm()
                twin.arm(fault, match=match, times=100)
                error = _outcome(attempt, fault)
                if error is None and attempt.count and attempt.count() == 1:
                    continue
                require(isinstance(error, expected), f"{fault} leaves a {'write' if write else 'read'} {error!r}")
        twin.disarm()
        twin.stop()
        error = _failure(lambda: kit.connector.check(client, call()), "nobody listening")
        require(isinstance(error, Busy), f"nobody listening is {error!r}")
        twin.start()


def credentials(kit: Kit) -> None:
    """They work, wrong ones are Misconfigured, and no error, exchange or repr ever shows them."""
    hidden = secrets_of(kit.credentials)
    require(hidden, "the kit's credentials have values of six characters or more, to look for")
    with kit.running() as (twin, client):
        context = call()
        require(kit.connector.check(client, context).identity, "check says who we are")
        seen = [repr(client), str(client), repr(kit.credentials), str(kit.credentials), repr(context)]
        for _, attempt, match in _attempts(kit, twin, client):
            for status in STATUSES:
                twin.disarm()
                twin.arm("status", status=status, match=match, times=100)
                error = _failure(attempt, f"status {status}")
                seen += [repr(error), str(error), error.message]
                seen += [repr(exchange) for exchange in attempt.context.exchanges]
        twin.disarm()
        wrong = type(kit.credentials).model_validate(_spoiled(kit.credentials.model_dump(mode="json")))
        stranger = kit.connector.open(kit.settings(twin), wrong, Http())
        error = _failure(lambda: kit.connector.check(stranger, context), "wrong credentials")
        require(isinstance(error, Misconfigured), f"wrong credentials are {error!r}")
        seen += [repr(error), repr(context)]
    for secret in hidden:
        require(not any(secret in text for text in seen), "a credential shows in an error, an exchange or a repr")


class _Attempt:
    """One call that can be made again and again; `context` is that of the last time, `count` a write's effects."""

    def __init__(self, make: Callable[[Call], object], count: Callable[[], int] | None = None) -> None:
        self.make = make
        self.count = count
        self.context = call()

    def __call__(self) -> object:
        self.context = call()
        return self.make(self.context)


def _attempts(kit: Kit, twin: Any, client: Client) -> Iterator[tuple[bool, _Attempt, str]]:
    """A read, and every command: (is a write, the call, which requests to disturb)."""
    yield False, _Attempt(lambda context: kit.connector.check(client, context)), ""
    for name, probe in kit.probes.items():
        twin.disarm()
        request = probe.request(twin, f"conformance-{name}-1")
        run, count = partial(kit.connector.commands[name].run, client, request), partial(probe.count, twin, request)
        yield True, _Attempt(run, count), probe.commit


def _failure(attempt: Callable[[], object], when: str) -> VendorError:
    error = _outcome(attempt, when)
    if error is None:
        raise NonConformance(f"{when} goes unnoticed")
    return error


def _outcome(attempt: Callable[[], object], when: str) -> VendorError | None:
    """The error of the attempt, which must be one of the four; None when it succeeded."""
    try:
        attempt()
    except VendorError as error:
        require(type(error) in FOUR, f"{when} is {type(error).__name__}, which is none of the four errors")
        return error
    except Exception as error:
        raise NonConformance(f"{when} raises {error!r}, which is none of the four errors") from error
    return None


def _spoiled(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _spoiled(item) for key, item in value.items()}
    return f"wrong-{value[::-1]}" if isinstance(value, str) else value


def _signed(kit: Kit, body: bytes, secret: str, at: int = AT) -> Delivery:
    return Delivery(kit.sign(body, secret, at) if kit.sign else {}, body)


def _accepted(kit: Kit, delivery: Delivery, secrets: list[str], index: int) -> None:
    if kit.connector.verify is None:
        return
    try:
        matched = kit.connector.verify(delivery, secrets, NOW)
    except BadSignature as error:
        raise NonConformance(f"a genuine delivery is refused as {error.code}") from None
    require(matched == index, f"the matching secret is number {matched}, not {index}")


def _refused(kit: Kit, delivery: Delivery, secrets: list[str], why: str) -> None:
    if kit.connector.verify is None:
        return
    try:
        kit.connector.verify(delivery, secrets, NOW)
    except BadSignature:
        return
    except Exception as error:
        raise NonConformance(f"{why} raises {type(error).__name__}, not BadSignature") from error
    raise NonConformance(f"{why} is accepted")


CHECKS = {
    "signature": signature,
    "timestamp": timestamp,
    "statuses": statuses,
    "transport": transport,
    "credentials": credentials,
}
