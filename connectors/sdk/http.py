"""HTTP for vendor clients: one pooled session, every exchange recorded, every failure one of the four errors."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urljoin

import requests
from requests.adapters import HTTPAdapter
from urllib3.exceptions import NewConnectionError

from canonical.masking import mask
from connectors.sdk.errors import Busy, Misconfigured, Refused, Unknown, VendorError

MAX_KEPT = 20_000
"""Characters of a request or an answer that are kept for the timeline."""
SHORTEST = 0.5
"""Seconds below which an exchange is not begun."""
RETRY_AFTER_BOUNDS = (1.0, 6 * 3600.0)


@dataclass(slots=True)
class Exchange:
    """One request and its answer, as the timeline shows it. Headers are never kept: they carry credentials."""

    method: str
    url: str
    request: str = ""
    status: int | None = None
    response: str = ""
    milliseconds: int = 0
    error: str = ""


@dataclass(slots=True)
class Call:
    """The context of one vendor call; collects what happened on the wire."""

    correlation_id: str = ""
    key: str = ""
    timeout: float = 30.0
    """Seconds for one exchange."""
    deadline: float | None = None
    """`time.monotonic()` after which nothing more may be sent: whoever makes the call loses its lease soon after."""
    exchanges: list[Exchange] = field(default_factory=list)
    wrote: bool = False
    """Something has been sent that may have changed something."""

    def seconds_left(self) -> float:
        """How long the next exchange may take. Raises Busy when time is up, Unknown when something has been written."""
        if self.deadline is None:
            return self.timeout
        left = self.deadline - time.monotonic()
        if left < SHORTEST:
            error = Unknown if self.wrote else Busy
            raise error("the call has used up its time; nothing more was sent", code="out_of_time")
        return min(self.timeout, left)


Classify = Callable[[requests.Response, bool], VendorError | None]
"""(answer, it was a write) → the error it means, or None for success."""


def retry_after(value: str | None, now: datetime | None = None) -> float | None:
    """Seconds asked for by a Retry-After header, in either form of RFC 9110 §10.2.3, clamped to 1 s … 6 h."""
    if not value:
        return None
    text = value.strip()
    if text.isascii() and text.isdigit():
        seconds = float(text[:9])
    else:
        try:
            when = parsedate_to_datetime(text)
        except (TypeError, ValueError, IndexError, OverflowError):
            return None
        when = when if when.tzinfo else when.replace(tzinfo=UTC)
        seconds = (when - (now or datetime.now(UTC))).total_seconds()
    low, high = RETRY_AFTER_BOUNDS
    return min(max(seconds, low), high)


def classify(response: requests.Response, write: bool) -> VendorError | None:
    """The default reading of a status code; vendors wrap it for their own."""
    status = response.status_code
    wait = retry_after(response.headers.get("Retry-After"))
    text = f"{status} {response.reason}"
    if status < 300:
        return None
    if status == 429 or (status == 503 and wait is not None):
        return Busy(text, code=f"http_{status}", retry_after=wait, throttled=True)
    if status in (408, 425, 503):
        return Busy(text, code=f"http_{status}")
    if status in (401, 403, 407):
        return Misconfigured(text, code=f"http_{status}")
    if status >= 500:
        return Unknown(text, code=f"http_{status}") if write else Busy(text, code=f"http_{status}")
    return Refused(text, code="not_found" if status in (404, 410) else f"http_{status}")


class Http:
    """A session for one connection and worker process; safe for several threads. Reads no environment or netrc."""

    def __init__(self, *, pool: int = 16, connect_timeout: float = 5.0) -> None:
        self.connect_timeout = connect_timeout
        self.session = requests.Session()
        self.session.trust_env = False
        adapter = HTTPAdapter(pool_connections=4, pool_maxsize=pool, max_retries=0)
        self.session.mount("http://", adapter)
        self.session.mount("https://", adapter)

    def close(self) -> None:
        """Give the sockets back."""
        self.session.close()

    def send(
        self,
        call: Call,
        method: str,
        base_url: str,
        path: str = "",
        *,
        write: bool | None = None,
        classify: Classify = classify,
        headers: Mapping[str, str] | None = None,
        **options: Any,
    ) -> requests.Response:
        """Perform one request and record it on `call`. Raises one of the four errors; follows no redirect.

        `write` defaults to "the method is not GET"; a POST that only reads passes False, so that a lost answer
        means Busy and not Unknown.
        """
        writes = method not in ("GET", "HEAD") if write is None else write
        url = _joined(base_url, path)
        sent = {**({"X-Correlation-Id": call.correlation_id} if call.correlation_id else {}), **(headers or {})}
        left = call.seconds_left()
        timeout = (min(self.connect_timeout, left), left)
        exchange = Exchange(method, url, request=_text(options.get("data") or options.get("json")))
        call.exchanges.append(exchange)
        call.wrote = call.wrote or writes
        started = time.perf_counter()
        try:
            response = self.session.request(method, url, headers=sent, timeout=timeout, allow_redirects=False, **options)
        except requests.RequestException as error:
            exchange.error = type(error).__name__
            raise _transport_error(error, writes) from None
        except UnicodeError as error:
            # A header that cannot be encoded; the error itself would show the header, and so the secret.
            exchange.error = type(error).__name__
            raise Misconfigured("a credential has characters that cannot be sent", code="unsendable") from None
        finally:
            exchange.milliseconds = round((time.perf_counter() - started) * 1000)
        exchange.status, exchange.response = response.status_code, mask(response.text[:MAX_KEPT])
        if 300 <= response.status_code < 400:
            raise Misconfigured(f"{response.status_code}: redirects are not followed", code="redirect")
        problem = classify(response, writes)
        if problem is not None:
            raise problem
        return response

    def json(self, call: Call, method: str, base_url: str, path: str = "", **options: Any) -> Any:
        """Like `send`, and demand JSON: a success that cannot be read is Unknown for a write, Busy for a read."""
        response = self.send(call, method, base_url, path, **options)
        try:
            return response.json()
        except ValueError:
            write = options.get("write")
            writes = method not in ("GET", "HEAD") if write is None else write
            message = f"{response.status_code} with a body that is not JSON"
            raise (Unknown if writes else Busy)(message, code="unreadable_answer") from None


_BAD_URL = (
    requests.exceptions.InvalidURL,
    requests.exceptions.MissingSchema,
    requests.exceptions.InvalidSchema,
)


def _joined(base_url: str, path: str) -> str:
    try:
        return urljoin(base_url.rstrip("/") + "/", path.lstrip("/")) if path else base_url
    except ValueError:
        raise Misconfigured("the URL is not usable", code="bad_url") from None


def _transport_error(error: requests.RequestException, write: bool) -> VendorError:
    """Never sent → Busy; sent and no answer → Unknown for a write."""
    name = type(error).__name__
    if isinstance(error, requests.exceptions.SSLError):
        return Misconfigured("TLS could not be agreed", code="tls")
    if isinstance(error, _BAD_URL):
        return Misconfigured("the URL is not usable", code="bad_url")
    if isinstance(error, requests.exceptions.InvalidHeader):
        return Misconfigured("a credential has characters that cannot be sent", code="unsendable")
    if _never_sent(error):
        return Busy(f"not reachable ({name})", code="unreachable")
    if write:
        return Unknown(f"no answer ({name})", code="no_answer")
    return Busy(f"no answer ({name})", code="no_answer")


def _never_sent(error: requests.RequestException) -> bool:
    """No connection was made: refused, timed out, or the name does not resolve."""
    reason = getattr(error.args[0], "reason", None) if error.args else None
    return isinstance(error, requests.exceptions.ConnectTimeout) or isinstance(reason, NewConnectionError)


def _text(body: object) -> str:
    if body is None:
        return ""
    if isinstance(body, bytes):
        return mask(body[:MAX_KEPT].decode("utf-8", "replace"))
    return mask(str(body)[:MAX_KEPT])
