# ruff: noqa: F811
"""What the hub must not decide: who does what, with figures; and what is proposed, approved and told of together."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from canonical import xref
from canonical.models import ExternalRef, Party
from connectors.models import Connection
from hub import roles
from hub.credits.models import Notice
from hub.models import AccountingRule, CodeMapping
from reconciliation import mending
from reconciliation.admin.together import address
from reconciliation.breaking import overdue
from reconciliation.mending import planning, together
from reconciliation.mending.plan import Plan
from reconciliation.models import Break, Mend, MendRule, ReadingRow
from reconciliation.people import NotAllowed
from tests.backoffice.conftest import Login, billing, erp, login, people, vendors  # noqa: F401  (fixtures)
from tests.credits.factories import credit, ground
from tests.reconciliation import pages as data
from tests.reconciliation.staff import person
from tests.support.world import map_code

pytestmark = pytest.mark.django_db


def broken(of: Any, pair: str, kind: str, left: dict[str, Any], right: dict[str, Any] | None = None, **told: Any) -> Break:
    name = told.pop("name", f"{pair} {kind}")
    return data.broken(of, name, pair=pair, type=kind, left=left, right=right or {}, **told)


def by_hand(break_: Break) -> Plan:
    (plan,) = [plan for plan in planning.plans(break_) if plan.plan == "hand_over"]
    return plan


@pytest.fixture
def scan(billing: Connection, erp: Connection) -> Any:
    made = data.scan()
    Connection.objects.filter(pk__in=[billing.pk, erp.pk]).update(legal_entity=made.legal_entity)
    return made


def subscription(billing: Connection, **told: Any) -> dict[str, Any]:
    return {"system": billing.slug, "kind": "subscription", "id": "sub_1", "net": "50", "currency": "EUR", "party": "cus_1", **told}


DOCUMENT = ("missing_left", "missing_right", "duplicate", "amount", "tax", "rounding", "fx", "period", "status", "party", "stale")
EVERY = [
    *((pair, kind) for pair in ("invoices", "credit_memos", "payments") for kind in DOCUMENT),
    *(("subscriptions", kind) for kind in ("obligation", "plan_change", "gap")),
    *(("customers", kind) for kind in ("missing_left", "missing_right", "duplicate", "status")),
    ("products", "missing_right"), ("products", "status"), ("recognition", "recognition"), ("recognition", "stale"),
    ("credits", "unapproved"), ("control_totals", "amount"),
]  # fmt: skip
"""What matching finds, pair by pair; a credit that only some systems hold is told in test_mending."""


def test_no_break_can_only_be_accepted(scan: Any, billing: Connection, erp: Connection) -> None:
    """There is a mend, or why not, or who does it."""
    data.reading(scan, billing, 7, party="cus_1")
    for pair, kind in EVERY:
        found = broken(scan, pair, kind, *sides(pair, kind, billing, erp))
        plans = [plan for plan in planning.plans(found) if plan.plan != "accept"]
        assert plans and all(plan.effects or plan.why_not for plan in plans), (pair, kind)
        found.left, found.right = (poor(side) for side in (found.left, found.right))
        assert planning.plans(found)[-1].plan == "accept", "a reading that says next to nothing breaks no page"


def poor(held: Any) -> Any:
    """A reading with its name alone."""
    if "system" in held:
        return {name: held[name] for name in ("system", "kind", "id")}
    return {name: poor(each) if isinstance(each, dict) else each for name, each in held.items()}


def sides(pair: str, kind: str, billing: Connection, erp: Connection) -> tuple[dict[str, Any], dict[str, Any]]:
    """The readings of such a break, with no more in them than there must be."""
    said = {"kind": pair.rstrip("s"), "id": "in_1", "about": "in_0", "total": "120", "tax": "20", "net": "100", "currency": "EUR",
            "party": "cus_1", "on": "2026-10-07", "status": "open"}  # fmt: skip
    here, there = {**said, "system": billing.slug}, {**said, "system": erp.slug, "id": "17"}
    running = {"system": erp.slug, "kind": "recognition", "id": "1:2", "net": "9", "total": "4"}
    left, right = {
        "missing_left": ({}, there), "missing_right": (here, {}), "stale": (here, {}), "duplicate": (here, {}),
        "obligation": (here, {"items": [running]}), "plan_change": (here, {}), "gap": (here, {}),
        "unapproved": ({"billing": here}, there), "recognition": ({**running, "about": "1"}, {}),
    }.get(kind, (here, there))  # fmt: skip
    if pair in ("customers", "products"):
        return {"ids": ["cus_1"], "id": "prod_1"}, {"ids": ["4"], "code": "PLAN"}
    return left, right


def test_a_plan_change_that_billing_never_invoiced_is_handed_over_with_what_a_month_misses(scan: Any, billing: Connection) -> None:
    found = broken(
        scan, "subscriptions", "plan_change", subscription(billing, service_to="2026-12-31"), left_amount=Decimal(600),
        right_amount=Decimal(360), exposed="240",
    )  # fmt: skip
    plan = by_hand(found)
    assert "50 EUR" in plan.effects[0] and "20 EUR less" in plan.effects[0] and "12 months that is 240 EUR" in plan.effects[0]
    assert "after 2026-12-31" in plan.effects[1]
    with pytest.raises(NotAllowed, match="for a person to do"):
        mending.propose(found, "hand_over", person("ann", roles.FINANCE), "why not")


def test_an_invoice_of_a_changed_plan_that_the_erp_lacks_is_worked_again(scan: Any, billing: Connection) -> None:
    data.reading(scan, billing, 7, status="open", extra={"subscription": "sub_1"})
    for kind in ("plan_change", "gap"):
        found = broken(scan, "subscriptions", kind, subscription(billing), left_amount=Decimal(600), right_amount=Decimal(360))
        plan = planning.find(found, "replay")
        assert plan is not None and plan.act is not None and plan.act.external_id == "in_7"  # type: ignore[union-attr]
        assert [each.plan for each in planning.plans(found)] == ["replay", "accept"]


def test_what_is_still_to_be_recognised_after_a_cancellation_is_told_with_both_ways_out(
    scan: Any,
    billing: Connection,
    erp: Connection,
) -> None:
    items = [{"system": erp.slug, "kind": "recognition", "id": f"1:{n}", "net": "120", "total": "50"} for n in (1, 2)]
    plan = by_hand(broken(scan, "subscriptions", "obligation", subscription(billing), {"items": items}))
    assert plan.effects[0].startswith("140 EUR of 2 schedules") and "1:2: 120 in all, 50 recognised, 70 to come" in plan.effects[2]
    assert plan.page is not None and plan.page.view == "desk_new"


def test_a_customer_that_the_erp_lacks_is_made_as_by_every_workflow(scan: Any, billing: Connection, erp: Connection) -> None:
    party = Party.objects.create(name="Acme")
    xref.link(billing.pk, "party", "cus_9", "party", party.pk, provenance="test")
    found = broken(scan, "customers", "missing_right", {"ids": ["cus_9"]}, {"ids": None}, currency="", exposed="0")
    plan = planning.find(found, "post")
    assert plan is not None and plan.why_not == "" and plan.act is not None
    assert (plan.act.command, plan.act.request.code) == ("ensure_party", f"{billing.slug}/cus_9")  # type: ignore[union-attr]
    ExternalRef.objects.create(
        connection=erp, kind="party", object_kind="party", object_id=party.pk, external_id="4", state="active"
    )
    gone = planning.find(found, "post")
    assert gone is not None and "gone there" in gone.why_not


def test_of_a_customer_that_is_there_twice_a_person_chooses_the_one_that_stays(
    scan: Any, billing: Connection, erp: Connection
) -> None:
    party = Party.objects.create(name="Acme")
    xref.link(erp.pk, "party", "4", "party", party.pk, provenance="test")
    for number in ("4", "5"):
        ReadingRow.objects.create(
            scan=scan, connection=erp, kind="party", external_id=number, number=f"C-{number}", status="active"
        )
    data.reading(scan, erp, 9, external_id="17", party="5")
    found = broken(scan, "customers", "duplicate", {"ids": ["cus_1"]}, {"ids": ["4", "5"]}, currency="", exposed="0")
    chosen = [plan for plan in planning.plans(found) if plan.plan == "relink"]
    assert [(plan.choice, plan.why_not) for plan in chosen] == [("4", ""), ("5", "")]
    assert "(C-5, 1 invoices)" in chosen[1].effects[0]
    with pytest.raises(NotAllowed, match="does not fit"):
        mending.propose(found, "relink", person("ann", roles.FINANCE), "or this", "77")
    mend = mending.propose(found, "relink", person("ann", roles.FINANCE), "it has the invoices", "5")
    mending.approve(mend, person("carla", roles.CONTROLLER))
    assert xref.id_of("party", party.pk, erp.pk) == "5" and xref.find(erp.pk, "party", "4") == party.pk


def test_a_credit_that_is_asked_for_because_of_a_break_and_the_break_lead_to_each_other(
    login: Login, scan: Any, billing: Connection, erp: Connection
) -> None:
    note = {
        "kind": "credit_memo",
        "id": "9",
        "total": "12",
        "currency": "EUR",
        "party": "4",
        "status": "issued",
        "system": erp.slug,
    }
    xref.link(erp.pk, "party", "4", "party", Party.objects.create(name="Acme").pk, provenance="test")
    found = broken(scan, "credits", "unapproved", {}, note)
    client = login(roles.CONTROLLER)
    url = reverse("admin:reconciliation_break_change", args=[found.pk])
    (page,) = [page for plan, _, page in client.get(url).context["plans"] if plan.plan == "hand_over"]
    form = client.get(page).context["form"]
    assert form.initial["note"].startswith(f"Break {found.pk}: ") and form.initial["customer"] == "4"
    ground()
    asked = credit(note=form.initial["note"], legal_entity=found.legal_entity, billing=billing)
    assert client.get(url).context["asked_for"] == [asked]


def test_a_product_whose_code_is_gone_leads_to_its_mapping(scan: Any, billing: Connection, erp: Connection, client: Client) -> None:
    map_code("product", billing, "prod_1", erp, "PLAN")
    found = broken(scan, "products", "missing_right", {"id": "prod_1"}, {"code": "PLAN"}, currency="", exposed="0")
    plan = by_hand(found)
    assert plan.page is not None and plan.page.values == {"pk": str(CodeMapping.objects.get().pk)}


# together ----------------------------------------------------------------------------------------------------------------


def many(scan: Any, count: int, **told: Any) -> list[Break]:
    return [data.broken(scan, f"A-{n:04}: another amount", cause="missed webhook", **told) for n in range(count)]


def test_breaks_of_one_cause_are_proposed_and_approved_as_one_act_and_each_says_what_became_of_it(
    login: Login,
    billing: Connection,
    erp: Connection,
) -> None:
    scan = data.scan()
    held = many(scan, 5)
    mending.propose(held[0], "accept", person("other", roles.FINANCE), "it is known")
    ((cluster, size),) = together.clusters()
    assert (size.count, size.money) == (5, (("EUR", Decimal(100)),)), "what waits for approval is open still"
    client = login(roles.FINANCE)
    url = address(cluster)
    page = client.get(url)
    assert page.context["count"] == 4 and "80.00 EUR" in page.context["money"]
    refused = client.post(url, {"do": "propose", "plan": "accept", "reason": "one outage", "expected": "3"})
    assert b"3 were shown" in refused.content and Mend.objects.count() == 1
    done = client.post(url, {"do": "propose", "plan": "accept", "reason": "one outage", "expected": "4"})
    assert [result.problem for result in done.context["results"]] == [""] * 4
    assert client.post(url, {"do": "approve", "mends": "1", "expected": "1"}).context["results"] == []
    checker = login(roles.CONTROLLER)
    waiting = checker.get(url).context["waiting"]
    assert len(waiting) == 5
    Break.objects.filter(pk=held[2].pk).update(exposed=77)  # it is not what was shown any more
    shown = {"do": "approve", "mends": ",".join(str(mend.pk) for mend in waiting), "expected": "5"}
    results = checker.post(url, shown).context["results"]
    assert sorted(bool(result.problem) for result in results) == [False] * 4 + [True]
    assert Break.objects.filter(state="closed", closed_how="accepted").count() == 4


def test_nobody_approves_together_what_they_proposed(billing: Connection, erp: Connection) -> None:
    carla = person("carla", roles.CONTROLLER)
    many(data.scan(), 2)
    ((cluster, _),) = together.clusters()
    together.propose(cluster, "accept", carla, "known", expected=2)
    results = together.approve(list(cluster.proposed()), carla, expected=2)
    assert all("another person" in result.problem for result in results)


# overdue -----------------------------------------------------------------------------------------------------------------


def test_overdue_breaks_are_mailed_once_a_day_to_who_has_them_and_to_controllers_when_nobody_has() -> None:
    ann, carla = person("ann", roles.FINANCE), person("carla", roles.CONTROLLER)
    scan = data.scan()
    data.broken(scan, "A-1: hers", days=5, owner=ann)
    data.broken(scan, "A-2: nobody's", days=5)
    data.broken(scan, "A-3: young", days=1, owner=ann)
    data.broken(scan, "A-4: done", days=9, owner=ann, state="closed", closed_at=timezone.now(), closed_how="accepted")
    now = timezone.now()
    assert overdue.digest(now) == 2
    assert overdue.digest(now) == 0
    mails = {notice.to: notice.body for notice in Notice.objects.all()}
    assert "A-1" in mails[ann] and "A-2" not in mails[ann] and "A-3" not in mails[ann] and "A-4" not in mails[ann]
    assert "A-2" in mails[carla] and "nobody's" in mails[carla] and "A-1" not in mails[carla]
    Notice.objects.update(created_at=now - timedelta(days=1))
    assert overdue.digest(now) == 2


# to begin with -----------------------------------------------------------------------------------------------------------


def test_the_rules_to_begin_with_take_two_people_and_are_put_in_force_once() -> None:
    person("dora", roles.CONTROLLER)
    person("cleo", roles.CONTROLLER)
    scan = data.scan()
    said = {"drafter": "dora", "approver": "cleo", "variance": [f"{scan.legal_entity.code}=6.2.1"]}
    with pytest.raises(CommandError, match="another person"):
        call_command("mend_rules", **{**said, "approver": "dora"})
    assert not MendRule.objects.exists()
    for _ in range(2):
        call_command("mend_rules", **said)
    assert set(MendRule.objects.values_list("plan", "type", "currency", "state")) == {
        ("replay", "missing_right", currency, "active") for currency in ("EUR", "GBP", "USD")
    }
    rule = AccountingRule.objects.get(product_family="variance")
    assert (rule.revenue_account, rule.state) == ("6.2.1", "active")
