"""Home says what to do; one box finds everything by any id."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import User
from django.urls import reverse

from connectors.models import Connection
from hub import roles
from hub.admin_ui import url_of
from hub.models import RejectedDelivery, ReviewItem, Run
from tests.backoffice import factories as make
from tests.backoffice.conftest import Login

pytestmark = pytest.mark.django_db


def test_home_shows_the_work_the_money_the_connections_and_today(login: Login, billing: Connection, erp: Connection) -> None:
    for number, ending in enumerate(("done", "refused", "refused", "unknown"), 1):
        make.story(billing, erp, number, ending=ending, total="100.00")
    RejectedDelivery.objects.create(connection=billing, day=ReviewItem.objects.all()[0].opened_at.date(), reason="stale", count=7)
    Connection.objects.filter(pk=erp.pk).update(failures_in_row=6)
    answer = login(roles.FINANCE).get(reverse("admin:index"))
    (group,) = answer.context["groups"]
    assert (group["cause"], group["count"], group["money"]) == ("refused", 2, "200.00 EUR")
    assert {row["label"]: row["count"] for row in answer.context["counts"]} == {
        "wait for a person": 2,
        "outcome unknown": 1,
        "parked": 2,
        "under way": 0,
    }
    today = answer.context["today"]
    assert (today["total"], today["runs"], today["done"], today["refused"]) == (4, 4, 1, 7)
    rows = {row["connection"]: row for row in answer.context["connections"]}
    assert (rows[erp]["open_steps"], rows[billing]["trouble"]) == (3, "")
    assert "6 failures in a row" in rows[erp]["trouble"]
    assert 'href="/admin/hub/reviewitem/?state=open&amp;cause=refused"' in answer.content.decode()


def test_home_of_an_empty_hub_says_so(login: Login) -> None:
    page = login(roles.OPERATOR).get(reverse("admin:index")).content.decode()
    assert "Nothing waits for a person." in page
    assert "No system is connected yet." in page


@pytest.fixture
def story(billing: Connection, erp: Connection) -> Run:
    make.story(billing, erp, 22, customer="Somebody else")
    return make.story(billing, erp, 1, ending="done", customer="Zenith Ltd")


@pytest.mark.parametrize("term", ["evt_1", "in_1", "A-0001", "1001", "RE/00001", "billing/in_1", "Zenith Ltd", "zen", "Zen"])
def test_everything_is_found_by_any_of_its_ids(term: str, login: Login, story: Run) -> None:
    answer = login(roles.AUDITOR).get(reverse("admin:find"), {"q": term}, follow=True)
    page = answer.content.decode()
    if term == "zen":
        assert "Ids tell upper from lower case" in page
        return
    assert {"evt_1": "evt_1", "Zenith Ltd": "Zenith Ltd", "Zen": "Zenith Ltd"}.get(term, "in_1") in page
    assert "in_22" not in page


def test_a_correlation_id_finds_events_and_runs(login: Login, story: Run) -> None:
    assert story.event is not None
    answer = login(roles.AUDITOR).get(reverse("admin:find"), {"q": str(story.correlation_id)}, follow=True)
    assert answer.redirect_chain[0][0] == url_of(story)
    answer = login(roles.AUDITOR).get(reverse("admin:find"), {"q": str(story.event.correlation_id)}, follow=True)
    assert answer.redirect_chain[0][0] == url_of(story.event)


def test_an_exact_id_comes_before_what_begins_with_it(login: Login, billing: Connection, erp: Connection) -> None:
    for number in (3, 31, 32):
        make.story(billing, erp, number)
    client = login(roles.AUDITOR)

    def runs(**query: str) -> int:
        groups = client.get(reverse("admin:find"), query).context["groups"]
        return next(len(group.hits) for group in groups if group.title == "Runs")

    assert runs(q="in_3") == 1
    assert runs(q="in_3", prefix="1") == 3


def test_a_question_is_found_by_the_id_of_what_it_blocks(login: Login, billing: Connection, erp: Connection) -> None:
    make.story(billing, erp, 1, ending="refused")
    page = login(roles.AUDITOR).get(reverse("admin:find"), {"q": "in_1"}).content.decode()
    assert url_of(ReviewItem.objects.get()) in page


def test_short_terms_find_nothing_and_say_so(login: Login, story: Run) -> None:
    assert "at least 3 characters" in login(roles.AUDITOR).get(reverse("admin:find"), {"q": "in"}).content.decode()


def test_a_user_without_rights_finds_nothing(client: object, story: Run) -> None:
    from django.test import Client

    nobody = Client()
    nobody.force_login(User.objects.create(username="nobody", is_staff=True))
    for url, query in ((reverse("admin:find"), {"q": "in_1"}), (reverse("admin:search"), {"s": "in_1", "extended": "1"})):
        page = nobody.get(url, query).content.decode()
        assert "order to cash" not in page
        assert url_of(story) not in page


def test_the_command_palette_finds_ids_in_the_case_they_were_typed(login: Login, billing: Connection, erp: Connection) -> None:
    make.event(billing, "evt_CamelCase")
    page = login(roles.AUDITOR).get(reverse("admin:search"), {"s": "evt_CamelCase", "extended": "1"}).content.decode()
    assert "evt_CamelCase" in page
