"""Zendesk Support: tickets, their clocks and agents' credit requests in; the state of a credit, and notes, out.

Webhooks are Zendesk's own event subscriptions; the sweep is the cursor-based incremental export. Built to the published
reference (developer.zendesk.com) and tried against the twin in `fake`, whose `OMISSIONS` say where it stops.
"""

from __future__ import annotations

from datetime import timedelta

from connectors.sdk.contract import Connector, Limits
from connectors.sdk.redaction import without_cards
from connectors.vendors.zendesk.client import Credentials, Settings, check, open_client
from connectors.vendors.zendesk.commands import COMMANDS
from connectors.vendors.zendesk.events import EVENTS, SIGNATURE, envelope, same
from connectors.vendors.zendesk.extracts import EXTRACTS, TOTALS
from connectors.vendors.zendesk.reads import FETCH, PAGES

CONNECTOR = Connector(
    slug="zendesk",
    title="Zendesk Support",
    role="support",
    settings=Settings,
    credentials=Credentials,
    open=open_client,
    check=check,
    verify=SIGNATURE.verify,
    envelope=envelope,
    same=same,
    redact=without_cards,
    events=EVENTS,
    fetch=FETCH,
    pages=PAGES,
    extracts=EXTRACTS,
    totals=TOTALS,
    commands=COMMANDS,
    # Zendesk publishes no bound for a call it has not answered; saving a ticket runs all triggers of the account.
    quiet=timedelta(minutes=2),
    # Updates of tickets share 100 a minute with everyone in the account, agents included.
    limits=Limits(max_in_flight=3),
)
