"""Every request of every step of a credit fails in every way, and a worker dies at every point: it ends the same."""

from __future__ import annotations

import itertools
from decimal import Decimal
from typing import Any

import pytest

from canonical.models import Invoice
from connectors.sdk.twin import Twin
from connectors.vendors.stripe.fake import StripeTwin
from connectors.vendors.tryton.fake import TrytonTwin
from hub.credits.models import Credit
from hub.models import Attempt, ReviewItem, Run
from tests.flows.test_issue_to_credit import memos, notes
from tests.support.crashes import CRASHES, FAULTS, THOROUGH, Site, Trouble, name_of, share, sites_of
from tests.support.credits import Crediting
from tests.support.time import work

QUIET = Trouble(None, None, None, "")
STEPS = ("approval", "post", "credit_note", "write", "read", "ticket", "tell", "read_erp", "read_billing", "close")
LOCAL = ("approval", "ticket", "close")


class Story:
    """Tells again and again how a small credit on one invoice is approved, each time on a new case."""

    def __init__(self, crediting: Crediting, twins: dict[str, Twin]) -> None:
        self.crediting, self.twins = crediting, twins
        self.invoice: Invoice = crediting.invoiced(quantity=10)

    def tell(self, trouble: Trouble) -> Credit:
        trouble.twin = self.twins[trouble.site.vendor] if trouble.site else None
        with trouble.happens():
            credit = self.crediting.ask(self.invoice, "0.50")
            self.crediting.approve(credit)
            work(meanwhile=trouble.land)
        return credit

    def sites(self) -> list[Site]:
        for _ in range(2):  # the first call of a process also reads what clients remember
            credit = self.tell(Trouble(None, None, None, ""))
        shown = Run.objects.filter(flow="case_block", object_id=credit.case_id)
        return [site for run in (self.crediting.run_of(credit), *shown) for site in sites_of(run)]

    def check(self, credit: Credit, *told: Any) -> None:
        """Each document exactly once in the books of each system, and nobody is asked anything."""
        credit.refresh_from_db()
        tried = Attempt.objects.filter(run__in=Run.objects.filter(subject_id=credit.number)).order_by("id")
        told = (told, list(tried.values_list("step__name", "outcome", "error_code", "error")))
        assert (credit.state, self.crediting.run_of(credit).state) == ("closed", "done"), told
        assert not ReviewItem.objects.filter(state="open").exists(), told
        (memo,) = (memo for memo in memos(self.crediting) if memo["key"] == f"credit/{credit.uid}")
        assert Decimal(memo["total"]) == Decimal("-0.60"), told
        of_credit = [note for note in notes(self.crediting, self.invoice) if note["memo"] == credit.number]
        assert [note["total"] for note in of_credit] == [60], told
        shown = self.crediting.ticket(credit)
        assert (shown["state"], shown["number"], len(shown["comments"])) == ("credited", memo["number"], 1), told


@pytest.fixture
def story(crediting: Crediting, stripe_twin: StripeTwin, tryton_twin: TrytonTwin) -> Story:
    return Story(crediting, {"stripe": stripe_twin, "tryton": tryton_twin, "zendesk": crediting.desk})


@pytest.mark.parametrize("fault", FAULTS, ids=name_of)
def test_any_write_of_any_step_may_fail(story: Story, fault: Any) -> None:
    sites = [site for site in story.sites() if site.writes]
    assert {site.step for site in sites} == {"post", "credit_note", "write", "tell"}
    for site in share(sites, fault):
        trouble = Trouble(site, fault, None, site.step)
        story.check(story.tell(trouble), site, fault)
        assert trouble.armed is not None


@pytest.mark.parametrize("step", STEPS)
def test_the_worker_may_die_at_any_point_of_any_step_while_a_system_fails(story: Story, step: str) -> None:
    sites = itertools.cycle([site for site in story.sites() if site.step == step] or [None])
    faults = itertools.cycle(FAULTS if THOROUGH else [*FAULTS, None])
    for point in filter(None, CRASHES):
        if step in LOCAL and point in ("before_call", "after_call"):
            continue
        for fault in (None, next(faults)) if THOROUGH else (next(faults),):
            site = next(sites)
            trouble = Trouble(site, fault if site else None, point, step)
            story.check(story.tell(trouble), step, point, site, fault)
            assert trouble.crashed


def test_any_read_may_fail(story: Story) -> None:
    sites = [site for site in story.sites() if not site.writes]
    assert len(sites) > 8
    for site, fault in zip(sites, itertools.cycle(FAULTS), strict=False):
        trouble = Trouble(site, fault, None, site.step)
        story.check(story.tell(trouble), site, fault)
        assert trouble.armed is not None and trouble.armed.hits == 1
