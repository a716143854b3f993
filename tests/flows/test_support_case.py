"""From a case of a support platform to a credit that waits for people, or to a note why there is none."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse

from canonical import types, xref
from canonical.models import Observation, Party, SupportCase, move
from connectors import registry
from connectors.clients import forget_clients
from connectors.models import Connection
from hub import answers, inbox
from hub.admin.timeline import timeline
from hub.credits import deciding
from hub.credits.models import Credit, CreditPolicy, Reason
from hub.flows import support_case
from hub.models import AccountingRule, CodeMapping, ReviewItem, Run
from hub.roles import FINANCE
from hub.rulebook import approve
from tests.credits import company as scene
from tests.credits import factories
from tests.credits.company import MINUTE, OPENED, Company
from tests.flows import desk as desks
from tests.support.threads import at_once
from tests.support.time import work
from tests.support.world import LONG_AGO, drafted, people

HOUR = timedelta(hours=1)


@dataclass
class Stage:
    """The company, its desk, and what the desk tells."""

    company: Company
    desk: desks.Desk
    support: Connection
    told: list[str] = field(default_factory=list)

    def case(self, *, late: timedelta = 2 * HOUR, external_id: str = "t1", **told: Any) -> None:
        """A case of Acme as the desk has it: resolved that much later than the eight hours promised."""
        resolved = OPENED + 8 * HOUR + late
        clock = [types.ClockEvent(what="opened", at=OPENED), types.ClockEvent(what="first_reply", at=OPENED + MINUTE)]
        if told.get("status", "resolved") == "resolved":
            clock.append(types.ClockEvent(what="resolved", at=resolved))
            told.setdefault("resolved_at", resolved)
        given = {
            "external_id": external_id, "party": "org_1", "subject": "down", "severity": "high", "status": "resolved",
            "opened_at": OPENED, "clock": tuple(clock), **told,
        }  # fmt: skip
        self.desk.cases[external_id] = types.SupportCase(**given)

    def tell(self, kind: str = "case.updated", subject: str = "t1") -> Run:
        """Deliver an event and work all there is; returns its run."""
        self.told.append(kind)
        receipt = inbox.receive(self.support, desks.event(f"e{len(self.told)}", kind, subject))
        work()
        return Run.objects.get(event_id=receipt.event_id)


@pytest.fixture
def stage(transactional_db: None) -> Iterator[Stage]:
    forget_clients()
    company, desk = scene.found(), desks.Desk()
    registry.register(desk.connector())
    support = Connection.objects.create(slug="help", title="Help", connector="desk", legal_entity=company.entity, state="active")
    desk.parties["org_1"] = types.Party(external_id="org_1", name="Acme Support", same_as="cus_1")
    yield Stage(company, desk, support)
    for slug in ("desk", "test-a"):
        registry.CONNECTORS.pop(slug, None)
    forget_clients()


def notes(run: Run) -> str:
    """What the timeline of a run tells."""
    return "\n".join(f"{entry.title}: {entry.note}" for entry in timeline(run) if entry.icon == "sticky_note_2")


def request(**told: Any) -> types.CreditRequest:
    return types.CreditRequest(**{"reason": "goodwill", "note": "they were patient", "by": "Alma", **told})


def test_a_case_resolved_too_late_becomes_a_credit_that_waits_for_a_person(stage: Stage) -> None:
    stage.case()
    run = stage.tell("case.resolved")
    credit = Credit.objects.get()
    assert (credit.state, credit.origin, credit.reason) == ("pending", "sla", "resolution")
    assert (credit.party, credit.billing, credit.support) == (stage.company.acme, stage.company.billing, stage.support)
    assert credit.case == SupportCase.objects.get() and credit.net == 100
    assert run.state == "done" and credit.number in notes(run)
    assert (run.amount, run.currency) == (credit.total, "EUR"), "the money shows on the run"


def test_a_platform_that_counts_otherwise_is_a_flag_and_shown_and_changes_no_amount(stage: Stage) -> None:
    at = OPENED + 4 * HOUR
    applied = types.PlatformSla(what="resolution", type="applied", at=OPENED, target=Decimal(600), policy="<b>Gold</b>")
    stage.case(platform_sla=(applied, types.PlatformSla(what="resolution", type="fulfilled", at=at)))
    stage.tell("case.resolved")
    credit = Credit.objects.get()
    (flag,) = (flag["text"] for flag in credit.flags if flag["flag"] == "platform_sla")
    assert credit.net == 100 and "calls the resolution kept; by ours it is missed" in flag
    client = Client()
    client.force_login(User.objects.create_superuser("root"))
    page = client.get(reverse("admin:desk_credit", args=[credit.pk])).content.decode()
    assert "target 10 h 00 min (&lt;b&gt;Gold&lt;/b&gt;)" in page and "<b>Gold" not in page


def test_an_open_case_is_recorded_and_not_judged(stage: Stage) -> None:
    stage.case(status="open")
    run = stage.tell("case.opened")
    assert run.state == "done" and SupportCase.objects.get().status == "open"
    assert not Credit.objects.exists()


def test_a_case_that_was_resolved_in_time_is_recorded_and_nothing_else(stage: Stage) -> None:
    stage.case(late=-HOUR)
    assert stage.tell("case.resolved").state == "done"
    assert SupportCase.objects.exists() and not Credit.objects.exists() and not ReviewItem.objects.exists()


def test_why_there_is_no_credit_is_on_the_timeline(stage: Stage) -> None:
    stage.case(tags=("maintenance",))
    run = stage.tell("case.resolved")
    assert run.state == "done" and not Credit.objects.exists()
    assert "tag maintenance is excluded by the policy" in notes(run)


def test_many_deliveries_of_one_case_open_one_credit(stage: Stage) -> None:
    stage.case()
    for kind in ("case.resolved", "case.updated", "case.observed"):
        run = stage.tell(kind)
    assert Credit.objects.count() == 1 and "nothing has changed" in notes(run)
    assert Run.objects.filter(flow="issue_to_credit").count() == 1


def test_deliveries_at_once_open_one_credit(stage: Stage) -> None:
    stage.case()
    at_once(6, lambda n: inbox.receive(stage.support, desks.event(f"at once {n}", "case.updated")), threads=6)
    work()
    assert Run.objects.filter(flow="support_case", state="done").count() == 6
    assert Credit.objects.values_list("state").get() == ("pending",)


@pytest.mark.parametrize("end", ["reject", "expire", "withdraw"])
def test_what_was_decided_about_a_missed_promise_is_not_asked_again(end: str, stage: Stage) -> None:
    stage.case()
    stage.tell("case.resolved")
    move(Credit.objects.get(), end, by="test")
    stage.tell("case.updated")
    assert Credit.objects.count() == 1


def test_an_incident_of_two_cases_is_one_credit_and_a_stopped_one(stage: Stage) -> None:
    for external_id in ("t1", "t2"):
        stage.case(external_id=external_id, incident="INC-7")
        run = stage.tell("case.resolved", external_id)
    first, second = Credit.objects.order_by("pk")
    assert (first.state, second.state, second.duplicate_of) == ("pending", "stopped", first)
    assert "stopped" in notes(run) and first.number in notes(run)
    stage.tell("case.updated", "t2")
    assert Credit.objects.count() == 2, "a stopped one is not stopped again"


def test_an_agents_request_is_a_credit_at_any_time(stage: Stage) -> None:
    stage.case(status="open", credit=request(amount="50"))
    stage.tell()
    credit = Credit.objects.get()
    assert (credit.state, credit.origin, credit.requested_by, credit.net) == ("pending", "agent", "Alma", 50)
    assert (credit.reason, credit.note, credit.evidence) == ("goodwill", "they were patient", "they were patient")
    stage.tell()
    assert Credit.objects.count() == 1


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("goodwill", "goodwill"), ("Billing error", "billing_error"), ("resolution too late", "resolution"),
        ("RESOLUTION", "resolution"), ("", "resolution"), ("because", "goodwill"),
    ],
)  # fmt: skip
def test_an_agents_words_become_one_of_our_reasons(said: str, reason: str, stage: Stage) -> None:
    stage.case(credit=request(reason=said))
    stage.tell()
    credit = Credit.objects.get(origin="agent")
    assert credit.reason == Reason(reason) and (said != "because" or credit.note == "because: they were patient")


def test_a_request_for_what_was_missed_covers_it(stage: Stage) -> None:
    stage.case(credit=request(reason="resolution"))
    run = stage.tell()
    assert Credit.objects.get().origin == "agent"
    assert "for the same reason" in notes(run)


def test_a_request_beside_a_missed_promise_of_another_reason_is_a_second_credit(stage: Stage) -> None:
    stage.case(credit=request())
    stage.tell()
    assert set(Credit.objects.values_list("origin", "reason", "state")) == {
        ("agent", "goodwill", "pending"), ("sla", "resolution", "pending"),
    }  # fmt: skip


def test_an_agent_who_is_a_user_here_is_its_maker(stage: Stage) -> None:
    alma = factories.person("alma", FINANCE, first_name="Alma", last_name="Agent")
    stage.case(status="open", credit=request(by="Alma Agent"))
    stage.tell()
    credit = Credit.objects.get()
    assert credit.made_by == alma
    with pytest.raises(deciding.NotAllowed):
        deciding.approve(credit, alma, revision=1, confirmed_at=None)


def test_a_rejected_request_is_asked_again_only_in_other_words(stage: Stage) -> None:
    stage.case(status="open", credit=request(amount="50"))
    stage.tell()
    move(Credit.objects.get(), "reject", by="test")
    assert "in the same words" in notes(stage.tell()) and Credit.objects.count() == 1
    stage.case(status="open", credit=request(amount="30"))
    stage.tell()
    assert list(Credit.objects.order_by("pk").values_list("state", "requested")) == [("rejected", 50), ("pending", 30)]


def test_a_request_in_a_currency_that_is_none_is_a_note(stage: Stage) -> None:
    stage.case(status="open", credit=request(amount="50", currency="EURO"))
    assert "'EURO' is no currency" in notes(stage.tell()) and not Credit.objects.exists()


def test_a_case_judged_anew_changes_its_credit(stage: Stage) -> None:
    stage.case()
    stage.tell("case.resolved")
    stage.case(late=5 * HOUR)
    run = stage.tell("case.updated")
    credit = Credit.objects.get()
    assert (credit.net, credit.revision) == (150, 2) and "follows the case" in notes(run)
    stage.case(late=-HOUR)
    stage.tell("case.updated")
    assert Credit.objects.get().state == "withdrawn"


# whose case it is ------------------------------------------------------------------------------------------------


def stranger(stage: Stage) -> None:
    """An organisation that nothing certain ties to a customer, though its name is alike."""
    stage.desk.parties["org_1"] = types.Party(external_id="org_1", name="Acme Europe")
    stage.case()


def question() -> ReviewItem:
    return ReviewItem.objects.get(state="open")


def test_a_customer_nobody_knows_is_a_question_and_not_a_second_customer(stage: Stage) -> None:
    stranger(stage)
    stage.tell("case.resolved")
    asked = question()
    assert (asked.cause, asked.group) == ("missing_mapping", FINANCE)
    assert {name: asked.detail[name] for name in ("what", "source", "source_code", "target")} == {
        "what": "customer", "source": "help", "source_code": "org_1", "target": "stripe",
    }  # fmt: skip
    assert [proposal["code"] for proposal in asked.detail["proposals"]] == ["cus_1"]
    assert Party.objects.count() == 1 and not SupportCase.objects.exists()
    assert xref.find(stage.support.pk, "party", "org_1") is None, "names that are alike link nobody"


def test_an_approved_mapping_heals_every_case_of_the_customer(stage: Stage) -> None:
    stranger(stage)
    stage.case(external_id="t2", late=-HOUR)
    for subject in ("t1", "t2"):
        stage.tell("case.resolved", subject)
    asked, (_, checker) = question(), people()
    assert asked.occurrences == 2
    mapping = drafted(
        CodeMapping, what="customer", source=stage.support, source_code="org_1", target=stage.company.billing, target_code="cus_1",
        valid_from=LONG_AGO,
    )  # fmt: skip
    assert approve(mapping, checker) == 2
    work()
    assert set(SupportCase.objects.values_list("party", flat=True)) == {stage.company.acme.pk}
    assert Credit.objects.get().party == stage.company.acme
    assert not ReviewItem.objects.filter(state="open").exists()


def test_a_mapping_to_somebody_billing_does_not_know_is_asked_about_again(stage: Stage) -> None:
    stranger(stage)
    stage.tell("case.resolved")
    _, checker = people()
    mapping = drafted(
        CodeMapping, what="customer", source=stage.support, source_code="org_1", target=stage.company.billing, target_code="cus_99",
        valid_from=LONG_AGO,
    )  # fmt: skip
    approve(mapping, checker)
    work()
    assert question().detail["source_code"] == "org_1" and not Credit.objects.exists()


def test_a_customer_of_another_legal_entitys_billing_is_none(stage: Stage) -> None:
    stage.company.billing.legal_entity = factories.entity("other")
    stage.company.billing.save()
    stage.case()
    stage.tell("case.resolved")
    assert question().group == "integration engineer" and not SupportCase.objects.exists()


def test_a_platform_of_no_legal_entity_serves_the_customers_of_all(stage: Stage) -> None:
    stage.support.legal_entity = None
    stage.support.save()
    stage.case()
    stage.tell("case.resolved")
    assert Credit.objects.get().billing == stage.company.billing


def test_a_case_without_a_customer_is_recorded_and_says_so(stage: Stage) -> None:
    stage.case(party=None)
    run = stage.tell("case.resolved")
    assert SupportCase.objects.get().party is None and "names no customer" in notes(run)


# what is missing --------------------------------------------------------------------------------------------------


def test_a_missing_policy_is_asked_about_and_tried_again(stage: Stage) -> None:
    CreditPolicy.objects.update(state="retired")
    stage.case()
    stage.tell("case.resolved")
    asked = question()
    assert asked.group == "controller" and "No credit policy" in asked.title
    assert SupportCase.objects.exists(), "what the desk said is kept"
    answers.answer(asked, "retry", by="carla")
    work()
    assert question().title == asked.title and not Credit.objects.exists()
    CreditPolicy.objects.update(state="active")
    answers.answer(question(), "retry", by="carla")
    work()
    assert Credit.objects.get().state == "pending" and not ReviewItem.objects.filter(state="open").exists()


def test_a_missing_accounting_rule_heals_when_it_is_approved(stage: Stage) -> None:
    AccountingRule.objects.update(state="retired")
    stage.case()
    stage.tell("case.resolved")
    assert question().detail["what"] == "accounting_rule"
    _, checker = people()
    approve(drafted(AccountingRule, legal_entity=stage.company.entity, revenue_account="4000", valid_from=LONG_AGO), checker)
    work()
    assert Credit.objects.get().state == "pending"


# deleted, and customers -------------------------------------------------------------------------------------------


def test_a_deleted_case_stays_and_its_credit_is_flagged(stage: Stage) -> None:
    stage.case()
    stage.tell("case.resolved")
    del stage.desk.cases["t1"]
    run = stage.tell("case.deleted")
    assert run.state == "done" and SupportCase.objects.get().deleted_at_source
    credit = Credit.objects.get()
    assert credit.state == "pending" and any("deleted" in flag["text"] for flag in credit.flags)


def test_a_deleted_case_nobody_knew_is_nothing(stage: Stage) -> None:
    run = stage.tell("case.deleted", "t404")
    assert run.state == "done" and not SupportCase.objects.exists() and not ReviewItem.objects.exists()


def test_a_known_organisation_is_observed_and_an_unknown_one_left_alone(stage: Stage) -> None:
    stage.tell("party.updated", "org_1")
    assert not Observation.objects.filter(kind="party", external_id="org_1").exists()
    stage.case(late=-HOUR)
    stage.tell()
    stage.desk.parties["org_1"] = types.Party(external_id="org_1", name="Acme, renamed by an agent")
    assert stage.tell("party.updated", "org_1").state == "done"
    assert Observation.objects.filter(kind="party", external_id="org_1").count() == 2
    assert Party.objects.get().name == "Acme"


def test_the_flow_listens_to_everything_that_happens_to_a_case() -> None:
    from canonical.events import EVENTS

    listened = support_case.FLOW.triggers | support_case.PARTY.triggers
    assert listened == {name for name in EVENTS if name.startswith("support.")}


def test_an_outage_that_another_case_of_the_incident_tells_counts_for_this_one(stage: Stage) -> None:
    def clock(*outage: types.ClockEvent) -> tuple[types.ClockEvent, ...]:
        ends = [types.ClockEvent(what="first_reply", at=OPENED + MINUTE), types.ClockEvent(what="resolved", at=OPENED + HOUR)]
        return (types.ClockEvent(what="opened", at=OPENED), *outage, *ends)

    def runs() -> int:
        return Run.objects.filter(flow="support_case", subject_id="t1").count()

    down, up = types.ClockEvent(what="down", at=OPENED), types.ClockEvent(what="up", at=OPENED + 9 * HOUR)
    stage.case(incident="INC-1", clock=clock())
    stage.tell("case.resolved")
    stage.case(incident="INC-2", clock=clock(down, up), external_id="t3", status="open")
    stage.tell("case.opened", "t3")
    assert (runs(), Credit.objects.count()) == (1, 0), "another incident is none of its business"
    stage.case(incident="INC-1", clock=clock(down, up), external_id="t2", status="open")
    stage.tell("case.opened", "t2")
    credit = Credit.objects.select_related("case").get()
    other = SupportCase.objects.exclude(pk=credit.case_id).get(incident="INC-1")
    assert (credit.reason, xref.find(stage.support.pk, "support_case", "t1")) == ("uptime", credit.case_id)
    assert f"case {other.pk} told" in str(credit.calculation)
    stage.tell("case.updated", "t2")
    assert (runs(), Credit.objects.count()) == (2, 1), "the same outage told again is no news"
    stage.desk.cases.pop("t2")
    stage.tell("case.updated", "t2")
    assert runs() == 3 and Credit.objects.get().state == "withdrawn", "with the case its outage is gone, and nothing is due"
