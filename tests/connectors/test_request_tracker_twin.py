"""The twin as others use it: a process of its own, steered over HTTP, losing webhooks when it is told to."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest
import requests

from canonical.commands import PostNote
from canonical.types import Party, SupportCase
from connectors.sdk.errors import Unknown
from connectors.sdk.http import Call, Http
from connectors.vendors.request_tracker import CONNECTOR
from connectors.vendors.request_tracker.client import Credentials, RequestTracker, Settings
from connectors.vendors.request_tracker.fake import TOKEN, RequestTrackerTwin
from tests.connectors.sink import Sink


@pytest.fixture
def twin() -> Iterator[RequestTrackerTwin]:
    with RequestTrackerTwin() as running:
        yield running


def steer(base: str, path: str, **given: Any) -> Any:
    answer = requests.post(f"{base}/_twin/{path}", json=given, timeout=5)
    assert answer.ok, answer.text
    return answer.json()


def client_of(url: str, token: str = TOKEN) -> RequestTracker:
    return RequestTracker(Settings(base_url=url), Credentials(token=token), Http())


def test_it_serves_as_a_process_and_tells_how_to_get_in(sink: Sink) -> None:
    command = [sys.executable, "-m", "connectors.vendors.request_tracker.fake"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            entry = json.loads(process.stdout.readline())
            assert requests.get(f"{entry['base_url']}/_twin/entry", timeout=5).json() == {
                name: value for name, value in entry.items() if name != "base_url"
            }
            steer(entry["base_url"], "webhook", url=sink.url, secret="whsec_x")
            ticket = steer(entry["base_url"], "open", Requestor="ap@acme.example", Subject="Down", Content="It is down")["id"]
            steer(entry["base_url"], "act", ticket=ticket, **{"as": "ines"}, reply="We look into it", Status="resolved")
            case = CONNECTOR.fetch["support_case"](client_of(entry["base_url"], entry["token"]), str(ticket), Call())[0]
        finally:
            process.terminate()
    assert isinstance(case, SupportCase)
    assert [event.what for event in case.clock] == ["opened", "first_reply", "resolved"]
    assert [orjson.loads(delivery.body)["type"] for delivery in sink.deliveries] == ["Create", "Status", "Status", "Correspond"]


def test_a_webhook_it_loses_is_never_sent_again(twin: RequestTrackerTwin, sink: Sink) -> None:
    steer(twin.url, "webhook", url=sink.url, secret="whsec_x")
    steer(twin.url, "lose", webhooks=1)
    lost, told = twin.open(Subject="one"), twin.open(Subject="two")
    assert [orjson.loads(delivery.body)["ticket"] for delivery in sink.deliveries] == [told]
    page = CONNECTOR.pages["events"](client_of(twin.url), datetime.now(UTC) - timedelta(minutes=1), None, Call())
    assert [item.envelope.subject_id for item in page.items] == [str(told), str(lost)]


def test_a_webhook_is_sent_also_when_the_answer_is_lost(twin: RequestTrackerTwin, sink: Sink) -> None:
    twin.webhook = {"url": sink.url, "secret": "whsec_x"}
    ticket = str(twin.open(Subject="Down"))
    note = PostNote(key="note-1", case=ticket, text="Approved")
    twin.arm("drop_reply", match="POST /REST/2.0/ticket/1/comment")
    with pytest.raises(Unknown):
        CONNECTOR.commands["post_note"].run(client_of(twin.url), note, Call())
    assert [orjson.loads(delivery.body)["type"] for delivery in sink.deliveries] == ["Create", "Comment"]
    twin.webhook = {"url": "http://127.0.0.1:9/", "secret": "x"}
    CONNECTOR.commands["post_note"].run(client_of(twin.url), note, Call())
    assert twin.books()["tickets"][0]["notes"] == [["Comment", twin.desk.texts[-1]["Content"]]]


def test_a_busy_queue_has_an_end_and_a_late_transaction_waits_for_the_next_sweep(twin: RequestTrackerTwin) -> None:
    client, since = client_of(twin.url), datetime.now(UTC) - timedelta(minutes=1)
    for _ in range(150):
        twin.open(Subject="Down")
    first = CONNECTOR.pages["events"](client, since, None, Call())
    late = str(twin.open(Subject="late"))
    second = CONNECTOR.pages["events"](client, since, first.cursor, Call())
    third = CONNECTOR.pages["events"](client, since, second.cursor, Call())
    assert (len(first.items), len(second.items), list(third.items), third.cursor) == (100, 50, [], None)
    assert late not in {item.envelope.subject_id for item in (*first.items, *second.items)}
    assert CONNECTOR.pages["events"](client, since, None, Call()).items[0].envelope.subject_id == late


def test_a_sweep_ends_at_what_is_older_than_its_instant(twin: RequestTrackerTwin) -> None:
    twin.open(Subject="old")
    twin.advance(7200)
    young = str(twin.open(Subject="young"))
    page = CONNECTOR.pages["events"](client_of(twin.url), datetime.now(UTC) + timedelta(hours=1), None, Call())
    assert ([item.envelope.subject_id for item in page.items], page.cursor) == ([young], None)


def test_a_case_outlives_the_user_who_opened_it(twin: RequestTrackerTwin) -> None:
    ticket = str(twin.open("ap@acme.example", Subject="Down"))
    twin.act(int(ticket), "ines", reply="We look into it")
    del twin.desk.users["ap@acme.example"], twin.desk.users["ines"]
    case, party = CONNECTOR.fetch["support_case"](client_of(twin.url), ticket, Call())
    assert isinstance(case, SupportCase) and isinstance(party, Party)
    assert (case.external_id, case.party, party.email) == (ticket, "user:ap@acme.example", "ap@acme.example")
    assert case.first_reply_at is None


def test_what_the_twin_does_not_understand_is_its_own_failure(twin: RequestTrackerTwin, capsys: pytest.CaptureFixture[str]) -> None:
    asked = {"query": "Owner = 'ines'"}
    answer = requests.get(f"{twin.url}/REST/2.0/tickets", params=asked, headers={"Authorization": f"token {TOKEN}"}, timeout=5)
    assert answer.status_code == 500 and "does not understand" in answer.text
    assert "does not understand" in capsys.readouterr().err
