"""The demo: a company, its people, a real billing server and a real ERP, and stories that happen to them.

`prepare` is what `manage.py up --demo` calls: it starts the peers (real localstripe and real Tryton where they can be
installed, else the twins, and says which), fills the database, and hands back the stories to run.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from django.conf import settings
from django.utils import timezone

from connectors.models import Connection
from hub.credits import history
from hub.demo.biller import Biller
from hub.demo.company import Company, found
from hub.demo.credit_stories import CreditStories
from hub.demo.desk import Desk, open_desk
from hub.demo.invoice_stories import InvoiceStories
from hub.demo.peers import systems
from hub.demo.stories import Storyteller
from hub.runtime.chapters import chapters
from hub.runtime.supervisor import ChildSpec

UNDO_MINUTES = 1
GRACE_MINUTES = 0
NOBODY = "http://127.0.0.1:9/"
"""The discard port: nobody listens there."""
Log = Callable[[str], None]


@dataclass
class Demo:
    """A prepared demo, in the shape `hub.runtime.fleet.Demo` asks for."""

    company: Company
    desk: Desk
    log: Log
    base_url: str
    logins: Sequence[tuple[str, str, str]]
    urls: Mapping[str, str]
    peers: Sequence[systems.System]
    """Held here because a peer ends when nobody holds it any more."""
    tills: Sequence[tuple[Connection, Biller, bool]]
    """The billing systems, their users, and whether each is real."""
    children: Sequence[ChildSpec] = field(default_factory=list)

    def run_once(self) -> int:
        """Tell every story to its end and print where each one stands; 0 when all are where they should be.

        Chapters come after: the one of reconciliation begins with books that agree.
        """
        invoices = InvoiceStories(self.company, self.base_url, self.log)
        more = chapters(self)
        for chapter in more:
            chapter.begin()
        credits = CreditStories(self.company, self.desk, self.log)
        credits.open_cases()
        teller = Storyteller(self.log)
        teller.tell([*invoices.stories(), *credits.stories()])
        for chapter in more:
            teller.tell(chapter.stories())
        return teller.sum_up()

    def redirect(self, is_on: bool) -> None:
        """Have billing's webhooks delivered to the hub, or to nobody."""
        for connection, biller, is_real in self.tills:
            url = f"{self.base_url}/ingest/{connection.slug}/" if is_on else NOBODY
            biller.deliver_to(url, connection.live_webhook_secrets()[0], is_real=is_real)


def prepare(log: Log, *, base_url: str) -> Demo:
    """Start the peers and fill the migrated database. Doing it again on the same database adds only what is missing."""
    # The parent and every process it starts: a visitor wants to see a credit posted and a break found, and not to wait.
    os.environ |= {"TIEOUT_UNDO_MINUTES": str(UNDO_MINUTES), "TIEOUT_GRACE_MINUTES": str(GRACE_MINUTES)}
    settings.UNDO_MINUTES, settings.GRACE_MINUTES = UNDO_MINUTES, GRACE_MINUTES
    billing, erp, support = systems.start_billing(log), systems.start_erp(log), systems.start_support(log)
    crediting = systems.start_crediting(billing, log)
    log(f"billing is {billing.title}; the ERP is {erp.title}; support is {support.title}")
    log("setting up the company, its people, connections, rules and mappings")
    company = found(billing, erp, base_url)
    desk = open_desk(company, crediting, support, base_url)
    log("writing eighteen months of cases and credits")
    told = history.seed(
        company.people["pola"], company.people["carl"], [company.people[name] for name in ("felix", "sonja", "carl")],
        at=timezone.now(),
    )  # fmt: skip
    log(f"{told}; `manage.py replay_policy --latest-draft` shows what the draft policy would change")
    peers = list({system.slug: system for system in (billing, crediting, erp, support)}.values())
    urls = {system.title: system.base_url for system in peers}
    tills = {billing.slug: (company.billing, company.biller, billing.is_real)}
    tills[crediting.slug] = (desk.billing, desk.cashier, crediting.is_real)
    return Demo(company, desk, log, base_url, company.logins, urls, peers, list(tills.values()))
