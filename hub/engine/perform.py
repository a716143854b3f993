"""Perform one claimed step: outside any transaction, in a worker thread, touching no table.

Look, then post: before repeating a call that may have landed, and before every money document of a system without
idempotency keys, the effect is searched by our key. What comes back is compared with what was asked.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, field
from typing import Any

from django.conf import settings
from django.db import connection as database

from canonical import commands
from canonical.commands import DocumentFacts, Request, Written
from connectors.models import Connection
from connectors.sdk.contract import Command, Connector, WriteSafety
from connectors.sdk.errors import Busy, Misconfigured, Refused, Unknown
from connectors.sdk.http import Call
from hub.engine import crash
from hub.engine.flow import Effect, Read, Undo

CALL_TIMEOUT = 25.0
"""Seconds a vendor may take for one answer."""
OF_THE_LEASE = 0.8
"""Share of its lease after which a claimed step sends nothing more, so that whatever it did is settled by its caller.

A step that waited so long for a thread sends nothing at all.
"""


@dataclass(slots=True)
class Outcome:
    """What performing a step came to. `kind` is an Attempt.Outcome value."""

    kind: str
    answer: Any = None
    code: str = ""
    message: str = ""
    retry_after: float | None = None
    throttled: bool = False
    reached: bool = False
    """The vendor was called."""
    mismatch: dict[str, list[str]] = field(default_factory=dict)
    lookup_failed: bool = False
    exchanges: list[dict[str, Any]] = field(default_factory=list)
    milliseconds: int = 0


@dataclass(slots=True)
class Job:
    """Everything a thread needs to perform a step, read beforehand."""

    spec: Effect | Undo | Read
    connector: Connector
    client: Any
    request: Any
    lost: bool
    call: Call


def prepare(
    spec: Effect | Undo | Read,
    connection: Connection,
    client: Any,
    request: Any,
    lost: bool,
    correlation_id: str,
    key: str,
) -> Job:
    """Gather what the call needs. Raises pydantic.ValidationError when a stored request no longer fits its model."""
    connector = connection.spec
    if not isinstance(spec, Read):
        request = connector.commands[spec.command].request.model_validate(request)
    deadline = time.monotonic() + OF_THE_LEASE * settings.LEASE_SECONDS
    call = Call(correlation_id=correlation_id, key=key, timeout=CALL_TIMEOUT, deadline=deadline)
    return Job(spec, connector, client, request, lost, call)


def perform(job: Job) -> Outcome:
    """Make the call. Never raises: every failure is an outcome."""
    assert not database.in_atomic_block, "a vendor call inside a transaction would hold its locks"
    started = time.perf_counter()
    crash.point("before_call")
    try:
        outcome = _ask(job) if isinstance(job.spec, Read) else _write(job, job.connector.commands[job.spec.command])
        crash.point("after_call")
    except Refused as error:
        outcome = Outcome("refused", code=error.code, message=error.message)
    except Busy as error:
        outcome = Outcome("busy", code=error.code, message=error.message, retry_after=error.retry_after, throttled=error.throttled)
    except Misconfigured as error:
        outcome = Outcome("misconfigured", code=error.code, message=error.message)
    except Unknown as error:
        outcome = Outcome("unknown", code=error.code, message=error.message)
    except Exception as error:
        # Anything else is our bug or a vendor's surprise: after sending, the effect is not known.
        sent = bool(job.call.exchanges) and not isinstance(job.spec, Read)
        outcome = Outcome("unknown" if sent else "crashed", code=type(error).__name__, message=str(error)[:1000])
    outcome.reached = bool(job.call.exchanges)
    outcome.exchanges = [asdict(exchange) for exchange in job.call.exchanges]
    outcome.milliseconds = round((time.perf_counter() - started) * 1000)
    return outcome


def _ask(job: Job) -> Outcome:
    assert isinstance(job.spec, Read)
    return Outcome("done", answer=job.spec.ask(job.connector, job.client, job.request, job.call))


def _write(job: Job, command: Command) -> Outcome:
    if job.lost or (command.money and command.safety is WriteSafety.LOOKUP):
        if command.find is not None:
            found = _look(job, command)
            if isinstance(found, Outcome):
                return found
            if found is not None:
                return _checked("found", job.request, found)
        elif command.safety is WriteSafety.NONE:
            return Outcome("unknown", code="cannot_be_searched", message="this system cannot be searched by our key")
    written = command.run(job.client, job.request, job.call)
    return _checked("done", job.request, written)


def _look(job: Job, command: Command) -> Written | Outcome | None:
    assert command.find is not None
    try:
        return command.find(job.client, job.request, job.call)
    except (Busy, Unknown) as error:
        if not job.lost:  # nothing has been sent yet: this is an ordinary "not now"
            raise Busy(
                error.message, code=error.code, retry_after=getattr(error, "retry_after", None),
                throttled=getattr(error, "throttled", False),
            ) from None  # fmt: skip
        return Outcome(
            "unknown", code=error.code, message=f"could not be searched: {error.message}", lookup_failed=True,
            retry_after=getattr(error, "retry_after", None), throttled=getattr(error, "throttled", False),
        )  # fmt: skip


def _checked(kind: str, request: Request, written: Written) -> Outcome:
    return Outcome(kind, answer=written, mismatch=differences(expected(request), written.facts))


def expected(request: Request) -> DocumentFacts:
    """What the system must hold once the request is done."""
    match request:
        case commands.PostDocument() | commands.ReverseDocument():
            return DocumentFacts(
                party=request.party, total=request.total, currency=request.currency, document_on=request.document_on
            )
        case commands.PostJournal():
            return DocumentFacts(total=request.total, currency=request.currency, document_on=request.document_on)
        case commands.IssueCreditNote() | commands.VoidCreditNote():
            return DocumentFacts(party=request.party, total=request.total, currency=request.currency)
        case commands.RegisterPayment() | commands.AdjustBalance():
            return DocumentFacts(party=request.party, total=request.amount, currency=request.currency)
        case _:
            return DocumentFacts()


def differences(want: DocumentFacts, got: DocumentFacts) -> dict[str, list[str]]:
    """Field → [wanted, held], for every fact we know both sides of and that differs."""
    wrong: dict[str, list[str]] = {}
    for name in DocumentFacts.model_fields:
        wanted, held = getattr(want, name), getattr(got, name)
        if wanted in (None, "") or held in (None, "") or wanted == held:
            continue
        if name == "document_on" and held > wanted:  # moved into the first open period, as asked
            continue
        wrong[name] = [str(wanted), str(held)]
    return wrong
