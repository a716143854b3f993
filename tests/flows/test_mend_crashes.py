"""Every write of a mend fails, and a worker dies around it: each document is there once, and the books are what was approved."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from canonical import xref
from canonical.commands import JournalLine, PostJournal
from canonical.models import Invoice
from connectors.sdk.twin import Twin
from connectors.vendors.stripe.fake import StripeTwin
from connectors.vendors.tryton.fake import TrytonTwin
from hub import flows, inbox
from hub.models import ReviewItem, Run
from reconciliation.mending import mend_flow, restate_flow
from tests.support.crashes import CRASHES, FAULTS, THOROUGH, Site, Trouble, sites_of
from tests.support.time import work
from tests.support.world import World, rule_for

TODAY = datetime.now(UTC).date()


class Story:
    """Tells again and again how one invoice is posted anew, or a schedule corrected, each time of a new customer."""

    def __init__(self, world: World, stripe: StripeTwin, tryton: TrytonTwin) -> None:
        self.world, self.tryton = world, tryton
        self.twins: dict[str, Twin] = {"stripe": stripe, "tryton": tryton}

    def invoiced(self) -> Invoice:
        external = self.world.subscribe()["latest_invoice"]
        for _ in range(3):
            if self.world.deliver():
                work()
        return Invoice.objects.get(pk=xref.find(self.world.source.pk, "invoice", external))

    def restated(self, trouble: Trouble) -> Run:
        document = self.invoiced()
        external = xref.id_of("invoice", document.pk, self.world.source.pk)
        (held,) = (each for each in self.world.documents() if each["key"] == f"stripe/{external}")
        reverse = {
            "key": f"stripe/{external}/reversal", "document": str(held["id"]), "document_on": TODAY.isoformat(),
            "total": held["total"], "currency": held["currency"], "party": str(held["party"]),
        }  # fmt: skip
        context = {
            "reverse": reverse, "document": held["number"], "key": restate_flow.key_of("stripe", external, 2),
            "approved": restate_flow.facts(document),
        }  # fmt: skip
        return self.told(trouble, restate_flow.NAME, self.world.source, "invoice", external, context, document.pk)

    def corrected(self, trouble: Trouble) -> Run:
        schedule = max(self.tryton.db.tables["account.invoice.deferred"].values(), key=lambda each: each["id"])
        line = self.tryton.db.get("account.invoice.line", schedule["invoice_line"])
        number = Run.objects.count()
        request = PostJournal(
            key=f"mend/{number}/journal", currency="USD", document_on=TODAY, total=Decimal("0.02"),
            about_kind="recognition", about=f"{line['invoice']}:{line['id']}",
            lines=(JournalLine(account="4.2.2", debit=Decimal("0.02")), JournalLine(account="2.2.2", credit=Decimal("0.02"))),
        )  # fmt: skip
        context = {
            "command": "post_journal", "request": request.model_dump(mode="json"), "lane": f"mend:{number}", "becomes": None,
        }  # fmt: skip
        return self.told(trouble, mend_flow.NAME, self.world.erp, "mend", str(number), context, None)

    def told(self, trouble: Trouble, flow: str, on: Any, kind: str, subject: str, context: Any, pk: int | None) -> Run:
        trouble.twin = self.twins[trouble.site.vendor] if trouble.site else None
        with trouble.happens():
            run = inbox.start(
                flows.current(flow), connection=on, subject_kind=kind, subject_id=subject, by="test", context=context, object_id=pk
            )
            work(meanwhile=trouble.land)
        run.refresh_from_db()
        return run

    def sites(self, story: str) -> list[Site]:
        for _ in range(2):  # the first call of a process also reads what clients remember
            run = getattr(self, story)(Trouble(None, None, None, ""))
            assert run.state == "done", list(run.attempts.values_list("step__name", "error"))
        return sites_of(run)

    def check(self, run: Run, *told: Any) -> None:
        told = (told, list(run.attempts.order_by("id").values_list("step__name", "outcome", "error_code", "error")))
        assert run.state == "done" and not ReviewItem.objects.filter(state="open").exists(), told
        books = self.tryton.books()
        if run.flow == mend_flow.NAME:
            made = [entry for entry in books["journals"] if entry["key"] == run.context["request"]["key"]]
            assert [entry["lines"] for entry in made] == [{"4.2.2": "0.02", "2.2.2": "-0.02"}], told
            return
        first = f"stripe/{run.subject_id}"
        totals = {each["key"]: each["total"] for each in books["documents"] if each["key"].startswith(first)}
        assert totals == {first: "58.80", f"{first}/reversal": "-58.80", f"{first}#2": "58.80"}, told
        assert sum(each["key"].startswith(first) for each in books["documents"]) == 3, told
        document = Invoice.objects.get(pk=run.object_id)
        assert document.state == "confirmed" and xref.external("invoice", document.pk, self.world.erp.pk), told
        shown = self.world.billing.ask("GET", f"invoices/{run.subject_id}")["metadata"]["tieout_erp_number"]
        assert shown == next(each["number"] for each in books["documents"] if each["key"] == f"{first}#2"), told


@pytest.fixture
def story(world: World, stripe_twin: StripeTwin, tryton_twin: TrytonTwin) -> Story:
    return Story(world, stripe_twin, tryton_twin)


@pytest.fixture
def scheduled(story: Story) -> Story:
    """The same, with an invoice whose line is deferred."""
    rule_for(story.world.entity, deferred_account="2.2.2", region="DE")
    story.invoiced()
    return story


def test_any_write_of_a_restatement_may_fail_and_the_worker_die_around_it(story: Story) -> None:
    sites = [site for site in story.sites("restated") if site.writes]
    assert {site.step for site in sites} == {"reverse", "post", "write_back"}
    every = itertools.product(sites, FAULTS, CRASHES)
    some = zip(itertools.cycle(sites), [*FAULTS, *FAULTS[: len(sites)]], itertools.cycle(CRASHES), strict=False)
    for site, fault, point in every if THOROUGH else some:
        trouble = Trouble(site, fault, point, site.step)
        story.check(story.restated(trouble), site, fault, point)
        assert trouble.armed is not None and trouble.crashed is (point is not None)


def test_any_write_of_a_correction_may_fail_and_the_worker_die_around_it(scheduled: Story) -> None:
    sites = [site for site in scheduled.sites("corrected") if site.writes]
    assert len(sites) == 2, "the draft, and its posting"
    for n, fault in enumerate(FAULTS):
        for site, point in zip(sites, itertools.islice(itertools.cycle(CRASHES), n, None), strict=False):
            trouble = Trouble(site, fault, point, site.step)
            scheduled.check(scheduled.corrected(trouble), site, fault, point)
            assert trouble.armed is not None and trouble.crashed is (point is not None)


def test_the_worker_may_die_at_any_point_between_the_two_writes(story: Story) -> None:
    for step, point in zip(
        ("read", "book", "read", "book"), ("after_call", "before_settle_commit", "before_call", "after_settle"), strict=True
    ):
        trouble = Trouble(None, None, point, step)
        story.check(story.restated(trouble), step, point)
        assert trouble.crashed, (step, point)
