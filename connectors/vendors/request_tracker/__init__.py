"""Request Tracker 5 (open-source ticketing): cases and their clocks in; the state of a credit, and notes, out.

RT sends what a scrip sends: one signed webhook for each transaction, in any order, before the call that caused it is
answered, and never again. The sweep of transactions by their id brings those that were lost, under the same identity.
A ticket that is moved to another queue is neither told nor swept any more.
Tickets have no tags, so `WriteCase.tags` is not shown anywhere.

What an RT needs for the hub (custom fields, a user with few rights, the scrip) is in `hub/demo/peers/rt/initialdata`, which
the tests on a real RT 5.0.3 load; `samples` are that server's answers.
"""

from datetime import timedelta

from canonical.commands import PostNote, WriteCase
from connectors.sdk.contract import Command, Connector, Limits, WriteSafety
from connectors.sdk.redaction import without_cards
from connectors.sdk.signatures import StampedScheme
from connectors.vendors.request_tracker import commands, events, extracts, reading
from connectors.vendors.request_tracker.client import Credentials, RequestTracker, Settings

SIGNATURE = StampedScheme("X-RT-Signature")
COMMANDS = (
    Command("write_case", WriteCase, commands.write_case, commands.find_case, WriteSafety.UPSERT),
    Command("post_note", PostNote, commands.post_note, commands.find_note, WriteSafety.LOOKUP),
)
CONNECTOR = Connector(
    slug="request_tracker",
    title="Request Tracker",
    role="support",
    settings=Settings,
    credentials=Credentials,
    open=RequestTracker,
    check=reading.check,
    verify=SIGNATURE.verify,
    envelope=events.envelope,
    redact=without_cards,
    events=events.EVENTS,
    fetch={"support_case": reading.fetch_case, "party": reading.fetch_party},
    pages={"events": reading.page_transactions},
    extracts=extracts.EXTRACTS,
    totals=extracts.TOTALS,
    commands={command.name: command for command in COMMANDS},
    # RT answers after its scrips have run, mail and webhooks included; web servers in front of it give up after a minute.
    quiet=timedelta(seconds=90),
    # RT's own server runs a handful of processes, and every request with a token costs a bcrypt.
    limits=Limits(max_in_flight=2),
)
