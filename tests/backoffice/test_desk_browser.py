"""The desk in a real Chromium, worked as reviewers do: by reading, by keyboard, by two people, and refused where it must be."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from canonical.models import ExternalRef, move
from hub import roles
from hub.audit.models import AuditEntry
from hub.credits import deciding
from hub.credits.models import Approval, Credit, CreditPolicy
from tests.backoffice import desk_data as data
from tests.backoffice.conftest import Login
from tests.backoffice.test_browser import Visitor, browse
from tests.credits import company, factories

pytestmark = [pytest.mark.browser, pytest.mark.django_db]
PASSWORD = "a very long password 4711"
DESK = "/admin/desk/"


@pytest.fixture
def reviewers(people: dict[str, User]) -> dict[str, User]:
    """A senior reviewer and a controller who know their passwords."""
    for role in (roles.SENIOR, roles.CONTROLLER):
        people[role].set_password(PASSWORD)
        people[role].save()
    return people


def press(visitor: Visitor, key: str) -> None:
    """Press a key that leads to another page, and wait for it."""
    with visitor.page.expect_navigation(wait_until="load"):
        visitor.page.keyboard.press(key)


def agree(visitor: Visitor) -> None:
    """Say yes to what the page asks, and remember the question."""
    visitor.page.add_init_script("window.confirm = (question) => { sessionStorage.asked = question; return true; }")


def heading(visitor: Visitor) -> str:
    return str(visitor.page.title())


def log_in(visitor: Visitor, user: User) -> None:
    visitor.open("/admin/desk/")
    visitor.page.fill("input[type=password]", PASSWORD)
    visitor.page.fill("input[name=username], input[name=login]", user.username)
    press(visitor, "Enter")


def forget_when(client: Client) -> None:
    """As if they had logged in an hour ago."""
    session = client.session
    session["account_authentication_methods"] = [
        {**one, "at": one["at"] - 3600} for one in session["account_authentication_methods"]
    ]
    session.save()


def test_two_people_approve_a_large_credit_and_see_it_posted(reviewers: dict[str, User]) -> None:
    factories.ground()
    credit = factories.credit("15000", party=factories.party("Umbrella"))

    def decide(waits: str) -> Any:
        def session(visitor: Visitor) -> None:
            agree(visitor)
            visitor.open(DESK)
            page = visitor.page
            press(visitor, "o")
            assert credit.number in heading(visitor)
            for evidence in ("15,000.00 USD", "Who must approve", "What will be posted where", "4.2.2"):
                assert page.locator(f"text={evidence}").count(), evidence
            page.fill("#approve-note", "read and found right")
            page.locator("#approve-note").press("Escape")
            press(visitor, "a")
            assert "above the limit" in page.evaluate("sessionStorage.asked")
            page.fill("input[type=password]", PASSWORD)
            press(visitor, "Enter")
            assert page.input_value("#approve-note") == "read and found right"
            press(visitor, "a")
            page.wait_for_selector(f"text={waits}")

        return session

    for role, waits in ((roles.SENIOR, "It now waits for controller"), (roles.CONTROLLER, "held until")):
        client = Client()
        browse(client, lambda visitor, user=reviewers[role]: log_in(visitor, user))
        forget_when(client)
        browse(client, decide(waits))
    notes = Approval.objects.filter(credit=credit).values_list("by__username", "note", "confirmed_at")
    assert [(by, note, at is not None) for by, note, at in notes] == [
        ("senior", "read and found right", True), ("controller", "read and found right", True),
    ]  # fmt: skip
    held = factories.lapse(data.fresh(credit))
    for step in ("release", "post"):
        move(held, step, by="test")
    memo = {"connection": held.billing, "kind": "credit_memo", "object_kind": "credit", "object_id": held.pk, "external_id": "17"}
    ExternalRef.objects.create(**memo, number="CM-17", provenance="test")
    client = Client()
    client.force_login(reviewers[roles.CONTROLLER])

    def look(visitor: Visitor) -> None:
        visitor.open(f"{DESK}?tab=posting")
        assert visitor.page.locator("text=posted CM-17").count() == 1
        press(visitor, "o")
        assert visitor.page.inner_text("#desk-state") == "posted CM-17"

    browse(client, look)


def test_twenty_ordinary_credits_by_keyboard(login: Login) -> None:
    factories.ground()
    made = data.many(20)

    def work(visitor: Visitor) -> None:
        visitor.open(DESK)
        visitor.page.keyboard.press("j")
        visitor.page.keyboard.press("k")
        press(visitor, "o")
        for _ in made:
            press(visitor, "a")
        visitor.page.wait_for_selector("text=Nothing else is in this list")

    browse(login(roles.FINANCE), work)
    assert Credit.objects.filter(state="approved").count() == 20
    assert Approval.objects.filter(by__username="finance").count() == 20


def test_an_approval_is_undone_by_a_key(login: Login) -> None:
    factories.ground()
    made = data.many(2)

    def work(visitor: Visitor) -> None:
        visitor.open(DESK)
        press(visitor, "o")
        press(visitor, "a")
        press(visitor, "z")

    browse(login(roles.FINANCE), work)
    assert {data.fresh(credit).state for credit in made} == {"pending"}


def test_rejecting_asking_and_selecting_by_keyboard(login: Login) -> None:
    factories.ground()
    first, second, third = sorted(data.many(3), key=lambda credit: -credit.priority)

    def work(visitor: Visitor) -> None:
        page = visitor.page
        visitor.open(DESK)
        page.keyboard.press("?")
        assert page.is_visible("#desk-help")
        page.keyboard.press("Escape")
        press(visitor, "o")
        page.keyboard.press("r")
        page.select_option("#reject-code", "no_evidence")
        page.fill("#reject-note", "nothing shows an outage")
        with page.expect_navigation():
            page.click("#desk-reject button")
        page.keyboard.press("i")
        page.keyboard.type("which order was lost?")
        with page.expect_navigation():
            page.click("#desk-ask button")
        visitor.open(DESK)
        page.keyboard.press("x")
        assert page.inner_text("#desk-selected").startswith("1 selected: 100.00 USD")
        with page.expect_navigation():
            page.click("text=Approve selected…")
        with page.expect_navigation():
            page.click("button:has-text('Approve 1 credit')")
        assert "1 of 1 approved" in heading(visitor)

    browse(login(roles.FINANCE), work)
    assert [data.fresh(credit).state for credit in (first, second, third)] == ["rejected", "needs_info", "approved"]


def test_nobody_approves_what_they_made_or_beyond_their_role_by_a_key(login: Login, people: dict[str, User]) -> None:
    factories.ground()
    own = factories.credit("100", made_by=people[roles.FINANCE])
    large = factories.credit("15000")

    def work(visitor: Visitor) -> None:
        for credit, why in ((own, "another person must decide"), (large, "It waits for a senior finance reviewer")):
            visitor.open(data.url(credit))
            assert why in visitor.page.inner_text("#why-not")
            assert visitor.page.is_disabled("#desk-approve button")
            visitor.page.keyboard.press("a")
            visitor.page.wait_for_load_state("networkidle")
            assert credit.number in heading(visitor)

    browse(login(roles.FINANCE), work)
    assert not Approval.objects.exists()


def test_the_pages_open_without_a_complaint_also_on_a_telephone(login: Login) -> None:
    firm = company.found()
    firm.invoice()
    credit = data.computed(firm=firm)

    def look(visitor: Visitor) -> None:
        for width in (1440, 390):
            visitor.page.set_viewport_size({"width": width, "height": 844})
            for path in (DESK, f"{DESK}?tab=pending", data.url(credit), f"{DESK}new/", f"{DESK}workload/"):
                visitor.open(path)
                spill = visitor.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
                assert spill <= 0, (path, width, spill)

    browse(login(roles.FINANCE), look)


def test_a_draft_policy_is_written_and_replayed_on_what_happened(login: Login) -> None:
    firm = company.found()
    firm.invoice()
    credit = data.computed(firm=firm)
    policy = CreditPolicy.objects.get()

    def work(visitor: Visitor) -> None:
        page = visitor.page
        visitor.open(reverse("admin:credits_creditpolicy_change", args=[policy.pk]))
        with page.expect_navigation(wait_until="load"):
            page.click("button:has-text('Draft a new version')")
        with page.expect_navigation(wait_until="load"):
            page.click("text=change it")
        page.fill("tr:has(input[value=R-9]) input[name$=percent]", "30")
        with page.expect_navigation(wait_until="load"):
            page.click("button[name=_continue]")
        page.fill("input[name=months]", "36")
        with page.expect_navigation(wait_until="load"):
            page.click("button:has-text('Replay it')")
        rows = page.locator("tbody tr").all_inner_texts()
        assert "+50.00 EUR" in rows[0] and "250.00 EUR" in rows[0] and "300.00 EUR" in rows[0], rows
        assert credit.number in rows[1] and "R-9" in rows[1], rows

    browse(login(roles.POLICY), work)
    assert AuditEntry.objects.filter(action="creditpolicy.replayed").exists()
    assert data.fresh(credit).total == credit.total


def test_a_delegation_is_made_at_the_desk_and_the_next_approval_is_in_the_name_of_both(
    login: Login, people: dict[str, User]
) -> None:
    factories.ground()
    credit = factories.credit("5000", party=factories.party("Umbrella"))
    deciding.approve(credit, factories.person("fiona", roles.FINANCE), revision=1, confirmed_at=None)
    until = timezone.now() + timedelta(days=5)

    def delegate(visitor: Visitor) -> None:
        page = visitor.page
        visitor.open(DESK)
        with page.expect_navigation(wait_until="networkidle"):
            page.click("text=Delegate")
        page.select_option("#id_delegate", label="finance")
        for name, moment in (("starts_at", until - timedelta(days=6)), ("ends_at", until)):
            page.fill(f"#id_{name}_0", f"{moment:%Y-%m-%d}")
            page.fill(f"#id_{name}_1", f"{moment:%H:%M:%S}")
            page.keyboard.press("Escape")
        page.fill("#id_reason", "on holiday")
        with page.expect_navigation():
            page.click("button[name=_save]")

    def decide(visitor: Visitor) -> None:
        visitor.open(DESK)
        assert "You decide in senior’s place until" in visitor.page.inner_text(".desk .tie-note")
        press(visitor, "o")
        assert credit.number in heading(visitor)
        press(visitor, "a")
        visitor.open(data.url(credit))
        assert "finance for senior as senior finance reviewer" in visitor.page.inner_text(".desk-chain")

    browse(login(roles.SENIOR), delegate)
    browse(login(roles.FINANCE), decide)
    assert data.fresh(credit).state == "approved"
    given = Approval.objects.get(credit=credit, stage=2)
    assert (given.by, given.on_behalf_of) == (people[roles.FINANCE], people[roles.SENIOR])
