"""Events and runs: what is shown of them, replay, and the timeline from the first byte to the last answer."""

from __future__ import annotations

from typing import Any

import pytest
from django.urls import reverse

from canonical.models import Transition
from connectors.models import Connection
from hub import roles
from hub.models import InboxEvent, ReviewItem, Run
from tests.backoffice import factories as make
from tests.backoffice.conftest import Login
from tests.backoffice.support import page_url

pytestmark = pytest.mark.django_db


def replay(client: Any, event: InboxEvent, reason: str) -> str:
    url = reverse("admin:hub_inboxevent_replay", args=[event.pk])
    return str(client.post(url, {"reason": reason}, follow=True).content.decode())


def test_an_event_shows_its_body_what_became_of_it_and_its_runs(login: Login, billing: Connection, erp: Connection) -> None:
    event = make.story(billing, erp, 1, ending="refused").event
    assert event is not None
    make.event(billing, event.external_id, disposition="conflict", duplicate_of=event, body={"other": True})
    page = login(roles.AUDITOR).get(page_url(event)).content.decode()
    assert "&quot;type&quot;: &quot;invoice.finalized&quot;" in page
    assert "its work has not ended well" in page
    assert "same id, other content" in page
    assert "Replay" not in page.replace("Replays", "")


def test_a_missed_event_says_so(login: Login, billing: Connection) -> None:
    event = make.event(billing, "evt_9", origin="sweep")
    assert "Its webhook never came: a sweep found it." in login(roles.AUDITOR).get(page_url(event)).content.decode()


def test_a_body_that_is_no_json_is_shown_as_it_is(login: Login, billing: Connection) -> None:
    event = make.event(billing, "evt_9", disposition="quarantined")
    InboxEvent.objects.bulk_create(
        [
            InboxEvent(
                connection=billing,
                external_id="evt_raw",
                origin="webhook",
                disposition="quarantined",
                body=b"\xff<b>bold",
                body_digest="x",
            )
        ]
    )
    page = login(roles.AUDITOR).get(page_url(InboxEvent.objects.get(external_id="evt_raw"))).content.decode()
    assert "�&lt;b&gt;bold" in page
    assert event.pk


def test_replay_starts_a_run_with_the_person_and_the_reason_on_record(login: Login, billing: Connection, erp: Connection) -> None:
    first = make.story(billing, erp, 1)
    assert first.event is not None
    page = replay(login(roles.OPERATOR), first.event, "the ERP was restored from a backup")
    run = Run.objects.exclude(pk=first.pk).get()
    assert (run.replay_of, run.started_by, run.flow) == (first, "operator", "order_to_cash")
    assert "1 run started" in page
    assert "restored from a backup" in page
    assert Transition.objects.get(run_id=run.pk).by == "operator"


def test_replay_needs_a_reason_and_says_what_stands_in_its_way(login: Login, billing: Connection) -> None:
    client = login(roles.OPERATOR)
    assert "Say why" in replay(client, make.event(billing, "evt_1"), "")
    assert "No workflow listens" in replay(client, make.event(billing, "evt_2", name=""), "just to see")
    assert "still not understood" in replay(client, make.event(billing, "evt_3", disposition="quarantined"), "just to see")
    assert not Run.objects.exists()


def test_the_timeline_tells_the_whole_story_in_order(login: Login, billing: Connection, erp: Connection) -> None:
    run = make.story(billing, erp, 1)
    answer = login(roles.AUDITOR).get(page_url(run))
    titles = [entry.title for entry in answer.context["timeline"]]
    assert titles[0] == "Received as webhook"
    assert [title.split(" · ")[0] for title in titles if title in answer.content.decode()].count("Post") == 1
    page = answer.content.decode()
    for words in (
        "evt_1",
        "500 after sending",
        "found: an earlier call had landed",
        "POST https://x.example/documents",
        "RE/00001",
    ):
        assert words in page
    assert 'href="https://books.example/inv/17"' in page
    assert dict(answer.context["progress"])["pay"] == "skipped"


def test_a_run_that_waits_leads_to_its_question(login: Login, billing: Connection, erp: Connection) -> None:
    run = make.story(billing, erp, 1, ending="refused")
    url = page_url(ReviewItem.objects.get())
    owner, other = (login(role).get(page_url(run)).content.decode() for role in (roles.FINANCE, roles.OPERATOR))
    assert url in owner
    assert ">Answer<" in owner
    assert ">See the question<" in other


def test_other_runs_of_the_same_subject_are_listed(login: Login, billing: Connection, erp: Connection) -> None:
    run = make.story(billing, erp, 1)
    again = Run.objects.create(flow="order_to_cash", lane="l", subject_kind="invoice", subject_id="in_1", connection=billing)
    assert f"#{again.pk}" in login(roles.AUDITOR).get(page_url(run)).content.decode()


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({"state": "parked"}, 1),
        ({"state": "done"}, 1),
        ({"at": "unknown"}, 1),
        ({"flow": "sweep"}, 0),
        ({"q": "in_2"}, 1),
        ({"q": "in_"}, 3),
        ({"q": "RE/00001"}, 1),
        ({"connection__id__exact": "0"}, 0),
    ],
)
def test_runs_are_filtered_and_searched(
    query: dict[str, str], found: int, login: Login, billing: Connection, erp: Connection
) -> None:
    for number, ending in enumerate(("done", "refused", "unknown"), 1):
        make.story(billing, erp, number, ending=ending)
    answer = login(roles.AUDITOR).get(reverse("admin:hub_run_changelist"), query)
    assert len(answer.context["cl"].result_list) == found
