"""Opening a credit: from a claim to something people can decide about, or to a reason why there is none."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import transaction

from canonical.models import LegalEntity, Party, move
from connectors import registry
from hub import rulebook
from hub.audit.models import AuditEntry
from hub.credits import opening, payload
from hub.credits.models import ApprovalRule, Credit, CreditPolicy
from hub.credits.opening import NotOpened, NotReady, open_credit, open_reversal
from hub.engine.flow import Blocked
from hub.models import AccountingRule, Run
from hub.roles import FINANCE
from tests.credits import company as scene
from tests.credits import factories
from tests.credits.company import DAY, NOW, OPENED, Company
from tests.support.threads import at_once
from tests.support.world import people

HOUR = timedelta(hours=1)


@pytest.fixture
def company(db: None) -> Iterator[Company]:
    yield scene.found()
    registry.CONNECTORS.pop("test-a", None)


def flags(credit: Credit) -> set[str]:
    return {flag["flag"] for flag in credit.flags}


def test_what_was_missed_becomes_the_amount_the_policy_gives(company: Company) -> None:
    company.invoice()
    credit = open_credit(company.missed(company.case(late=2 * HOUR)), at=NOW)
    credit.refresh_from_db()
    assert (credit.state, credit.reason, credit.tier) == ("pending", "resolution", "enterprise")
    assert (credit.net, credit.tax, credit.total, credit.currency) == (Decimal(100), Decimal(20), Decimal(120), "EUR")
    assert credit.calculation["decision"]["rules"] == ["R-7"] and credit.policy == CreditPolicy.objects.get()
    assert credit.calculation["assessment"]["plan"] == "enterprise"
    assert (credit.computed, credit.requested) == (Decimal(100), None)
    assert credit.subscription == company.subscription and credit.invoice is not None and credit.invoice.number == "IN-1"
    assert credit.digest == payload.digest(payload.payload_of(credit))
    assert credit.approval_rule is not None and credit.stages and credit.waiting_role


def test_opening_is_audited_and_starts_one_run(company: Company) -> None:
    credit = open_credit(company.missed(company.case(late=2 * HOUR)), at=NOW)
    entry = AuditEntry.objects.get(action="credit.opened")
    run = Run.objects.get(flow="issue_to_credit", subject_kind="credit", subject_id=credit.number)
    assert (entry.object_id, entry.actor, entry.correlation_id) == (credit.pk, "sla", run.correlation_id)
    assert credit.digest in entry.content and "creditpolicy:" in entry.content


def test_a_promise_that_was_kept_gives_nothing(company: Company) -> None:
    with pytest.raises(NotOpened, match="no promise was missed"):
        open_credit(company.missed(company.case()), at=NOW)
    assert not Credit.objects.exists() and not AuditEntry.objects.filter(action__startswith="credit.").exists()


def test_an_excluded_case_gives_nothing_and_says_why(company: Company) -> None:
    with pytest.raises(NotOpened, match="maintenance") as nothing:
        open_credit(company.missed(company.case(late=HOUR, tags=["maintenance"])), at=NOW)
    assert any("excluded" in line for line in nothing.value.explanation)


def test_a_reason_that_needs_evidence_gives_nothing_without_it(company: Company) -> None:
    with pytest.raises(NotOpened, match="evidence"):
        open_credit(company.asked(evidence=" "), at=NOW)


def test_nobody_gets_more_than_the_policy_gives_by_asking(company: Company) -> None:
    credit = open_credit(company.asked("5000"), at=NOW)
    assert (credit.requested, credit.net) == (Decimal(5000), Decimal(200))
    assert "above_computed" in flags(credit)


def test_who_asks_for_less_gets_less(company: Company) -> None:
    credit = open_credit(company.asked("10.50"), at=NOW)
    assert credit.net == Decimal("10.50") and "above_computed" not in flags(credit)


def test_caps_count_what_the_customer_was_given_before(company: Company) -> None:
    for late in (25 * HOUR, 25 * HOUR, 25 * HOUR, 25 * HOUR):
        assert open_credit(company.missed(company.case(late=late)), at=NOW).net == Decimal(250)
    with pytest.raises(NotOpened, match="customer and month is used up"):
        open_credit(company.missed(company.case(late=HOUR)), at=NOW)
    later = open_credit(company.missed(company.case(late=HOUR)), at=NOW + 30 * DAY)
    assert later.net == Decimal(100), "another month"
    other, _ = company.customer("Other")
    assert open_credit(company.missed(company.case(late=HOUR, party=other)), at=NOW).net == Decimal(100), "another customer"


def test_what_was_rejected_does_not_count_as_given(company: Company) -> None:
    for _ in range(4):
        move(open_credit(company.missed(company.case(late=25 * HOUR)), at=NOW), "withdraw", by="test")
    assert open_credit(company.missed(company.case(late=25 * HOUR)), at=NOW).net == Decimal(250)


def test_the_policy_is_that_of_the_day_the_case_was_opened(company: Company) -> None:
    credit = open_credit(company.missed(company.case(late=HOUR)), at=NOW + 400 * DAY)
    assert credit.policy == CreditPolicy.objects.get()
    old = company.case(late=HOUR)
    claim = replace(company.missed(old), assessment=company.missed(old).assessment)
    CreditPolicy.objects.filter().update(valid_to=(OPENED - DAY).date())
    with pytest.raises(NotReady, match="No credit policy"):
        open_credit(claim, at=NOW)


def test_a_subscription_of_another_customer_is_refused(company: Company) -> None:
    _other, agreed = company.customer("Other", price="9999")
    with pytest.raises(NotOpened, match="another customer"):
        open_credit(company.asked(subscription=agreed), at=NOW)
    with pytest.raises(NotOpened, match="another customer"):
        open_credit(company.asked(invoice=company.invoice(agreed=agreed)), at=NOW)


def test_a_currency_that_is_not_the_subscriptions_is_refused(company: Company) -> None:
    with pytest.raises(NotOpened, match="EUR"):
        open_credit(company.asked(currency="USD"), at=NOW)


def test_without_a_currency_there_is_no_credit(company: Company) -> None:
    party = Party.objects.create(name="Nobody")
    with pytest.raises(NotOpened, match="currency"):
        open_credit(company.asked(party=party), at=NOW)


def test_a_matrix_without_a_rule_opens_nothing(company: Company) -> None:
    ApprovalRule.objects.update(state="retired")
    with pytest.raises(NotReady, match="approval rule"):
        open_credit(company.asked(), at=NOW)
    assert not Credit.objects.exists() and not Run.objects.exists()


@pytest.mark.parametrize(("origin", "error"), [("reviewer", NotReady), ("agent", Blocked)])
def test_a_missing_mapping_blocks_a_flow_and_is_told_to_a_person(origin: str, error: type[Exception], company: Company) -> None:
    AccountingRule.objects.update(state="retired")
    with pytest.raises(error, match="accounting rule"):
        open_credit(company.asked(origin=origin), at=NOW)


@pytest.mark.parametrize("state", ["recorded", "posted"])
def test_an_invoice_that_is_not_in_the_books_is_flagged(state: str, company: Company) -> None:
    company.invoice(state=state)
    credit = open_credit(company.asked(), at=NOW)
    assert ("invoice_not_posted" in flags(credit), credit.invoice is None) == (state == "recorded", state == "recorded")


@pytest.mark.parametrize(
    ("net", "until", "told", "flagged"),
    [
        ("1000", date(2026, 2, 28), {}, False),
        ("1000", date(2026, 3, 31), {}, False),
        ("800", date(2026, 2, 28), {}, True),
        ("940", date(2026, 2, 28), {}, True),
        ("9600", date(2027, 1, 31), {}, True),
        ("12000", date(2027, 1, 31), {}, False),
        ("800", date(2026, 2, 28), {"proration": True}, False),
        ("800", date(2026, 2, 28), {"product": None}, False),
    ],
)
def test_a_customer_who_pays_less_than_the_list_price_is_flagged_where_that_counts(
    net: str, until: date, told: dict[str, Any], flagged: bool, company: Company
) -> None:
    maker, checker = people()
    draft = rulebook.draft_new_version(CreditPolicy.objects.get(), maker)
    draft.monthly_value, draft.valid_from = "listed", OPENED.date()
    draft.save()
    rulebook.approve(draft, checker)
    begun = date(2026, 3, 1) if until.month == 3 else date(2026, 2, 1)
    line = {"service_from": begun, "service_to": until, "product": company.subscription.items.get().product, **told}
    company.invoice(net=net, **line)
    credit = open_credit(company.asked(), at=NOW)
    texts = [flag["text"] for flag in credit.flags if flag["flag"] == "discounted"]
    assert bool(texts) is flagged
    assert not texts or (texts[0].startswith("Invoice IN-1 bills ") and "1,000.00 EUR" in texts[0])


def test_a_customer_is_given_a_share_of_what_the_invoice_of_the_day_bills(company: Company) -> None:
    period = {"service_from": OPENED.date(), "service_to": (OPENED + 29 * DAY).date()}
    company.invoice(net="800", product=company.subscription.items.get().product, **period)
    credit = open_credit(company.missed(company.case(late=2 * HOUR)), at=NOW)
    assert credit.net == Decimal(80) and "discounted" not in flags(credit)
    assert any("10 % of 800.00 EUR a month, as IN-1 bills" in line["text"] for line in credit.calculation["decision"]["lines"])


@pytest.mark.parametrize(("days", "flagged"), [(89, True), (91, False)])
def test_a_new_customer_is_flagged(days: int, flagged: bool, company: Company) -> None:
    party, _ = company.customer("Young", started=NOW - days * DAY)
    Party.objects.filter(pk=party.pk).update(created_at=NOW - DAY)
    party.refresh_from_db()
    assert ("new_customer" in flags(open_credit(company.asked(party=party), at=NOW))) is flagged


def test_a_requester_with_rejected_requests_is_flagged(company: Company) -> None:
    first = open_credit(company.asked("20", requested_by="alma"), at=NOW - 10 * DAY)
    move(first, "reject", by="test")
    credit = open_credit(company.asked("70", requested_by="alma"), at=NOW)
    assert any(flag["text"].startswith("1 of 1 requests of alma") for flag in credit.flags)
    assert "requester" not in flags(open_credit(company.asked("30", requested_by="bert"), at=NOW))
    assert "requester" not in flags(open_credit(company.asked("40", requested_by="alma"), at=NOW + 180 * DAY))


@pytest.mark.parametrize(("second", "flagged"), [("100.90", True), ("99.10", True), ("102", False), ("98", False)])
def test_nearly_the_same_amount_for_the_same_customer_is_flagged(second: str, flagged: bool, company: Company) -> None:
    first = open_credit(company.asked("100"), at=NOW)
    credit = open_credit(company.asked(second), at=NOW)
    assert ("near_duplicate" in flags(credit)) is flagged
    assert not flagged or any(first.number in flag["text"] for flag in credit.flags)


def test_an_amount_just_below_a_band_is_flagged(company: Company, settings: Any) -> None:
    _, agreed = company.customer("Big", price="100000")
    rule = ApprovalRule.objects.filter(reason="goodwill").get()
    below = Decimal(str(rule.below)) / (Decimal("1.08") if settings.REPORTING_CURRENCY == "USD" else 1)
    for share, flagged in (("0.80", False), ("0.97", True)):
        amount = (below * Decimal(share)).quantize(Decimal("0.01"))
        claim = company.asked(str(amount), party=agreed.party, subscription=agreed)
        assert ("near_limit" in flags(open_credit(claim, at=NOW))) is flagged


def in_the_books(company: Company) -> Credit:
    return scene.post(scene.approve(open_credit(company.missed(company.case(late=HOUR)), at=NOW)))


def test_a_reversal_has_the_amounts_of_what_it_reverses_and_needs_its_own_approval(company: Company) -> None:
    first, by = in_the_books(company), factories.person("felix", FINANCE)
    reversal = open_reversal(first, by=by, reason="not_due", note="the incident was downgraded", at=NOW)
    reversal.refresh_from_db()
    assert (reversal.reverses, reversal.state, reversal.made_by) == (first, "pending", by)
    assert [getattr(reversal, name) for name in opening.KEPT] == [getattr(first, name) for name in opening.KEPT]
    assert reversal.approvals_needed >= 1 and reversal.digest != first.digest
    assert AuditEntry.objects.filter(action="credit.opened", object_id=reversal.pk, actor="felix").exists()
    with pytest.raises(NotOpened, match=reversal.number):
        open_reversal(first, by=by, reason="not_due", note="again", at=NOW)


def test_only_what_is_in_the_books_is_reversed(company: Company) -> None:
    credit = open_credit(company.asked(), at=NOW)
    with pytest.raises(NotOpened, match="is pending"):
        open_reversal(credit, by=factories.person("felix", FINANCE), reason="not_due", note="too early", at=NOW)
    first = in_the_books(company)
    reversal = open_reversal(first, by=None, reason="reassessed", note="", at=NOW)
    with pytest.raises(NotOpened, match="is a reversal itself"):
        open_reversal(reversal, by=None, reason="reassessed", note="", at=NOW)


@pytest.mark.django_db(transaction=True)
def test_claims_of_one_case_at_once_open_one_credit_and_stop_the_others(transactional_db: None) -> None:
    company = scene.found()
    claim = company.missed(company.case(late=HOUR))

    def ask(n: int) -> str:
        with transaction.atomic():
            return open_credit(claim, at=NOW).state

    assert sorted(at_once(6, ask, threads=6)) == ["pending", *["stopped"] * 5]
    registry.CONNECTORS.pop("test-a", None)


def test_the_entity_of_the_subscription_decides_the_policy(company: Company) -> None:
    other = LegalEntity.objects.create(code="other", name="Other", currency="EUR")
    company.subscription.legal_entity = other
    company.subscription.save()
    with pytest.raises(NotReady, match="No ERP connection keeps the books of other"):
        open_credit(company.asked(), at=NOW)
