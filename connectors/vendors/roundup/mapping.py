"""Roundup's JSON in our words. Pure. Free text is masked before it leaves."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Literal

import orjson
from pydantic import ValidationError

from canonical.masking import mask
from canonical.types import CaseNote, ClockEvent, CreditRequest, Party, SupportCase
from connectors.sdk.contract import Envelope
from connectors.sdk.errors import BadPayload
from connectors.sdk.signatures import StampedScheme
from connectors.vendors.roundup.client import Row, Settings

SIGNATURE = StampedScheme("X-Roundup-Signature")
EVENTS = {
    "issue.created": "support.case.opened",
    "issue.changed": "support.case.updated",
    "issue.retired": "support.case.deleted",
    "issue.restored": "support.case.updated",
    "issue.observed": "support.case.observed",
}
Status = Literal["open", "pending", "resolved"]
REQUEST = tuple(f"credit_request_{part}" for part in ("reason", "amount", "currency", "note"))
CUSTOMER, USER = "customer:", "user:"
MAX_TEXT = 2000
_AMOUNT = re.compile(r"\d{1,12}(\.\d{1,4})?")


def event_body(event: str, kind: str, issue: str, at: datetime) -> bytes:
    """An event as the detector words it; sweeps use the same words."""
    return orjson.dumps({"id": event, "kind": kind, "issue": issue, "at": at.strftime("%Y-%m-%dT%H:%M:%SZ")})


def envelope(body: bytes) -> Envelope:
    """What a delivery is about. Raises BadPayload."""
    try:
        told = orjson.loads(body)
        event, kind, issue, at = (told[name] for name in ("id", "kind", "issue", "at"))
        when = datetime.strptime(at, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
        readable = all(isinstance(text, str) and text for text in (event, kind)) and issue.isascii() and issue.isdigit()
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        readable = False
    if not readable:
        raise BadPayload("not an event of the tracker's detector")
    if kind not in EVENTS:
        return Envelope(event, kind, occurred_at=when)
    return Envelope(event, kind, "support_case", issue, when)


def case(
    settings: Settings, issue: Row, journal: Row, message: Row | None, url: str, notes: Sequence[tuple[Row, bool]] = ()
) -> SupportCase:
    """A case from the issue with names (`@verbose=2`), its journal, its first message and its notes. Raises BadPayload.

    `notes` are items with content, oldest first, each with whether staff wrote it and not the hub.
    """
    try:
        entries = journal["entries"]
        status = _status(settings, journal["now"]["status"])
        clock = tuple(_clock(settings, issue["id"], journal))
        resolved = [tick.at for tick in clock if tick.what == "resolved"]
        return SupportCase(
            external_id=issue["id"],
            updated_at=instant(issue["activity"]),
            party=party_of(settings, issue),
            subject=_text(issue["title"]),
            description=_text(message["content"]) if message else "",
            severity=journal["now"]["priority"],
            status=status,
            opened_at=instant(issue["creation"]),
            first_reply_at=next((tick.at for tick in clock if tick.what == "first_reply"), None),
            resolved_at=resolved[-1] if resolved and status == "resolved" else None,
            clock=clock,
            credit=_credit(settings, issue, entries),
            notes=tuple(_note(row, is_answer) for row, is_answer in notes),
            tags=tuple(_text(keyword["name"]) for keyword in issue["keyword"]),
            url=url,
            deleted=journal["retired"],
            **{name: _text(issue[settings.property(name)]) for name in ("incident", "plan", "subscription")},
        )
    except (KeyError, TypeError, AttributeError, IndexError, ValueError) as error:
        raise _unreadable("issue", error) from None


def _note(row: Row, is_answer: bool) -> CaseNote:
    """The text of what is no answer stays where it is."""
    return CaseNote(
        external_id=f"note{row['id']}", at=instant(row["creation"]), by=_text(row["creator"]["username"]),
        text=_text(row["content"]) if is_answer else "", is_answer=is_answer,
    )  # fmt: skip


def party_of(settings: Settings, issue: Row) -> str:
    """Our id of who a case belongs to: the customer of billing when the issue names one, else the user who opened it."""
    customer = (issue[settings.property("billing_customer")] or "").strip()
    return f"{CUSTOMER}{customer}" if customer else f"{USER}{issue['creator']['id']}"


def customer(billing_id: str) -> Party:
    """A customer that issues name. The tracker knows nothing but the id."""
    return Party(external_id=f"{CUSTOMER}{billing_id}", name=billing_id, same_as=billing_id)


def user(row: Row) -> Party:
    """A user of the tracker. Raises BadPayload."""
    try:
        name = row["organisation"] or row["realname"] or row["username"]
        return Party(external_id=f"{USER}{row['id']}", name=_text(name), email=_text(row["address"]))
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise _unreadable("user", error) from None


def instant(stamp: str) -> datetime:
    """A Roundup date, `2026-11-23.04:20:56`, which REST gives in UTC. Raises ValueError."""
    return datetime.strptime(stamp, "%Y-%m-%d.%H:%M:%S").replace(tzinfo=UTC)


def stamp(when: datetime) -> str:
    """The reverse of `instant`."""
    return when.astimezone(UTC).strftime("%Y-%m-%d.%H:%M:%S")


def _status(settings: Settings, name: str) -> Status:
    if name in settings.resolved:
        return "resolved"
    return "pending" if name in settings.waiting else "open"


def _clock(settings: Settings, issue: str, journal: Row) -> Iterator[ClockEvent]:
    """The journal as a clock. The journal says what a change left behind; what it led to is read from the next one."""
    entries: Sequence[Row] = journal["entries"]
    after: list[Mapping[str, str]] = [journal["now"]]
    for entry in reversed(entries):
        after.insert(0, {**after[0], **entry["was"]})
    creator, replied = entries[0]["by"]["id"], False
    for number, (entry, was, now) in enumerate(zip(entries, after, after[1:], strict=False), 1):
        at = datetime.fromisoformat(entry["at"]).astimezone(UTC)
        proof = f"issue{issue}#{number}"
        if entry["action"] == "create":
            yield ClockEvent(what="opened", at=at, external_id=proof)
        if now["priority"] and (was["priority"] != now["priority"] or entry["action"] == "create"):
            yield ClockEvent(what="severity", at=at, value=now["priority"], external_id=proof)
        if not replied and entry["messages"] and is_staff(settings, entry["by"]) and entry["by"]["id"] != creator:
            replied = True
            yield ClockEvent(what="first_reply", at=at, external_id=proof)
        before = "open" if entry["action"] == "create" else _status(settings, was["status"])
        yield from (
            ClockEvent(what=what, at=at, value=now["status"], external_id=proof)
            for what in _moves(before, _status(settings, now["status"]))
        )


def _moves(before: Status, now: Status) -> list[Literal["paused", "resumed", "resolved", "reopened"]]:
    """What a change of state does to the clock."""
    match before, now:
        case ("open", "resolved") | ("pending", "resolved"):
            return ["resolved"]
        case ("resolved", "open"):
            return ["reopened"]
        case ("resolved", "pending"):
            return ["reopened", "paused"]
        case ("open", "pending"):
            return ["paused"]
        case ("pending", "open"):
            return ["resumed"]
    return []


def is_staff(settings: Settings, person: Row) -> bool:
    """Whether someone of the journal has a role of staff; Roundup compares roles without regard to case."""
    has = {role.strip().lower() for role in person["roles"].split(",")}
    return any(role.lower() in has for role in settings.staff_roles)


def _credit(settings: Settings, issue: Row, entries: Sequence[Row]) -> CreditRequest | None:
    """What staff ask for. Who filled the fields in last answers for them; from anyone else it is no request."""
    names = {part: settings.property(part) for part in REQUEST}
    reason, amount, currency, note = ((issue[name] or "").strip() for name in names.values())
    if not reason and not amount:
        return None
    touched = [entry for entry in entries if entry["action"] == "set" and not set(names.values()).isdisjoint(entry["changed"])]
    asker = (touched or entries)[-1 if touched else 0]["by"]
    if not is_staff(settings, asker):
        return None
    if amount and not _AMOUNT.fullmatch(amount):
        raise BadPayload(f"the credit asked for is not an amount: {mask(amount)[:40]!r}")
    return CreditRequest(
        reason=_text(reason), amount=Decimal(amount) if amount else None, currency=_text(currency), note=_text(note),
        by=asker["username"],
    )  # fmt: skip


def _text(value: Any) -> str:
    return mask(value or "")[:MAX_TEXT]


def _unreadable(what: str, error: Exception) -> BadPayload:
    fields = [str(part["loc"]) for part in error.errors()] if isinstance(error, ValidationError) else [type(error).__name__]
    return BadPayload(f"not {what} data of Roundup ({', '.join(fields)})")
