"""The twins run once a session; every test begins with empty books on both sides."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from canonical.models import LegalEntity
from connectors.clients import forget_clients
from connectors.vendors.stripe.fake import StripeTwin
from connectors.vendors.tryton.fake import TrytonTwin
from connectors.vendors.zendesk.fake import ZendeskTwin
from hub.engine import crash
from tests.support.credits import EMAIL, TOKEN, Crediting, zendesk_connection
from tests.support.world import Billing, World, billing_connection, erp_connection, rule_for


@pytest.fixture(scope="session")
def stripe_twin() -> Iterator[StripeTwin]:
    with StripeTwin() as twin:
        yield twin


@pytest.fixture(scope="session")
def tryton_twin() -> Iterator[TrytonTwin]:
    with TrytonTwin() as twin:
        yield twin


@pytest.fixture
def world(transactional_db: None, stripe_twin: StripeTwin, tryton_twin: TrytonTwin) -> Iterator[World]:
    """A company that sells plans in three currencies, with every mapping there should be."""
    forget_clients()
    for twin in (stripe_twin, tryton_twin):
        twin.disarm()
        twin.reset()
    stripe_twin.honours_keys = True
    stripe_twin.webhooks.point_at(None)
    stripe_twin.webhooks.delivered = stripe_twin.webhooks.failed = stripe_twin.webhooks.dropped = 0
    entity = LegalEntity.objects.create(code="main", name="Main", currency="USD")
    source = billing_connection(stripe_twin.url, entity=entity)
    erp = erp_connection({"base_url": tryton_twin.url, **tryton_twin.entry}, entity)
    rule_for(entity, deferred_account="")
    made = World(Billing(stripe_twin.url), tryton_twin.url, source, erp, entity)
    made.taxes()
    for currency, price in (("eur", 4900), ("jpy", 5000), ("kwd", 12_340)):
        made.sells(currency, price)
    yield made
    crash.disarm()
    forget_clients()


@pytest.fixture(scope="session")
def zendesk_twin() -> Iterator[ZendeskTwin]:
    with ZendeskTwin(EMAIL, TOKEN) as twin:
        yield twin


@pytest.fixture
def crediting(world: World, zendesk_twin: ZendeskTwin) -> Crediting:
    """The company of `world` with a support desk."""
    zendesk_twin.disarm()
    zendesk_twin.reset()
    return Crediting(world, zendesk_connection(zendesk_twin), zendesk_twin)
