"""RT's ticket and its history → our case. Pure; every text that people typed is masked here.

RT keeps no organisations. A case belongs to the customer that its custom field names (`customer:<billing's id>`), else
to whoever asked (`user:<login>`, which is the e-mail address of those who write in).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal

from pydantic import ValidationError

from canonical.masking import mask
from canonical.types import CaseNote, ClockEvent, CreditRequest, Party, SupportCase
from connectors.sdk.errors import BadPayload
from connectors.vendors.request_tracker.client import Settings
from connectors.vendors.request_tracker.events import Json, creator, instant

CUSTOMER, USER = "customer:", "user:"
AMOUNT = re.compile(r"[0-9]{1,12}(\.[0-9]{1,3})?")
LONGEST = 2000
"""Characters that a canonical text may have."""


@dataclass(frozen=True, slots=True)
class Case:
    """What was read of one ticket."""

    ticket: Json
    history: Sequence[Json]
    description: str = ""
    staff: Collection[str] = ()
    """Logins of those among the writers who belong to the support team."""
    notes: Sequence[tuple[Json, str]] = ()
    """Comments with their texts, oldest first."""
    url: str = ""


def support_case(read: Case, settings: Settings) -> SupportCase:
    """The case with its clock. Raises BadPayload when the ticket is not understood."""
    ticket, fields = read.ticket, custom_fields(read.ticket)
    status = str(ticket.get("Status") or "")
    clock = tuple(_clock(read, settings))
    try:
        return SupportCase(
            external_id=str(ticket.get("id") or ""),
            updated_at=instant(ticket.get("LastUpdated")),
            party=party_id(ticket, settings),
            subject=_text(ticket.get("Subject")),
            description=_text(read.description),
            severity=severity(ticket.get("Priority"), settings),
            status=_status(status, settings),
            opened_at=instant(ticket.get("Created")),
            first_reply_at=next((event.at for event in clock if event.what == "first_reply"), None),
            resolved_at=_resolved_at(clock),
            clock=clock,
            notes=tuple(_note(entry, text, read.staff) for entry, text in read.notes),
            incident=_text(fields.get(settings.incident_field)),
            plan=_text(fields.get(settings.plan_field)),
            subscription=_text(fields.get(settings.subscription_field)),
            credit=_credit(read, fields, settings),
            url=read.url,
            deleted=status == "deleted",
        )
    except ValidationError as error:
        raise BadPayload(f"a ticket that is not understood: {error.errors()[0]['loc']}") from None


def _note(entry: Json, text: str, staff: Collection[str]) -> CaseNote:
    """A comment, under the id that our own get when they are posted."""
    by = creator(entry)
    return CaseNote(
        external_id=f"transaction/{entry['id']}", at=instant(entry.get("Created")), by=_text(by), text=_text(text),
        is_answer=by in staff,
    )  # fmt: skip


def party_id(ticket: Json, settings: Settings) -> str | None:
    """Whose case it is; None when it names neither customer nor requestor."""
    customer = custom_fields(ticket).get(settings.customer_field, "").strip()
    asking = requestors(ticket)
    return f"{CUSTOMER}{customer}" if customer else f"{USER}{asking[0]}" if asking else None


def party(external_id: str, user: Json | None = None) -> Party:
    """The customer that a case's party names. A user is described by RT's answer about it, when there is one."""
    if external_id.startswith(CUSTOMER):
        billing = external_id.removeprefix(CUSTOMER)
        return Party(external_id=external_id, name=billing, same_as=billing)
    login = external_id.removeprefix(USER)
    told = user or {}
    email = told.get("EmailAddress") or (login if "@" in login else "")
    return Party(external_id=external_id, name=_text(told.get("RealName") or login), email=_text(email))


def custom_fields(ticket: Json) -> dict[str, str]:
    """The custom fields that have a value, by name; the first of several. Raises BadPayload."""
    listed = ticket.get("CustomFields") or []
    try:
        first = {str(field["name"]): next(iter(field["values"]), None) for field in listed}
        # A field that was emptied keeps a null.
        return {name: str(value) for name, value in first.items() if value is not None}
    except (TypeError, KeyError):
        raise BadPayload("custom fields without names and values") from None


def requestors(ticket: Json) -> list[str]:
    """The logins of those who ask."""
    listed = ticket.get("Requestor") or []
    if not isinstance(listed, list) or not all(isinstance(user, dict) and user.get("id") for user in listed):
        raise BadPayload("requestors without logins")
    return [str(user["id"]) for user in listed]


def severity(priority: Any, settings: Settings) -> str:
    """The name of a priority. Raises BadPayload when it is no number."""
    try:
        number = int(priority)
    except (TypeError, ValueError):
        raise BadPayload(f"{priority!r} is no priority") from None
    reached = {floor: name for name, floor in settings.severities.items() if floor <= number}
    return reached[max(reached)] if reached else str(number)


def _status(status: str, settings: Settings) -> Literal["open", "pending", "resolved", "closed"]:
    if status in settings.closed_statuses:
        return "closed"
    if status in settings.resolved_statuses:
        return "resolved"
    return "pending" if status in settings.paused_statuses else "open"


def _clock(read: Case, settings: Settings) -> Iterator[ClockEvent]:
    """What moves the clock, in the order of RT's transaction ids, which is that of time.

    A ticket may be a second older than the transaction that tells of it: what counts is the ticket's own time.
    """
    replied = False
    for entry in sorted(read.history, key=lambda entry: int(entry["id"])):
        match entry.get("Type"):
            case "Create":
                yield _event("opened", entry | {"Created": read.ticket.get("Created")})
            case "Correspond" if not replied and creator(entry) in read.staff:
                replied = True
                yield _event("first_reply", entry)
            case "Status":
                old, new = str(entry.get("OldValue") or ""), str(entry.get("NewValue") or "")
                for what in _moves(_status(old, settings), _status(new, settings)):
                    yield _event(what, entry, new)
            case "Set" if entry.get("Field") == "Priority":
                yield _event("severity", entry, severity(entry.get("NewValue"), settings))


_What = Literal["opened", "first_reply", "paused", "resumed", "resolved", "reopened", "severity"]


def _moves(old: str, new: str) -> list[_What]:
    """What a change of status means for the clock. A case that is closed unresolved has ended as well."""
    ended, ends = old in ("resolved", "closed"), new in ("resolved", "closed")
    moves: list[_What] = []
    if ends and not ended:
        moves.append("resolved")
    if ended and not ends:
        moves.append("reopened")
    if new == "pending" and old != "pending":
        moves.append("paused")
    if old == "pending" and new == "open":
        moves.append("resumed")
    return moves


def _event(what: _What, entry: Json, value: str = "") -> ClockEvent:
    return ClockEvent(what=what, at=instant(entry.get("Created")), value=value, external_id=f"transaction/{entry['id']}")


def _resolved_at(clock: Sequence[ClockEvent]) -> Any:
    """When it was resolved, unless it was opened again since."""
    last = next((event for event in reversed(clock) if event.what in ("resolved", "reopened")), None)
    return last.at if last and last.what == "resolved" else None


def _credit(read: Case, fields: Mapping[str, str], settings: Settings) -> CreditRequest | None:
    """The credit an agent asks for. An amount that is not plainly a number is left to people, in the note."""
    reason, amount = fields.get(settings.request_reason_field, ""), fields.get(settings.request_amount_field, "").strip()
    note = fields.get(settings.request_note_field, "")
    if not (reason.strip() or amount):
        return None
    plain = AMOUNT.fullmatch(amount) and Decimal(amount) > 0
    if amount and not plain:
        note = f"The amount is not readable: {amount!r}. {note}".strip()
    return CreditRequest(
        reason=_text(reason.strip()),
        amount=Decimal(amount) if plain else None,
        currency=_text(fields.get(settings.request_currency_field, "").strip().upper()),
        note=_text(note),
        by=_asked_by(read, settings),
    )


def _asked_by(read: Case, settings: Settings) -> str:
    """Who filled the fields of the request last; fields filled at creation leave no transaction of their own."""
    names = (settings.request_reason_field, settings.request_amount_field)
    ids = {str(field.get("id")) for field in read.ticket.get("CustomFields") or [] if field.get("name") in names}
    asked = [entry for entry in read.history if entry.get("Type") == "CustomField" and str(entry.get("Field")) in ids]
    opened = [entry for entry in read.history if entry.get("Type") == "Create"]
    last = max(asked or opened, key=lambda entry: int(entry["id"]), default=None)
    return creator(last) if last else ""


def _text(value: Any) -> str:
    return mask(str(value or ""))[:LONGEST]
