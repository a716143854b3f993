"""What we keep of what a support platform says, and whom it means by a customer."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from canonical import matching, types, xref
from canonical.models import CaseClock, Entitlement, ExternalRef, LegalEntity, Observation, Party, SupportCase
from canonical.record import NotRecorded, Recorder
from connectors import registry
from connectors.models import Connection
from tests.canonical import said
from tests.engine import vendor
from tests.support.threads import at_once


def case(**told: Any) -> types.SupportCase:
    clock = (
        types.ClockEvent(what="opened", at=said.NOW, external_id="a1"),
        types.ClockEvent(what="severity", at=said.NOW, value="urgent", external_id="a1"),
    )
    given = {
        "external_id": "t1", "party": "org_1", "subject": "down", "status": "open", "opened_at": said.NOW, "clock": clock,
        "updated_at": said.NOW,
    }  # fmt: skip
    return types.SupportCase(**{**given, **told})


def org(**told: Any) -> types.Party:
    return types.Party(**{"external_id": "org_1", "name": "Acme", **told})


@pytest.fixture
def desk(entity: LegalEntity, monkeypatch: pytest.MonkeyPatch) -> Connection:
    monkeypatch.setitem(registry.CONNECTORS, "test-a", vendor.connector("a"))
    return Connection.objects.create(slug="desk", connector="test-a", legal_entity=entity, state="active")


@pytest.fixture
def customers(recorder: Recorder) -> Callable[..., int]:
    """Billing describes a customer; returns our id."""

    def describe(external_id: str = "cus_1", **told: Any) -> int:
        return recorder.record([said.party(external_id=external_id, **told)])["party", external_id]

    return describe


@pytest.fixture
def record(desk: Connection, entity: LegalEntity, source: Connection) -> Callable[..., dict[tuple[str, str], int]]:
    """The desk says something; `mapped` is what approved mappings say."""

    def tell(*objects: types.CanonicalObject, mapped: dict[str, int] | None = None) -> dict[tuple[str, str], int]:
        def identify(party: types.Party) -> int:
            return matching.match(party, [source.pk], (mapped or {}).get)

        return Recorder(desk.pk, entity, "test", identify).record(objects)

    return tell


Record = Callable[..., dict[tuple[str, str], int]]


def test_a_case_is_recorded_with_its_clock_and_what_an_agent_asks_for(record: Record, customers: Callable[..., int]) -> None:
    acme = customers()
    asked = types.CreditRequest(reason="goodwill", by="Alma")
    record(case(credit=asked, tags=("vip",), severity="urgent"), org(same_as="cus_1"))
    held = SupportCase.objects.get()
    assert (held.party_id, held.severity, held.status, held.tags) == (acme, "urgent", "open", ["vip"])
    assert held.credit is not None and held.credit["by"] == "Alma"
    assert list(held.clock.values_list("what", "value")) == [("opened", ""), ("severity", "urgent")]


def test_the_clock_is_replaced_as_a_whole(record: Record, customers: Callable[..., int]) -> None:
    customers()
    record(case(), org(same_as="cus_1"))
    later = (types.ClockEvent(what="opened", at=said.NOW), types.ClockEvent(what="first_reply", at=said.NOW + timedelta(hours=1)))
    record(case(clock=later, updated_at=said.NOW + timedelta(hours=1)), org(same_as="cus_1"))
    assert list(CaseClock.objects.values_list("what", flat=True)) == ["opened", "first_reply"]


def test_a_case_told_late_keeps_the_newer_one(record: Record, customers: Callable[..., int]) -> None:
    customers()
    record(case(status="resolved", clock=(), resolved_at=said.NOW), org(same_as="cus_1"))
    record(case(updated_at=said.NOW - timedelta(hours=1)))
    held = SupportCase.objects.get()
    assert (held.status, held.clock.count()) == ("resolved", 0)
    assert Observation.objects.filter(kind="support_case").count() == 2


def test_a_deleted_case_stays_as_it_was(record: Record, customers: Callable[..., int]) -> None:
    customers()
    record(case(), org(same_as="cus_1"))
    record(case(subject="", status="closed", clock=(), deleted=True))
    held = SupportCase.objects.get()
    assert (held.deleted_at_source, held.subject, held.status, held.clock.count()) == (True, "down", "open", 2)


def test_an_entitlement_is_the_customers(record: Record, customers: Callable[..., int]) -> None:
    acme = customers()
    told = types.Entitlement(external_id="e1", party="org_1", feature="support", plan="gold", active=True, valid_from=said.NOW)
    record(told, org(same_as="cus_1"))
    assert Entitlement.objects.values_list("party_id", "plan").get() == (acme, "gold")


def test_support_never_makes_or_changes_a_customer(record: Record, customers: Callable[..., int]) -> None:
    customers(name="Acme GmbH", tax_id="DE1")
    record(case(), org(name="ACME (do not call)", same_as="cus_1", tax_id="XX"))
    record(org(name="Acme again", same_as="cus_1", deleted=True))
    assert Party.objects.values_list("name", "tax_id", "deleted_at_source").get() == ("Acme GmbH", "DE1", False)
    assert Observation.objects.filter(kind="party", external_id="org_1").count() == 2


@pytest.mark.parametrize(
    "told",
    [
        {"same_as": "cus_1", "name": "another name"},
        {"tax_id": "de 12-34", "name": "another name"},
        {"name": " ACME  g.m.b.h. "},
    ],
    ids=["billing's id", "tax id", "exact name"],
)
def test_a_customer_is_known_by(told: dict[str, Any], record: Record, customers: Callable[..., int]) -> None:
    acme = customers(name="Acme G.m.b.H.", tax_id="DE1234")
    customers("cus_2", name="Acme Inc", tax_id="US1")
    assert record(org(**told))["party", "org_1"] == acme


def test_the_ladder_goes_from_what_is_certain_down(record: Record, customers: Callable[..., int]) -> None:
    named, taxed, mapped, first = (customers(f"cus_{n}", name=f"N{n}", tax_id=f"T{n}") for n in range(4))
    everything = {"same_as": "cus_3", "tax_id": "T1", "name": "N0"}
    for rung, told in ((first, everything), (taxed, {**everything, "same_as": ""})):
        external_id = f"org_{rung}"
        assert record(org(**told, external_id=external_id), mapped={external_id: mapped})["party", external_id] == rung
    assert record(org(name="N0"), mapped={"org_1": mapped})["party", "org_1"] == mapped
    assert record(org(external_id="org_n", name="N0"))["party", "org_n"] == named


def test_a_link_stands_whatever_is_said_later(record: Record, customers: Callable[..., int]) -> None:
    acme, _other = customers(), customers("cus_2", name="Other")
    record(org(same_as="cus_1"))
    assert record(org(same_as="cus_2", name="Other"))["party", "org_1"] == acme


@pytest.mark.parametrize(
    ("told", "proposed"),
    [
        ({"name": "Acme Holdings"}, ["cus_2", "cus_1"]),
        ({"name": "Zebra"}, []),
        ({"name": "Ann", "email": "AP@acme.example"}, ["cus_1"]),
        ({"name": "Acme Holding", "same_as": "cus_9"}, ["cus_2", "cus_1"]),
        ({"name": "Acme Holding", "tax_id": "OTHER"}, ["cus_2", "cus_1"]),
    ],
    ids=["alike", "nobody", "the same address", "an id nobody has", "a tax id that contradicts"],
)
def test_what_is_merely_alike_is_proposed_and_never_linked(
    told: dict[str, Any], proposed: list[str], record: Record, customers: Callable[..., int]
) -> None:
    customers("cus_1", name="Acme Hold", email="ap@acme.example")
    customers("cus_2", name="Acme Holding", tax_id="T2")
    with pytest.raises(matching.Unmatched) as unmatched:
        record(case(), org(**told))
    assert [proposal.code for proposal in unmatched.value.proposals] == proposed
    assert not ExternalRef.objects.filter(external_id="org_1").exists()


def test_two_namesakes_are_none(record: Record, customers: Callable[..., int]) -> None:
    customers("cus_1"), customers("cus_2")
    with pytest.raises(matching.Unmatched) as unmatched:
        record(org())
    assert {proposal.why for proposal in unmatched.value.proposals} == {"the same name"}


def test_two_customers_with_one_tax_id_are_none(record: Record, customers: Callable[..., int]) -> None:
    customers("cus_1", name="One", tax_id="T"), customers("cus_2", name="Two", tax_id="t")
    with pytest.raises(matching.Unmatched):
        record(org(tax_id="T"))


def test_several_people_of_one_customer_lead_to_it(record: Record, customers: Callable[..., int], desk: Connection) -> None:
    acme = customers()
    for number in range(3):
        record(org(external_id=f"user:{number}", name=f"Person {number}", same_as="cus_1"))
    assert {xref.find(desk.pk, "party", f"user:{number}") for number in range(3)} == {acme}


def test_a_customer_that_is_named_and_not_described_may_be_mapped(record: Record, customers: Callable[..., int]) -> None:
    acme = customers()
    with pytest.raises(matching.Unmatched):
        record(case())
    record(case(), mapped={"org_1": acme})
    assert SupportCase.objects.get().party_id == acme
    assert not Observation.objects.filter(kind="party", external_id="org_1").exists(), "it was never described"


def test_without_a_ladder_a_case_of_an_unknown_customer_is_not_recorded(desk: Connection, entity: LegalEntity) -> None:
    with pytest.raises(NotRecorded):
        Recorder(desk.pk, entity, "test").record([case()])


@pytest.mark.django_db(transaction=True)
def test_many_first_sights_of_one_organisation_make_one_link(record: Record, customers: Callable[..., int]) -> None:
    from django.db import transaction

    acme = customers()

    def tell(n: int) -> int:
        with transaction.atomic():
            return record(org(same_as="cus_1"))["party", "org_1"]

    assert set(at_once(8, tell, threads=4)) == {acme}
    assert ExternalRef.objects.filter(external_id="org_1").count() == 1
