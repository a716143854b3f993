"""Questions: what a page shows, who may answer, and that an answer goes through in the name of the person."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.urls import reverse

from connectors.models import Connection
from hub import answers, roles
from hub.models import ReviewItem, Run, Step
from tests.backoffice import factories as make
from tests.backoffice.conftest import Login
from tests.backoffice.support import page_url

pytestmark = pytest.mark.django_db


def press(client: Any, item: ReviewItem, button: str = "answer", **data: str) -> Any:
    return client.post(reverse(f"admin:hub_reviewitem_{button}", args=[item.pk]), data, follow=True)


@pytest.fixture
def refused(billing: Connection, erp: Connection) -> ReviewItem:
    make.story(billing, erp, 1, ending="refused", total="250.00")
    return ReviewItem.objects.get()


def test_a_page_says_what_is_asked_what_it_blocks_and_which_answers_there_are(login: Login, refused: ReviewItem) -> None:
    page = login(roles.FINANCE).get(page_url(refused)).content.decode()
    assert "The period 2026-11 is closed" in page
    assert "250.00 EUR" in page
    for words in answers.ANSWERS["refused"].values():
        assert words in page


def test_an_answer_lets_the_run_go_on_and_names_the_person(login: Login, refused: ReviewItem) -> None:
    page = press(login(roles.FINANCE), refused, choice="retry", reason="the period is open again").content.decode()
    refused.refresh_from_db()
    assert (refused.state, refused.answer, refused.resolved_by) == ("resolved", "retry", "finance")
    assert Step.objects.get(name="post").state == "ready"
    assert Run.objects.get().state == "open"
    assert "by finance" in page
    assert refused.history.first().history_user.username == "finance"
    assert "by finance" in login(roles.AUDITOR).get(page_url(Run.objects.get())).content.decode()


def test_an_answer_without_a_reason_is_refused_and_keeps_what_was_typed(login: Login, refused: ReviewItem) -> None:
    page = press(login(roles.FINANCE), refused, choice="close", reason="no", external_id="x").content.decode()
    refused.refresh_from_db()
    assert refused.state == "open"
    assert "Say why, in a few words." in page
    assert ">no</textarea>" in page


def test_an_outcome_that_was_found_is_given_with_its_id(login: Login, billing: Connection, erp: Connection) -> None:
    make.story(billing, erp, 1, ending="parked")
    item, client = ReviewItem.objects.get(), login(roles.FINANCE)
    assert 'name="external_id"' in client.get(page_url(item)).content.decode()
    assert "Give the id" in press(client, item, choice="found").content.decode()
    press(client, item, choice="found", external_id=" 4711 ", number="RE/4711")
    assert Step.objects.get(name="post").result == {"external_id": "4711", "number": "RE/4711", "answered_by": "finance"}


def test_a_question_is_answered_by_the_role_that_owns_it(login: Login, refused: ReviewItem) -> None:
    page = press(login(roles.OPERATOR), refused, choice="retry").content.decode()
    assert "belongs to the role" in page
    refused.refresh_from_db()
    assert refused.state == "open"
    assert "Your answer" not in login(roles.OPERATOR).get(page_url(refused)).content.decode()
    press(login(roles.ADMINISTRATOR), refused, choice="retry")
    refused.refresh_from_db()
    assert refused.resolved_by == "administrator"


def test_an_answer_that_is_not_offered_or_comes_second_is_refused(login: Login, refused: ReviewItem) -> None:
    client = login(roles.FINANCE)
    assert "does not allow" in press(client, refused, choice="absent", reason="not there").content.decode()
    press(client, refused, choice="retry")
    assert "does not allow" in press(client, refused, choice="close", reason="too late now").content.decode()


def test_a_question_is_taken(login: Login, refused: ReviewItem, people: dict[str, User]) -> None:
    press(login(roles.FINANCE), refused, "take")
    refused.refresh_from_db()
    assert refused.assignee == people[roles.FINANCE]
    mine = login(roles.FINANCE).get(reverse("admin:hub_reviewitem_changelist"), {"assigned": "me"})
    assert list(mine.context["cl"].result_list) == [refused]


def test_the_first_hundred_blocked_runs_are_shown_and_all_the_money(login: Login, billing: Connection, erp: Connection) -> None:
    item = make.question("missing_mapping", title="No code")
    for number in range(103):
        run = make.run(billing, make.invoice(billing, number, total="10.00"))
        make.step(run, "post", "waiting", erp, waiting_on=item)
    page = login(roles.FINANCE).get(page_url(item)).content.decode()
    assert "1,030.00 EUR" in page
    assert "the first 100 of 103" in page
    assert page.count("in_") == 100


def test_the_list_groups_by_cause_with_money_and_age(login: Login, refused: ReviewItem) -> None:
    make.age(refused, 9)
    answer = login(roles.AUDITOR).get(reverse("admin:hub_reviewitem_changelist"), {"state": "open", "age": "7"})
    assert [(g["cause"], g["count"], g["money"]) for g in answer.context["groups"]] == [("refused", 1, "250.00 EUR")]
    assert "250.00 EUR" in answer.content.decode()
    assert list(answer.context["cl"].result_list) == [refused]
