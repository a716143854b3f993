"""Roundup 2.6 (open-source issue tracker) as the support platform: its issues are our cases.

The tracker needs three files of ours, which lie in `tracker/` and say where they belong: the properties and roles of
`tieout_schema`, the webhooks of `tieout_detector`, and the journal of an issue over REST, `tieout_rest`, as Roundup's
own REST offers none. The hub has a user of its own with the roles User and Tieout and the time zone UTC.

Properties people fill in: billing_customer, plan, subscription, incident; staff alone ask for a credit with
credit_request_reason, _amount, _currency, _note. The hub writes tieout_block, credit_state, _number, _amount, _currency.
A note to staff is an item of the class `note`, which names its issue; messages are public and mailed to the nosy list. Staff
answer a reviewer's question with a note of their own; `last_note` of the issue names the latest that is not the hub's.

Writes go by `If-Match`, which Roundup demands. Its post-once-exactly tokens are not used: a token says that a message
was made, not which, so a lost answer needs a marker in the message anyway, and the marker alone is enough.
Issues that were retired (deleted) appear in no sweep; their webhook and reading them by id tell.
"""

from datetime import timedelta

from canonical.commands import PostNote, WriteCase
from connectors.sdk.contract import Command, Connector, Limits, WriteSafety
from connectors.sdk.redaction import without_cards
from connectors.vendors.roundup import commands, extracts, mapping, reading
from connectors.vendors.roundup.client import Credentials, Roundup, Settings

COMMANDS = (
    Command("write_case", WriteCase, commands.write_case, commands.find_case, WriteSafety.UPSERT),
    Command("post_note", PostNote, commands.post_note, commands.find_note, WriteSafety.LOOKUP),
)
CONNECTOR = Connector(
    slug="roundup",
    title="Roundup",
    role="support",
    settings=Settings,
    credentials=Credentials,
    open=Roundup,
    check=reading.check,
    verify=mapping.SIGNATURE.verify,
    envelope=mapping.envelope,
    redact=without_cards,
    events=mapping.EVENTS,
    fetch={"support_case": reading.fetch_case, "party": reading.fetch_party},
    pages={"cases": reading.changed_cases},
    extracts=extracts.EXTRACTS,
    totals=extracts.TOTALS,
    commands={command.name: command for command in COMMANDS},
    # A request is worked on for as long as SQLite's or the web server's lock lasts: half a minute by default.
    quiet=timedelta(seconds=90),
    # Every call logs in anew, which is work on purpose (password hashing), in a server that others use too.
    limits=Limits(max_in_flight=4),
)
