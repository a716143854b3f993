# ruff: noqa: F811
"""Breaks in the books of a real Tryton, mended by two people, read again from its ledger: the next scan is clean."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from decimal import Decimal
from typing import Any

import pytest
from django.contrib.auth.models import User

from canonical.models import LegalEntity
from connectors.clients import client_for, forget_clients
from connectors.sdk.http import Call
from connectors.vendors.stripe.fake import StripeTwin, invoicing
from hub import roles
from hub.demo.peers.tryton import TrytonInfo
from reconciliation.invariants import check
from reconciliation.mending import settle_mends, together
from reconciliation.models import Break, Mend
from tests.flows.conftest import stripe_twin  # noqa: F401
from tests.reconciliation.mends import kinds, mended, open_breaks, scanned, settle
from tests.reconciliation.staff import person
from tests.support.time import work
from tests.support.world import CODES, Billing, World, billing_connection, erp_connection, map_code, rule_for

pytestmark = pytest.mark.peer
INVOICE = ["reference", "total_amount", "state", "number"]


@pytest.fixture
def world(transactional_db: None, stripe_twin: StripeTwin, own_tryton: TrytonInfo) -> Iterator[World]:
    """Billing on its twin, the ERP for real."""
    forget_clients()
    stripe_twin.disarm()
    stripe_twin.reset()
    stripe_twin.webhooks.point_at(None)
    entity = LegalEntity.objects.create(code="main", name="Main", currency="USD")
    source = billing_connection(stripe_twin.url, entity=entity)
    erp = erp_connection(asdict(own_tryton), entity)
    rule_for(entity, deferred_account=CODES["deferred"])
    made = World(Billing(stripe_twin.url), own_tryton.base_url, source, erp, entity)
    made.taxes()
    yield made
    forget_clients()


@pytest.fixture
def ann(world: World) -> User:
    return person("ann", roles.FINANCE)


@pytest.fixture
def carla(world: World) -> User:
    return person("carla", roles.CONTROLLER)


def sells_years(world: World, cents: int) -> None:
    product = world.billing.ask("POST", "products", name=f"Year of {cents}")
    told = {"currency": "usd", "unit_amount": cents, "recurring": {"interval": "year"}}
    world.products["usd"] = world.billing.ask("POST", "prices", product=product["id"], **told)["id"]
    map_code("product", world.source, product["id"], world.erp, CODES["product"])


def about(*names: str) -> list[Break]:
    """Open breaks of invoices that name one of these: Tryton also holds what other tests of the session have posted."""
    return [each for each in open_breaks("invoices") if any(name in f"{each.title} {each.left} {each.right}" for name in names)]


def held(world: World, key: str) -> list[dict[str, Any]]:
    """What Tryton holds under keys that begin so, oldest first."""
    domain = [["reference", "like", f"{key}%"]]
    rows: list[dict[str, Any]] = client_for(world.erp).search(
        Call(timeout=60), "account.invoice", domain, INVOICE, order=[["id", "ASC"]]
    )
    return rows


def test_cents_that_tryton_recognised_too_much_are_corrected_together(world: World, ann: User, carla: User) -> None:
    for cents in (120_000, 10_001, 99_999, 77_777, 50_003):
        sells_years(world, cents)
        world.subscribe("usd")
    settle(world)
    scanned(world)
    wrong = open_breaks("recognition")
    assert wrong, "the closing cent of some of five schedules has the wrong sign"
    net = {each.pk: each.left_amount for each in wrong}
    assert all(kinds(each)["adjust"] == "" and each.exposed <= Decimal("0.20") for each in wrong)
    for each in wrong:
        Break.objects.filter(pk=each.pk).update(cause="Tryton's closing cent")
    cluster = together.Cluster(world.entity.pk, "recognition", "recognition", "Tryton's closing cent")
    count = len(wrong)
    assert together.size(cluster).count == count
    proposed = together.propose(cluster, "adjust", ann, "known defect of the module", expected=count)
    assert [result.problem for result in proposed] == [""] * count
    approved = together.approve(list(cluster.proposed()), carla, expected=count)
    assert [result.problem for result in approved] == [""] * count
    work()
    settle_mends()
    assert set(Mend.objects.values_list("state", flat=True)) == {"done"}
    scan = scanned(world)
    assert open_breaks("recognition") == []
    for each in wrong:
        row = scan.readings.get(kind="recognition", external_id=each.left["id"])
        assert Decimal(row.extra["scheduled"]) == net[each.pk], "read from Tryton's own ledger"
    assert [finding.named for finding in check() if finding.count] == []


def test_a_cent_goes_to_the_variance_account_and_five_euros_are_posted_anew(
    world: World, stripe_twin: StripeTwin, ann: User, carla: User
) -> None:
    world.sells("eur", 4900)
    rounded, restated = (world.subscribe()["latest_invoice"] for _ in range(2))
    settle(world)
    with stripe_twin.lock:
        invoice = stripe_twin.store.get("invoices", rounded)
        (line,) = invoice["lines"]["data"]
        line["tax_amounts"][0]["amount"] += 1
        line["taxes"][0]["amount"] += 1
        invoicing._total(stripe_twin.store, invoice)
        invoice = stripe_twin.store.get("invoices", restated)
        (line,) = invoice["lines"]["data"]
        line.update(amount=line["amount"] + 500, subtotal=line["subtotal"] + 500)
        for taxes in ("tax_amounts", "taxes"):
            line[taxes][0]["amount"] += 100
        invoicing._total(stripe_twin.store, invoice)
    scanned(world)
    by_type = {each.type: each for each in about(rounded, restated)}
    assert set(by_type) == {"rounding", "amount"}
    rule_for(world.entity, product_family="variance")
    assert mended(by_type["rounding"], "write_off", ann, carla).state == "done"
    mend = mended(by_type["amount"], "restate", ann, carla)
    assert mend.state == "done", list(mend.run.attempts.values_list("step__name", "outcome", "error")) if mend.run else ""
    (cent,) = held(world, f"variance/{by_type['rounding'].pk}")
    assert (cent["total_amount"], cent["state"]) == (Decimal("0.01"), "posted")
    documents = {row["reference"]: row["total_amount"] for row in held(world, f"stripe/{restated}")}
    key = f"stripe/{restated}"
    assert documents == {key: Decimal("58.80"), f"{key}/reversal": Decimal("-58.80"), f"{key}#2": Decimal("64.80")}
    scanned(world)
    assert about(rounded, restated, cent["number"]) == []
    assert [finding.named for finding in check() if finding.count] == []
