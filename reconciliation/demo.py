"""Stories of reconciliation: the demo's systems are changed behind the hub's back, and a scan finds what they do not agree on.

    begin       customers buy, and the hub posts, beside the hub's own stories
    acts        the webhooks of billing go to nobody, while people change billing and a case
    ends        one full scan; each break is explained, mended by two people or handed to one; another full scan

What a scan is to find stands in `TOLD`; a break that no story tells of fails the last story.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from django.db.models import QuerySet

from canonical import xref
from canonical.models import Invoice
from hub.admin_ui import money
from hub.demo import Demo
from hub.demo.biller import DECLINED_CARD, Sale
from hub.demo.stories import Seen, Story, wait_for
from reconciliation import mending, scanning
from reconciliation.breaking import working
from reconciliation.models import Break, Mend, Scan
from reconciliation.models.breaks import OPEN_BREAK
from reconciliation.scanning import concluding

WEBHOOKS_TAKE = 3.0
"""Seconds until localstripe has sent, to nobody, what it sends one second late."""
SWEEPS_EVERY, ROOM = 300, 60
"""Seconds. A sweep between an act and the scan would find the lost webhook before the scan does."""
POSTED = ("posted", "confirmed", "settled")


@dataclass(frozen=True)
class Told:
    """One story's break: which, and what becomes of it."""

    title: str
    act: str
    pair: str
    type: str
    end: str
    mend: str = ""
    owner: str = ""
    cause: str = ""
    why: str = ""


TOLD = (
    Told("an upgrade sold while no webhook came: found, worked again", "upgrade_unseen", "invoices", "missing_right", "closed",
         mend="replay", why="billing sold it, and no webhook of it ever came"),
    Told("two more seats that nobody invoiced: handed to rosa", "upgrade_uninvoiced", "subscriptions", "plan_change", "explained",
         owner="rosa", cause="changed in billing without an invoice", why="Sales agreed to ask for it with the next invoice."),
    Told("a credit note given in billing by hand: voided there", "credit_by_hand", "credit_memos", "missing_right", "closed",
         mend="reverse", why="nobody approved it; the agent asks for it by the normal workflow"),
    Told("a credit an agent wrote on a case: handed to sonja", "credit_on_a_case", "credits", "unapproved", "explained",
         owner="sonja", cause="written on the case by an agent", why="No money was given: amy takes it off, and asks for it."),
    Told("a cancellation while the ERP goes on to recognise: handed to sonja", "cancel", "subscriptions", "obligation",
         "explained", owner="sonja", cause="cancelled in billing", why="Whether the rest is given back is in the contract."),
    Told("a credit note left for you: propose as rosa, approve as carl", "credit_left", "credit_memos", "missing_right", "open"),
)  # fmt: skip


class BreakStories:
    """Acts of people in billing and support, and what reconciliation makes of them."""

    def __init__(self, demo: Demo) -> None:
        self.demo, self.company, self.desk, self.log = demo, demo.company, demo.desk, demo.log
        self.people = self.company.people
        self.sales: dict[str, Sale] = {}
        self.case = ""
        self.first: Scan | None = None
        self.second: Scan | None = None
        self.found: dict[str, int] = {}
        self.before: set[int] = set()
        self.cents: list[int] = []

    def begin(self) -> None:
        """Sell what the acts change later.

        Billing forgets with each start, and the ERP does not: what a demo before this one has left is known first.
        """
        if Invoice.objects.filter(legal_entity=self.company.entity).exists():
            before = wait_for(lambda: self._scan(None))
            wait_for(partial(self._is_over, before))
            self.before = set(self._open().values_list("pk", flat=True))
        biller, plans, cashier = self.company.biller, self.company.catalog.plans, self.desk.cashier
        month, year = plans["team-month-usd"], plans["team-year-eur"]
        self.sales = {
            "upgrade_unseen": biller.sell("Alpine Ski House", month),
            "upgrade_uninvoiced": biller.sell("City Power", month),
            "cancel": biller.sell("Woodgrove Bank", year),
            "credit_by_hand": cashier.sell("Coho Winery", self.desk.plan, card=DECLINED_CARD),
            "credit_left": cashier.sell("Graphic Design", self.desk.plan, card=DECLINED_CARD),
        }
        self.case = self.desk.customer.open("Slow since Monday", billing_customer=self.sales["credit_left"].customer)

    def stories(self) -> list[Story]:
        """The acts, and that no other break was found."""
        told = [Story(each.title, each.end, partial(self._act, each), partial(self._look, told=each)) for each in TOLD]
        return [*told, Story("everything else agrees, to the cent", "clean", self._acts_end, self._rest)]

    # acts ----------------------------------------------------------------------------------------------------

    def _act(self, told: Told) -> str:
        """Do it while the webhooks of billing go to nobody; the id of what the break is about."""
        if told is TOLD[0]:
            for sale in self.sales.values():
                wait_for(partial(self._is_posted, sale))
            left = SWEEPS_EVERY - time.time() % SWEEPS_EVERY
            time.sleep(left + WEBHOOKS_TAKE if left < ROOM else 0)
            self.demo.redirect(False)
        act: Callable[[], str] = getattr(self, told.act)
        return act()

    def upgrade_unseen(self) -> str:
        """A second plan for a customer."""
        sale, plan = self.sales["upgrade_unseen"], self.company.catalog.plans["archive-year-jpy"]
        return self.company.biller.subscribe(sale.customer, plan).invoice

    def upgrade_uninvoiced(self) -> str:
        """Three seats instead of one."""
        sale = self.sales["upgrade_uninvoiced"]
        self.company.biller.seats(sale, self.company.catalog.plans["team-month-usd"], 3)
        return sale.subscription

    def credit_by_hand(self) -> str:
        """250.00 USD off an open invoice."""
        return self.desk.cashier.credit(self.sales["credit_by_hand"].invoice, 25_000)

    def credit_left(self) -> str:
        """120.00 USD off an open invoice."""
        return self.desk.cashier.credit(self.sales["credit_left"].invoice, 12_000)

    def credit_on_a_case(self) -> str:
        """The agent tells the customer of a credit that does not exist."""
        self.desk.agent.set(self.case, credit_state="credited", credit_amount="75.00", credit_currency="USD")
        return self.case

    def cancel(self) -> str:
        """A year ends on its first day."""
        sale = self.sales["cancel"]
        self.company.biller.cancel(sale.subscription)
        return sale.subscription

    def _acts_end(self) -> bool:
        time.sleep(WEBHOOKS_TAKE)
        self.demo.redirect(True)
        return True

    def _is_posted(self, sale: Sale) -> bool:
        for connection in (self.company.billing, self.desk.billing):
            pk = xref.find(connection.pk, "invoice", sale.invoice)
            if pk and Invoice.objects.filter(pk=pk, state__in=POSTED).exists():
                return True
        return False

    # ends ----------------------------------------------------------------------------------------------------

    def _look(self, about: str, *, told: Told) -> Seen:
        if self.first is None or self.first.state in scanning.GOING:
            self.first = self._scan(self.first)
            return Seen("scanning")
        if self.first.state != "done":
            return Seen(self.first.state, self.first.failure)
        if told.act not in self.found:
            item = self._break_about(about, told)
            if item is None:
                return Seen("not found")
            self.found[told.act] = item.pk
            self.log(f"       found: {item}; {item.get_type_display()}, {money(item.exposed, item.currency)}; cause: {item.cause}")
            self._work(item, told)
            if told is TOLD[-1]:
                self._correct_cents()
        self._go_on()
        item = Break.objects.get(pk=self.found[told.act])
        is_over = self.second is not None and self.second.state == "done"
        state = "open" if told.end == "open" and item.state in OPEN_BREAK else item.state
        who = f", {item.owner} has it" if item.owner else ""
        words = f"{item.get_type_display()}: {money(item.exposed, item.currency)} · {item.cause or 'cause unknown'}{who}"
        return Seen(state, words, is_over and state == told.end and (not told.owner or str(item.owner) == told.owner))

    def _scan(self, scan: Scan | None) -> Scan | None:
        """Begin a full scan, as soon as no other is going on; or go on with it."""
        concluding.conclude_all()
        if scan is not None:
            scan.refresh_from_db()
            return scan
        try:
            return scanning.begin(self.company.entity, full=True, by="demo")
        except scanning.AlreadyRunning:
            return None

    def _is_over(self, scan: Scan) -> bool:
        self._scan(scan)
        return scan.state not in scanning.GOING

    def _break_about(self, about: str, told: Told) -> Break | None:
        found = Break.objects.filter(pair=told.pair, type=told.type, legal_entity=self.company.entity, last_scan=self.first)
        return next((item for item in found if f"'{about}'" in f"{item.left} {item.right}"), None)

    def _work(self, item: Break, told: Told) -> None:
        """rosa proposes and carl approves; or whoever gets it says why it is there."""
        if told.mend:
            self._mend(item, told.mend, told.why)
        elif told.owner:
            working.take(item, self.people[told.owner])
            working.explain(item, self.people[told.owner], told.cause, told.why)
            self.log(f"       {told.owner} has it: {told.why}")

    def _correct_cents(self) -> int:
        """What Tryton's deferral has recognised a cent or two too much or too little, back in its ledger; how many anew."""
        wrong = list(self._open().filter(pair="recognition").exclude(pk__in={*self.before, *self.cents}))
        for item in wrong:
            self.cents.append(item.pk)
            self._mend(item, "adjust", "the closing cent of Tryton's deferral")
        return len(wrong)

    def _mend(self, item: Break, plan: str, why: str) -> None:
        try:
            mend = mending.approve(mending.propose(item, plan, self.people["rosa"], why), self.people["carl"])
        except mending.NotAllowed as reason:
            self.log(f"       {item} cannot be mended so: {reason}")
        else:
            self.log(f"       rosa proposed, carl approved: {mend}")

    def _open(self) -> QuerySet[Break]:
        return Break.objects.filter(legal_entity=self.company.entity, state__in=OPEN_BREAK)

    def _is_mended(self) -> bool:
        mends = Mend.objects.filter(item__in=[*self.found.values(), *self.cents])
        return len(self.found) == len(TOLD) and not mends.exclude(state="done").exists()

    def _go_on(self) -> None:
        """Once everything is mended, scan again."""
        mending.settle_mends()
        if self._is_mended() and (self.second is None or self.second.state in scanning.GOING):
            self.second = self._scan(self.second)

    def _rest(self, _: Any) -> Seen:
        self._go_on()
        if self.second is None or self.second.state != "done":
            return Seen("scanning")
        if self._correct_cents():  # of what was posted since the first scan
            self.second = None
            return Seen("correcting")
        known = {*self.found.values(), *self.before}
        others = [each for each in self._open().exclude(pk__in=known) if not self._waits_for_the_visitor(each)]
        red = scanning.red(self.second)
        if others or red:
            return Seen("breaks", "; ".join([*(f"{each.get_type_display()}: {each}" for each in others), *red])[:300])
        matched = self.second.readings.count()
        cents = f", {len(self.cents)} schedules corrected by cents" if self.cents else ""
        return Seen("clean", f"{matched} objects read, {self.second.certificates.count()} certificates complete{cents}", True)

    def _waits_for_the_visitor(self, item: Break) -> bool:
        """About a customer whose invoice waits for the product that the visitor is to map."""
        billing = self.company.billing.pk
        waiting = Invoice.objects.filter(legal_entity=self.company.entity, state="recorded").exclude(party=None)
        customers = [xref.id_of("party", invoice.party_id, billing, "party") for invoice in waiting]
        return any(customer in f"{item.left}" for customer in customers)


def chapter(demo: Demo) -> BreakStories:
    """Called by `hub.runtime.chapters`."""
    return BreakStories(demo)
