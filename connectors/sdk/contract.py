"""The connector contract, on one page. A capability is a field that is not None or not empty.

A vendor package exports one `CONNECTOR`. Its functions take the client that `open` made, are safe to call from
several threads, raise only the four errors of `connectors.sdk.errors`, and do no retries of their own:
the engine retries, with everything it knows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from enum import StrEnum
from typing import Any, Literal

from pydantic import BaseModel

from canonical.commands import Written
from canonical.readings import Reading, Total, Window
from canonical.types import CanonicalObject
from connectors.sdk.http import Call, Http

Role = Literal["billing", "support", "erp"]
Client = Any
"""Whatever the vendor's `open` returns; only the vendor looks inside."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """One webhook as it arrived: header names in lower case, the body as raw bytes."""

    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Envelope:
    """What a delivery is about, read before anything is decided. `external_id` makes it one."""

    external_id: str
    kind: str
    """The vendor's own event type."""
    subject_kind: str = ""
    """Canonical kind of the object it is about, '' when we do not know such objects."""
    subject_id: str = ""
    occurred_at: datetime | None = None
    problem: str = ""
    """Why it is not understood, when a sweep brings such a thing: it is stored and quarantined like a delivery."""


@dataclass(frozen=True, slots=True)
class SourceEvent:
    """One item of a sweep: the envelope and the raw bytes, as the webhook would have brought them."""

    envelope: Envelope
    body: bytes


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a sweep. `cursor` resumes after it; None when there is no more."""

    items: Sequence[SourceEvent]
    cursor: str | None


@dataclass(frozen=True, slots=True)
class Extract:
    """One page of readings. `cursor` resumes after it; None when there is no more."""

    readings: Sequence[Reading]
    cursor: str | None


@dataclass(frozen=True, slots=True)
class Count:
    """What one page of a source's own count comes to; pages add up. `cursor` resumes after it; None when that was all."""

    totals: Sequence[Total]
    cursor: str | None


class WriteSafety(StrEnum):
    """How a write can be repeated without doing it twice."""

    UPSERT = "native upsert by our key"
    KEY = "idempotency key header"
    LOOKUP = "natural-key lookup"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Command:
    """One write. `run` performs it; `find` looks for its effect by our key (None: not there, and it never will be).

    The request given to both is an instance of `request`. `money` marks documents that move money: the engine
    refuses those with WriteSafety.NONE, and reads the result back.
    """

    name: str
    request: type[BaseModel]
    run: Callable[[Client, Any, Call], Written]
    find: Callable[[Client, Any, Call], Written | None] | None
    safety: WriteSafety
    money: bool = False


@dataclass(frozen=True, slots=True)
class Period:
    """An accounting period of an ERP, both days inclusive."""

    name: str
    start: date
    end: date
    is_open: bool


@dataclass(frozen=True, slots=True)
class Health:
    """Answer of `check`: who we are there and on what version; `clock` is the vendor's time where it tells."""

    identity: str
    detail: str = ""
    clock: datetime | None = None


@dataclass(frozen=True, slots=True)
class Limits:
    """How much of a vendor we may use at once."""

    max_in_flight: int = 8


Verify = Callable[[Delivery, Sequence[str], datetime], int]
"""(delivery, live secrets, now) → index of the secret that signed it. Raises BadSignature. Reads raw bytes only."""


@dataclass(frozen=True, slots=True)
class Connector:
    """A vendor, as far as the hub may know it."""

    slug: str
    title: str
    role: Role
    settings: type[BaseModel]
    """Non-secret configuration: base URL, company, account."""
    credentials: type[BaseModel]
    """Secrets for calling the vendor. Webhook secrets are the connection's own."""
    open: Callable[[Any, Any, Http], Client]
    """(settings, credentials, http) → client."""
    check: Callable[[Client, Call], Health]
    """Proves reachability and credentials with one read."""
    verify: Verify | None = None
    envelope: Callable[[bytes], Envelope] | None = None
    """Raises BadPayload when the body is not understood."""
    same: Callable[[bytes, bytes], bool] | None = None
    """Do two bodies of one event say the same, what belongs to the delivery aside? None: only the same bytes do."""
    redact: Callable[[bytes], bytes] | None = None
    """What of a delivery may be kept, where people type what they should not (see `connectors.sdk.redaction`)."""
    events: Mapping[str, str] = field(default_factory=dict)
    """Vendor event type → canonical event name (`billing.invoice.finalized`)."""
    fetch: Mapping[str, Callable[[Client, str, Call], Sequence[CanonicalObject]]] = field(default_factory=dict)
    """Canonical kind → read one object as it is now: itself first, then the objects it names. Refused('not_found')."""
    pages: Mapping[str, Callable[[Client, datetime, str | None, Call], Page]] = field(default_factory=dict)
    """Stream → one page of everything changed since an instant, terminal states included, oldest first if it can."""
    extracts: Mapping[str, Callable[[Client, Window, str | None, Call], Extract]] = field(default_factory=dict)
    """Reading kind → one page of everything in a window, for reconciliation: in bulk, terminal states included."""
    totals: Mapping[str, Callable[[Client, Window, str | None, Call], Count]] = field(default_factory=dict)
    """Reading kind → one page of count and sum per currency by another way than paging through `extracts`: the source's own
    count where it has one, else a second listing of ids and amounts. What proves that no page was lost."""
    commands: Mapping[str, Command] = field(default_factory=dict)
    periods: Callable[[Client, Call], Sequence[Period]] | None = None
    quiet: timedelta = timedelta(seconds=90)
    """How long a lost call may still land; a lookup before that proves nothing."""
    limits: Limits = Limits()
    sample_folder: str = "samples"
