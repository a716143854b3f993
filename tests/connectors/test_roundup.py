"""What Roundup's journal means to us, whatever the order of its entries, and what its twin keeps to."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st

from canonical.types import SupportCase
from connectors.sdk.errors import BadPayload
from connectors.vendors.roundup import CONNECTOR, mapping
from connectors.vendors.roundup.client import Settings
from connectors.vendors.roundup.fake import PASSWORD, RoundupTwin
from connectors.vendors.roundup.fake_tracker import OURS, STATES
from tests.connectors.sink import Sink

SETTINGS = Settings(base_url="https://support.example.com/")
CUSTOMER = {"id": "5", "username": "customer", "roles": "User"}
AGENT = {"id": "4", "username": "agent", "roles": "user, AGENT"}
START = datetime(2026, 3, 1, 12, tzinfo=UTC)


def issue(**values: Any) -> dict[str, Any]:
    bare = {"id": "7", "title": "Down", "creation": "2026-03-01.12:00:00", "activity": "2026-03-01.13:00:00", "keyword": []}
    return {**dict.fromkeys(OURS), **bare, "creator": {"id": "5"}, **values}


def journal(states: list[str], **last: Any) -> dict[str, Any]:
    """A journal in which the issue goes through these states, an hour each."""
    entries = [
        {
            "at": (START + timedelta(hours=number)).isoformat(),
            "by": AGENT if number else CUSTOMER,
            "action": "set" if number else "create",
            "changed": ["status"] if number else [],
            "was": {"status": states[number - 1]} if number else {},
            "messages": [],
        }
        for number in range(len(states))
    ]
    entries[-1] |= last
    return {"issue": "7", "retired": False, "now": {"status": states[-1], "priority": ""}, "entries": entries}


def case(told: dict[str, Any], journal: dict[str, Any], settings: Settings = SETTINGS) -> SupportCase:
    return mapping.case(settings, told, journal, None, "")


@given(st.lists(st.sampled_from(STATES), min_size=1, max_size=12))
def test_the_clock_ends_where_the_case_is(states: list[str]) -> None:
    told = case(issue(), journal(states))
    moves = [tick.what for tick in told.clock if tick.what in ("paused", "resumed", "resolved", "reopened")]
    follows = {
        "paused": {"resumed", "resolved"},
        "resumed": {"paused", "resolved"},
        "resolved": {"reopened"},
        "reopened": {"paused", "resolved"},
    }
    assert all(later in follows[earlier] for earlier, later in pairwise(moves))
    ends = {"paused": "pending", "resumed": "open", "resolved": "resolved", "reopened": "open"}
    assert told.status == (ends[moves[-1]] if moves else "open")
    assert (told.resolved_at is not None) == (told.status == "resolved")
    assert told.clock[0].what == "opened" and [tick.at for tick in told.clock] == sorted(tick.at for tick in told.clock)


@pytest.mark.parametrize(("by", "replied"), [(AGENT, True), (CUSTOMER, False), ({**AGENT, "id": "5"}, False)])
def test_only_staff_who_did_not_open_the_case_reply(by: dict[str, Any], replied: bool) -> None:
    told = case(issue(), journal(["unread", "chatting"], by=by, messages=["3"]))
    assert (told.first_reply_at == START + timedelta(hours=1)) is replied


def test_properties_may_have_other_names_in_the_tracker() -> None:
    settings = Settings(base_url="https://support.example.com/", properties={"billing_customer": "account", "plan": "tier"})
    told = case(issue(account=" cus_9 ", tier="gold", billing_customer="another"), journal(["unread"]), settings)
    assert (told.party, told.plan) == ("customer:cus_9", "gold")


@pytest.mark.parametrize("amount", ["-5", "1e3", "12,50", "NaN", "1.23456", "1" * 13])
def test_an_amount_that_could_be_misread_is_refused(amount: str) -> None:
    asked = {"changed": ["credit_request_amount"]}
    with pytest.raises(BadPayload):
        case(issue(credit_request_amount=amount), journal(["unread", "unread"], **asked))


def test_texts_are_masked_and_cut_to_what_we_keep() -> None:
    message = {"content": "4242424242424242 " + "x" * 5000}
    told = mapping.case(SETTINGS, issue(title="4242 4242 4242 4242"), journal(["unread"]), message, "")
    assert told.subject == "**** **** **** 4242"
    assert told.description.startswith("************4242 x") and len(told.description) == 2000


# the twin --------------------------------------------------------------------------------------------------


def ask(twin: RoundupTwin, method: str, path: str, body: Any = None, user: str = "hub", **headers: str) -> requests.Response:
    sent = {"X-Requested-With": "rest", "Origin": twin.url, **headers}
    return requests.request(method, twin.url + path, json=body, headers=sent, auth=(user, PASSWORD), timeout=5)


def test_the_twin_takes_a_token_once() -> None:
    with RoundupTwin() as twin:
        link = ask(twin, "POST", "/rest/data/issue/@poe", {}).json()["data"]["link"].removeprefix(twin.url)
        assert [ask(twin, "POST", link, {"title": "once"}).status_code for _ in range(2)] == [201, 400]
        late = ask(twin, "POST", "/rest/data/issue/@poe", {"lifetime": 60}).json()["data"]["link"].removeprefix(twin.url)
        twin.advance(61)
        assert ask(twin, "POST", late, {"title": "late"}).status_code == 400
        assert len(twin.books()["issue"]) == 1


def test_the_twin_changes_nothing_without_the_right_etag() -> None:
    with RoundupTwin() as twin:
        path = f"/rest/data/issue/{twin.open_issue('customer', 'Down')}"
        etag = ask(twin, "GET", path).json()["data"]["@etag"]
        assert ask(twin, "PATCH", path, {"plan": "gold"}).status_code == 412
        assert ask(twin, "PATCH", path, {"plan": "gold"}, **{"If-Match": etag}).status_code == 200
        assert ask(twin, "PATCH", path, {"plan": "iron"}, **{"If-Match": etag}).status_code == 412
        assert twin.books()["issue"][0]["plan"] == "gold"


def test_the_twin_lets_people_act_in_one_call_and_tells_of_it() -> None:
    with RoundupTwin() as twin, Sink() as sink:
        act = lambda what, **given: requests.post(f"{twin.url}/_twin/{what}", json=given, timeout=5)  # noqa: E731
        act("webhook", url=sink.url, secret="whsec_twin")
        opened = act("open", by="customer", title="Down", text="Help", values={"billing_customer": "cus_1"}).json()["id"]
        act("say", by="agent", issue=opened, text="Looking")
        act("set", by="agent", issue=opened, values={"status": "resolved"})
        assert act("set", by="agent", issue=opened, values={"colour": "red"}).status_code == 400
        assert CONNECTOR.verify is not None
        deliveries = sink.wait_for(3)
        assert [CONNECTOR.verify(delivery, ["whsec_twin"], datetime.now(UTC)) for delivery in deliveries] == [0, 0, 0]
        kept = twin.books()["issue"][0]
        assert (kept["billing_customer"], kept["status"], len(kept["messages"])) == ("cus_1", str(len(STATES)), 2)


def test_the_twin_is_served_by_itself() -> None:
    command = [sys.executable, "-m", "connectors.vendors.roundup.fake"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        try:
            assert '"user": "hub"' in running.stdout.readline()
        finally:
            running.terminate()
