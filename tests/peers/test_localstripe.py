"""The same stories, told by Stripe's SDK to a real localstripe and to our twin: both must mean the same to us."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
import stripe

from canonical.types import Invoice, InvoiceStatus, Party, Subscription, SubscriptionStatus
from connectors.sdk.errors import Refused
from connectors.vendors.stripe import CONNECTOR
from connectors.vendors.stripe.fake import StripeTwin
from hub.demo.peers import PeerUnavailable
from hub.demo.peers.localstripe import LocalstripePeer
from tests.connectors.sink import Sink
from tests.connectors.stripe_stories import call, cancel, ours, sdk, subscribe, upgrade

pytestmark = pytest.mark.peer
STATE = Path(__file__).resolve().parents[2] / ".local"
SECRET = "whsec_not_a_real_secret"


@pytest.fixture(scope="module")
def peer() -> Iterator[LocalstripePeer]:
    """A real localstripe. Skips, saying why, on a machine that cannot install it."""
    running = LocalstripePeer(STATE, log=print)
    try:
        running.start()
    except PeerUnavailable as reason:
        pytest.skip(str(reason))
    yield running
    running.stop()


@pytest.fixture(params=["twin", "localstripe"])
def server(request: pytest.FixtureRequest) -> Iterator[LocalstripePeer | StripeTwin]:
    """One of the two, empty."""
    if request.param == "twin":
        with StripeTwin() as twin:
            yield twin
        return
    peer: LocalstripePeer = request.getfixturevalue("peer")
    peer.reset()
    yield peer


@pytest.fixture
def base_url(server: LocalstripePeer | StripeTwin) -> str:
    return server.url if isinstance(server, StripeTwin) else server.base_url


def test_a_subscription_is_the_same_invoice_on_both(base_url: str) -> None:
    made = subscribe(sdk(base_url))
    invoice, party, *sold = CONNECTOR.fetch["invoice"](ours(base_url), made.invoice, call())
    assert isinstance(invoice, Invoice)
    assert isinstance(party, Party)
    assert (invoice.net, invoice.tax, invoice.total) == (Decimal("59.97"), Decimal("11.39"), Decimal("71.36"))
    assert (invoice.status, invoice.paid) == (InvoiceStatus.PAID, Decimal("71.36"))
    line = invoice.lines[0]
    assert (line.product, line.price, line.quantity) == (made.product, made.plan, 3)
    assert (line.subscription, invoice.subscription) == (made.subscription, made.subscription)
    assert [tax.code for tax in line.taxes] == [made.tax_rate]
    assert line.service_from is not None
    assert line.service_to is not None
    assert 27 <= (line.service_to - line.service_from).days <= 30
    assert (party.name, party.address.country) == ("Acme GmbH", "DE")
    assert [obj.external_id for obj in sold] == [made.product, made.plan]


def test_the_payment_of_an_invoice_is_found_on_both(base_url: str) -> None:
    made = subscribe(sdk(base_url))
    invoice = CONNECTOR.fetch["invoice"](ours(base_url), made.invoice, call())[0]
    assert isinstance(invoice, Invoice)
    assert invoice.payment is not None
    payment = CONNECTOR.fetch["payment"](ours(base_url), invoice.payment, call())[0].model_dump()
    assert payment["amount"] == Decimal("71.36")
    assert (payment["status"], payment["invoice"], payment["party"]) == ("succeeded", made.invoice, made.customer)


def test_an_upgrade_and_a_cancellation_are_seen_on_both(base_url: str) -> None:
    client = sdk(base_url)
    made = subscribe(client)

    def read() -> Subscription:
        found = CONNECTOR.fetch["subscription"](ours(base_url), made.subscription, call())[0]
        assert isinstance(found, Subscription)
        return found

    assert (read().status, read().items[0].quantity) == (SubscriptionStatus.ACTIVE, 3)
    upgrade(client, made, 5)
    assert read().items[0].quantity == 5
    cancel(client, made)
    after = read()
    assert after.status is SubscriptionStatus.CANCELLED
    assert after.ended_at is not None


def test_a_sweep_brings_every_event_once_from_both(base_url: str) -> None:
    client = sdk(base_url)
    customers = {client.v1.customers.create({"name": f"Customer {n}"}).id for n in range(130)}
    since, cursor, seen, pages = datetime.now(UTC) - timedelta(hours=1), None, [], 0
    while pages == 0 or cursor:
        page = CONNECTOR.pages["events"](ours(base_url), since, cursor, call())
        seen += [item.envelope.subject_id for item in page.items]
        cursor, pages = page.cursor, pages + 1
    assert pages == 2
    assert sorted(seen) == sorted(customers)


def test_state_sweeps_read_both(base_url: str) -> None:
    client = sdk(base_url)
    made = subscribe(client)
    cancel(client, made)
    since = datetime.now(UTC) - timedelta(hours=1)
    for stream, subject in (("invoices", made.invoice), ("subscriptions", made.subscription)):
        items = CONNECTOR.pages[stream](ours(base_url), since, None, call()).items
        assert [item.envelope.subject_id for item in items] == [subject]


def test_what_is_not_there_is_refused_by_both(base_url: str) -> None:
    for kind, external_id in (("party", "cus_nowhere"), ("invoice", "in_nowhere"), ("price", "price_nowhere")):
        with pytest.raises(Refused) as refused:
            CONNECTOR.fetch[kind](ours(base_url), external_id, call())
        assert refused.value.code == "not_found"


def test_a_reference_is_written_and_found_on_both(base_url: str) -> None:
    made = subscribe(sdk(base_url))
    command = CONNECTOR.commands["write_reference"]
    values = {"erp_number": "INV/2026/0001"}
    request = command.request(key="k", kind="invoice", external_id=made.invoice, values=values)
    assert command.find is not None
    assert command.find(ours(base_url), request, call()) is None
    written = command.run(ours(base_url), request, call())
    assert command.find(ours(base_url), request, call()) == written


def test_a_reference_that_is_accepted_and_not_kept_is_noticed(peer: LocalstripePeer) -> None:
    made = subscribe(sdk(peer.base_url))
    command = CONNECTOR.commands["write_reference"]
    # localstripe answers 200 to metadata on a subscription, and forgets it.
    request = command.request(key="k", kind="subscription", external_id=made.subscription, values={"erp_id": "1"})
    with pytest.raises(Refused) as refused:
        command.run(ours(peer.base_url), request, call())
    assert refused.value.code == "not_kept"


def test_webhooks_of_both_pass_both_verifications(server: LocalstripePeer | StripeTwin, base_url: str) -> None:
    with Sink() as sink:
        server.deliver_to(sink.url, SECRET)
        made = subscribe(sdk(base_url))
        # localstripe sends after a second, so deliveries of the story before may still come in.
        deliveries = sink.wait_for(5, about=made.customer)
        assert CONNECTOR.verify is not None
        assert CONNECTOR.envelope is not None
        for delivery in deliveries:
            stripe.Webhook.construct_event(delivery.body, delivery.headers["stripe-signature"], SECRET)
            assert CONNECTOR.verify(delivery, ["whsec_another", SECRET], datetime.now(UTC)) == 1
        about = {CONNECTOR.envelope(delivery.body).subject_id for delivery in deliveries}
        assert made.customer in about
        assert all(json.loads(delivery.body)["object"] == "event" for delivery in deliveries)


@pytest.mark.parametrize("reason", ["lock is missing", "pip fails"])
def test_a_peer_that_cannot_be_installed_says_why(reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    peer = LocalstripePeer(tmp_path)
    lock = peer.place.lock = tmp_path / "peer-localstripe.txt"
    if reason == "pip fails":
        lock.write_text("no-such-package-of-ours==0 --hash=sha256:" + "0" * 64 + "\n")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(PeerUnavailable, match="localstripe"):
        peer.start()
