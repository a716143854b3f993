"""Fixtures of the connector tests: Stripe's twin, Stripe's own client for it, and a webhook receiver."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import stripe

from connectors.vendors.stripe.fake import StripeTwin
from tests.connectors.sink import Sink
from tests.connectors.stripe_stories import sdk
from tests.connectors.zendesk import desk  # noqa: F401


@pytest.fixture
def twin() -> Iterator[StripeTwin]:
    with StripeTwin() as running:
        yield running


@pytest.fixture
def client(twin: StripeTwin) -> stripe.StripeClient:
    return sdk(twin.url)


@pytest.fixture
def sink() -> Iterator[Sink]:
    with Sink() as running:
        yield running
