"""Which rule decides, and that what it decided stays explained."""

from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from canonical.models import Invoice, LegalEntity, Party, Product
from canonical.record import Recorder
from connectors.models import Connection
from hub import booking
from hub.booking import Scope, accounting_rule, specificity
from hub.engine.flow import Blocked
from hub.models import AccountingRule
from hub.rulebook import approve, draft_new_version
from tests.canonical import said
from tests.support.world import drafted, map_code, people, rule_for

ENTITY = LegalEntity(pk=1, code="main")
PLAN, OTHER = Product(pk=1, name="Plan", family="saas"), Product(pk=2, name="Other", family="services")
DAY = date(2026, 11, 1)


def rule(pk: int, product: Product | None = None, family: str = "", region: str = "", version: int = 1) -> AccountingRule:
    return AccountingRule(pk=pk, legal_entity=ENTITY, product=product, product_family=family, region=region, version=version)


EVERYTHING, GERMANY, SAAS, SAAS_IN_GERMANY = (
    rule(1),
    rule(2, region="DE"),
    rule(3, family="saas"),
    rule(4, family="saas", region="DE"),
)
THE_PLAN, THE_PLAN_IN_GERMANY, NEWER = rule(5, PLAN), rule(6, PLAN, region="DE"), rule(7, version=2)
ALL = [EVERYTHING, GERMANY, SAAS, SAAS_IN_GERMANY, THE_PLAN, THE_PLAN_IN_GERMANY]


@pytest.mark.parametrize(
    ("product", "region", "rules", "chosen"),
    [
        (PLAN, "DE", ALL, THE_PLAN_IN_GERMANY),
        (PLAN, "FR", ALL, THE_PLAN),
        (PLAN, "DE", ALL[:4], SAAS_IN_GERMANY),
        (PLAN, "FR", ALL[:4], SAAS),
        (PLAN, "DE", ALL[:3], SAAS),
        (OTHER, "DE", ALL, GERMANY),
        (OTHER, "FR", ALL, EVERYTHING),
        (None, "DE", ALL, GERMANY),
        (None, "", ALL, EVERYTHING),
        (PLAN, "DE", [GERMANY, THE_PLAN], THE_PLAN),
        (PLAN, "FR", [EVERYTHING, NEWER], NEWER),
        (PLAN, "FR", [NEWER, SAAS], SAAS),
    ],
)
def test_the_most_specific_rule_wins(
    product: Product | None, region: str, rules: list[AccountingRule], chosen: AccountingRule
) -> None:
    for order in (rules, rules[::-1]):
        assert accounting_rule(Scope(ENTITY, product, region, DAY), order) is chosen


RULES = st.lists(
    st.builds(
        lambda product, family, region, version: (product, family, region, version),
        st.sampled_from([None, PLAN, OTHER]),
        st.sampled_from(["", "saas", "services"]),
        st.sampled_from(["", "DE", "FR"]),
        st.integers(1, 3),
    ),
    min_size=1,
    max_size=12,
)
SCOPES = st.builds(
    lambda product, region: Scope(ENTITY, product, region, DAY),
    st.sampled_from([None, PLAN, OTHER]),
    st.sampled_from(["", "DE", "FR"]),
)


def fits(candidate: AccountingRule, scope: Scope) -> bool:
    return (
        candidate.product_id in (None, scope.product.pk if scope.product else None)
        and candidate.product_family in ("", scope.family)
        and candidate.region in ("", scope.region)
    )


@given(RULES, SCOPES, st.randoms())
def test_the_choice_fits_is_unbeaten_and_does_not_depend_on_the_order(rows: list[Any], scope: Scope, random: Any) -> None:
    rules = [rule(pk, *row) for pk, row in enumerate(rows, 1)]
    candidates = [each for each in rules if fits(each, scope)]
    if not candidates:
        with pytest.raises(Blocked):
            accounting_rule(scope, rules)
        return
    chosen = accounting_rule(scope, rules)
    assert fits(chosen, scope)
    assert all(specificity(chosen) >= specificity(each) for each in candidates)
    random.shuffle(rules)
    assert accounting_rule(scope, rules) is chosen


@given(RULES, SCOPES, st.sampled_from([None, PLAN, OTHER]), st.sampled_from(["", "DE", "FR"]))
def test_a_rule_for_something_else_never_changes_the_choice(
    rows: list[Any], scope: Scope, product: Product | None, region: str
) -> None:
    rules, stranger = [rule(pk, *row) for pk, row in enumerate(rows, 1)], rule(99, product, "", region, version=9)
    if fits(stranger, scope) or not any(fits(each, scope) for each in rules):
        return
    assert accounting_rule(scope, [*rules, stranger]) is accounting_rule(scope, rules)


# stored ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def entity(db: None) -> LegalEntity:
    return LegalEntity.objects.create(code="main", name="Main", currency="EUR")


@pytest.fixture
def source(entity: LegalEntity) -> Connection:
    return Connection.objects.create(slug="stripe", connector="stripe", legal_entity=entity, state="active")


@pytest.fixture
def erp(entity: LegalEntity) -> Connection:
    return Connection.objects.create(slug="tryton", connector="tryton", legal_entity=entity, state="active")


def invoice(source: Connection, on: date = DAY, external_id: str = "in_1") -> Invoice:
    entity = source.legal_entity
    said_of_it = said.invoice(external_id=external_id, issued_on=on)
    ids = Recorder(source.pk, entity, "test").record(
        [said_of_it, said.party(address={"country": "DE"}), said.product(family="saas")]
    )
    return Invoice.objects.get(pk=ids["invoice", external_id])


def posting_of(document: Invoice) -> dict[str, Any]:
    posting = document.lines.get().posting
    assert isinstance(posting, dict)
    return posting


@pytest.fixture
def codes(source: Connection, erp: Connection) -> list[Any]:
    return [map_code("product", source, "prod_1", erp, "PLAN"), map_code("tax", source, "txr_1", erp, "VAT20")]


def test_a_line_keeps_the_rules_and_versions_that_decided_it(entity: LegalEntity, source: Connection, codes: list[Any]) -> None:
    used = rule_for(entity, region="DE", journal="REV", dimensions={"cost_centre": "1"})
    document = invoice(source)
    booking.book(document, source)
    posting = posting_of(document)
    assert posting["revenue_account"] == "4.2.2" and posting["product_code"] == "PLAN" and posting["tax_codes"] == ["VAT20"]
    assert set(posting["rules"]) == {f"accountingrule:{used.pk}/v1", *(f"codemapping:{code.pk}/v1" for code in codes)}
    (line,) = booking.posting_lines(document)
    assert (line.net, line.tax, line.dimensions) == (Decimal(100), Decimal(20), {"cost_centre": "1"})
    assert f"accountingrule:{used.pk}/v1" in line.rule


def test_a_new_version_decides_from_its_day_on_and_old_postings_keep_theirs(
    entity: LegalEntity, source: Connection, codes: list[Any]
) -> None:
    maker, checker = people()
    old = rule_for(entity)
    before = invoice(source)
    booking.book(before, source)
    kept = posting_of(before)
    new = draft_new_version(old, maker)
    new.revenue_account, new.valid_from = "4.9.9", DAY + timedelta(days=10)
    new.save()
    approve(new, checker)
    days = {
        DAY: ("4.2.2", f"{old.pk}/v1"),
        DAY + timedelta(days=9): ("4.2.2", f"{old.pk}/v1"),
        DAY + timedelta(days=10): ("4.9.9", f"{new.pk}/v2"),
    }
    for n, (on, (account, label)) in enumerate(days.items(), 2):
        document = invoice(source, on, f"in_{n}")
        booking.book(document, source)
        assert posting_of(document)["revenue_account"] == account, on
        assert f"accountingrule:{label}" in posting_of(document)["rules"]
    assert posting_of(Invoice.objects.get(pk=before.pk)) == kept


@pytest.mark.parametrize(
    ("first", "last", "in_force"), [(0, 0, True), (1, None, False), (-9, -1, False), (0, None, True), (-9, 0, True)]
)
def test_a_rule_is_in_force_from_its_first_day_to_its_last(
    entity: LegalEntity, source: Connection, codes: list[Any], first: int, last: int | None, in_force: bool
) -> None:
    rule_for(entity, valid_from=DAY + timedelta(days=first), valid_to=None if last is None else DAY + timedelta(days=last))
    document = invoice(source)
    if in_force:
        booking.book(document, source)
        assert posting_of(document)["revenue_account"] == "4.2.2"
    else:
        with pytest.raises(Blocked):
            booking.book(document, source)


def test_drafts_and_retired_rules_decide_nothing(entity: LegalEntity, source: Connection, codes: list[Any]) -> None:
    drafted(AccountingRule, legal_entity=entity, revenue_account="4.2.2")
    rule_for(entity, state="retired")
    with pytest.raises(Blocked, match="No accounting rule for Plan in main"):
        booking.book(invoice(source), source)


def test_another_entitys_rules_decide_nothing(entity: LegalEntity, source: Connection, codes: list[Any]) -> None:
    rule_for(LegalEntity.objects.create(code="other", name="Other", currency="USD"))
    with pytest.raises(Blocked):
        booking.book(invoice(source), source)


def test_a_line_billing_computed_no_tax_on_takes_the_rules_tax_code(
    entity: LegalEntity, source: Connection, codes: list[Any]
) -> None:
    rule_for(entity, tax_code="VAT0")
    ids = Recorder(source.pk, entity, "test").record([said.invoice(said.line(tax="0")), said.party(), said.product()])
    document = Invoice.objects.get(pk=ids["invoice", "in_1"])
    booking.book(document, source)
    assert posting_of(document)["tax_codes"] == ["VAT0"]


def test_an_entity_without_an_erp_is_asked_about(entity: LegalEntity, source: Connection) -> None:
    with pytest.raises(Blocked) as asked:
        booking.erp_of(entity)
    assert asked.value.group == "integration engineer"
    assert Party.objects.count() == 0
