"""Replaying a draft over the past: what it compares, that it changes nothing, and who may activate what it compared."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from io import StringIO
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.core.management import CommandError, call_command
from django.db import IntegrityError, connection, transaction
from django.db.models import Sum
from django.test.utils import CaptureQueriesContext

from canonical import xref
from canonical.models import CaseClock, Entitlement, Invoice, InvoiceLine, LegalEntity, Party, Subscription, SupportCase
from canonical.money import quantum
from connectors.models import Connection
from hub import roles, rulebook
from hub.audit.models import AuditEntry
from hub.credits import history, rows, starter
from hub.credits.models import Approval, Credit, CreditPolicy, CreditRule, SlaTerms
from hub.credits.replay import Comparison, in_force, load, replay, table

pytestmark = pytest.mark.django_db
AT = datetime(2026, 11, 23, 12, tzinfo=UTC)
D = Decimal


def person(name: str, *held: str) -> User:
    user = User.objects.create_user(name)
    user.groups.set(Group.objects.filter(name__in=held))
    return user


@pytest.fixture
def pair(db: None) -> tuple[User, User]:
    """Two policy admins."""
    return person("petra", roles.POLICY), person("paul", roles.POLICY)


@pytest.fixture
def reviewers(db: None) -> Sequence[User]:
    return [person("rosa", roles.FINANCE), person("sara", roles.SENIOR), person("carl", roles.CONTROLLER)]


@pytest.fixture
def past(pair: tuple[User, User], reviewers: Sequence[User]) -> CreditPolicy:
    """A past of 150 cases; the draft it leaves."""
    history.seed(*pair, reviewers, at=AT, cases=150)
    return CreditPolicy.objects.get(state="draft")


def compared(draft: CreditPolicy, **more: Any) -> Comparison:
    return replay(draft, **{"months": 18, "at": AT, **more})


# what is compared ------------------------------------------------------------------------------------------------


def test_the_policy_in_force_gives_again_what_was_given(past: CreditPolicy) -> None:
    current = CreditPolicy.objects.get(state="active")
    found = compared(current)
    assert found.rows
    for row in found.rows:
        assert (row.difference, row.changed, row.changes) == (0, 0, [])
    given = Credit.objects.exclude(state="rejected").values_list("legal_entity__code", "currency").annotate(net=Sum("net"))
    assert {(row.entity, row.currency): row.given for row in found.rows if row.given} == {
        (entity, currency): net for entity, currency, net in given
    }
    # Besides what was given, only what people refused is due again.
    due = Credit.objects.values_list("legal_entity__code", "currency").annotate(net=Sum("net"))
    assert {(row.entity, row.currency): row.now for row in found.rows} == {(entity, currency): net for entity, currency, net in due}


def test_a_draft_is_compared_case_by_case(past: CreditPolicy) -> None:
    found = compared(past)
    assert {row.currency for row in found.rows} == {"CHF", "EUR", "GBP", "JPY", "USD"}
    assert any(row.difference for row in found.rows)
    for row in found.rows:
        assert row.difference == row.draft - row.now
        assert row.draft % quantum(row.currency) == 0
        assert len(row.changes) == min(5, row.changed)
        sizes = [abs(change.difference) for change in row.changes]
        assert sizes == sorted(sizes, reverse=True)
        assert all(change.why and (change.case or change.credit) for change in row.changes)
        if row.changed <= 5:
            assert sum((change.difference for change in row.changes), D(0)) == row.difference


def test_a_policy_that_gives_nothing_saves_all_of_it(past: CreditPolicy) -> None:
    past.rules.all().delete()
    found = compared(past)
    assert all(row.draft == 0 and row.difference == -row.now for row in found.rows)


def test_replaying_changes_nothing(past: CreditPolicy) -> None:
    def everything() -> list[Any]:
        return [
            list(model.objects.order_by("pk").values())
            for model in (Credit, CreditPolicy, CreditRule, Approval, Entitlement, AuditEntry)
        ]

    before = everything()
    compared(past)
    assert everything() == before


def test_queries_do_not_grow_with_the_cases(pair: tuple[User, User], reviewers: Sequence[User]) -> None:
    def queries() -> int:
        with CaptureQueriesContext(
            connection,
        ) as captured:
            compared(CreditPolicy.objects.get(state="draft"))
        return len(captured)

    history.seed(*pair, reviewers, at=AT, cases=40)
    few = queries()
    for case in SupportCase.objects.filter(credits=None)[:20]:
        repeat(case, 10)
    assert queries() == few


def repeat(case: SupportCase, times: int) -> None:
    """The same case again, with its clock."""
    clock = list(case.clock.all())
    for number in range(times):
        copy = SupportCase.objects.create(
            party=case.party, subject=f"{case.subject} {number}", severity=case.severity, status="closed", plan=case.plan,
            opened_at=case.opened_at, resolved_at=case.resolved_at,
        )  # fmt: skip
        CaseClock.objects.bulk_create(CaseClock(case=copy, what=one.what, at=one.at, value=one.value) for one in clock)


def test_cases_nobody_claimed_are_judged_again_from_their_clocks(past: CreditPolicy) -> None:
    before = {(row.entity, row.currency): row for row in compared(past).rows}
    party = Party.objects.filter(
        subscriptions__legal_entity__code="history-eu", subscriptions__items__product__family="enterprise"
    ).first()
    assert party is not None
    opened = AT - timedelta(days=10)
    case = SupportCase.objects.create(
        party=party,
        subject="Nobody answered",
        severity="urgent",
        status="resolved",
        opened_at=opened,
        resolved_at=AT - timedelta(days=8),
    )
    CaseClock.objects.create(case=case, what="first_reply", at=opened + timedelta(hours=30))
    CaseClock.objects.create(case=case, what="resolved", at=AT - timedelta(days=8))
    agreed = party.subscriptions.get()
    after = {(row.entity, row.currency): row for row in compared(past).rows}
    key = ("history-eu", agreed.currency)
    assert after[key].cases == before[key].cases + 1
    assert after[key].given == before[key].given
    assert (after[key].now, after[key].draft) > (before[key].now, before[key].draft)
    assert {name: row for name, row in after.items() if name != key} == {name: row for name, row in before.items() if name != key}


def test_a_case_nobody_claimed_counts_what_others_of_its_incident_tell(past: CreditPolicy) -> None:
    parties = Party.objects.filter(
        subscriptions__legal_entity__code="history-eu", subscriptions__items__product__family="enterprise"
    ).distinct()[:2]
    opened = AT - timedelta(days=10)
    desks = [Connection.objects.create(slug=f"desk-{n}", title=f"Desk {n}", connector="roundup", role="support") for n in (1, 2)]

    def told(party: Party, desk: Connection, *clock: tuple[str, timedelta]) -> SupportCase:
        case = SupportCase.objects.create(
            party=party, subject="Down", severity="low", status="resolved", opened_at=opened, incident="INC-9",
            resolved_at=opened + timedelta(hours=3),
        )  # fmt: skip
        for what, after in (("first_reply", timedelta(minutes=1)), ("resolved", timedelta(hours=3)), *clock):
            CaseClock.objects.create(case=case, what=what, at=opened + after)
        xref.link(desk.pk, "support_case", f"t{case.pk}", "support_case", case.pk, provenance="test")
        return case

    def cases() -> int:
        return sum(row.cases for row in compared(past).rows)

    before = cases()
    told(parties[0], desks[0])
    assert cases() == before, "nothing was missed"
    told(parties[1], desks[1], ("down", timedelta(0)), ("up", timedelta(hours=2)))
    assert cases() == before + 1, "told on another platform, it is another incident"
    told(parties[1], desks[0], ("down", timedelta(0)), ("up", timedelta(hours=2)))
    assert cases() == before + 3, "the one that tells, and the one that was told of"


def test_a_draft_may_take_what_was_billed_for_the_list_price(past: CreditPolicy) -> None:
    """A case nobody claimed, of a customer with half the price off."""
    party = Party.objects.filter(
        subscriptions__legal_entity__code="history-eu", subscriptions__items__product__family="enterprise"
    ).first()
    assert party is not None
    agreed, opened = party.subscriptions.get(), AT - timedelta(days=10)
    item = agreed.items.select_related("price").get()
    invoice = Invoice.objects.create(
        number="IN-1", party=party, legal_entity=agreed.legal_entity, subscription=agreed, status="paid", currency=agreed.currency,
        issued_on=(opened - timedelta(days=5)).date(), net=0, tax=0, total=0,
    )  # fmt: skip
    assert item.price is not None and item.price.unit_amount is not None
    InvoiceLine.objects.create(
        invoice=invoice, external_id="il", position=0, net=item.price.unit_amount * item.quantity / 2, tax=0, taxes=[],
        product=item.product, service_from=date(2026, 11, 1), service_to=date(2026, 11, 30),
    )  # fmt: skip
    nothing = given(past, agreed, "billed")
    case = SupportCase.objects.create(
        party=party, subject="Nobody answered", severity="urgent", status="resolved", opened_at=opened,
        resolved_at=AT - timedelta(days=8),
    )  # fmt: skip
    CaseClock.objects.create(case=case, what="first_reply", at=opened + timedelta(hours=30))
    CaseClock.objects.create(case=case, what="resolved", at=AT - timedelta(days=8))
    listed, billed = (given(past, agreed, value) - nothing for value in ("listed", "billed"))
    assert listed > 0 and abs(listed - 2 * billed) <= D("0.04"), "two rules, each rounded to a cent"


def given(draft: CreditPolicy, agreed: Subscription, value: str) -> Decimal:
    """What the draft gives in the subscription's entity and currency, of list prices or of what is billed."""
    draft.monthly_value = value
    draft.save()
    rows = {(row.entity, row.currency): row.draft for row in compared(draft).rows}
    return rows[agreed.legal_entity.code, agreed.currency]


def test_caps_fill_in_the_order_of_time_and_count_the_year_before(past: CreditPolicy) -> None:
    past.cap_year = D(1)
    past.save()
    found = compared(past, months=6)
    for row in found.rows:
        assert row.draft <= row.now
    tight = sum(row.draft_credits for row in found.rows)
    assert tight < sum(row.now_credits for row in found.rows)
    # From the beginning of the year the same caps were open for longer.
    assert sum(row.draft_credits for row in compared(past, months=10).rows) >= tight


def test_only_the_months_and_the_entity_asked_for(past: CreditPolicy) -> None:
    entity = LegalEntity.objects.get(code="history-jp")
    few, all_of_it = compared(past, months=2), compared(past)
    assert few.start == date(2026, 9, 1)
    assert sum(row.cases for row in few.rows) < sum(row.cases for row in all_of_it.rows)
    assert {row.entity for row in compared(past, entity=entity).rows} == {"history-jp"}


def test_a_draft_for_all_leaves_entities_with_a_policy_of_their_own_alone(past: CreditPolicy, pair: tuple[User, User]) -> None:
    entity = LegalEntity.objects.get(code="history-jp")
    own = CreditPolicy.objects.create(legal_entity=entity, name="Japan", valid_from=date(2020, 1, 1), drafted_by=pair[0])
    mine = compared(own)
    assert {row.entity for row in mine.rows} == {"history-jp"}
    assert all(row.draft == 0 for row in mine.rows)
    rulebook.approve(own, pair[1])
    assert "history-jp" not in {row.entity for row in compared(past).rows}


# in force, and who puts it there ---------------------------------------------------------------------------------


def test_an_entitys_own_policy_comes_before_the_one_for_all(pair: tuple[User, User]) -> None:
    entity, other = (LegalEntity.objects.create(code=code, name=code, currency="EUR") for code in ("own", "other"))
    starter.install(*pair, [entity], on=date(2026, 1, 1))
    own = CreditPolicy.objects.create(legal_entity=entity, name="Own", valid_from=date(2026, 6, 1), drafted_by=pair[0])
    general = CreditPolicy.objects.get(legal_entity=None)
    assert in_force(entity, date(2026, 7, 1)) == general
    rulebook.approve(own, pair[1])
    assert in_force(entity, date(2026, 7, 1)) == own
    assert in_force(entity, date(2026, 5, 31)) == general
    assert in_force(other, date(2026, 7, 1)) == general
    assert in_force(entity, date(2025, 12, 31)) is None


def test_a_policy_is_loaded_with_its_rules_as_they_are(pair: tuple[User, User]) -> None:
    starter.install(*pair, [], on=date(2026, 1, 1))
    row = CreditPolicy.objects.get()
    loaded = load(row)
    assert (loaded.label, loaded.cap_case, loaded.stacking) == (row.label, D(50), "highest")
    assert {rule.code for rule in loaded.rules} == {code for code, *_ in [*starter.CREDITS, *starter.ASKED_FOR]}
    assert next(rule for rule in loaded.rules if rule.code == "R-8").below == D(1440)


def test_who_drafted_a_policy_cannot_activate_it(pair: tuple[User, User]) -> None:
    draft = CreditPolicy.objects.create(name="Mine", valid_from=date(2026, 1, 1), drafted_by=pair[0])
    with pytest.raises(rulebook.NotApproved, match="another person"):
        rulebook.approve(draft, pair[0])
    with pytest.raises(IntegrityError, match="maker_is_not_checker"), transaction.atomic():
        CreditPolicy.objects.filter(pk=draft.pk).update(state="active", approved_by=pair[0])
    rulebook.approve(draft, pair[1])
    entry = AuditEntry.objects.filter(action="creditpolicy.approved").get()
    assert (entry.actor, entry.object_id) == ("paul", draft.pk)


def test_rules_of_an_activated_policy_stay_as_they_are(pair: tuple[User, User]) -> None:
    draft = CreditPolicy.objects.create(name="Mine", valid_from=date(2026, 1, 1), drafted_by=pair[0])
    rule = CreditRule.objects.create(policy=draft, code="R-1", reason="goodwill", percent=D(5))
    rulebook.approve(draft, pair[1])
    for change in (
        lambda: CreditRule.objects.filter(pk=rule.pk).update(percent=D(50)),
        lambda: CreditRule.objects.filter(pk=rule.pk).delete(),
        lambda: CreditRule.objects.create(policy=draft, code="R-2", reason="goodwill", percent=D(90)),
        lambda: CreditPolicy.objects.filter(pk=draft.pk).update(cap_case=D(500)),
    ):
        with pytest.raises(IntegrityError, match="cannot be changed"), transaction.atomic():
            change()


def test_a_new_version_begins_with_the_rules_of_the_one_before(pair: tuple[User, User]) -> None:
    starter.install(*pair, [], on=date(2026, 1, 1))
    first = CreditPolicy.objects.get()
    second = rulebook.draft_new_version(first, pair[1])
    assert (second.version, second.state, second.replaces) == (2, "draft", first)
    assert load(second).rules == load(first).rules
    assert set(second.rules.values_list("pk", flat=True)).isdisjoint(first.rules.values_list("pk", flat=True))
    CreditRule.objects.filter(policy=second, code="R-1").update(percent=D(3))
    assert first.rules.get(code="R-1").percent == D(2)


# showing it ------------------------------------------------------------------------------------------------------


def test_the_command_prints_the_table_and_tells_the_audit_trail(past: CreditPolicy) -> None:
    out = StringIO()
    call_command("replay_policy", "--latest-draft", "--months", "18", stdout=out)
    text = out.getvalue()
    assert past.label in text
    for code, *_ in history.ENTITIES:
        assert code in text
    assert "biggest changes, history-jp JPY:" in text
    entry = AuditEntry.objects.get(action="creditpolicy.replayed")
    assert entry.object_id == past.pk
    assert json.loads(entry.content)["after"]["rows"]


def test_the_command_speaks_json_with_amounts_as_text(past: CreditPolicy) -> None:
    out = StringIO()
    call_command("replay_policy", str(past.pk), "--json", "--entity", "history-jp", stdout=out)
    said = json.loads(out.getvalue())
    yen = next(row for row in said["rows"] if row["currency"] == "JPY")
    assert yen["given"] == str(int(yen["given"]))
    assert D(yen["difference"]) == D(yen["draft"]) - D(yen["in_force"])


@pytest.mark.parametrize(
    "arguments", [["--latest-draft"], ["4711"], ["--latest-draft", "4711"], []], ids=["no draft", "no policy", "both", "neither"]
)
def test_the_command_says_what_it_cannot_do(db: None, arguments: list[str]) -> None:
    with pytest.raises(CommandError):
        call_command("replay_policy", *arguments, stdout=StringIO())


def test_the_table_shows_every_sum_in_its_own_currency(past: CreditPolicy) -> None:
    found = compared(past)
    lines = table(found).splitlines()
    for row in found.rows:
        line = next(line for line in lines if line.split()[:2] == [row.entity, row.currency])
        assert f"{row.given:,.{0 if row.currency == 'JPY' else 2}f}" in line


# the rows of a day -----------------------------------------------------------------------------------------------


def test_terms_are_those_of_the_day_with_their_calendars(pair: tuple[User, User]) -> None:
    starter.install(
        *pair, [LegalEntity.objects.create(code="de", name="de", currency="EUR", timezone="Europe/Berlin")], on=date(2026, 1, 1)
    )
    found = rows.terms("premium", date(2026, 6, 1))
    assert found is not None
    assert set(found.targets) == {"urgent", "high", ""}
    urgent = found.of("urgent")
    assert urgent is not None
    assert (urgent.first_response, urgent.uptime, urgent.calendar.label) == (D(60), D("99.5"), starter.EXTENDED)
    assert str(urgent.calendar.zone) == "Europe/Berlin"
    assert found.of("whatever") == found.targets[""]
    assert rows.terms("premium", date(2025, 12, 31)) is None
    assert rows.terms("unheard of", date(2026, 6, 1)) is None


def test_a_new_version_of_terms_counts_from_its_first_day(pair: tuple[User, User]) -> None:
    starter.install(*pair, [], on=date(2020, 1, 1))
    row = SlaTerms.objects.get(plan="premium", severity="urgent")
    tighter = rulebook.draft_new_version(row, pair[0])
    tighter.first_response_minutes = 30
    tighter.save()
    today = tighter.valid_from
    assert first_response("premium", today) == D(60)
    rulebook.approve(tighter, pair[1])
    assert first_response("premium", today) == D(30)
    assert first_response("premium", today - timedelta(days=1)) == D(60)


def first_response(plan: str, on: date) -> Decimal | None:
    found = rows.terms(plan, on)
    target = found.of("urgent") if found else None
    return target.first_response if target else None


def test_terms_that_name_a_calendar_nobody_approved_are_not_guessed(pair: tuple[User, User]) -> None:
    row = SlaTerms.objects.create(
        plan="odd", calendar="nights", first_response_minutes=5, valid_from=date(2026, 1, 1), drafted_by=pair[0]
    )
    rulebook.approve(row, pair[1])
    with pytest.raises(rows.NoCalendar, match="'nights'"):
        rows.terms("odd", date(2026, 6, 1))
