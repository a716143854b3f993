"""Every crash point with every vendor fault, at both vendors: each story ends as it would have without.

The cases are generated: a new crash point, a new fault of the twins, a new step or a further request of a step joins by
itself. A fault strikes in one request of one step, and a worker dies at one point of the same step. Elsewhere the two
do not meet.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest

from connectors.sdk.twin import Twin
from connectors.vendors.stripe.fake import StripeTwin
from connectors.vendors.tryton.fake import TrytonTwin
from hub.models import ReviewItem, Run
from tests.support.crashes import CRASHES, FAULTS, Site, Trouble, name_of, share, sites_of
from tests.support.time import work
from tests.support.world import World


class Matrix:
    """Tells the story again and again, each time with a new customer, and each time looks at the vendors' own books."""

    def __init__(self, world: World, stripe: StripeTwin, tryton: TrytonTwin) -> None:
        self.world, self.tryton = world, tryton
        self.twins: dict[str, Twin] = {"stripe": stripe, "tryton": tryton}

    def event(self, kind: str) -> dict[str, Any]:
        return dict(self.world.billing.ask("GET", "events", limit=1, type=kind)["data"][0])

    def paid(self, trouble: Trouble) -> Run:
        """A subscription is paid at once, and of all its events one arrives."""
        self.world.subscribe(paid=True)
        return self.worked(self.event("invoice.paid"), trouble)

    def voided(self, trouble: Trouble) -> Run:
        """An invoice that the ERP has is voided."""
        invoice = self.world.subscribe()["latest_invoice"]
        self.worked(self.event("invoice.finalized"), Trouble(None, None, None, ""))
        self.world.billing.ask("POST", f"invoices/{invoice}/void")
        return self.worked(self.event("invoice.voided"), trouble)

    def worked(self, event: dict[str, Any], trouble: Trouble) -> Run:
        trouble.twin = self.twins[trouble.site.vendor] if trouble.site else None
        with trouble.happens():
            assert self.world.deliver(event) == [202]
            work(meanwhile=trouble.land)
        return Run.objects.get(event__external_id=event["id"])

    def sites(self, story: str) -> list[Site]:
        """Every request of every step, from telling the story once without trouble."""
        for _ in range(2):  # the first call of a process also reads what clients remember
            run = getattr(self, story)(Trouble(None, None, None, ""))
        return sites_of(run)

    def check(self, run: Run, reversed_too: bool, told: object) -> None:
        """Each document exactly once, in the books of both vendors, and nobody is asked anything."""
        told = (told, list(run.attempts.order_by("id").values_list("step__name", "outcome", "error_code", "error")))
        assert run.state == "done", told
        assert not ReviewItem.objects.filter(state="open").exists(), told
        key = f"stripe/{run.subject_id}"
        books = self.tryton.books()
        documents = {name: [d for d in books["documents"] if d["key"] == name] for name in (key, f"{key}/reversal")}
        (document,) = documents[key]
        assert document["total"] == "58.80", told
        assert len(documents[f"{key}/reversal"]) == reversed_too, told
        payments = [Decimal(p["amount"]) for p in books["payments"] if p["key"] == f"{key}/payment"]
        assert payments == ([] if reversed_too else [Decimal("58.80")]), told
        invoice = self.world.billing.ask("GET", f"invoices/{run.subject_id}")
        assert invoice["metadata"]["tieout_erp_number"] == document["number"], told
        parties = [p for p in self.tryton.db.tables["party.party"].values() if p["code"] == f"stripe/{invoice['customer']}"]
        assert len(parties) == 1, told


@pytest.fixture
def matrix(world: World, stripe_twin: StripeTwin, tryton_twin: TrytonTwin) -> Matrix:
    return Matrix(world, stripe_twin, tryton_twin)


def cases(sites: list[Site]) -> Iterator[tuple[Site, str | None]]:
    """Every site without a crash; every crash point of every step, taking the sites of the step in turn."""
    for site in sites:
        yield site, None
    for _, of_step in itertools.groupby(sites, key=lambda site: site.step):
        yield from zip(itertools.cycle(of_step), filter(None, CRASHES), strict=False)


@pytest.mark.parametrize("fault", FAULTS, ids=name_of)
def test_any_write_may_fail_and_the_worker_die_at_any_point_of_its_step(matrix: Matrix, fault: Any) -> None:
    sites = [site for site in matrix.sites("paid") if site.writes]
    assert {site.step for site in sites} == {"customer", "post", "write_back", "pay"}
    for site, point in share(cases(sites), fault):
        trouble = Trouble(site, fault, point, site.step)
        run = matrix.paid(trouble)
        matrix.check(run, False, (site, fault, point))
        assert trouble.armed is not None and trouble.crashed is (point is not None)


@pytest.mark.parametrize("fault", FAULTS, ids=name_of)
def test_a_reversal_may_fail_and_the_worker_die_at_any_point(matrix: Matrix, fault: Any) -> None:
    sites = [site for site in matrix.sites("voided") if site.writes and site.step == "reverse"]
    assert len(sites) >= 2
    for site, point in share(cases(sites), fault):
        trouble = Trouble(site, fault, point, site.step)
        matrix.check(matrix.voided(trouble), True, (site, fault, point))
        assert trouble.armed is not None and trouble.crashed is (point is not None)


def test_any_read_may_fail(matrix: Matrix) -> None:
    sites = [site for site in matrix.sites("paid") if not site.writes]
    assert len(sites) > 12
    for site, fault in zip(sites, itertools.cycle(FAULTS), strict=False):
        trouble = Trouble(site, fault, None, site.step)
        matrix.check(matrix.paid(trouble), False, (site, fault))
        assert trouble.armed is not None and trouble.armed.hits == 1


@pytest.mark.parametrize("step", ["read", "book", "customer", "post", "write_back", "pay"])
def test_the_worker_may_die_at_any_point_of_any_step(matrix: Matrix, step: str) -> None:
    calls_nobody = step == "book"
    for point in filter(None, CRASHES):
        if calls_nobody and point in ("before_call", "after_call"):
            continue
        trouble = Trouble(None, None, point, step)
        matrix.check(matrix.paid(trouble), False, (step, point))
        assert trouble.crashed


@pytest.mark.parametrize("fault", FAULTS, ids=name_of)
def test_billing_without_idempotency_keys_gets_each_note_and_no_more(matrix: Matrix, stripe_twin: StripeTwin, fault: Any) -> None:
    stripe_twin.honours_keys = False
    sites = [site for site in matrix.sites("paid") if site.step == "write_back"]
    for site, point in share(cases(sites), fault):
        matrix.check(matrix.paid(Trouble(site, fault, point, site.step)), False, (site, fault, point))


def test_a_call_that_lands_long_after_it_was_given_up_makes_no_second_document(matrix: Matrix) -> None:
    for site in [site for site in matrix.sites("paid") if site.writes]:
        trouble = Trouble(site, ("late_commit", {}), None, site.step, is_late=True)
        matrix.check(matrix.paid(trouble), False, site)
