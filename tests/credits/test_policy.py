"""The decision table of credit policies, and the laws any policy keeps."""

from __future__ import annotations

import json
from dataclasses import replace
from decimal import ROUND_DOWN, Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from canonical.money import Money, is_exact, quantum
from hub.credits.policy import Billed, Decision, Facts, Policy, Rule, calculation, decide, rule_for

D = Decimal


def rule(
    code: str, reason: str, tier: str = "", low: str = "0", high: str | None = None, percent: str | None = None, **more: Any
) -> Rule:
    return Rule(code, reason, tier, D(low), D(high) if high else None, D(percent) if percent else None, **more)


RULES = (
    rule("R-1", "first_response", high="60", percent="2"),
    rule("R-2", "first_response", low="60", high="240", percent="5"),
    rule("R-3", "first_response", low="240", percent="10"),
    rule("R-4", "first_response", "gold", percent="7.5"),
    rule("R-5", "resolution", high="480", percent="10"),
    rule("R-6", "resolution", low="480", percent="20"),
    rule("R-7", "uptime", high="0.5", percent="10"),
    rule("R-8", "uptime", low="0.5", percent="30", needs_evidence=True),
    rule("R-9", "uptime", "flat", fixed=D("25"), fixed_currency="USD"),
    rule("R-20", "goodwill", percent="20"),
    rule("R-21", "billing_error", percent="100", needs_evidence=True),
    rule("R-22", "goodwill", "flat", fixed=D("40.005"), fixed_currency="USD"),
)
PLAIN = Policy("creditpolicy:1/v1", "Credits", RULES)
SUM = replace(PLAIN, stacking="sum")
CAPPED = replace(SUM, cap_case=D("15"), cap_month=D("25"), cap_year=D("40"))
CHOOSY = replace(
    PLAIN, excluded=({"tag": "maintenance"}, {"tier": "free"}, {"tag": "beta", "tier": "gold"}), smallest=D("5"),
    smallest_currency="USD",
)  # fmt: skip


def facts(money: str = "1000 USD", **more: Any) -> Facts:
    amount, currency = money.split()
    missed = {reason: D(by) for reason, by in more.pop("missed", {}).items()}
    tags = frozenset(more.pop("tags", ()))
    given_before = {name: D(more.pop(name)) for name in ("given_case", "given_month", "given_year") if name in more}
    requested = D(more.pop("requested")) if "requested" in more else None
    monthly = None if amount == "-" else Money(D(amount), currency)
    return Facts(currency=currency, missed=missed, monthly=monthly, tags=tags, requested=requested, **given_before, **more)


FR, RES, UP = "first_response", "resolution", "uptime"
TABLE: list[tuple[str, Policy, Facts, str, str, str, str]] = [
    # what, policy, facts, amount, rules, capped by, refused because of
    # bands: at_least belongs to the band, below does not
    ("the lowest band", PLAIN, facts(missed={FR: "0.0001"}), "20.00", "R-1", "", ""),
    ("just below the second", PLAIN, facts(missed={FR: "59.9999"}), "20.00", "R-1", "", ""),
    ("the second begins", PLAIN, facts(missed={FR: "60"}), "50.00", "R-2", "", ""),
    ("just below the third", PLAIN, facts(missed={FR: "239.9999"}), "50.00", "R-2", "", ""),
    ("the open band", PLAIN, facts(missed={FR: "100000"}), "100.00", "R-3", "", ""),
    ("past the last band", replace(PLAIN, rules=RULES[:1]), facts(missed={FR: "60"}), "0", "", "", "no rule of the policy"),
    ("availability in points", PLAIN, facts(missed={UP: "0.49"}), "100.00", "R-7", "", ""),
    ("nothing missed", PLAIN, facts(), "0", "", "", "no promise was missed"),
    ("a miss of nothing", PLAIN, facts(missed={FR: "0"}), "0", "", "", "no promise was missed"),
    ("a reason without rules", PLAIN, facts(missed={"latency": "5"}), "0", "", "", "no rule of the policy covers it"),
    # tiers: rules of the tier's own replace those for every tier
    ("the tier's own rule", PLAIN, facts(missed={FR: "500"}, tier="gold"), "75.00", "R-4", "", ""),
    ("no rule of its own", PLAIN, facts(missed={RES: "500"}, tier="gold"), "200.00", "R-6", "", ""),
    ("another tier", PLAIN, facts(missed={FR: "500"}, tier="silver"), "100.00", "R-3", "", ""),
    # stacking
    ("only the highest", PLAIN, facts(missed={FR: "10", RES: "10"}), "100.00", "R-5", "", ""),
    ("the highest, told first", PLAIN, facts(missed={FR: "300", RES: "10"}), "100.00", "R-3", "", ""),
    ("all of them", SUM, facts(missed={FR: "10", RES: "10"}), "120.00", "R-1 R-5", "", ""),
    ("all three", SUM, facts(missed={FR: "300", RES: "900", UP: "0.1"}), "400.00", "R-3 R-6 R-7", "", ""),
    # caps
    ("the cap of a case", CAPPED, facts(missed={RES: "900"}), "150.00", "R-6", "case", ""),
    ("less what the case had", CAPPED, facts(missed={RES: "900"}, given_case="100"), "50.00", "R-6", "case", ""),
    ("the case has had it all", CAPPED, facts(missed={RES: "900"}, given_case="150"), "0", "R-6", "case", "for a case is used up"),
    ("the cap of the month", CAPPED, facts(missed={RES: "900"}, given_month="200"), "50.00", "R-6", "month", ""),
    ("the month is full", CAPPED, facts(missed={RES: "900"}, given_month="999"), "0", "R-6", "month", "and month is used up"),
    ("the cap of the year", CAPPED, facts(missed={RES: "900"}, given_year="399.99"), "0.01", "R-6", "year", ""),
    ("the tightest decides", CAPPED, facts(missed={RES: "900"}, given_month="200", given_year="390"), "10.00", "R-6", "year", ""),
    ("just at the cap", CAPPED, facts(missed={RES: "100", FR: "60"}), "150.00", "R-2 R-5", "", ""),
    ("caps round down", replace(PLAIN, cap_case=D("0.55")), facts("100.99 USD", missed={RES: "1"}), "0.55", "R-5", "case", ""),
    ("a cap of nothing", replace(PLAIN, cap_case=D(0)), facts(missed={RES: "1"}), "0", "R-5", "case", "for a case is used up"),
    # exclusions and the smallest
    ("an excluded tag", CHOOSY, facts(missed={RES: "1"}, tags=["maintenance"]), "0", "", "", "tag maintenance is excluded"),
    ("an excluded tier", CHOOSY, facts(missed={RES: "1"}, tier="free"), "0", "", "", "tier free is excluded"),
    ("both that are named", CHOOSY, facts(missed={RES: "1"}, tier="gold", tags=["beta"]), "0", "", "", "tag beta and tier"),
    ("one of two named", CHOOSY, facts(missed={RES: "1"}, tier="silver", tags=["beta"]), "100.00", "R-5", "", ""),
    ("below the smallest", CHOOSY, facts("49.99 USD", missed={RES: "1"}), "5.00", "R-5", "", ""),
    ("really below", CHOOSY, facts("49.9 USD", missed={RES: "1"}), "0", "R-5", "", "credits below 5.00 USD are not given"),
    ("the smallest of another currency", CHOOSY, facts("10 EUR", missed={RES: "1"}), "1.00", "R-5", "", ""),
    ("an empty exclusion excludes nothing", replace(PLAIN, excluded=({},)), facts(missed={RES: "1"}), "100.00", "R-5", "", ""),
    # evidence
    ("no evidence", PLAIN, facts(missed={UP: "3"}), "0", "", "", "needs evidence"),
    ("with evidence", PLAIN, facts(missed={UP: "3"}, has_evidence=True), "300.00", "R-8", "", ""),
    ("what needs none still counts", SUM, facts(missed={UP: "3", FR: "1"}), "20.00", "R-1", "", ""),
    # what people ask for
    ("goodwill, as asked", PLAIN, facts(reason="goodwill", requested="30"), "30.00", "R-20", "", ""),
    ("goodwill, more than there is", PLAIN, facts(reason="goodwill", requested="900"), "200.00", "R-20", "", ""),
    ("goodwill, no amount said", PLAIN, facts(reason="goodwill"), "200.00", "R-20", "", ""),
    ("goodwill, capped", CAPPED, facts(reason="goodwill", requested="180"), "150.00", "R-20", "case", ""),
    ("goodwill does not add misses", SUM, facts(reason="goodwill", requested="200", missed={RES: "1"}), "200.00", "R-20", "", ""),
    ("goodwill, nothing asked", PLAIN, facts(reason="goodwill", requested="0"), "0", "R-20", "", "not above zero"),
    ("goodwill, a fraction of a cent", PLAIN, facts(reason="goodwill", requested="10.009"), "10.00", "R-20", "", ""),
    ("a billing error unproven", PLAIN, facts(reason="billing_error", requested="5"), "0", "", "", "needs evidence"),
    ("a billing error proven", PLAIN, facts(reason="billing_error", requested="5", has_evidence=True), "5.00", "R-21", "", ""),
    ("a reason nobody has a rule for", PLAIN, facts(reason="apology", requested="5"), "0", "", "", "no rule of the policy"),
    ("asked for a miss there was", PLAIN, facts(reason=RES, requested="60", missed={RES: "5"}), "60.00", "R-5", "", ""),
    ("asked for a miss there was not", PLAIN, facts(reason=RES, requested="60"), "0", "", "", "resolution was not missed"),
    # currencies
    ("yen have no fraction", PLAIN, facts("1005 JPY", missed={FR: "1"}), "20", "R-1", "", ""),
    ("half a yen goes to the even one", PLAIN, facts("1025 JPY", missed={FR: "1"}), "20", "R-1", "", ""),
    ("half a yen goes up to the even one", PLAIN, facts("1075 JPY", missed={FR: "1"}), "22", "R-1", "", ""),
    ("dinars have three digits", PLAIN, facts("10.025 KWD", missed={FR: "60"}), "0.501", "R-2", "", ""),
    ("half a cent to the even one", PLAIN, facts("10.25 USD", missed={FR: "1"}), "0.20", "R-1", "", ""),
    ("comes to nothing", PLAIN, facts("0.1 USD", missed={FR: "1"}), "0", "R-1", "", "it comes to nothing"),
    ("a fixed amount", PLAIN, facts(missed={UP: "3"}, tier="flat"), "25.00", "R-9", "", ""),
    ("a fixed amount, no subscription", PLAIN, facts("- USD", missed={UP: "3"}, tier="flat"), "25.00", "R-9", "", ""),
    ("a fixed amount is rounded too", PLAIN, facts(reason="goodwill", tier="flat"), "40.00", "R-22", "", ""),
    ("a fixed amount abroad", PLAIN, facts("1000 EUR", missed={UP: "3"}, tier="flat"), "0", "", "", "policies do not convert"),
    ("a share of nothing known", PLAIN, facts("- USD", missed={FR: "1"}), "0", "", "", "no subscription with a monthly value"),
    ("a cap of nothing known", CAPPED, facts("- USD", missed={UP: "3"}, tier="flat"), "0", "R-9", "", "the caps are a share of it"),
    (
        "a value in another currency", PLAIN, replace(facts(missed={FR: "1"}), currency="EUR"), "0", "", "",
        "the monthly value is in USD, the credit in EUR",
    ),
]  # fmt: skip


@pytest.mark.parametrize(
    ("policy", "known", "amount", "rules", "capped", "refused"), [row[1:] for row in TABLE], ids=[row[0] for row in TABLE]
)
def test_the_decision_table(policy: Policy, known: Facts, amount: str, rules: str, capped: str, refused: str) -> None:
    found = decide(policy, known)
    assert (found.amount, " ".join(found.rules), found.capped_by) == (D(amount), rules, capped)
    assert refused in found.refused
    assert bool(refused) == bool(found.refused)
    assert bool(found.refused) == (found.amount == 0)


def test_the_table_has_a_row_for_every_way_a_decision_can_go() -> None:
    assert len(TABLE) >= 40


def test_the_explanation_reads_like_a_calculation() -> None:
    found = decide(CAPPED, facts(missed={FR: "90", RES: "500"}, tier="standard", requested="220", given_month="120"))
    assert found.explanation == [
        "R-2: first response, 90 min late on standard: 5 % of 1,000.00 USD a month = 50.00 USD",
        "R-6: resolution, 500 min late on standard: 20 % of 1,000.00 USD a month = 200.00 USD",
        "asked for 220.00 USD, 30.00 USD less",
        "at most 15 % of the monthly value for a case: 150.00 USD",
        "at most 25 % of the monthly value for a customer and month: 250.00 USD, 120.00 USD of it given before",
    ]
    assert [line.amount for line in found.lines] == [D("50.00"), D("200.00"), D("-30.00"), D("-70.00"), D("-20.00")]
    assert (found.amount, found.reason) == (D("130.00"), RES)


def test_what_was_not_added_is_named_too() -> None:
    found = decide(PLAIN, facts(missed={FR: "90", RES: "500"}))
    assert [(line.rule, line.amount) for line in found.lines] == [("R-2", None), ("R-6", D("200.00"))]
    assert "only the highest counts" in found.explanation[0]


def test_less_than_asked_for_is_explained() -> None:
    found = decide(PLAIN, facts(reason="goodwill", requested="900"))
    assert found.explanation[-1] == "asked for 900.00 USD: 700.00 USD more than the policy gives"


def test_evidence_that_is_missing_is_said() -> None:
    assert decide(PLAIN, facts(missed={UP: "3"})).needs_evidence
    assert decide(SUM, facts(missed={UP: "3", FR: "1"})).needs_evidence
    assert not decide(PLAIN, facts(missed={UP: "3"}, has_evidence=True)).needs_evidence


def test_of_overlapping_bands_the_one_that_begins_highest_counts() -> None:
    rules = [rule("A", FR, percent="50"), rule("B", FR, low="10", percent="5"), rule("C", FR, low="10", percent="6")]
    assert rule_for(rules, FR, "", D(20)) == rules[2]
    assert rule_for(rules, FR, "", D(5)) == rules[0]


def test_a_calculation_keeps_what_another_policy_needs() -> None:
    known = facts(missed={FR: "90.0001"}, tags=["beta"], tier="gold", requested="3", given_year="7.5", has_evidence=True)
    stored = json.loads(json.dumps(calculation(known, decide(PLAIN, known))))
    assert Facts.from_json(stored["facts"]) == known
    assert stored["decision"]["amount"] == "3.00"


# laws ------------------------------------------------------------------------------------------------------------

CURRENCIES = ("USD", "JPY", "KWD", "EUR")
REASONS = (FR, RES, UP, "goodwill", "billing_error")
percents = st.decimals(0, 200, places=2)
minutes = st.decimals(0, 3000, places=4)


@st.composite
def rules(draw: st.DrawFn, currency: str) -> Rule:
    low = draw(minutes)
    fixed = draw(st.booleans())
    return Rule(
        code=f"R-{draw(st.integers(1, 99))}", reason=draw(st.sampled_from(REASONS)), tier=draw(st.sampled_from(["", "", "gold"])),
        at_least=draw(st.sampled_from([D(0), low])), below=draw(st.sampled_from([None, low + 60])),
        percent=None if fixed else draw(percents), fixed=draw(st.decimals(0, 500, places=4)) if fixed else None,
        fixed_currency=currency if fixed else "", needs_evidence=draw(st.booleans()),
    )  # fmt: skip


@st.composite
def worlds(draw: st.DrawFn) -> tuple[Policy, Facts]:
    currency = draw(st.sampled_from(CURRENCIES))
    unit = quantum(currency)
    cap = st.none() | st.decimals(0, 300, places=2)
    money = st.integers(0, 10**7).map(lambda units: units * unit)
    policy = Policy(
        "p", "p", tuple(draw(st.lists(rules(currency), max_size=8, unique_by=lambda one: one.code))),
        draw(cap), draw(cap), draw(cap), draw(st.sampled_from(["highest", "sum"])), (),
        draw(money) / 1000, draw(st.sampled_from(["", currency, "XXX"])),
        monthly_value=draw(st.sampled_from(["listed", "billed"])),
    )  # fmt: skip
    known = Facts(
        currency=currency, missed=draw(st.dictionaries(st.sampled_from(REASONS[:3]), minutes)),
        tier=draw(st.sampled_from(["", "gold"])), reason=draw(st.sampled_from(["", "", *REASONS])),
        monthly=draw(st.none() | money.map(lambda amount: Money(amount, currency))),
        billed=draw(st.none() | money.map(lambda amount: Billed(Money(amount, currency), "IN-1"))),
        requested=draw(st.none() | st.decimals(-5, 10**6, places=4)), has_evidence=draw(st.booleans()),
        given_case=draw(money), given_month=draw(money), given_year=draw(money),
    )  # fmt: skip
    return policy, known


BILLED = replace(PLAIN, monthly_value="billed", cap_case=D("3"))


@pytest.mark.parametrize(
    ("policy", "known", "amount", "words"),
    [
        (PLAIN, {}, "20", "2 % of 1,000.00 USD a month = 20.00 USD"),
        (BILLED, {}, "16", "2 % of 800.00 USD a month, as IN-7 bills, = 16.00 USD"),
        (BILLED, {"billed": None}, "20",
         "2 % of 1,000.00 USD a month, the list price, as no invoice says, = 20.00 USD"),
        (BILLED, {"missed": {FR: "60"}}, "24", "at most 3 % of the monthly value for a case: 24.00 USD"),
        (BILLED, {"billed": Billed(Money(D(0), "USD"), "IN-7")}, "0", "nothing is given: the cap for a case is used up"),
        (BILLED, {"billed": Billed(Money(D(800), "EUR"), "IN-7")}, "0",
         "nothing is given: the monthly value is in EUR, the credit in USD"),
    ],
    ids=["of the list price", "of what is billed", "no invoice", "the caps too", "billed nothing", "another currency"],
)  # fmt: skip
def test_a_policy_says_whether_list_price_or_bill_counts(policy: Policy, known: dict[str, Any], amount: str, words: str) -> None:
    given = {"missed": {FR: "30"}, "billed": Billed(Money(D(800), "USD"), "IN-7"), **known}
    found = decide(policy, facts("1000 USD", **given))
    assert found.amount == D(amount)
    assert any(words in line for line in found.explanation), found.explanation


def total(found: Decision) -> Decimal:
    return sum((line.amount for line in found.lines if line.amount is not None), D(0))


@given(worlds())
def test_a_decision_adds_up_and_keeps_every_limit(world: tuple[Policy, Facts]) -> None:
    policy, known = world
    found = decide(policy, known)
    assert found.amount >= 0
    assert is_exact(found.amount, known.currency)
    assert total(found) == found.amount
    assert bool(found.refused) == (found.amount == 0)
    if known.requested is not None:
        assert found.amount <= max(D(0), known.requested)
    worth = known.billed.value if known.billed and policy.monthly_value == "billed" else known.monthly
    for percent, before in (
        (policy.cap_case, known.given_case), (policy.cap_month, known.given_month), (policy.cap_year, known.given_year),
    ):  # fmt: skip
        if percent is not None and found.amount:
            assert worth is not None
            assert found.amount + before <= worth.amount * percent / 100
    if found.amount and policy.smallest_currency in ("", known.currency):
        assert found.amount >= policy.smallest


@given(worlds())
def test_the_explanation_names_every_rule_used(world: tuple[Policy, Facts]) -> None:
    policy, known = world
    found = decide(policy, known)
    assert not found.amount or found.rules
    for code in found.rules:
        assert any(line.rule == code and f"{code}: " in line.text for line in found.lines)
    assert set(found.rules) <= {rule.code for rule in policy.rules}
    if found.refused:
        assert found.refused in found.lines[-1].text


@given(worlds())
def test_the_same_facts_give_the_same_decision_also_after_storing(world: tuple[Policy, Facts]) -> None:
    policy, known = world
    assert decide(policy, Facts.from_json(json.loads(json.dumps(known.as_json())))) == decide(policy, known)


@given(
    st.lists(st.tuples(minutes, percents), min_size=1, max_size=6),
    st.sampled_from(CURRENCIES),
    st.integers(1, 10**7),
    minutes,
    minutes,
    st.none() | percents,
    st.sampled_from(["highest", "sum"]),
)
def test_later_is_never_worth_less_where_the_rules_are_monotone(
    bands: list[tuple[Decimal, Decimal]], currency: str, units: int, a: Decimal, b: Decimal, cap: Decimal | None, stacking: str
) -> None:
    edges = sorted({low for low, _ in bands})
    shares = sorted(percent for _, percent in bands)
    made = [Rule(f"R-{n}", FR, "", low, edges[n + 1] if n + 1 < len(edges) else None, shares[n]) for n, low in enumerate(edges)]
    policy = Policy("p", "p", tuple(made), cap_month=cap, stacking=stacking)
    monthly = Money(units * quantum(currency), currency)

    def worth(late: Decimal) -> Decimal:
        return decide(policy, Facts(currency=currency, missed={FR: late}, monthly=monthly)).amount

    assert worth(min(a, b)) <= worth(max(a, b))


@given(worlds())
def test_more_given_before_never_makes_a_credit_larger(world: tuple[Policy, Facts]) -> None:
    policy, known = world
    unit = quantum(known.currency)
    more = replace(known, given_year=(known.given_year + 7 * unit).quantize(unit, ROUND_DOWN))
    assert decide(policy, more).amount <= decide(policy, known).amount
