"""What the Roundup connector promises, asked of the twin and of a real Roundup: so each test also proves the twin."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import requests

from canonical.commands import PostNote, WriteCase, Written
from canonical.types import Party, SupportCase
from connectors.sdk.contract import SourceEvent
from connectors.sdk.errors import BadPayload, Busy, Misconfigured, Refused, Unknown, VendorError
from connectors.sdk.http import Call, Http
from connectors.sdk.twin import Answer, Asked
from connectors.vendors.roundup import CONNECTOR, reading
from connectors.vendors.roundup.client import Credentials, Roundup, Settings
from connectors.vendors.roundup.commands import marker
from connectors.vendors.roundup.fake import PASSWORD, RoundupTwin
from hub.demo.peers import PeerUnavailable
from hub.demo.peers.roundup import RoundupPeer
from hub.demo.peers.roundup_people import Person
from tests.connectors.sink import Sink

pytestmark = pytest.mark.peer
SECRET = "whsec_not_a_real_secret"


@dataclass
class Desk:
    """One tracker, real or twin, the people in it, and the hub's client."""

    base_url: str
    passwords: dict[str, str]
    deliver_to: Callable[[str, str], None]
    call: Call = field(default_factory=Call)

    def __post_init__(self) -> None:
        self.customer, self.agent, self.admin = (self.person(name) for name in ("customer", "agent", "admin"))
        self.client = self.open()

    def person(self, name: str) -> Person:
        return Person(self.base_url, name, self.passwords[name])

    def open(self, http: Http | None = None, password: str = "") -> Roundup:
        credentials = Credentials(user="hub", password=password or self.passwords["hub"])
        client: Roundup = CONNECTOR.open(Settings(base_url=self.base_url), credentials, http or Http())
        return client

    def run(self, name: str, request: Any, http: Http | None = None) -> Written:
        return CONNECTOR.commands[name].run(self.open(http) if http else self.client, request, self.call)

    def find(self, name: str, request: Any) -> Written | None:
        find = CONNECTOR.commands[name].find
        assert find is not None
        return find(self.client, request, self.call)

    def case(self, issue: str) -> SupportCase:
        case, party = CONNECTOR.fetch["support_case"](self.client, issue, self.call)
        assert isinstance(case, SupportCase) and isinstance(party, Party) and case.party == party.external_id
        return case

    def texts(self, issue: str) -> list[str]:
        """What the customer reads on the issue."""
        return [self.customer.read("msg", message)["content"] for message in self.customer.messages(issue)]

    def entries(self, issue: str) -> int:
        """How often the issue was changed, its creation included."""
        return len(self.client.get(self.call, f"tieout/journal/{issue}")["entries"])

    def sweep(self, since: datetime, between: Callable[[], object] = lambda: None) -> list[SourceEvent]:
        items: list[SourceEvent] = []
        cursor: str | None = None
        while True:
            page = CONNECTOR.pages["cases"](self.client, since, cursor, self.call)
            items += page.items
            cursor = page.cursor
            if cursor is None:
                return items
            between()


class Interposed(Http):
    """A line on which something happens just before each PATCH."""

    def __init__(self, happens: Callable[[], object]) -> None:
        super().__init__()
        self.happens = happens

    def send(self, call: Call, method: str, *args: Any, **options: Any) -> requests.Response:
        if method == "PATCH":
            self.happens()
        return super().send(call, method, *args, **options)


class Lossy(Http):
    """A line that loses the answer to the n-th write."""

    def __init__(self, lose: int) -> None:
        super().__init__()
        self.lose, self.sent = lose, 0

    def send(self, call: Call, method: str, *args: Any, **options: Any) -> requests.Response:
        response = super().send(call, method, *args, **options)
        self.sent += method != "GET"
        if method != "GET" and self.sent == self.lose:
            raise Unknown("the answer was lost")
        return response


@pytest.fixture(params=["twin", "roundup"])
def desk(request: pytest.FixtureRequest) -> Iterator[Desk]:
    """One of the two, which tells nobody anything yet."""
    if request.param == "twin":
        with RoundupTwin() as twin:
            yield Desk(twin.url, dict.fromkeys(("hub", "agent", "customer", "admin"), PASSWORD), twin.deliver_to)
        return
    peer: RoundupPeer = request.getfixturevalue("roundup_peer")
    yield Desk(peer.base_url, peer.info.passwords, peer.deliver_to)
    peer.deliver_nothing()


@pytest.fixture
def sink() -> Iterator[Sink]:
    with Sink() as running:
        yield running


def key() -> str:
    return f"hub:{uuid4().hex}"


# health ----------------------------------------------------------------------------------------------------


def test_the_tracker_knows_us_and_has_our_properties(desk: Desk) -> None:
    health = CONNECTOR.check(desk.client, desk.call)
    assert health.identity == "hub"
    assert health.clock is not None and abs(health.clock - datetime.now(UTC)) < timedelta(minutes=1)
    with pytest.raises(Misconfigured):
        CONNECTOR.check(desk.open(password="wrong"), desk.call)


def test_an_address_that_is_not_the_trackers_own_is_our_mistake(desk: Desk) -> None:
    client = desk.open()
    client._headers["Origin"] = "http://elsewhere.example.com"
    with pytest.raises(Misconfigured):
        CONNECTOR.check(client, desk.call)


# reading ---------------------------------------------------------------------------------------------------


def test_the_journal_becomes_the_clock_of_the_case(desk: Desk) -> None:
    issue = desk.customer.open("Down", "Nothing works", billing_customer="cus_1", priority="urgent", plan="gold")
    desk.customer.say(issue, "Are you there?")
    desk.agent.say(issue, "We are looking")
    desk.agent.set(issue, status="need-eg", priority="critical")
    desk.customer.say(issue, "Here is the log")
    desk.agent.set(issue, status="in-progress")
    desk.agent.set(issue, status="resolved")
    desk.customer.say(issue, "Down again")
    desk.agent.set(issue, status="resolved")
    case = desk.case(issue)
    assert [(tick.what, tick.value) for tick in case.clock] == [
        ("opened", ""), ("severity", "urgent"), ("first_reply", ""), ("severity", "critical"), ("paused", "need-eg"),
        ("resumed", "in-progress"), ("resolved", "resolved"), ("reopened", "chatting"), ("resolved", "resolved"),
    ]  # fmt: skip
    assert sorted(tick.at for tick in case.clock) == [tick.at for tick in case.clock]
    assert (case.subject, case.description, case.severity, case.status) == ("Down", "Nothing works", "critical", "resolved")
    assert (case.party, case.plan, case.credit) == ("customer:cus_1", "gold", None)
    assert case.first_reply_at == case.clock[2].at and case.resolved_at == case.clock[-1].at
    assert CONNECTOR.fetch["party"](desk.client, "customer:cus_1", desk.call)[0].same_as == "cus_1"  # type: ignore[attr-defined]


def test_who_opened_a_case_stands_for_a_customer_billing_does_not_know(desk: Desk) -> None:
    issue = desk.customer.open("Hello", "Card 4242 4242 4242 4242")
    case, party = CONNECTOR.fetch["support_case"](desk.client, issue, desk.call)
    assert party == CONNECTOR.fetch["party"](desk.client, f"user:{desk.customer.id}", desk.call)[0]
    assert isinstance(party, Party) and (party.email, party.same_as) == ("customer@example.com", "")
    assert isinstance(case, SupportCase) and case.description == "Card **** **** **** 4242"


def test_only_staff_ask_for_a_credit(desk: Desk) -> None:
    issue = desk.customer.open("Down", credit_request_reason="I want it", credit_request_amount="1000.00")
    assert desk.case(issue).credit is None
    asked = {"credit_request_reason": "SLA breach", "credit_request_amount": "25.50", "credit_request_currency": "USD"}
    desk.agent.set(issue, **asked)
    credit = desk.case(issue).credit
    assert credit is not None
    assert (credit.reason, credit.amount, credit.currency, credit.by) == ("SLA breach", Decimal("25.50"), "USD", "agent")
    desk.customer.set(issue, credit_request_amount="9999.00")
    assert desk.case(issue).credit is None


def test_an_amount_that_is_none_is_refused_not_guessed(desk: Desk) -> None:
    issue = desk.agent.open("Down", credit_request_amount="12,50 or so")
    with pytest.raises(BadPayload, match="12,50"):
        desk.case(issue)


def test_a_deleted_case_is_still_read_and_says_so(desk: Desk) -> None:
    issue = desk.customer.open("Spam", "Buy this")
    assert not desk.case(issue).deleted
    desk.admin.retire(issue)
    assert desk.case(issue).deleted


# webhooks --------------------------------------------------------------------------------------------------


class Looking(Sink):
    """Reads the issue the moment it is told of it."""

    def __init__(self, look: Callable[[str], object]) -> None:
        super().__init__()
        self.look, self.seen = look, []

    def handle(self, asked: Asked) -> Answer:
        assert CONNECTOR.envelope is not None
        self.seen.append(self.look(CONNECTOR.envelope(asked.body).subject_id))
        return super().handle(asked)


def test_every_change_is_told_once_and_signed(desk: Desk, sink: Sink) -> None:
    desk.deliver_to(f"{sink.url}/roundup", SECRET)
    issue = desk.customer.open("Down", "Nothing works")
    desk.agent.set(issue, status="resolved")
    desk.admin.retire(issue)
    assert CONNECTOR.verify is not None and CONNECTOR.envelope is not None
    told = []
    for delivery in sink.wait_for(3):
        assert CONNECTOR.verify(delivery, ["whsec_of_next_year", SECRET], datetime.now(UTC)) == 1
        told.append(CONNECTOR.envelope(delivery.body))
    assert len({envelope.external_id for envelope in told}) == 3
    assert {envelope.subject_id for envelope in told} == {issue}
    names = [CONNECTOR.events[envelope.kind] for envelope in told]
    assert names == ["support.case.opened", "support.case.updated", "support.case.deleted"]


def test_a_change_can_be_read_the_moment_it_is_told(desk: Desk) -> None:
    with Looking(lambda issue: desk.case(issue).status) as sink:
        desk.deliver_to(f"{sink.url}/roundup", SECRET)
        issue = desk.customer.open("Down")
        desk.agent.set(issue, status="resolved")
        sink.wait_for(2)
        assert sink.seen == ["open", "resolved"]


def test_a_refused_change_is_not_told(desk: Desk, sink: Sink) -> None:
    issue = desk.customer.open("Down")
    desk.deliver_to(f"{sink.url}/roundup", SECRET)
    nobodys = desk.client.create(desk.call, "msg", {"content": "by nobody"})
    with pytest.raises(requests.HTTPError):
        desk.agent.set(issue, messages=[nobodys])
    desk.agent.set(issue, status="resolved")
    assert len(sink.wait_for(1)) == 1 and desk.entries(issue) == 2


def test_a_hub_that_is_down_is_not_the_agents_business(desk: Desk) -> None:
    desk.deliver_to("http://127.0.0.1:9/roundup", SECRET)
    issue = desk.customer.open("Down")
    desk.agent.set(issue, status="resolved")
    assert desk.case(issue).status == "resolved"


# the block -------------------------------------------------------------------------------------------------


def block(issue: str, text: str = "Credit approved", state: str = "approved", tag: str = "tieout_approved") -> WriteCase:
    return WriteCase(key=key(), case=issue, block=text, values={"credit_state": state}, tags=(tag,))


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


# sweeping --------------------------------------------------------------------------------------------------


def test_a_sweep_finds_what_no_webhook_brought(desk: Desk) -> None:
    since = datetime.now(UTC)
    changed, gone = desk.customer.open("Down"), desk.customer.open("Spam")
    before = {item.envelope.external_id for item in desk.sweep(since)}
    desk.agent.set(changed, status="resolved")
    desk.admin.retire(gone)
    after = desk.sweep(since)
    assert {item.envelope.subject_id for item in after if item.envelope.external_id not in before} == {changed}
    assert gone not in {item.envelope.subject_id for item in after}
    assert {CONNECTOR.events[item.envelope.kind] for item in after} == {"support.case.observed"}


def test_a_sweep_meets_every_issue_however_small_the_pages_and_busy_the_desk(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "PAGE", 2)
    since = datetime.now(UTC)
    issues = [desk.customer.open(f"Down {number}") for number in range(5)]
    turn = itertools.cycle(issues)
    touched = itertools.count()

    def change() -> None:
        if next(touched) < 4:
            desk.agent.set(next(turn), plan=uuid4().hex)

    items = desk.sweep(since, change)
    assert set(issues) <= {item.envelope.subject_id for item in items}
    quiet = desk.sweep(since)
    assert len({item.envelope.external_id for item in quiet}) == len(quiet)
    assert CONNECTOR.envelope is not None
    assert all(CONNECTOR.envelope(item.body) == item.envelope for item in quiet)


# the peer itself -------------------------------------------------------------------------------------------


def test_without_a_lock_there_is_nothing_to_install(tmp_path: Path) -> None:
    peer = RoundupPeer(tmp_path)
    peer.place.lock = tmp_path / "missing.txt"
    with pytest.raises(PeerUnavailable, match=r"missing\.txt is missing"):
        peer.start()
