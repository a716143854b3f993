"""The demo: a company, its people, a real billing server and a real ERP, and stories that happen to them.

`prepare` is what `manage.py up --demo` calls: it starts the peers (real localstripe and real Tryton where they can be
installed, else the twins, and says which), fills the database, and hands back the stories to run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from hub.demo.company import Company, found
from hub.demo.peers import systems
from hub.demo.stories import Storyteller
from hub.runtime.supervisor import ChildSpec

Log = Callable[[str], None]


@dataclass
class Demo:
    """A prepared demo, in the shape `hub.runtime.fleet.Demo` asks for."""

    company: Company
    log: Log
    base_url: str
    logins: Sequence[tuple[str, str, str]]
    urls: Mapping[str, str]
    peers: Sequence[systems.System]
    """Held here because a peer ends when nobody holds it any more."""
    children: Sequence[ChildSpec] = field(default_factory=list)

    def run_once(self) -> int:
        """Tell every story to its end and print where each one stands; 0 when all are where they should be."""
        return Storyteller(self.company, self.base_url, self.log).tell()


def prepare(log: Log, *, base_url: str) -> Demo:
    """Start the peers and fill the migrated database. Doing it again on the same database adds only what is missing."""
    billing, erp = systems.start_billing(log), systems.start_erp(log)
    log(f"billing is {billing.title}; the ERP is {erp.title}")
    log("setting up the company, its people, connections, accounting rules and mappings")
    company = found(billing, erp, base_url)
    urls = {billing.title: billing.base_url, erp.title: erp.base_url}
    return Demo(company, log, base_url, company.logins, urls, [billing, erp])
