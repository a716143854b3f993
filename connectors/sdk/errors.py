"""The four errors. Every failure of a vendor call is exactly one of them, because the engine has four answers.

| error | what it means | the engine's answer |
|---|---|---|
| Refused | the vendor understood and said no; nothing changed there | undo what was done, or a person |
| Busy | nothing changed there; later it may work | again, after the wait |
| Misconfigured | our credentials, settings or rights are wrong | pause the connection, tell a person |
| Unknown | it may have happened or not | quiet period, find by our key, then perhaps again |
"""

from __future__ import annotations


class VendorError(Exception):
    """Base. `code` is stable and groups failures; `message` is for people and carries no secret."""

    def __init__(self, message: str, *, code: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.code = code or type(self).__name__.lower()


class Refused(VendorError):
    """The vendor said no for a reason that time does not mend (validation, closed period, missing object)."""


class Busy(VendorError):
    """Not now, and nothing happened. `retry_after` is the vendor's own wait in seconds, which binds the connection."""

    def __init__(self, message: str, *, code: str = "", retry_after: float | None = None, throttled: bool = False) -> None:
        super().__init__(message, code=code)
        self.retry_after = retry_after
        self.throttled = throttled or retry_after is not None


class Misconfigured(VendorError):
    """Authentication, permission or set-up is wrong: no call of this connection can succeed until someone acts."""


class Unknown(VendorError):
    """The outcome cannot be known from this reply: a timeout, a reset, a 5xx after sending, a success without an id."""


class BadSignature(Exception):
    """A delivery that is not the vendor's: wrong or missing signature, stale timestamp, no secret. `code` says which."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


class BadPayload(Exception):
    """A delivery or an answer that is signed but not understood; it is kept and quarantined."""
