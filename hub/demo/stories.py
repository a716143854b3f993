"""What happens to the demo company: each story acts on the billing side, and says where it must end in the ERP.

A story is an act and an end. All acts happen first, then the stories are watched until each is where it should be or
time is up: the work they cause runs beside each other, in the hub's own processes. The ends are read from the ERP.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import TypeVar

import requests
from django.db import close_old_connections

from canonical import types, xref
from canonical.models import Invoice
from connectors.clients import client_for
from connectors.sdk.errors import VendorError
from connectors.sdk.http import Call
from connectors.sdk.signatures import sign_stripe
from hub.demo.biller import DECLINED_CARD, Sale
from hub.demo.company import Company
from hub.flows import sweep
from hub.models import InboxEvent, ReviewItem, Step

Found = TypeVar("Found")
PATIENCE = 240.0
"""Seconds until a story that has not ended counts as failed; the longest waits for a lease and a quiet period."""
SETTLED, CONFIRMED, REVERSED = "settled", "confirmed", "reversed"
RECORDED = "recorded"
"""Not booked: the hub has asked finance, and waits."""


@dataclass
class Story:
    """One thing that happens, and the ERP state its invoice must end in."""

    title: str
    act: Callable[[], Sale]
    end: str
    sale: Sale | None = None
    found: str = "not begun"
    ended_after: float | None = None


class Storyteller:
    """Tells the stories against a running hub. `log` takes the progress and the summary."""

    def __init__(self, company: Company, base_url: str, log: Callable[[str], None]) -> None:
        self.company, self.base_url, self.log = company, base_url, log
        self.biller, self.catalog = company.biller, company.catalog
        self.vat20, self.vat7 = list(self.catalog.tax_rates)

    def stories(self) -> list[Story]:
        """Every story, in the order of their acts."""
        plans, sell = self.catalog.plans, self.biller.sell
        return [
            Story("a subscription in dollars, 20 % VAT, paid by card",
                  lambda: sell("Northwind Traders", plans["team-month-usd"], quantity=3, tax_rate=self.vat20), SETTLED),
            Story("a yearly plan in euros, 7 % VAT",
                  lambda: sell("Fabrikam GmbH", plans["team-year-eur"], tax_rate=self.vat7), SETTLED),
            Story("a yearly plan in yen, which has no cents", lambda: sell("Sakura KK", plans["archive-year-jpy"]), SETTLED),
            Story("the same webhook delivered five times", self.deliver_five_times, SETTLED),
            Story("a webhook that never came, found by the sweep", self.lose_a_webhook, CONFIRMED),
            Story("an invoice voided after it was posted", self.void_after_posting, REVERSED),
            Story("a product nobody had mapped: asked, mapped, healed", self.sell_the_unmapped, SETTLED),
            Story("a question left for you: sign in as rosa, then felix",
                  lambda: sell("Wingtip Toys", plans["training-year-eur"], tax_rate=self.vat7), RECORDED),
            Story("a worker is killed in the middle of posting", self.kill_a_worker, SETTLED),
        ]  # fmt: skip

    def tell(self) -> int:
        """Act, watch, print the table; returns 0 when every story is where it should be."""
        began = time.monotonic()
        stories = self.stories()
        for story in stories:
            self.log(f"story: {story.title}")
            try:
                story.sale = story.act()
            except (requests.RequestException, VendorError, StopIteration, TimeoutError) as error:
                story.found = f"could not be told: {error!r}"[:80]
        while time.monotonic() - began < PATIENCE:
            close_old_connections()
            for story in stories:
                self._look(story, began)
            if all(story.ended_after is not None for story in stories if story.sale):
                break
            time.sleep(1)
        self._print(stories)
        return 0 if all(story.ended_after is not None for story in stories) else 1

    # acts ----------------------------------------------------------------------------------------------------

    def kill_a_worker(self) -> Sale:
        """Sell, and kill whichever process posts the invoice while the call is on its way."""
        sale = self.biller.sell("Contoso Ltd", self.catalog.plans["team-month-usd"], quantity=2, tax_rate=self.vat20)

        def posting() -> Step | None:
            return Step.objects.filter(run__subject_id=sale.invoice, name="post", state="running").first()

        step = _wait_for(posting, 60)
        os.kill(int(step.worker.rpartition(":")[2]), signal.SIGKILL)
        self.log(f"       killed worker {step.worker} during {step.name}")
        return sale

    def deliver_five_times(self) -> Sale:
        """Sell, and deliver the webhook again and again, correctly signed."""
        sale = self.biller.sell("Adventure Works", self.catalog.plans["team-month-usd"], tax_rate=self.vat20)
        came = InboxEvent.objects.filter(connection=self.company.billing, kind="invoice.payment_succeeded", subject_id=sale.invoice)
        body = bytes(_wait_for(came.first, 30).body)
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
        _wait_for(lambda: self._state(sale) in ("posted", CONFIRMED), 90)
        self.biller.void(sale.invoice)
        self._sweep()
        return sale

    def sell_the_unmapped(self) -> Sale:
        """Sell a product finance knows nothing of; when the hub asks, rosa maps it and felix approves."""
        sale = self.biller.sell("Proseware", self.catalog.plans["beta-month-usd"], quantity=5)
        product = self.catalog.unmapped_product
        item = _wait_for(lambda: self._question(product), 60)
        self.log(f"       the hub asks: {item.title}")
        self.log(f"       mapped and approved: {self.company.map_product(product)} waiting steps go on")
        return sale

    def _question(self, product: str) -> ReviewItem | None:
        return ReviewItem.objects.filter(state="open", cause="missing_mapping", detail__source_code=product).first()

    def _sweep(self) -> None:
        sweep.begin(self.company.billing, "invoices", by="demo")

    # ends ----------------------------------------------------------------------------------------------------

    def _look(self, story: Story, began: float) -> None:
        if story.sale is None or story.ended_after is not None:
            return
        state = self._state(story.sale)
        story.found = state or "not seen by the hub"
        if state != story.end:
            return
        if story.end == RECORDED:
            question = self._question(self.catalog.left_product)
            if question:
                story.found, story.ended_after = f"not yet: {question.title}", time.monotonic() - began
            return
        try:
            story.found = self._in_the_books(story.sale, story.end)
        except VendorError as error:
            story.found = f"{state}; the ERP could not be read: {error.message}"
            return
        if story.found.startswith("WRONG"):
            return
        story.ended_after = time.monotonic() - began

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

    def _print(self, stories: Sequence[Story]) -> None:
        width = max(len(story.title) for story in stories)
        self.log("")
        self.log(f"{'story':<{width}}  {'should be':<10}  {'is':<9}  {'after':>6}  in the ERP's books")
        for story in stories:
            state = self._state(story.sale) if story.sale else "-"
            after = f"{story.ended_after:.0f} s" if story.ended_after is not None else "-"
            verdict = "" if story.ended_after is not None else "   ← NOT WHERE IT SHOULD BE"
            self.log(f"{story.title:<{width}}  {story.end:<10}  {state:<9}  {after:>6}  {story.found}{verdict}")
        self.log(f"billing: {self.company.billing.title}; ERP: {self.company.erp.title}")


def _wait_for(look: Callable[[], Found | None], seconds: float) -> Found:
    """Look until something is found. Raises TimeoutError."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        close_old_connections()
        found = look()
        if found:
            return found
        time.sleep(0.05)
    raise TimeoutError(f"nothing after {seconds:.0f} s")
