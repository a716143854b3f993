"""Who may propose and approve a mend, and what mends itself."""

# ruff: noqa: F811  (fixtures of another package, taken over by name)

from __future__ import annotations

from datetime import date, timedelta

import pytest
from django.contrib.auth.models import User
from django.db import IntegrityError, transaction

from hub import inbox, roles, rulebook
from hub.audit.models import AuditEntry
from hub.flows import order_to_cash
from reconciliation.invariants import check, mends
from reconciliation.mending import NotAllowed, approve, propose, refuse, settle_mends
from reconciliation.mending.automatic import auto_mend
from reconciliation.models import Break, Mend, MendRule, Scan
from tests.flows.conftest import crediting, stripe_twin, tryton_twin, world, zendesk_twin  # noqa: F401
from tests.reconciliation.mends import allowed, kinds, mended, open_breaks, scanned
from tests.reconciliation.staff import person
from tests.support.time import work
from tests.support.world import World

pytestmark = pytest.mark.usefixtures("world")


@pytest.fixture
def lost(world: World) -> Break:
    world.subscribe()
    world.new_events()
    scanned(world)
    (found,) = open_breaks("invoices")
    return found


def test_what_only_a_person_can_decide_says_so(lost: Break) -> None:
    said = {"system": "tryton", "kind": "recognition", "id": "1/2026-11", "net": "100", "total": "20"}
    lost.type, lost.pair, lost.right = "obligation", "subscriptions", {"items": [said]}
    known = kinds(lost)
    assert "a person decides" in known["reverse"] and known["accept"] == ""


def test_a_document_made_in_the_erp_by_hand_is_taken_back_by_whoever_made_it(lost: Break) -> None:
    lost.type, lost.left = "missing_left", {}
    told = {"status": "open", "total": "5", "currency": "EUR", "party": "1"}
    lost.right = {"system": "tryton", "kind": "invoice", "id": "77", **told}
    assert "never posted invoice 77" in kinds(lost)["reverse"]


def test_nobody_approves_what_they_proposed(lost: Break, carla: User) -> None:
    mend = propose(lost, "accept", carla, "known")
    with pytest.raises(NotAllowed, match="another person"):
        approve(mend, carla)
    with pytest.raises(IntegrityError, match="mend_maker_is_not_checker"), transaction.atomic():
        Mend.objects.filter(pk=mend.pk).update(approved_by=carla)


def test_approving_takes_the_right_and_so_does_proposing(lost: Break, ann: User) -> None:
    with pytest.raises(NotAllowed, match="approve_mend"):
        approve(propose(lost, "accept", ann, "known"), person("fred", roles.FINANCE))
    with pytest.raises(NotAllowed, match="work_break"):
        propose(lost, "accept", person("otto", roles.AUDITOR), "known")


def test_money_is_not_moved_without_a_reason_nor_twice_at_once(lost: Break, ann: User) -> None:
    with pytest.raises(NotAllowed, match="Say why"):
        propose(lost, "accept", ann, "  ")
    propose(lost, "accept", ann, "known")
    with pytest.raises(NotAllowed, match="under way"):
        propose(lost, "replay", ann, "")
    with pytest.raises(NotAllowed, match="does not fit"):
        propose(lost, "write_off", ann, "small")


def test_what_was_accepted_is_closed_and_stays_closed(lost: Break, ann: User, carla: User, world: World) -> None:
    approve(propose(lost, "accept", ann, "the customer is a test"), carla)
    lost.refresh_from_db()
    assert (lost.state, lost.closed_how) == ("closed", "accepted")
    scanned(world)
    assert open_breaks("invoices") == []


def test_an_approval_is_for_what_was_shown(lost: Break, ann: User, carla: User) -> None:
    mend = propose(lost, "replay", ann, "")
    Break.objects.filter(pk=lost.pk).update(exposed=lost.exposed + 1)
    with pytest.raises(NotAllowed, match="changed since"):
        approve(mend, carla)
    mend.refresh_from_db()
    assert (mend.state, mend.run) == ("proposed", None)


def test_a_refused_mend_did_nothing_and_another_may_be_proposed(lost: Break, ann: User, carla: User) -> None:
    refused = refuse(propose(lost, "replay", ann, ""), carla, "wait for the sweep")
    assert refused.state == "refused" and refused.run is None
    lost.refresh_from_db()
    assert lost.state in ("open", "explained")
    assert propose(lost, "accept", ann, "then so").state == "proposed"


def test_a_proposal_about_a_break_that_closed_is_refused_by_itself(lost: Break, ann: User, world: World) -> None:
    mend = propose(lost, "accept", ann, "known")
    inbox.start(order_to_cash.FLOW, connection=world.source, subject_kind="invoice", subject_id=lost.left["id"], by="test")
    work()
    scanned(world)
    assert settle_mends() == 1
    mend.refresh_from_db()
    assert mend.state == "refused"


def test_a_mend_that_did_not_help_reopens_its_break(lost: Break, ann: User, carla: User, world: World) -> None:
    mended(lost, "replay", ann, carla)
    Break.objects.filter(pk=lost.pk).update(last_scan=Scan.objects.create(
        legal_entity=world.entity, state="done", as_of=Mend.objects.get().ended_at.replace(year=2100), ended_at="2100-01-01T00:00Z",
        started_by="test",
    ))  # fmt: skip
    settle_mends()
    lost.refresh_from_db()
    assert lost.state == "reopened"


def test_small_breaks_of_an_allowed_kind_mend_themselves_once(lost: Break, world: World) -> None:
    rule = allowed(world)
    (mend,) = auto_mend(lost.last_scan)
    assert (mend.is_automatic, mend.plan, mend.state) == (True, "replay", "applying")
    assert auto_mend(lost.last_scan) == []
    work()
    settle_mends()
    scanned(world)
    assert open_breaks("invoices") == [] and len(world.documents()) == 1
    entry = AuditEntry.objects.get(action="mend.applied")
    assert f"mendrule:{rule.pk}/v1" in entry.content and "up to 1000 EUR" in entry.content
    assert [finding.named for finding in check() if finding.count] == []


def test_what_no_rule_allows_waits_for_a_person(lost: Break, world: World) -> None:
    assert auto_mend(lost.last_scan) == [], "without a rule nothing mends itself"
    for said in (
        {"limit": "58.79"}, {"currency": "USD"}, {"plan": "post"}, {"type": "amount"}, {"is_draft": True},
        {"valid_from": date(2100, 1, 1)}, {"valid_to": date(2026, 1, 31)},
    ):  # fmt: skip
        rule = allowed(world, **said)
        assert auto_mend(lost.last_scan) == [], said
        MendRule.objects.filter(pk=rule.pk).update(
            state="retired", approved_by=rule.approved_by or person("cleo", roles.CONTROLLER)
        )
    rule = allowed(world, limit="58.80", per_day="58.80")
    Mend.objects.create(item=entered_before(lost), plan="replay", amount=1, currency="EUR", is_automatic=True, rule=rule)
    assert auto_mend(lost.last_scan) == [], "one euro of the day is spent"
    assert not lost.mends.exists()


def test_the_most_specific_rule_decides_alone(lost: Break, world: World) -> None:
    allowed(world)
    strict = allowed(world, limit="10", legal_entity=world.entity)
    assert auto_mend(lost.last_scan) == []
    MendRule.objects.filter(pk=strict.pk).update(state="retired")
    assert len(auto_mend(lost.last_scan)) == 1


def test_a_rule_is_approved_by_another_person_and_never_edited_afterwards(world: World) -> None:
    rule = allowed(world)
    with pytest.raises(IntegrityError, match="draft a new version"), transaction.atomic():
        MendRule.objects.filter(pk=rule.pk).update(limit=5000)
    draft = allowed(world, is_draft=True, type="amount")
    with pytest.raises(rulebook.NotApproved):
        rulebook.approve(draft, draft.drafted_by)
    with pytest.raises(IntegrityError, match="mend_rule_maker_is_not_checker"), transaction.atomic():
        MendRule.objects.filter(pk=draft.pk).update(approved_by=draft.drafted_by)
    with pytest.raises(IntegrityError, match="may_happen_by_themselves"), transaction.atomic():
        MendRule.objects.filter(pk=draft.pk).update(plan="reverse")


def test_verify_names_a_mend_that_no_rule_allowed_and_a_day_that_was_too_much(lost: Break, world: World) -> None:
    rule = allowed(world)
    (mend,) = auto_mend(lost.last_scan)
    both = ["self_mends_stay_within_a_day", "self_mends_were_allowed"]
    for told, broken in (
        ({"amount": 5000}, both[1:]), ({"amount": 20_001}, both), ({"amount": 9, "currency": "USD"}, both[1:]),
        ({"currency": "EUR", "at": rule.approved_at - timedelta(days=1)}, both[1:]), ({"at": mend.at}, []),
    ):  # fmt: skip
        Mend.objects.filter(pk=mend.pk).update(**told)
        assert sorted(finding.invariant.name for finding in check(mends.INVARIANTS) if finding.count) == broken, told


def entered_before(lost: Break) -> Break:
    """Another break, that was mended earlier today."""
    return Break.objects.create(
        legal_entity=lost.legal_entity, pair="invoices", type="missing_right", fingerprint="9" * 64, title="another",
        currency="EUR", exposed=1, first_scan=lost.first_scan, last_scan=lost.last_scan,
    )  # fmt: skip
