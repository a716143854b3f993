"""Stripe Billing: webhooks and sweeps in, references and credits out.

Verified against Stripe's published fixtures, its own Python SDK, and localstripe; see `conformance` for the evidence.
"""

from __future__ import annotations

from datetime import timedelta

from connectors.sdk.contract import Connector, Limits
from connectors.sdk.signatures import verify_stripe
from connectors.vendors.stripe.client import Credentials, Settings, check, open_client
from connectors.vendors.stripe.commands import COMMANDS
from connectors.vendors.stripe.events import EVENTS, envelope, same
from connectors.vendors.stripe.extracts import EXTRACTS, TOTALS
from connectors.vendors.stripe.reads import FETCH, PAGES

CONNECTOR = Connector(
    slug="stripe",
    title="Stripe Billing",
    role="billing",
    settings=Settings,
    credentials=Credentials,
    open=open_client,
    check=check,
    verify=verify_stripe,
    envelope=envelope,
    same=same,
    events=EVENTS,
    fetch=FETCH,
    pages=PAGES,
    extracts=EXTRACTS,
    totals=TOTALS,
    commands=COMMANDS,
    # Stripe's own clients give a call 80 seconds before they give it up.
    quiet=timedelta(seconds=90),
    # Live mode allows 100 operations a second; a few calls at once stay far below and leave room for others.
    limits=Limits(max_in_flight=8),
)
