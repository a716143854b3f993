"""Zendesk's tickets, organisations and users as canonical objects. Pure. All free text is masked on the way."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Literal

from pydantic import ValidationError

from canonical.types import CaseNote, CreditRequest, Party, SupportCase
from connectors.sdk.errors import BadPayload
from connectors.vendors.zendesk.client import STAFF, Settings
from connectors.vendors.zendesk.clock import changes, clock_of, comments, key_of
from connectors.vendors.zendesk.fields import Json, custom, identity, instant, need_identity, need_instant, typed, words
from connectors.vendors.zendesk.metrics import platform_sla

NOTES = 20
"""Notes that are told of a case."""
USER = "user:"
"""Prefix of the id of a party that is a user: a requester who belongs to no organisation."""
REQUEST_TAG = "tieout_credit_request"
"""The tag by which an agent asks for a credit; the agents' own, the hub never takes it off."""

_AMOUNT = re.compile(r"[0-9]{1,12}(\.[0-9]{1,4})?")
Status = Literal["open", "pending", "resolved", "closed"]
_STATUSES: dict[str, Status] = {
    "new": "open",
    "open": "open",
    "pending": "pending",
    "hold": "pending",
    "solved": "resolved",
    "closed": "closed",
    "deleted": "closed",
}


def organization(obj: Json, settings: Settings) -> Party:
    """An organisation. Billing's id of the customer is its external id or the organisation field that settings name."""
    own = obj.get("organization_fields")
    fields = own if isinstance(own, Mapping) else {}
    key = settings.organization_customer
    return Party(
        external_id=need_identity(obj),
        updated_at=instant(obj, "updated_at"),
        name=typed(obj.get("name")),
        same_as=_id_of_billing(fields.get(key) if key else obj.get("external_id")),
    )


def user(obj: Json) -> Party:
    """A requester without an organisation, under `user:ID`."""
    return Party(
        external_id=USER + need_identity(obj),
        updated_at=instant(obj, "updated_at"),
        name=typed(obj.get("name")),
        email=typed(obj.get("email")),
        same_as=_id_of_billing(obj.get("external_id")),
    )


def plan_of(organization: Json | None, settings: Settings) -> str:
    """What the organisation field that settings name says about the plan."""
    fields = (organization or {}).get("organization_fields")
    return typed(fields.get(settings.organization_plan)) if isinstance(fields, Mapping) and settings.organization_plan else ""


def _id_of_billing(value: object) -> str:
    # An id is not free text: masking one that looks like a card number would name another customer.
    return str(value).strip()[:255] if isinstance(value, str | int) and not isinstance(value, bool) else ""


def party_of(ticket: Json) -> str | None:
    """The organisation's id, or the requester's when there is none."""
    organization_id, requester = identity(ticket, "organization_id"), identity(ticket, "requester_id")
    return organization_id or (USER + requester if requester else None)


def case(
    ticket: Json,
    audits: Sequence[Json],
    users: Mapping[str, Json],
    settings: Settings,
    organization: Json | None = None,
) -> SupportCase:
    """A ticket with its history; `users` are those the history names, by id.

    Raises BadPayload, also when the amount that an agent asks for cannot be read: it is not to be guessed.
    """
    external_id = need_identity(ticket)
    status = _STATUSES.get(words(ticket, "status"))
    if status is None:
        raise BadPayload(f"ticket {external_id}: status is {ticket.get('status')!r}")
    clock = clock_of(ticket, audits, users, settings)
    moments = {event.what: event.at for event in clock}
    try:
        return SupportCase(
            external_id=external_id,
            updated_at=instant(ticket, "updated_at"),
            party=party_of(ticket),
            subject=typed(ticket.get("subject")),
            description=typed(ticket.get("description")),
            severity=words(ticket, "priority"),
            status=status,
            opened_at=need_instant(ticket, "created_at"),
            first_reply_at=moments.get("first_reply"),
            resolved_at=moments.get("resolved") if status in ("resolved", "closed") else None,
            clock=clock,
            platform_sla=platform_sla(ticket),
            notes=tuple(_notes(audits, users))[-NOTES:],
            incident=_incident(ticket, settings),
            plan=typed(custom(ticket, settings.field_plan)) or plan_of(organization, settings),
            subscription=typed(custom(ticket, settings.field_subscription)),
            credit=_credit(ticket, audits, users, settings),
            tags=tuple(typed(tag) for tag in tags_of(ticket)),
            url=f"{settings.base_url.rstrip('/')}/agent/tickets/{external_id}",
            deleted=ticket.get("status") == "deleted",
        )
    except ValidationError as error:
        said = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors(include_url=False))
        raise BadPayload(f"ticket {external_id}: {said}") from None


def _notes(audits: Sequence[Json], users: Mapping[str, Json]) -> Iterator[CaseNote]:
    """Internal comments, oldest first. Those of the hub are told apart by their key: its token may act for a person as well."""
    for audit in audits:
        for comment in comments(audit):
            if comment.get("public") is not False:
                continue
            author = users.get(identity(comment, "author_id") or identity(audit, "author_id") or "", {})
            yield CaseNote(
                external_id=need_identity(comment), at=need_instant(audit, "created_at"), by=typed(author.get("name")),
                text=typed(comment.get("plain_body") or comment.get("body")),
                is_answer=words(author, "role") in STAFF and not key_of(audit),
            )  # fmt: skip


def tags_of(ticket: Json) -> list[str]:
    """The tags. Raises BadPayload."""
    tags = ticket.get("tags") or []
    if not isinstance(tags, list) or not all(isinstance(tag, str) for tag in tags):
        raise BadPayload(f"ticket {ticket.get('id')}: tags are no list of strings")
    return tags


def _incident(ticket: Json, settings: Settings) -> str:
    """The field, the problem this ticket is linked to, or the ticket itself when it is the problem."""
    named = typed(custom(ticket, settings.field_incident))
    is_problem = words(ticket, "type") == "problem"
    return named or identity(ticket, "problem_id") or (need_identity(ticket) if is_problem else "")


def _credit(ticket: Json, audits: Sequence[Json], users: Mapping[str, Json], settings: Settings) -> CreditRequest | None:
    """What an agent asks for with the tag, a reason or an amount."""
    reason = typed(custom(ticket, settings.field_request_reason))
    amount = _amount(ticket, custom(ticket, settings.field_request_amount))
    if not reason and amount is None and REQUEST_TAG not in tags_of(ticket):
        return None
    return CreditRequest(
        reason=reason,
        amount=amount,
        currency=typed(custom(ticket, settings.field_request_currency)).upper(),
        note=typed(custom(ticket, settings.field_request_note)),
        by=_asked_by(audits, users, settings),
    )


def _amount(ticket: Json, value: object) -> Decimal | None:
    if value is None or value == "":
        return None
    written = str(value).strip()
    if not _AMOUNT.fullmatch(written) or not (amount := Decimal(written)):
        raise BadPayload(f"ticket {ticket.get('id')}: the amount of the credit request is no positive number")
    return amount


def asking(audit: Json, settings: Settings) -> bool:
    """Whether this audit asked for a credit: it set a field of the request or added the tag."""
    fields = {settings.field_request_reason, settings.field_request_amount} - {""}
    for change in changes(audit):
        name = words(change, "field_name")
        if name in fields and change.get("value"):
            return True
        if (
            name == "tags"
            and REQUEST_TAG in _split(change.get("value"))
            and REQUEST_TAG not in _split(change.get("previous_value"))
        ):
            return True
    return False


def _asked_by(audits: Sequence[Json], users: Mapping[str, Json], settings: Settings) -> str:
    """The name of whoever changed the request last; the role is told when it is not an agent's."""
    author = next((identity(audit, "author_id") for audit in reversed(audits) if asking(audit, settings)), None)
    if author is None:
        return ""
    known = users.get(author, {})
    role = words(known, "role")
    return (typed(known.get("name")) or f"user {author}") + (f" ({role})" if role and role not in STAFF else "")


def _split(tags: object) -> list[str]:
    """Audits tell tags as a list or as words."""
    return tags.split() if isinstance(tags, str) else [str(tag) for tag in tags] if isinstance(tags, list) else []
