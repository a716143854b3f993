"""What the conformance suite needs to try this connector against its twin."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson

from canonical.commands import PostNote, WriteCase
from canonical.types import CanonicalObject
from connectors.sdk.errors import BadPayload
from connectors.sdk.kit import Kit, Probe
from connectors.vendors.roundup import CONNECTOR, mapping
from connectors.vendors.roundup.client import Credentials, Settings
from connectors.vendors.roundup.commands import marker
from connectors.vendors.roundup.extracts import PAGE as BULK
from connectors.vendors.roundup.fake import PASSWORD, RoundupTwin
from connectors.vendors.roundup.reading import PAGE

SETTINGS = Settings(base_url="https://support.example.com/")


def a_case(twin: RoundupTwin) -> str:
    """A new issue of a customer that billing knows."""
    return twin.open_issue("customer", "Invoice wrong", "It says 120 instead of 100.", billing_customer="cus_1")


def fill_credits(twin: RoundupTwin) -> set[str]:
    """More than a page of issues that show a credit, and one that does not."""
    a_case(twin)
    shown = {"credit_state": "credited", "credit_number": "CR-1", "credit_amount": "12.50", "credit_currency": "EUR"}
    return {twin.open_issue("customer", "Invoice wrong", billing_customer="cus_1", **shown) for _ in range(BULK + 20)}


def block(twin: RoundupTwin, key: str) -> WriteCase:
    """A block, a value and a tag for a new issue."""
    return WriteCase(
        key=key, case=a_case(twin), block=f"Credit approved\n{key}", values={"credit_state": "issued"}, tags=("tieout_done",)
    )


def note(twin: RoundupTwin, key: str) -> PostNote:
    """A message that the customer of a new issue reads."""
    return PostNote(key=key, case=a_case(twin), text=f"We credit you 20.00 USD. {key}", public=True)


def blocks(twin: RoundupTwin, request: WriteCase) -> int:
    """How many issues show the block."""
    return sum(issue["tieout_block"] == request.block for issue in twin.books()["issue"])


def messages(twin: RoundupTwin, request: PostNote) -> int:
    """How many of the messages that people see on the issue carry the request's key."""
    books: dict[str, Any] = twin.books()
    shown = {message for issue in books["issue"] if issue["id"] == request.case for message in issue["messages"]}
    return sum(message["messageid"] == marker(request.key) and message["id"] in shown for message in books["msg"])


def parse(body: bytes) -> Sequence[CanonicalObject]:
    """A sample: an event, a user, or an issue with its journal and its first message as REST answers them."""
    try:
        told = orjson.loads(body)
        if "kind" in told:
            mapping.envelope(body)
            return []
        if "journal" not in told:
            row = told["data"]["attributes"] | {"id": told["data"]["id"]}
            return [mapping.user(row)]
        parts = {name: told[name]["data"] for name in ("issue", "journal")}
        issue = parts["issue"]["attributes"] | {"id": parts["issue"]["id"]}
        message = told["message"]["data"]["attributes"] if told.get("message") else None
        url = f"{SETTINGS.base_url}issue{issue['id']}"
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise BadPayload("not an answer of Roundup") from None
    return [mapping.case(SETTINGS, issue, parts["journal"], message, url)]


KIT = Kit(
    connector=CONNECTOR,
    folder=Path(__file__).parent,
    twin=RoundupTwin,
    settings=lambda twin: Settings(base_url=twin.url),
    credentials=Credentials(user="hub", password=PASSWORD),
    parse=parse,
    unknown_event=b'{"id": "9f", "kind": "file.created", "issue": "7", "at": "2026-11-23T04:20:56Z"}',
    sign=lambda body, secret, at: {name.lower(): value for name, value in mapping.SIGNATURE.sign(body, secret, at).items()},
    probes={
        "write_case": Probe(block, blocks, r"PATCH /rest/data/issue/\d+"),
        "post_note": Probe(note, messages, r"PATCH /rest/data/issue/\d+"),
    },
    fill={"cases": lambda twin: {a_case(twin) for _ in range(PAGE + 20)}, "support_credit": fill_credits},
    disturb=a_case,
    known={"support_case": a_case, "party": lambda twin: "customer:cus_1" if a_case(twin) else ""},
    omissions={
        "resent": "the tracker tries a delivery once and never sends it again",
        "money_reads_back": "a support case shows what was credited and moves no money",
    },
)
