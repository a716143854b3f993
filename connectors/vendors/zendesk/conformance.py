"""What the conformance suite needs to try this connector against its twin."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import orjson

from canonical.commands import PostNote, WriteCase
from canonical.types import CanonicalObject
from connectors.sdk.errors import BadPayload
from connectors.sdk.kit import Kit, Probe
from connectors.vendors.zendesk import CONNECTOR, mapping
from connectors.vendors.zendesk.client import LISTED, Credentials, Settings
from connectors.vendors.zendesk.clock import in_order, key_of
from connectors.vendors.zendesk.events import SIGNATURE, envelope_of
from connectors.vendors.zendesk.fake import FIELDS, ZendeskTwin
from connectors.vendors.zendesk.reads import EXPORTED

EMAIL, TOKEN = "hub@acme.example", "not-a-real-api-token"
SAMPLES = Settings(base_url="https://acme.zendesk.com", email=EMAIL, organization_plan="support_plan", **FIELDS)
"""What the samples are read with."""
UNKNOWN = orjson.dumps(
    {
        "type": "zen:event-type:article.published",
        "account_id": 12514403,
        "id": "01GX5K8RT1F3M8H4W1J4C8ZQ2B",
        "time": "2099-07-04T05:33:18Z",
        "zendesk_event_version": "2022-11-06",
        "subject": "zen:article:1707234",
        "detail": {"id": "1707234", "brand_id": "4217"},
        "event": {"title": "How to return a product"},
    }
)


def an_organization(twin: ZendeskTwin) -> str:
    """A new organisation that names billing's customer."""
    with twin.lock:
        return str(twin.store.organization("Acme GmbH", "cus_0001")["id"])


def a_customer(twin: ZendeskTwin, organization: str = "") -> int:
    """A new end user, of that organisation if one is named."""
    with twin.lock:
        made = twin.store.user("Rosa", "rosa@acme.example", organization_id=int(organization) if organization else None)
    return int(made["id"])


def a_case(twin: ZendeskTwin) -> str:
    """A new ticket that has been answered."""
    customer = a_customer(twin, an_organization(twin))
    with twin.lock:
        agent = twin.store.user("Ada", "ada@desk.example", "agent")["id"]
        made = twin.store.open("Exports fail", "Every export fails since noon.", customer, priority="high")
        twin.store.reply(made["id"], agent, "We are looking into it.", status="open")
    return str(made["id"])


def fill_cases(twin: ZendeskTwin) -> set[str]:
    """More than a page of tickets in several states, changed long enough ago to be exported."""
    customer = a_customer(twin)
    with twin.lock:
        made = [twin.store.open(f"Ticket {number}", "It fails.", customer)["id"] for number in range(EXPORTED + 30)]
        for external_id in made[::50]:
            twin.store.update(external_id, {"status": "solved"})
        for external_id in made[7::90]:
            twin.store.delete(external_id)
    twin.advance(120)
    return {str(external_id) for external_id in made}


def fill_credits(twin: ZendeskTwin) -> set[str]:
    """More than a page of tickets that show a credit, and one that does not."""
    customer = a_customer(twin, an_organization(twin))
    shown = {"field_state": "credited", "field_number": "CR-1", "field_amount": "12.5", "field_currency": "EUR"}
    fields = [{"id": int(FIELDS[name]), "value": value} for name, value in shown.items()]
    with twin.lock:
        made = [twin.store.open(f"Ticket {number}", "It fails.", customer)["id"] for number in range(EXPORTED + 31)]
        for external_id in made[1:]:
            twin.store.update(external_id, {"custom_fields": fields})
    twin.advance(120)
    return {str(external_id) for external_id in made[1:]}


def disturb(twin: ZendeskTwin) -> None:
    """A new ticket, told by the export at once."""
    a_case(twin)
    twin.advance(120)


def write_case(twin: ZendeskTwin, key: str) -> WriteCase:
    """The state of a credit on a new ticket."""
    values = {"credit_state": "posted", "credit_number": key, "credit_amount": "12.50", "credit_currency": "EUR"}
    return WriteCase(key=key, case=a_case(twin), block=f"Credit {key}\nposted", values=values, tags=("tieout_posted",))


def shown(twin: ZendeskTwin, request: WriteCase) -> int:
    """How many updates of the ticket wrote the block."""
    events = [event for audit in twin.store.audits[int(request.case)] for event in audit["events"]]
    return sum(event.get("value") == request.block for event in events)


def note(twin: ZendeskTwin, key: str) -> PostNote:
    """A public comment on a new ticket."""
    return PostNote(key=key, case=a_case(twin), text=f"A credit was issued: {key}", public=True)


def noted(twin: ZendeskTwin, request: PostNote) -> int:
    """How many comments carry the key."""
    return sum(key_of(audit) == request.key for audit in twin.store.audits[int(request.case)])


def parse(body: bytes) -> list[CanonicalObject]:
    """What the API answers: `{"ticket", "audits", "users", "organization"}` as far as they are there.

    A delivery or an item of a sweep has no object of its own: the hub reads it from the API.
    """
    try:
        read = json.loads(body, parse_float=Decimal)
    except (ValueError, RecursionError):
        raise BadPayload("not JSON") from None
    if not isinstance(read, dict):
        raise BadPayload("not a JSON object")
    if "type" in read:
        envelope_of(read)
        return []
    organization, user = read.get("organization"), read.get("user")
    found: list[CanonicalObject] = []
    if isinstance(ticket := read.get("ticket"), dict):
        users = {str(each["id"]): each for each in read.get("users", [])}
        found.append(mapping.case(ticket, in_order(read.get("audits", [])), users, SAMPLES, organization))
    if isinstance(organization, dict):
        found.append(mapping.organization(organization, SAMPLES))
    if isinstance(user, dict):
        found.append(mapping.user(user))
    if not found:
        raise BadPayload("neither a ticket nor a party")
    return found


def sign(body: bytes, secret: str, at: int) -> dict[str, str]:
    """Zendesk's two headers."""
    return {name.lower(): value for name, value in SIGNATURE.sign(body, secret, at).items()}


def settings(twin: Any) -> Settings:
    """All custom fields in use."""
    return Settings(base_url=twin.url, email=EMAIL, **FIELDS)


KIT = Kit(
    connector=CONNECTOR,
    folder=Path(__file__).parent,
    twin=lambda: ZendeskTwin(EMAIL, TOKEN),
    settings=settings,
    credentials=Credentials(api_token=TOKEN),
    parse=parse,
    unknown_event=UNKNOWN,
    sign=sign,
    probes={
        "write_case": Probe(write_case, shown, "PUT /api/v2/tickets/"),
        "post_note": Probe(note, noted, "PUT /api/v2/tickets/"),
    },
    fill={
        "cases": fill_cases,
        "support_credit": fill_credits,
        "party": lambda twin: {an_organization(twin) for _ in range(LISTED + 20)},
    },
    disturb=disturb,
    known={"support_case": a_case, "party": an_organization},
    omissions={"money_reads_back": "no command moves money: credits are only shown on the ticket"},
)
