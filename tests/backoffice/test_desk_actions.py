"""The buttons of the desk: what they do, who is refused, and that nothing is decided about what was not read."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.contrib.messages import get_messages

from hub import roles
from hub.admin.desk_actions import ACTIONS
from hub.audit.models import AuditEntry
from hub.credits import deciding
from hub.credits.models import Approval, Credit
from tests.backoffice import desk_data as data
from tests.backoffice.conftest import Login
from tests.credits import company, factories

pytestmark = pytest.mark.django_db
NOTE = "looked at the case and it is right"
PASSWORD = "a very long password 4711"


@pytest.fixture(autouse=True)
def ground(people: dict[str, User]) -> None:
    factories.ground()


def press(client: Any, credit: Credit, name: str, **said: Any) -> Any:
    """Press a button of the page as it is now, or was at `revision`."""
    return client.post(data.url(credit, name), {"revision": str(data.fresh(credit).revision), **said})


def told(answer: Any) -> str:
    return " ".join(str(message) for message in get_messages(answer.wsgi_request))


def test_an_approval_is_held_and_the_next_credit_opens(login: Login) -> None:
    credit, other = factories.credit("900"), factories.credit("100", party=factories.party("Globex"))
    client = login(roles.FINANCE)
    answer = press(client, credit, "approve", note=NOTE)
    assert answer.headers["Location"] == f"{data.url(other)}?tab=mine&done={credit.pk}"
    now = data.fresh(credit)
    assert (now.state, now.approvals.get().note) == ("approved", NOTE)
    page = client.get(answer.headers["Location"])
    assert page.context["undoable"] == now and "is approved, and held until" in page.content.decode()
    press(client, credit, "undo", queue="tab=mine")
    assert data.fresh(credit).state == "pending"


def test_two_approvers_in_their_order(login: Login) -> None:
    credit = factories.credit("5000")
    first = press(login(roles.FINANCE), credit, "approve")
    assert "now waits for senior finance reviewer" in told(first)
    assert data.fresh(credit).state == "pending"
    press(login(roles.SENIOR), credit, "approve")
    assert data.fresh(credit).state == "approved"


@pytest.mark.parametrize("name", ["reject", "send_back"])
def test_a_refusal_needs_a_reason_and_a_note(name: str, login: Login) -> None:
    credit, client = factories.credit("100"), login(roles.FINANCE)
    assert "Choose a reason" in told(press(client, credit, name, note=NOTE))
    assert "10 characters" in told(press(client, credit, name, reason_code="other", note="no"))
    assert data.fresh(credit).state == "pending"
    press(client, credit, name, reason_code="other", note=NOTE)
    assert data.fresh(credit).state == {"reject": "rejected", "send_back": "returned"}[name]


def test_what_changed_since_it_was_opened_is_not_decided_but_shown(login: Login, people: dict[str, User]) -> None:
    firm = company.found()
    firm.invoice()
    credit = data.computed(firm=firm)
    deciding.edit(
        credit, people[roles.SENIOR], revision=credit.revision, net=Decimal(200), reason_note="half of the outage was theirs"
    )
    client = login(roles.FINANCE)
    answer = client.post(data.url(credit, "approve"), {"revision": "1"}, follow=True)
    assert data.fresh(credit).state == "pending" and not Approval.objects.exists()
    assert "has changed since you opened it" in answer.content.decode()
    assert ("net", Decimal(250), Decimal(200)) in answer.context["changes"]


def test_a_change_of_what_others_changed_meanwhile_is_refused(login: Login, people: dict[str, User]) -> None:
    firm = company.found()
    firm.invoice()
    credit = data.computed(firm=firm)
    deciding.edit(
        credit, people[roles.SENIOR], revision=credit.revision, net=Decimal(200), reason_note="half of the outage was theirs"
    )
    assert "changed since" in told(
        login(roles.FINANCE).post(data.url(credit, "edit"), {"revision": "1", "net": "10", "note": NOTE})
    )
    assert data.fresh(credit).net == 200


def test_changing_an_amount_makes_a_new_revision_and_its_editor_a_maker(login: Login) -> None:
    firm = company.found()
    firm.invoice()
    credit, client = data.computed(firm=firm), login(roles.FINANCE)
    assert "is now 240.00 EUR (revision 2)" in told(press(client, credit, "edit", net="200", note="half of it was theirs"))
    assert "another person must decide" in client.get(data.url(credit)).context["why_not"]
    assert "“lots” is no amount" in told(press(client, credit, "edit", net="lots", note=NOTE))
    assert "Nothing would change" in told(press(client, credit, "edit", net="200.00", note=NOTE))


def test_splitting_asking_answering_and_withdrawing(login: Login) -> None:
    firm = company.found()
    firm.invoice()
    client = login(roles.FINANCE)
    whole = data.computed(firm=firm)
    press(client, whole, "split", parts="100 150.00", note="two invoices are affected")
    assert data.fresh(whole).state == "split"
    assert sorted(part.net for part in Credit.objects.filter(split_from=whole)) == [100, 150]
    asked = factories.credit("100")
    press(client, asked, "ask", text="which order was lost?")
    assert data.fresh(asked).state == "needs_info"
    assert "which order was lost?" in client.get(data.url(asked)).content.decode()
    press(client, asked, "answer", text="the one of Monday")
    assert data.fresh(asked).state == "pending"
    press(client, asked, "comment", text="I called them")
    press(client, asked, "withdraw", note="they withdrew the claim")
    assert data.fresh(asked).state == "withdrawn"
    assert [c.text for c in asked.comments.all()] == ["which order was lost?", "the one of Monday", "I called them"]


def test_a_recusal_takes_the_button_away(login: Login) -> None:
    credit, client = factories.credit("100"), login(roles.FINANCE)
    press(client, credit, "recuse", note="my brother works there")
    page = client.get(data.url(credit))
    assert "recused yourself" in page.context["why_not"] and 'disabled aria-describedby="why-not"' in page.content.decode()
    assert "recused yourself" in told(press(client, credit, "approve"))
    assert data.fresh(credit).state == "pending"


def test_makers_do_not_approve_not_even_superusers(login: Login, people: dict[str, User]) -> None:
    people["superuser"].groups.set(people[roles.CONTROLLER].groups.all())
    credit = factories.credit("100", made_by=people["superuser"])
    assert "another person must decide" in told(press(login("superuser"), credit, "approve"))
    assert data.fresh(credit).state == "pending"


@pytest.mark.parametrize("role", roles.ROLES)
def test_a_button_is_for_the_roles_that_have_its_permission(role: str, login: Login) -> None:
    credit, client = factories.credit("100"), login(role)
    entries = AuditEntry.objects.count()
    for name, action in ACTIONS.items():
        granted = any(role in roles.MATRIX[permission] for permission in action.permissions)
        assert client.get(data.url(credit, name)).status_code == (405 if granted else 403), name
        if not granted:
            assert press(client, credit, name, note=NOTE, text=NOTE).status_code == 403, name
    assert (data.fresh(credit).state, AuditEntry.objects.count()) == ("pending", entries)


def test_somebody_demoted_between_opening_and_clicking_is_refused(login: Login, people: dict[str, User]) -> None:
    credit, client = factories.credit("100"), login(roles.FINANCE)
    assert client.get(data.url(credit)).context["why_not"] == ""
    people[roles.FINANCE].groups.clear()
    assert press(client, credit, "approve").status_code == 403
    assert data.fresh(credit).state == "pending"


def test_over_the_limit_is_refused_with_the_amounts(login: Login, people: dict[str, User]) -> None:
    from hub.credits.models import ApproverLimit

    ApproverLimit.objects.filter(role=roles.FINANCE).update(valid_to="2021-01-01")
    factories.limit(roles.FINANCE, per_credit="50")
    credit, client = factories.credit("100"), login(roles.FINANCE)
    assert "may approve 50 for one credit" in client.get(data.url(credit)).context["why_not"]
    assert "may approve 50" in told(press(client, credit, "approve"))


def test_above_the_limit_the_password_is_asked_for_and_the_note_survives(login: Login, people: dict[str, User]) -> None:
    people[roles.SENIOR].set_password(PASSWORD)
    people[roles.SENIOR].save()
    credit, client = factories.credit("15000"), login(roles.SENIOR)
    sent = press(client, credit, "approve", note=NOTE)
    assert "/reauthenticate/" in sent.headers["Location"]
    assert not Approval.objects.exists()
    back = client.post(sent.headers["Location"], {"password": PASSWORD})
    page = client.get(back.headers["Location"])
    assert page.context["credit"] == credit and page.context["note"] == NOTE and not page.context["step_up"]
    press(client, credit, "approve", note=NOTE)
    assert Approval.objects.get().confirmed_at is not None


def test_nobody_from_outside_reaches_the_desk(client: Any) -> None:
    credit = factories.credit("100")
    for url in ("/admin/desk/", data.url(credit), "/admin/desk/export/", "/admin/desk/approve/", "/admin/desk/new/"):
        assert "/login/" in client.get(url).headers["Location"], url


# many at once -----------------------------------------------------------------------------------------------------------


def picks(*credits: Credit) -> list[str]:
    return [f"{credit.pk}:{credit.revision}" for credit in credits]


def test_several_are_approved_after_their_total_was_seen_and_each_is_decided_singly(login: Login, people: dict[str, User]) -> None:
    factories.rate("EUR", "1.1")
    good, mine = factories.credit("100"), factories.credit("200", made_by=people[roles.FINANCE])
    euros, stale, large = factories.credit("50", currency="EUR"), factories.credit("70"), factories.credit("5000")
    Credit.objects.filter(pk=stale.pk).update(revision=2)
    chosen, client = picks(good, mine, euros, stale, large), login(roles.FINANCE)
    page = client.get("/admin/desk/approve/", {"pick": chosen})
    assert page.context["total"] == "5,370.00 USD · 50.00 EUR" and not Approval.objects.exists()
    results = {one.credit.pk: why for one, why in client.post("/admin/desk/approve/", {"pick": chosen}).context["results"]}
    assert results[good.pk] == results[euros.pk] == results[large.pk] == ""
    assert "another person" in results[mine.pk] and "changed since" in results[stale.pk]
    assert {c.pk for c in Credit.objects.filter(state="approved")} == {good.pk, euros.pk}
    assert data.fresh(large).waiting_role == roles.SENIOR


def test_at_most_fifty_and_at_least_one(login: Login) -> None:
    client = login(roles.FINANCE)
    assert "Select one" in told(client.post("/admin/desk/approve/", {"pick": ["nonsense", "1:1"]}))
    made = data.many(51)
    assert "At most 50" in told(client.post("/admin/desk/approve/", {"pick": picks(*made)}))
    assert not Approval.objects.exists()


def test_the_password_is_asked_for_once_for_all(login: Login, people: dict[str, User]) -> None:
    people[roles.SENIOR].set_password(PASSWORD)
    people[roles.SENIOR].save()
    made = [factories.credit("15000"), factories.credit("16000")]
    client = login(roles.SENIOR)
    sent = client.post("/admin/desk/approve/", {"pick": picks(*made)})
    back = client.post(sent.headers["Location"], {"password": PASSWORD}).headers["Location"]
    assert client.get(back).context["picks"] == picks(*made)
    client.post("/admin/desk/approve/", {"pick": picks(*made)})
    assert Approval.objects.count() == 2


def test_who_does_not_decide_cannot_approve_many(login: Login) -> None:
    assert login(roles.AGENT).post("/admin/desk/approve/", {"pick": picks(factories.credit("1"))}).status_code == 403


# asking for one ---------------------------------------------------------------------------------------------------------


def test_a_credit_is_computed_before_it_is_asked_for(login: Login, people: dict[str, User]) -> None:
    firm = company.found()
    firm.invoice()
    client, said = login(roles.AGENT), {"customer": "Acme", "reason": "goodwill", "amount": "100", "note": NOTE, "evidence": NOTE}
    page = client.post("/admin/desk/new/", {**said, "do": "preview"})
    assert page.context["preview"]["total"] == "120.00 EUR" and not Credit.objects.exists() and not AuditEntry.objects.filter(
        action="credit.opened"
    ).exists()  # fmt: skip
    client.post("/admin/desk/new/", {**said, "do": "open"})
    credit = Credit.objects.get()
    assert (credit.total, credit.made_by, credit.origin) == (120, people[roles.AGENT], "reviewer")


def test_no_credit_is_explained(login: Login) -> None:
    firm = company.found()
    firm.invoice()
    client = login(roles.FINANCE)
    page = client.post("/admin/desk/new/", {"customer": "Acme", "reason": "goodwill", "amount": "100", "note": NOTE, "do": "open"})
    assert "needs evidence" in page.context["refused"]["message"]
    page = client.post("/admin/desk/new/", {"customer": "Nobody", "reason": "goodwill", "note": NOTE, "do": "open"})
    assert page.context["form"].errors["customer"] == ["No customer has this name or id."]
    assert not Credit.objects.exists()


def test_who_may_not_ask_has_no_form(login: Login) -> None:
    assert login(roles.AUDITOR).get("/admin/desk/new/").status_code == 403
