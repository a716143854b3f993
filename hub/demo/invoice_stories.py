"""Stories of invoices: sold in billing, and followed into the ERP's own books."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from decimal import Decimal
from functools import partial

import requests

from canonical import types, xref
from canonical.models import Invoice
from connectors.clients import client_for
from connectors.sdk.http import Call
from connectors.sdk.signatures import sign_stripe
from hub.demo.biller import DECLINED_CARD, Sale
from hub.demo.company import Company
from hub.demo.stories import Seen, Story, wait_for
from hub.flows import sweep
from hub.models import InboxEvent, ReviewItem, Step

SETTLED, CONFIRMED, REVERSED = "settled", "confirmed", "reversed"
SALES = 10
"""Tries to catch a worker in the middle of posting."""
RECORDED = "recorded"
"""Not booked: the hub has asked finance, and waits."""


class InvoiceStories:
    """What is sold. `log` takes the progress."""

    def __init__(self, company: Company, base_url: str, log: Callable[[str], None]) -> None:
        self.company, self.base_url, self.log = company, base_url, log
        self.biller, self.catalog = company.biller, company.catalog
        self.vat20, self.vat7 = list(self.catalog.tax_rates)

    def stories(self) -> list[Story]:
        """Every story, in the order of their acts."""
        plans, sell = self.catalog.plans, self.biller.sell
        told: list[tuple[str, Callable[[], Sale], str]] = [
            ("a subscription in dollars, 20 % VAT, paid by card",
             lambda: sell("Northwind Traders", plans["team-month-usd"], quantity=3, tax_rate=self.vat20), SETTLED),
            ("a yearly plan in euros, 7 % VAT",
             lambda: sell("Fabrikam GmbH", plans["team-year-eur"], tax_rate=self.vat7), SETTLED),
            ("a yearly plan in yen, which has no cents", lambda: sell("Sakura KK", plans["archive-year-jpy"]), SETTLED),
            ("the same webhook delivered five times", self.deliver_five_times, SETTLED),
            ("a webhook that never came, found by the sweep", self.lose_a_webhook, CONFIRMED),
            ("an invoice voided after it was posted", self.void_after_posting, REVERSED),
            ("a product nobody had mapped: asked, mapped, healed", self.sell_the_unmapped, SETTLED),
            ("a question left for you: sign in as rosa, then felix",
             lambda: sell("Wingtip Toys", plans["training-year-eur"], tax_rate=self.vat7), RECORDED),
            ("a worker is killed in the middle of posting", self.kill_a_worker, SETTLED),
        ]  # fmt: skip
        return [Story(title, end, act, partial(self._look, end=end)) for title, act, end in told]

    # acts ----------------------------------------------------------------------------------------------------

    def kill_a_worker(self) -> Sale:
        """Sell, and kill whichever process posts the invoice while the call is on its way; sell again when it was too quick.

        Raises TimeoutError when it always was.
        """
        for _ in range(SALES):
            sale = self.biller.sell("Contoso Ltd", self.catalog.plans["team-month-usd"], quantity=2, tax_rate=self.vat20)
            posts = Step.objects.filter(run__subject_id=sale.invoice, name="post", state__in=("running", "done"))
            step = wait_for(posts.all().first)
            if step.state == "running":
                os.kill(int(step.worker.rpartition(":")[2]), signal.SIGKILL)
                self.log(f"       killed worker {step.worker} during {step.name}")
                return sale
        raise TimeoutError(f"{SALES} invoices were posted before anybody saw the call")

    def deliver_five_times(self) -> Sale:
        """Sell, and deliver the webhook again and again, correctly signed."""
        sale = self.biller.sell("Adventure Works", self.catalog.plans["team-month-usd"], tax_rate=self.vat20)
        came = InboxEvent.objects.filter(connection=self.company.billing, kind="invoice.payment_succeeded", subject_id=sale.invoice)
        body = bytes(wait_for(came.all().first).body)
        secret = self.company.billing.live_webhook_secrets()[0]
        for _ in range(5):
            headers = {
                "Stripe-Signature": sign_stripe(body, secret, int(time.time())),
                "Content-Type": "application/json",
            }
            requests.post(f"{self.base_url}/ingest/{self.company.billing.slug}/", data=body, headers=headers, timeout=10)
        return sale

    def lose_a_webhook(self) -> Sale:
        """The card is declined: this billing server says so to nobody. The sweep reads the open invoice."""
        sale = self.biller.sell("Tailspin Toys", self.catalog.plans["team-month-usd"], tax_rate=self.vat20, card=DECLINED_CARD)
        self._sweep()
        return sale

    def void_after_posting(self) -> Sale:
        """An invoice is posted, then voided in billing; the void is found by the next sweep."""
        sale = self.biller.sell("Litware Inc", self.catalog.plans["team-month-usd"], tax_rate=self.vat20, card=DECLINED_CARD)
        self._sweep()
        wait_for(lambda: self._state(sale) in ("posted", CONFIRMED))
        self.biller.void(sale.invoice)
        self._sweep()
        return sale

    def sell_the_unmapped(self) -> Sale:
        """Sell a product finance knows nothing of; when the hub asks, rosa maps it and felix approves."""
        sale = self.biller.sell("Proseware", self.catalog.plans["beta-month-usd"], quantity=5)
        product = self.catalog.unmapped_product
        item = wait_for(lambda: self._question(product))
        self.log(f"       the hub asks: {item.title}")
        self.log(f"       mapped and approved: {self.company.map_product(product)} waiting steps go on")
        return sale

    def _question(self, product: str) -> ReviewItem | None:
        return ReviewItem.objects.filter(state="open", cause="missing_mapping", detail__source_code=product).first()

    def _sweep(self) -> None:
        sweep.begin(self.company.billing, "invoices", by="demo")

    # ends ----------------------------------------------------------------------------------------------------

    def _look(self, sale: Sale, *, end: str) -> Seen:
        state = self._state(sale)
        if state != end:
            return Seen(state or "not seen")
        if end == RECORDED:
            question = self._question(self.catalog.left_product)
            return Seen(state, f"not yet: {question.title}" if question else "", question is not None)
        words = self._in_the_books(sale, end)
        return Seen(state, words, not words.startswith("WRONG"))

    def _state(self, sale: Sale) -> str:
        invoice = self._invoice(sale)
        return invoice.state if invoice else ""

    def _invoice(self, sale: Sale) -> Invoice | None:
        pk = xref.find(self.company.billing.pk, "invoice", sale.invoice)
        return Invoice.objects.filter(pk=pk).first() if pk else None

    def _in_the_books(self, sale: Sale, end: str) -> str:
        """What the ERP itself says of the invoice: number, total and state; begins with WRONG when it is not right."""
        invoice, erp = self._invoice(sale), self.company.erp
        assert invoice is not None
        ref = xref.external("invoice", invoice.pk, erp.pk)
        if ref is None or ref.external_id is None:
            return "WRONG: no document in the ERP"
        said = erp.spec.fetch["invoice"](client_for(erp), ref.external_id, Call())[0]
        assert isinstance(said, types.Invoice)
        words = f"{said.number} {said.total} {said.currency} {said.status}"
        if (said.total, said.currency) != (invoice.total, invoice.currency):
            return f"WRONG: {words}, billing says {invoice.total} {invoice.currency}"
        if end == SETTLED and said.paid != Decimal(invoice.total):
            return f"WRONG: {words}, not paid in the ERP"
        return words
