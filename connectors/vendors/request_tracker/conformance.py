"""What the conformance suite needs to try this connector against its twin."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import orjson

from canonical.commands import PostNote, WriteCase
from canonical.types import CanonicalObject
from connectors.sdk.errors import BadPayload
from connectors.sdk.kit import Kit, Probe
from connectors.vendors.request_tracker import CONNECTOR, SIGNATURE, events, mapping
from connectors.vendors.request_tracker.client import PAGE, Credentials, Settings
from connectors.vendors.request_tracker.commands import marker
from connectors.vendors.request_tracker.fake import TOKEN, RequestTrackerTwin

UNKNOWN = orjson.dumps(
    {"id": 7, "ticket": 1, "queue": "Support", "type": "AttachmentDrop", "field": "", "old": "", "new": "big.png",
     "created": "2026-03-01T12:00:00Z", "creator": "RT_System"}
)  # fmt: skip


def a_ticket(twin: RequestTrackerTwin) -> str:
    """A new ticket of a customer whom its custom field names."""
    fields = {"Billing Customer": "cus_acme", "Plan Tier": "enterprise"}
    return str(twin.open("ap@acme.example", Subject="Billed twice", Content="We were billed twice.", CustomFields=fields))


def a_party(twin: RequestTrackerTwin) -> str:
    """The customer of a new ticket."""
    a_ticket(twin)
    return "customer:cus_acme"


def fill_events(twin: RequestTrackerTwin) -> set[str]:
    """More than a page of tickets, some of them answered, ended, or deleted."""
    made = {a_ticket(twin) for _ in range(PAGE + 20)}
    for number in list(made)[::9]:
        twin.act(int(number), "ines", reply="We look into it", Status="deleted" if number.endswith("1") else "resolved")
    return made


def fill_credits(twin: RequestTrackerTwin) -> set[str]:
    """More than a page of tickets that show a credit, and one that does not."""
    made = [a_ticket(twin) for _ in range(PAGE + 21)]
    for number in made[1:]:
        shown = {"Credit State": "credited", "Credit Number": "CR-1", "Credit Amount": "12.50 EUR"}
        twin.act(int(number), "hub", CustomFields=shown)
    return set(made[1:])


def block(twin: RequestTrackerTwin, key: str) -> WriteCase:
    """A credit's state on a new ticket."""
    values = {"credit_state": "posted", "credit_number": key, "credit_amount": "120.00", "credit_currency": "EUR"}
    return WriteCase(key=key, case=a_ticket(twin), block=f"Credit {key}\nposted", values=values, tags=("tieout_posted",))


def blocks(twin: RequestTrackerTwin, request: WriteCase) -> int:
    """1 when the ticket shows the block, however often it was written."""
    return int(twin.desk.ticket(int(request.case))["fields"].get("Tieout Block") == request.block)


def note(twin: RequestTrackerTwin, key: str) -> PostNote:
    """A comment for the agents on a new ticket."""
    return PostNote(key=key, case=a_ticket(twin), text="Approved: 120.00 EUR")


def notes(twin: RequestTrackerTwin, request: PostNote) -> int:
    """How many texts carry the request's mark."""
    return sum(marker(request.key) in text["Content"] for text in twin.desk.texts)


def parse(body: bytes) -> Sequence[CanonicalObject]:
    """The case in RT's answers about one ticket, side by side; a webhook brings no object."""
    told = events.read(body)
    if "ticket" not in told or isinstance(told["ticket"], int):
        events.envelope(body)
        return []
    ticket, history, texts = told["ticket"], told.get("history"), told.get("attachments")
    if not (isinstance(ticket, dict) and isinstance(history, dict) and isinstance(texts, dict)):
        raise BadPayload("not the three answers about a ticket")
    staff = told.get("staff") or []
    description = next((text["Content"] for text in texts["items"]), "")
    case = mapping.support_case(mapping.Case(ticket, history["items"], description, staff), Settings(base_url="https://rt.example"))
    return [case, *([mapping.party(case.party)] if case.party else [])]


KIT = Kit(
    connector=CONNECTOR,
    folder=Path(__file__).parent,
    twin=RequestTrackerTwin,
    settings=lambda twin: Settings(base_url=twin.url),
    credentials=Credentials(token=TOKEN),
    parse=parse,
    unknown_event=UNKNOWN,
    sign=lambda body, secret, at: {name.lower(): value for name, value in SIGNATURE.sign(body, secret, at).items()},
    probes={
        "write_case": Probe(block, blocks, "PUT /REST/2.0/ticket/"),
        "post_note": Probe(note, notes, r"POST /REST/2.0/ticket/\d+/comment"),
    },
    fill={"events": fill_events, "support_credit": fill_credits},
    disturb=a_ticket,
    known={"support_case": a_ticket, "party": a_party},
    omissions={
        "resent": "RT sends a webhook once; what a sweep brings of it is known by its id",
        "money_reads_back": "a support platform moves no money",
    },
)
