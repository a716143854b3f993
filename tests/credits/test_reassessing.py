"""A credit follows its case as long as that is harmless; afterwards people decide."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal

import pytest

from canonical.models import SupportCase, move
from connectors import registry
from hub.audit.models import AuditEntry
from hub.credits import claiming, deciding
from hub.credits.models import Credit
from hub.credits.opening import open_credit
from hub.credits.reassessing import reassess
from hub.roles import FINANCE
from tests.credits import company as scene
from tests.credits import factories
from tests.credits.company import MINUTE, NOW, OPENED, Company

HOUR = timedelta(hours=1)


@pytest.fixture
def company(db: None) -> Iterator[Company]:
    yield scene.found()
    registry.CONNECTORS.pop("test-a", None)


@pytest.fixture
def credit(company: Company) -> Credit:
    """100 EUR for a case resolved two hours late."""
    return open_credit(company.missed(company.case(late=2 * HOUR)), at=NOW)


def judged_anew(company: Company, credit: Credit, late: timedelta) -> Credit:
    """The case's history was put right: it was resolved that late. Returns the credit as it is afterwards."""
    assert credit.case is not None
    resolved = OPENED + 8 * HOUR + late
    company.clock(credit.case, ("opened", OPENED), ("first_reply", OPENED + MINUTE), ("resolved", resolved))
    reassess(credit, at=NOW + HOUR)
    return Credit.objects.get(pk=credit.pk)


def flag(credit: Credit) -> str:
    return next((flag["text"] for flag in credit.flags if flag["flag"] == "changed"), "")


def test_a_case_that_says_the_same_changes_nothing(company: Company, credit: Credit) -> None:
    assert reassess(credit, at=NOW + HOUR) == ""
    after = judged_anew(company, credit, 3 * HOUR)
    assert (after.revision, after.net, flag(after)) == (1, Decimal(100), ""), "the same band, the same amount"


def test_another_amount_is_a_new_revision_without_approvals(company: Company, credit: Credit) -> None:
    after = judged_anew(company, credit, 5 * HOUR)
    assert (after.revision, after.state, after.net, after.computed) == (2, "pending", Decimal(150), Decimal(150))
    assert after.edited_by is None and after.digest != credit.digest
    entry = AuditEntry.objects.get(action="credit.edited")
    assert (entry.actor, entry.object_id) == ("support_case", credit.pk)


def test_nothing_due_any_more_withdraws_what_nobody_has_decided(company: Company, credit: Credit) -> None:
    after = judged_anew(company, credit, -HOUR)
    assert after.state == "withdrawn" and AuditEntry.objects.filter(action="credit.withdrawn").exists()
    assert judged_anew(company, credit, 5 * HOUR).state == "withdrawn", "what is over stays over"


def test_the_hub_does_not_overrule_a_person(company: Company, credit: Credit) -> None:
    editor = factories.person("rosa", FINANCE)
    deciding.edit(credit, editor, revision=credit.revision, net=Decimal(42), reason_note="half of it was their fault")
    after = judged_anew(company, credit, 5 * HOUR)
    assert (after.net, after.revision, after.edited_by) == (Decimal(42), 2, editor)
    assert "150" in flag(after)


def test_an_approval_is_undone_before_anything_is_posted(company: Company, credit: Credit) -> None:
    approved = scene.approve(credit)
    assert approved.state == "approved"
    after = judged_anew(company, approved, 5 * HOUR)
    assert (after.state, after.net, after.revision, after.held_until) == ("pending", Decimal(150), 3, None)
    assert not after.approvals.filter(revision=after.revision).exists()


def test_an_approved_credit_for_which_nothing_is_due_is_withdrawn(company: Company, credit: Credit) -> None:
    assert judged_anew(company, scene.approve(credit), -HOUR).state == "withdrawn"


def test_while_it_is_being_posted_it_is_flagged(company: Company, credit: Credit) -> None:
    posting = scene.approve(credit)
    move(posting, "release", by="test")
    after = judged_anew(company, posting, -HOUR)
    assert (after.state, after.net) == ("posting", Decimal(100)) and "nothing now" in flag(after)


def test_what_is_in_the_books_is_taken_back_only_with_an_approval(company: Company, credit: Credit) -> None:
    posted = scene.post(scene.approve(credit))
    for _ in range(2):
        after = judged_anew(company, posted, -HOUR)
    assert after.state == "posted", "a reversal is a document of its own"
    reversal = Credit.objects.get(reverses=posted)
    assert (reversal.state, reversal.made_by, reversal.total) == ("pending", None, after.total)
    assert reversal.approvals_needed >= 1


def test_another_amount_of_what_is_in_the_books_is_flagged(company: Company, credit: Credit) -> None:
    after = judged_anew(company, scene.post(scene.approve(credit)), 5 * HOUR)
    assert (after.net, after.state) == (Decimal(100), "posted") and "150" in flag(after)
    assert not Credit.objects.filter(reverses=after).exists()


@pytest.mark.parametrize(
    ("told", "says"), [({"status": "open"}, "opened again"), ({"deleted_at_source": True}, "deleted")], ids=["reopened", "deleted"]
)
def test_a_case_that_cannot_be_judged_now_flags_its_credit(
    told: dict[str, object], says: str, company: Company, credit: Credit
) -> None:
    SupportCase.objects.update(**told)
    assert says in reassess(credit, at=NOW + HOUR)
    assert reassess(credit, at=NOW + HOUR) == "", "said once"
    credit.refresh_from_db()
    assert (credit.state, credit.revision) == ("pending", 1) and says in flag(credit)


def test_a_case_given_to_another_customer_flags_its_credit(company: Company, credit: Credit) -> None:
    other, _ = company.customer("Other")
    SupportCase.objects.update(party=other)
    assert "one of Other now" in reassess(credit, at=NOW + HOUR)
    credit.refresh_from_db()
    assert (credit.party, credit.revision) == (company.acme, 1)


def test_a_lower_severity_gives_less(company: Company, credit: Credit) -> None:
    """Eight hours are promised for `high`, a day for others."""
    assert credit.case is not None
    SupportCase.objects.update(severity="low")
    reassess(credit, at=NOW + HOUR)
    credit.refresh_from_db()
    assert credit.state == "withdrawn"


def test_a_request_that_was_sent_back_is_handed_in_when_the_agent_changes_it(company: Company) -> None:
    request = {"reason": "goodwill", "amount": "100", "currency": "", "note": "they were patient", "by": "Alma"}
    case = company.case(status="open", credit=request)
    claim = claiming.asked_for(case, company.support, at=NOW)
    assert claim is not None
    credit = open_credit(claim, at=NOW)
    deciding.send_back(credit, factories.person("felix", FINANCE), revision=1, reason_code="wrong_amount", note="half is enough")
    assert reassess(credit, at=NOW + HOUR) == "", "they have not changed it"
    SupportCase.objects.update(credit={**request, "amount": "50"})
    reassess(credit, at=NOW + HOUR)
    credit.refresh_from_db()
    assert (credit.state, credit.net, credit.requested, credit.revision) == ("pending", Decimal(50), Decimal(50), 2)


def test_taking_a_request_off_the_case_is_told_to_the_reviewer(company: Company) -> None:
    request = {"reason": "goodwill", "amount": "100", "currency": "", "note": "they were patient", "by": "Alma"}
    claim = claiming.asked_for(company.case(status="open", credit=request), company.support, at=NOW)
    assert claim is not None
    credit = open_credit(claim, at=NOW)
    SupportCase.objects.update(credit=None)
    assert "taken the request off" in reassess(credit, at=NOW + HOUR)
