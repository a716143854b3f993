"""From Stripe's own SDK to the books of a real Tryton: none of the systems at either end was written by us."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from decimal import Decimal
from typing import Any

import pytest
import stripe

from canonical.models import Invoice, LegalEntity
from connectors.clients import client_for, forget_clients
from connectors.models import Connection
from connectors.sdk.http import Call
from hub import flows, inbox
from hub.demo.peers import PeerUnavailable
from hub.demo.peers.localstripe import LocalstripePeer
from hub.demo.peers.tryton import TrytonInfo
from hub.models import InboxEvent, ReviewItem, Run
from hub.models.inbox import RejectedDelivery
from tests.support.crashes import Trouble, sites_of
from tests.support.proxy import Proxy
from tests.support.time import until, work
from tests.support.tryton import STATE, running
from tests.support.world import API_KEY, CODES, SECRET, billing_connection, erp_connection, map_code, rule_for

pytestmark = pytest.mark.peer
CARD = {"number": "4242424242424242", "exp_month": 12, "exp_year": 2099, "cvc": "123"}


@pytest.fixture(scope="module")
def localstripe() -> Iterator[LocalstripePeer]:
    peer = LocalstripePeer(STATE, log=print)
    try:
        peer.start()
    except PeerUnavailable as reason:
        pytest.skip(str(reason))
    yield peer
    peer.stop()


@pytest.fixture(scope="module")
def tryton() -> Iterator[TrytonInfo]:
    with running("flows") as info:
        yield info


class Company:
    """The hub between the two, with what it needs to know."""

    def __init__(self, billing: LocalstripePeer, tryton: TrytonInfo, proxy: Proxy) -> None:
        self.entity = LegalEntity.objects.create(code="main", name="Main", currency="USD")
        self.source = billing_connection(billing.base_url, entity=self.entity)
        self.erp = erp_connection({**asdict(tryton), "base_url": proxy.url}, self.entity)
        self.proxy = proxy
        rule_for(self.entity)
        self.sdk = stripe.StripeClient(API_KEY, base_addresses={"api": billing.base_url}, max_network_retries=0)

    def subscribe(self) -> Any:
        """3 × 19.99 EUR a month plus 20 % VAT, paid by card; what is sold gets its codes."""
        api: Any = self.sdk.v1  # its types know no server but Stripe's own
        product = api.products.create({"name": "Platform", "type": "service"})
        vat = api.tax_rates.create({"display_name": "VAT", "percentage": 20, "inclusive": False})
        plan = api.plans.create({"product": product.id, "amount": 1999, "currency": "eur", "interval": "month"})
        address = {"line1": "Hauptstr. 1", "city": "Bonn", "country": "DE", "postal_code": "53111"}
        customer = api.customers.create({"name": "Acme GmbH", "email": "ap@acme.example", "address": address})
        card = api.payment_methods.create({"type": "card", "card": CARD})
        api.payment_methods.attach(card.id, {"customer": customer.id})
        api.customers.update(customer.id, {"invoice_settings": {"default_payment_method": card.id}})
        map_code("product", self.source, product.id, self.erp, CODES["product"])
        map_code("tax", self.source, vat.id, self.erp, CODES["tax"])
        return api.subscriptions.create(
            {"customer": customer.id, "items": [{"plan": plan.id, "quantity": 3}], "default_tax_rates": [vat.id]}
        )

    def books(self, invoice: str) -> list[dict[str, Any]]:
        """Everything Tryton holds under our key of an invoice, drafts too."""
        fields = [
            "number",
            "state",
            "untaxed_amount",
            "tax_amount",
            "total_amount",
            "amount_to_pay",
            "currency.code",
            "party.name",
            "reference",
        ]
        rows: list[dict[str, Any]] = client_for(self.erp).search(
            Call(timeout=30), "account.invoice", [["reference", "=", f"{self.source.slug}/{invoice}"]], fields
        )
        return rows

    def payments(self, invoice: str) -> list[Any]:
        """The moves that carry our key of its payment."""
        domain = [["description", "=", f"{self.source.slug}/{invoice}/payment"]]
        rows: list[Any] = client_for(self.erp).search(Call(timeout=30), "account.move", domain, ["number", "state"])
        return rows


@pytest.fixture
def company(transactional_db: None, localstripe: LocalstripePeer, tryton: TrytonInfo) -> Iterator[Company]:
    forget_clients()
    localstripe.reset()
    localstripe.deliver_to("http://127.0.0.1:9/", SECRET)  # to nobody, until a test wants them
    with Proxy(tryton.base_url) as proxy:
        yield Company(localstripe, tryton, proxy)
        forget_clients()


def test_a_subscription_in_localstripe_ends_as_a_posted_and_paid_invoice_in_tryton(
    company: Company, localstripe: LocalstripePeer, live_server: Any
) -> None:
    localstripe.deliver_to(f"{live_server.url}/ingest/stripe/", SECRET)
    subscription = company.subscribe()
    invoice = str(subscription.latest_invoice)
    # localstripe sends each webhook once, one second late; the subscription's own comes last.
    until(lambda: InboxEvent.objects.filter(subject_id=subscription.id).exists())
    assert not RejectedDelivery.objects.exists(), "every webhook was signed by localstripe and verified by us"
    work()
    assert set(Run.objects.values_list("state", flat=True)) == {"done"}, list(ReviewItem.objects.values("title", "detail"))
    until(lambda: company.books(invoice)[0]["state"] == "paid")
    (posted,) = company.books(invoice)
    assert (posted["untaxed_amount"], posted["tax_amount"], posted["total_amount"]) == (
        Decimal("59.97"),
        Decimal("11.99"),
        Decimal("71.96"),
    )
    assert (posted["currency"]["code"], posted["party"]["name"], posted["amount_to_pay"]) == ("EUR", "Acme GmbH", Decimal("0.00"))
    assert len(company.payments(invoice)) == 1
    assert Invoice.objects.get().state == "settled"
    shown = company.sdk.v1.invoices.retrieve(invoice).to_dict()["metadata"]
    assert shown["tieout_erp_number"] == posted["number"]


def test_replies_that_are_lost_after_tryton_committed_make_one_invoice_one_payment_one_customer(company: Company) -> None:
    def story(trouble: Trouble) -> Run:
        """An invoice is paid in billing, and the hub is told of it."""
        invoice = str(company.subscribe().latest_invoice)
        flow = flows.current("order_to_cash")
        with trouble.happens():
            run = inbox.start(flow, connection=company.source, subject_kind="invoice", subject_id=invoice, by="test")
            work(meanwhile=trouble.land)
        run.refresh_from_db()
        told = (trouble.site, list(run.attempts.order_by("id").values_list("step__name", "outcome", "error")))
        assert run.state == "done", told
        (posted,) = company.books(invoice)
        assert posted["number"] and posted["total_amount"] == Decimal("71.96"), told
        assert len(company.payments(invoice)) == 1, told
        return run

    story(Trouble(None, None, None, ""))  # clients remember what they read the first time
    undisturbed = story(Trouble(None, None, None, ""))
    writes = [site for site in sites_of(undisturbed) if site.writes and site.vendor == "tryton"]
    assert {site.step for site in writes} == {"customer", "post", "pay"}
    for site in writes:
        trouble = Trouble(site, ("drop_reply", {}), None, site.step, twin=company.proxy)
        story(trouble)
        assert trouble.armed is not None and trouble.armed.hits == 1, site
    codes = [row["code"] for row in client_for(company.erp).search(Call(), "party.party", [["code", "like", "stripe/%"]], ["code"])]
    assert len(set(codes)) == len(codes) >= len(writes)


def test_the_connection_to_each_is_healthy(company: Company) -> None:
    for connection in (company.source, company.erp):
        assert isinstance(connection, Connection)
        assert connection.spec.check(client_for(connection), Call(timeout=30)).identity
