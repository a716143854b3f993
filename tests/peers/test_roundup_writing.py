"""The credit on a Roundup issue: a block and notes, each once, asked of the twin and of a real Roundup alike."""

from __future__ import annotations

import itertools
import threading
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
import requests

from canonical.commands import PostNote, WriteCase, Written
from connectors.sdk.errors import Busy, Refused, Unknown, VendorError
from connectors.sdk.http import Http
from connectors.vendors.roundup import CONNECTOR
from connectors.vendors.roundup.commands import marker
from tests.connectors.sink import Sink
from tests.peers.tracker import SECRET, Desk, Interposed, Lossy, block, key

pytestmark = pytest.mark.peer


# the block -------------------------------------------------------------------------------------------------


def test_writing_a_block_twice_changes_the_issue_once(desk: Desk) -> None:
    issue = desk.customer.open("Down")
    request = block(issue, " Credit approved\r\n25.50 USD \n")
    assert desk.find("write_case", request) is None
    written = desk.run("write_case", request)
    assert written == desk.run("write_case", request) == desk.find("write_case", request)
    assert desk.entries(issue) == 2
    shown = desk.agent.read("issue", issue)
    assert (shown["tieout_block"], shown["credit_state"]) == ("Credit approved\n25.50 USD", "approved")


def test_a_later_block_replaces_the_earlier_and_our_tags_only(desk: Desk) -> None:
    tag = f"vip{uuid4().hex[:6]}"
    issue = desk.customer.open("Down")
    desk.agent.set(issue, keyword=[desk.client.create(desk.call, "keyword", {"name": tag})])
    desk.run("write_case", block(issue))
    desk.run("write_case", block(issue, "Issued", "issued", "tieout_issued"))
    assert set(desk.case(issue).tags) == {tag, "tieout_issued"}
    assert desk.agent.read("issue", issue)["tieout_block"] == "Issued"


def test_the_last_of_our_tags_can_be_taken_off(desk: Desk) -> None:
    issue = desk.customer.open("Down")
    desk.run("write_case", block(issue))
    bare = block(issue).model_copy(update={"tags": ()})
    assert desk.find("write_case", bare) is None
    desk.run("write_case", bare)
    assert desk.case(issue).tags == () and desk.find("write_case", bare) is not None


def test_a_write_into_a_change_of_somebody_else_reads_again_once(desk: Desk) -> None:
    issue = desk.customer.open("Down")
    once = iter([lambda: desk.agent.set(issue, status="resolved")])
    desk.run("write_case", block(issue), Interposed(lambda: next(once, lambda: None)()))
    assert (desk.case(issue).status, desk.case(issue).tags) == ("resolved", ("tieout_approved",))
    for_ever = Interposed(lambda: desk.agent.set(issue, plan=uuid4().hex))
    with pytest.raises(Busy):
        desk.run("write_case", block(issue, "never", "never"), for_ever)
    assert desk.agent.read("issue", issue)["tieout_block"] == "Credit approved"


def test_what_an_issue_has_no_place_for_is_refused(desk: Desk) -> None:
    request = WriteCase(key=key(), case=desk.customer.open("Down"), block="x", values={"title": "hijacked"})
    with pytest.raises(Refused) as refusal:
        desk.run("write_case", request)
    assert refusal.value.code == "unknown_field"


def test_a_case_that_is_not_there_is_not_found(desk: Desk) -> None:
    for request in (block("999999"), PostNote(key=key(), case="999999", text="x"), PostNote(key=key(), case="1/../2", text="x")):
        with pytest.raises(Refused) as refusal:
            desk.run("write_case" if isinstance(request, WriteCase) else "post_note", request)
        assert refusal.value.code == "not_found"


# notes -----------------------------------------------------------------------------------------------------


def test_a_public_note_is_one_message_and_leaves_a_resolved_case_resolved(desk: Desk) -> None:
    issue = desk.customer.open("Down", "Nothing works")
    desk.agent.set(issue, status="resolved")
    request = PostNote(key=key(), case=issue, text="We credit you 25.50 USD.", public=True)
    assert desk.find("post_note", request) is None
    written = desk.run("post_note", request)
    assert written == desk.run("post_note", request) == desk.find("post_note", request)
    assert desk.texts(issue) == ["Nothing works", "We credit you 25.50 USD."]
    case = desk.case(issue)
    assert (case.status, case.first_reply_at) == ("resolved", None)


def test_an_internal_note_is_for_staff_alone(desk: Desk) -> None:
    issue = desk.customer.open("Down", "Nothing works")
    request = PostNote(key=key(), case=issue, text="Third credit this year.")
    assert desk.find("post_note", request) is None
    written = desk.run("post_note", request)
    assert written == desk.run("post_note", request) == desk.find("post_note", request)
    note = written.external_id.removeprefix("note")
    assert desk.agent.read("note", note)["content"] == "Third credit this year."
    with pytest.raises(requests.HTTPError, match="403"):
        desk.customer.read("note", note)
    assert desk.texts(issue) == ["Nothing works"] and desk.entries(issue) == 1


def test_what_staff_note_after_a_note_of_ours_is_told_with_its_words(desk: Desk, sink: Sink) -> None:
    issue = desk.customer.open("Down", "Nothing works")
    asked = desk.run("post_note", PostNote(key=key(), case=issue, text="Long?"))
    assert desk.case(issue).notes == () and desk.entries(issue) == 1, "nobody has answered, and nothing has changed"
    desk.deliver_to(f"{sink.url}/roundup", SECRET)
    answered = desk.agent.note(issue, "Two hours, see 4242 4242 4242 4242")
    assert CONNECTOR.envelope is not None
    (told,) = (CONNECTOR.envelope(delivery.body) for delivery in sink.wait_for(1))
    assert (CONNECTOR.events[told.kind], told.subject_id) == ("support.case.updated", issue)
    ours, answer = desk.case(issue).notes
    assert (ours.external_id, ours.is_answer, ours.text) == (asked.external_id, False, "")
    assert (answer.external_id, answer.is_answer, answer.by) == (f"note{answered}", True, "agent")
    assert answer.text == "Two hours, see **** **** **** 4242"
    assert desk.case(issue).first_reply_at is None, "customers do not read it"
    with pytest.raises(requests.HTTPError, match="403"):
        desk.customer.note(issue, "All day!")


def test_a_sweep_finds_a_note_whose_webhook_was_lost(desk: Desk) -> None:
    issue = desk.customer.open("Down")
    before = {event.envelope.external_id for event in desk.sweep(datetime.now(UTC) - timedelta(minutes=1))}
    desk.agent.note(issue, "Two hours")
    found = [event.envelope for event in desk.sweep(datetime.now(UTC) - timedelta(minutes=1))]
    assert [event.subject_id for event in found if event.external_id not in before] == [issue]


@pytest.mark.parametrize("public", [True, False])
def test_a_reply_lost_anywhere_ends_with_one_note(desk: Desk, public: bool) -> None:
    for lose in itertools.count(1):
        issue, http = desk.customer.open("Down"), Lossy(lose)
        request = PostNote(key=key(), case=issue, text="Credited", public=public)
        with suppress(VendorError):
            desk.run("post_note", request, http)
        found = desk.find("post_note", request)
        written = desk.run("post_note", request)
        assert found in (None, written) and desk.find("post_note", request) == written
        assert len(desk.client.find(desk.call, "msg" if public else "note", messageid=marker(request.key))) == 1
        assert desk.texts(issue) == (["Credited"] if public else [])
        if http.sent < lose:
            break
    assert lose == (3 if public else 2)


def test_two_messages_with_our_key_are_shown_as_one(desk: Desk) -> None:
    issue = desk.customer.open("Down")
    request = PostNote(key=key(), case=issue, text="Credited", public=True)
    made = {"content": "Credited", "messageid": marker(request.key), "author": desk.client.own_id(desk.call)}
    _, second = (desk.client.create(desk.call, "msg", made) for _ in range(2))
    desk.agent.set(issue, messages=[second])
    assert desk.find("post_note", request) == desk.run("post_note", request)
    assert desk.texts(issue) == ["Credited"]


def test_a_call_that_is_overtaken_by_another_with_its_key_shows_nothing_more(desk: Desk) -> None:
    issue = desk.customer.open("Down")
    request = PostNote(key=key(), case=issue, text="Credited", public=True)
    overtake = iter([lambda: desk.run("post_note", request)])
    written = desk.run("post_note", request, Interposed(lambda: next(overtake, lambda: None)()))
    assert written == desk.find("post_note", request)
    assert desk.texts(issue) == ["Credited"]


def test_simultaneous_internal_notes_with_one_key_are_one(desk: Desk) -> None:
    # Of messages this holds only as far as Roundup's If-Match, which is compared just before the write and not with it.
    request = PostNote(key=key(), case=desk.customer.open("Down"), text="Third credit this year.")
    outcomes: list[object] = []

    def post() -> None:
        try:
            outcomes.append(desk.run("post_note", request, Http()))
        except VendorError as error:
            outcomes.append(error)

    threads = [threading.Thread(target=post) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    written = desk.run("post_note", request)
    assert {outcome for outcome in outcomes if isinstance(outcome, Written)} <= {written}
    assert all(isinstance(outcome, Written | Busy | Unknown) for outcome in outcomes)
    assert len(desk.client.find(desk.call, "note", messageid=marker(request.key))) == 1
