"""The one door: everything that comes in becomes an InboxEvent and, in the same statement, the work it demands.

A delivery is stored before anything is decided about it. The second delivery of an id is kept and flagged; the same id
with another body becomes a review item; a body we cannot read is stored and quarantined. Nothing accepted is dropped.
"""

from __future__ import annotations

import hashlib
import uuid
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

import structlog
from django.db import transaction
from psycopg.types.json import Jsonb

from connectors.models import Connection
from connectors.sdk.contract import Envelope
from connectors.sdk.errors import BadPayload
from hub import flows, review
from hub.audit import chain as audit
from hub.engine import crash, prepared, settle, store
from hub.engine.flow import Flow, Read
from hub.models import InboxEvent, Run

log = structlog.get_logger("hub.inbox")

Origin, Disposition = InboxEvent.Origin, InboxEvent.Disposition


@dataclass(frozen=True, slots=True)
class Receipt:
    """What became of a delivery."""

    event_id: int
    correlation_id: uuid.UUID
    disposition: str

    @property
    def is_new(self) -> bool:
        """False for duplicates and conflicts, whose original came before."""
        return self.disposition not in (Disposition.DUPLICATE, Disposition.CONFLICT)


def receive(
    connection: Connection, body: bytes, *, origin: str = Origin.WEBHOOK, envelope: Envelope | None = None,
    correlation_id: uuid.UUID | None = None,
) -> Receipt:  # fmt: skip
    """Store a trusted delivery and start its work, atomically: one statement, one commit."""
    digest = hashlib.sha256(body).hexdigest()
    correlation = correlation_id or uuid.uuid4()
    if envelope is None:
        try:
            envelope = _open(connection, body)
        except BadPayload as error:
            envelope = Envelope(external_id=f"sha256:{digest}", kind="", problem=str(error))
    reason = envelope.problem
    if connection.spec.redact is not None:
        body = connection.spec.redact(body)  # the digest stays that of what was signed
    crash.point("intake_before_insert")
    name = connection.spec.events.get(envelope.kind, "")
    listening = flows.listening(name) if name and envelope.subject_id else ()
    disposition = Disposition.QUARANTINED if reason else Disposition.RUN if listening else Disposition.IGNORED
    # A quarantined delivery and the question about it are two statements, and neither may be left without the other.
    with transaction.atomic() if reason else nullcontext():
        event_id = _insert(connection, envelope, name, origin, disposition, correlation, body, digest, listening)
        if event_id is not None and reason:
            _ask_about(connection, event_id, reason)
    if event_id is None:
        return _seen_before(connection, envelope, name, origin, body, digest)
    crash.point("intake_after_insert")
    log.debug(
        "event_accepted", correlation_id=str(correlation), event_id=event_id, kind=envelope.kind,
        subject=envelope.subject_id, origin=origin,
    )  # fmt: skip
    return Receipt(event_id, correlation, disposition)


def _open(connection: Connection, body: bytes) -> Envelope:
    read = connection.spec.envelope
    if read is None:
        raise BadPayload(f"{connection.connector} takes no deliveries")
    try:
        envelope = read(body)
    except BadPayload:
        raise
    except Exception as error:
        # Whatever it trips over, the delivery is the vendor's own: kept and asked about rather than bounced.
        log.exception("envelope_not_readable", connection=connection.slug)
        raise BadPayload(f"the connector failed to read it: {type(error).__name__}") from error
    if "\x00" in envelope.external_id + envelope.kind + envelope.subject_id:
        raise BadPayload("a name contains NUL")
    return envelope


EVENT = """
    INSERT INTO hub_inboxevent (connection_id, external_id, kind, name, subject_kind, subject_id, origin, disposition,
                                correlation_id, occurred_at, body, body_digest)
    VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
    ON CONFLICT (connection_id, external_id) WHERE duplicate_of_id IS NULL DO NOTHING
    RETURNING id
"""

RUN = """
    INSERT INTO hub_run (flow, version, lane, state, connection_id, event_id, subject_kind, subject_id, context, currency,
                         correlation_id, started_by)
    SELECT %s, %s, %s, 'open', %s, event.id, %s, %s, '{{}}'::jsonb, '', %s, %s FROM event RETURNING id
"""

FIRST_STEP = """
    INSERT INTO hub_step (run_id, name, lane, state, connection_id, key, request, request_digest, attempts, tries, crashes,
                          lookups, worker, error_code, error)
    SELECT run{n}.id, %s, %s, 'ready', %s, '', %s, '', 0, 0, 0, 0, '', '', '' FROM run{n} RETURNING id
"""


def _insert(
    connection: Connection, envelope: Envelope, name: str, origin: str, disposition: str, correlation: uuid.UUID, body: bytes,
    digest: str, listening: tuple[Flow, ...],
) -> int | None:  # fmt: skip
    """One statement: the event, and a run with its first step for each flow that listens. None: seen before."""
    parts = ["event AS (" + EVENT + ")"]
    values: list[Any] = [
        connection.pk, envelope.external_id[:255], envelope.kind[:100], name, envelope.subject_kind, envelope.subject_id[:255],
        origin, disposition, correlation, envelope.occurred_at, body, digest,
    ]  # fmt: skip
    for n, flow in enumerate(listening):
        run = _run_for(flow, connection, envelope)
        first = flow.steps[0]
        asked = first.request(run) if isinstance(first, Read) else None
        parts.append(f"run{n} AS (" + RUN.format() + f"), step{n} AS (" + FIRST_STEP.format(n=n) + ")")
        values += [
            flow.name, flow.version, run.lane, connection.pk, run.subject_kind, run.subject_id, correlation, origin,
            first.name, run.lane, first.on(run).pk if isinstance(first, Read) else None, None if asked is None else Jsonb(asked),
        ]  # fmt: skip
    with prepared.cursor() as cursor:
        cursor.execute("WITH " + ", ".join(parts) + " SELECT id FROM event", values)
        row = cursor.fetchone()
    return row[0] if row else None


def _run_for(flow: Flow, connection: Connection, envelope: Envelope) -> Run:
    run = Run(
        flow=flow.name, version=flow.version, connection=connection, subject_kind=envelope.subject_kind,
        subject_id=envelope.subject_id[:255],
    )  # fmt: skip
    run.lane = flow.lane(run)
    return run


def _seen_before(connection: Connection, envelope: Envelope, name: str, origin: str, body: bytes, digest: str) -> Receipt:
    """Keep the second delivery of an id; when it says something else than the first, ask a person."""
    original = InboxEvent.objects.defer("body").get(
        connection=connection, external_id=envelope.external_id[:255], duplicate_of=None
    )
    same = (
        original.body_digest == digest or _is_read_by_us(original, envelope, origin) or _says_the_same(connection, original, body)
    )  # fmt: skip
    with transaction.atomic():
        again = InboxEvent.objects.create(
            connection=connection, external_id=envelope.external_id[:255], kind=envelope.kind[:100], name=name,
            subject_kind=envelope.subject_kind, subject_id=envelope.subject_id[:255], origin=origin,
            occurred_at=envelope.occurred_at,
            disposition=Disposition.DUPLICATE if same else Disposition.CONFLICT, duplicate_of=original,
            correlation_id=original.correlation_id, body=body, body_digest=digest,
        )  # fmt: skip
        if not same:
            review.open_item(
                "conflict", review.fingerprint("conflict", original.pk, digest),
                f"{envelope.kind} {envelope.external_id} came twice with different content"[:300],
                source=connection, event=again,
                detail={"first": original.pk, "first_sha256": original.body_digest, "second": again.pk, "second_sha256": digest},
            )  # fmt: skip
    return Receipt(again.pk, original.correlation_id, again.disposition)


def _is_read_by_us(original: InboxEvent, envelope: Envelope, origin: str) -> bool:
    """True when one of the two was read by a sweep, whose bytes are never a webhook's, and both are about the same."""
    told = (original.kind, original.subject_kind, original.subject_id)
    return Origin.SWEEP in (original.origin, origin) and told == (
        envelope.kind[:100], envelope.subject_kind, envelope.subject_id[:255],
    )  # fmt: skip


def _says_the_same(connection: Connection, original: InboxEvent, body: bytes) -> bool:
    """The vendor's own judgement of two bodies with different bytes; when it fails, a person judges."""
    same = connection.spec.same
    if same is None:
        return False
    first = bytes(original.body)
    try:
        return same(first, body)
    except Exception:
        log.exception("bodies_not_comparable", connection=connection.slug)
        return False


def _ask_about(connection: Connection, event_id: int, reason: str) -> None:
    review.open_item(
        "not_understood", review.fingerprint("not_understood", event_id),
        f"{connection}: a delivery is not understood ({reason})"[:300],
        source=connection, event=event_id, group="integration engineer", detail={"reason": reason},
    )  # fmt: skip


def start(
    flow: Flow, *, connection: Connection | None = None, subject_kind: str = "", subject_id: str = "", by: str,
    context: dict[str, Any] | None = None, event: InboxEvent | None = None, replay_of: Run | None = None,
    correlation_id: uuid.UUID | None = None, object_id: int | None = None, amount: Decimal | None = None, currency: str = "",
) -> Run:  # fmt: skip
    """Start a run that no delivery asked for: a sweep, a replay, a command. Joins the caller's transaction.

    `object_id`, `amount` and `currency`: of what it is about, where they are known.
    """
    run = Run(
        flow=flow.name, version=flow.version, connection=connection, subject_kind=subject_kind, subject_id=subject_id,
        object_id=object_id, amount=amount, currency=currency,
        context=context or {}, event=event, replay_of=replay_of, started_by=by, correlation_id=correlation_id or uuid.uuid4(),
    )  # fmt: skip
    run.lane = flow.lane(run)
    with transaction.atomic():
        run.save(force_insert=True)
        ledger = store.Ledger()
        settle.advance(run, flow, None, ledger)
        store.write(ledger)
        if run.state == "done":
            run.save(update_fields=["state", "ended_at"])
    return run


def replay(event: InboxEvent, *, by: str) -> list[Run]:
    """Work an event again, by the flows that listen now. Effects that exist are found, not repeated."""
    if event.disposition == Disposition.QUARANTINED:
        return reprocess(event, by=by)
    return _start_again(event, event.name, event.subject_kind, event.subject_id, by)


def reprocess(event: InboxEvent, *, by: str) -> list[Run]:
    """A person wants a quarantined or conflicting delivery worked: read it again with today's connector.

    Raises BadPayload when it is still not understood.
    """
    envelope = _open(event.connection, bytes(event.body))
    name = event.connection.spec.events.get(envelope.kind, "")
    return _start_again(event, name if envelope.subject_id else "", envelope.subject_kind, envelope.subject_id, by)


def _start_again(event: InboxEvent, name: str, subject_kind: str, subject_id: str, by: str) -> list[Run]:
    """A new run for each flow that listens to `name`, pointing at the last one it repeats."""
    with transaction.atomic():
        again = [
            start(
                flow, connection=event.connection, subject_kind=subject_kind, subject_id=subject_id, by=by, event=event,
                replay_of=event.runs.filter(flow=flow.name).order_by("-id").first(), correlation_id=event.correlation_id,
            )
            for flow in flows.listening(name)
        ]  # fmt: skip
        audit.append(
            "inboxevent.replayed", actor=by, obj=event, correlation_id=event.correlation_id,
            after={"runs": [run.pk for run in again], "flows": [run.flow for run in again]},
        )  # fmt: skip
        return again


def known(connection: Connection, external_ids: list[str]) -> dict[str, tuple[int, datetime]]:
    """Which of these ids came in already: external id → (event id, received at)."""
    rows = InboxEvent.objects.filter(connection=connection, external_id__in=external_ids, duplicate_of=None)
    return {external_id: (pk, at) for external_id, pk, at in rows.values_list("external_id", "pk", "received_at")}
