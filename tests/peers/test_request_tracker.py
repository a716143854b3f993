"""The same stories on a real Request Tracker 5 and on our twin: both must mean the same to us, quirks included."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest
import requests

from canonical.commands import PostNote, WriteCase
from canonical.types import Party, SupportCase
from connectors.sdk.contract import SourceEvent
from connectors.sdk.errors import BadSignature, Busy, Misconfigured, Refused
from connectors.sdk.http import Call, Http
from connectors.vendors.request_tracker import CONNECTOR
from connectors.vendors.request_tracker.client import Credentials, RequestTracker, Settings
from connectors.vendors.request_tracker.fake import AGENT_TOKEN, TOKEN, RequestTrackerTwin
from hub.demo.peers.request_tracker import RequestTrackerInfo
from tests.connectors.sink import Sink

SECRET = "whsec_not_a_real_secret"
CUSTOMER = "ap@acme.example"
numbers = itertools.count(1)


@dataclass
class Rt:
    """One of the two, with people: customers write mails, Ines answers over REST as an agent."""

    base_url: str
    token: str
    agent_token: str
    sink: Sink
    twin: RequestTrackerTwin | None = None
    info: RequestTrackerInfo | None = None
    http: Http = field(default_factory=Http)

    def client(self, **settings: Any) -> RequestTracker:
        return RequestTracker(Settings(base_url=self.base_url, **settings), Credentials(token=self.token), self.http)

    def ines(self, method: str, path: str, body: Any = None) -> requests.Response:
        headers = {"Authorization": f"token {self.agent_token}"}
        answer = requests.request(method, f"{self.base_url}/REST/2.0/{path}", json=body, headers=headers, timeout=30)
        assert answer.ok, answer.text
        return answer

    def opens(self, text: str = "Everything is down", *, sender: str = CUSTOMER, subject: str = "") -> str:
        """A customer writes in; the number of the new ticket."""
        subject = f"{subject or 'Down'}, no. {next(numbers)}"
        if self.twin:
            return str(self.twin.open(sender, Subject=subject, Content=text))
        assert self.info
        self.info.write_in(sender, subject, text)
        found = self.ines("GET", f"tickets?query=Subject='{subject}'").json()
        return str(found["items"][0]["id"])

    def writes(self, ticket: str, text: str, *, sender: str = CUSTOMER) -> None:
        """A customer, or somebody else, answers by mail."""
        if self.twin:
            self.twin.desk.add_user(sender)
            self.twin.act(int(ticket), sender, reply=text)
        elif self.info:
            self.info.write_in(sender, f"Re: [support.example #{ticket}] Down", text)

    def replies(self, ticket: str, text: str = "We look into it") -> None:
        """Ines answers the customer."""
        self.ines("POST", f"ticket/{ticket}/correspond", {"Content": text, "ContentType": "text/plain"})

    def sets(self, ticket: str, **values: Any) -> Any:
        """Ines changes the ticket."""
        return self.ines("PUT", f"ticket/{ticket}", values).json()

    def about(self, ticket: str) -> list[dict[str, Any]]:
        """The webhooks that have come about a ticket, in the order in which they came."""
        told = [orjson.loads(delivery.body) for delivery in self.sink.deliveries]
        return [body for body in told if str(body["ticket"]) == ticket]


@pytest.fixture(params=["twin", pytest.param("rt", marks=[pytest.mark.rt, pytest.mark.peer])])
def rt(request: pytest.FixtureRequest) -> Iterator[Rt]:
    if request.param == "rt":
        info: RequestTrackerInfo = request.getfixturevalue("rt_peer")
        yield Rt(info.base_url, info.token, info.agent_token, request.getfixturevalue("rt_webhooks"), info=info)
        return
    with Sink() as sink, RequestTrackerTwin() as twin:
        twin.webhook = {"url": sink.url, "secret": SECRET}
        yield Rt(twin.url, TOKEN, AGENT_TOKEN, sink, twin=twin)


def call() -> Call:
    return Call(timeout=30)


def case_of(rt: Rt, ticket: str, **settings: Any) -> SupportCase:
    case = CONNECTOR.fetch["support_case"](rt.client(**settings), ticket, call())[0]
    assert isinstance(case, SupportCase)
    return case


def moves(case: SupportCase) -> list[str]:
    return [event.what for event in case.clock]


def sweep(rt: Rt) -> dict[str, SourceEvent]:
    """Everything of the last hour, by the id of the event, oldest first."""
    found: dict[str, SourceEvent] = {}
    cursor: str | None = None
    while True:
        page = CONNECTOR.pages["events"](rt.client(), datetime.now(UTC) - timedelta(hours=1), cursor, call())
        for item in page.items:
            assert item.envelope.external_id not in found
            found[item.envelope.external_id] = item
        if page.cursor is None:
            return dict(sorted(found.items(), key=lambda item: int(item[0].partition("/")[2])))
        cursor = page.cursor


def block(ticket: str, text: str = "Credit CM-7\nposted", key: str = "credit-7", **values: str) -> WriteCase:
    shown = {"credit_state": "posted", "credit_number": "CM-7", "credit_amount": "120.00", "credit_currency": "EUR"}
    return WriteCase(key=key, case=ticket, block=text, values=values or shown)


# reading -----------------------------------------------------------------------------------------------------


def test_check_names_queue_and_version(rt: Rt) -> None:
    health = CONNECTOR.check(rt.client(), call())
    assert health.identity == "queue Support"
    assert health.detail.startswith("RT 5.0.")
    assert health.clock is not None


def test_a_wrong_token_and_a_queue_we_may_not_see_are_our_mistake(rt: Rt) -> None:
    stranger = RequestTracker(Settings(base_url=rt.base_url), Credentials(token="1-99-0123456789"), rt.http)
    with pytest.raises(Misconfigured, match="401"):
        CONNECTOR.check(stranger, call())
    with pytest.raises(Misconfigured, match="403"):
        CONNECTOR.check(rt.client(queue="Nowhere"), call())


def test_a_case_from_mail_to_resolved_has_its_clock(rt: Rt) -> None:
    ticket = rt.opens("Down. My card is 4242 4242 4242 4242.", subject="Card 4242424242424242")
    rt.writes(ticket, "Are you there?")
    rt.replies(ticket)
    rt.sets(ticket, Status="resolved")
    case, party = CONNECTOR.fetch["support_case"](rt.client(), ticket, call())
    assert isinstance(case, SupportCase) and isinstance(party, Party)
    assert (case.external_id, case.status, case.party) == (ticket, "resolved", f"user:{CUSTOMER}")
    assert "4242 4242" not in case.description and case.description.startswith("Down. My card is **** **** **** 4242")
    assert case.subject.startswith("Card ************4242")
    assert moves(case) == ["opened", "first_reply", "resolved"]
    assert [event.at for event in case.clock] == [case.opened_at, case.first_reply_at, case.resolved_at]
    assert (party.external_id, party.email, party.same_as) == (case.party, CUSTOMER, "")


def test_waiting_for_the_customer_pauses_and_a_mail_after_the_end_reopens(rt: Rt) -> None:
    ticket = rt.opens()
    rt.sets(ticket, Status="open")
    rt.sets(ticket, Status="stalled")
    assert case_of(rt, ticket).status == "pending"
    rt.sets(ticket, Status="open")
    rt.sets(ticket, Status="resolved")
    rt.writes(ticket, "It is down again")
    case = case_of(rt, ticket)
    assert moves(case) == ["opened", "paused", "resumed", "resolved", "reopened"]
    assert (case.status, case.resolved_at) == ("open", None)


def test_only_staff_can_give_the_first_reply(rt: Rt) -> None:
    ticket = rt.opens()
    rt.writes(ticket, "I am in copy, and have the same problem", sender="colleague@acme.example")
    CONNECTOR.commands["post_note"].run(
        rt.client(), PostNote(key=f"hello-{ticket}-{rt.base_url}", case=ticket, text="We have it", public=True), call()
    )
    assert case_of(rt, ticket).first_reply_at is None
    rt.replies(ticket)
    case = case_of(rt, ticket)
    assert case.first_reply_at is not None and moves(case).count("first_reply") == 1


def test_priorities_are_severities(rt: Rt) -> None:
    ticket = rt.opens()
    assert case_of(rt, ticket).severity == "low"
    rt.sets(ticket, Priority=60)
    rt.sets(ticket, Priority=100)
    case = case_of(rt, ticket)
    assert case.severity == "high"
    assert [event.value for event in case.clock if event.what == "severity"] == ["medium", "high"]


def test_custom_fields_tell_customer_plan_and_credit_request(rt: Rt) -> None:
    ticket = rt.opens()
    fields = {"Billing Customer": "cus_acme", "Plan Tier": "enterprise", "Subscription": "sub_1", "Incident": "INC-7"}
    request = {"Credit Request Reason": "SLA breach", "Credit Request Amount": "120.50", "Credit Request Currency": "eur"}
    rt.sets(ticket, CustomFields={**fields, **request, "Credit Request Note": "asked on\nthe phone"})
    case, party = CONNECTOR.fetch["support_case"](rt.client(), ticket, call())
    assert isinstance(case, SupportCase) and isinstance(party, Party)
    assert (case.party, case.plan, case.subscription, case.incident) == ("customer:cus_acme", "enterprise", "sub_1", "INC-7")
    assert case.credit is not None and case.credit.by == "ines"
    assert (case.credit.reason, str(case.credit.amount), case.credit.currency) == ("SLA breach", "120.50", "EUR")
    assert case.credit.note == "asked on\nthe phone"
    assert party.same_as == "cus_acme"
    assert CONNECTOR.fetch["party"](rt.client(), "customer:cus_acme", call()) == [party]


def test_a_customer_nobody_knows_is_not_found(rt: Rt) -> None:
    for party in ("customer:cus_o'neill\\", "user:nobody@nowhere.example", "somebody"):
        with pytest.raises(Refused) as no:
            CONNECTOR.fetch["party"](rt.client(), party, call())
        assert no.value.code == "not_found"


def test_a_deleted_ticket_is_still_read(rt: Rt) -> None:
    ticket = rt.opens()
    rt.ines("DELETE", f"ticket/{ticket}")
    case = case_of(rt, ticket)
    assert case.deleted and case.status == "closed"
    kinds = [item.envelope.kind for item in sweep(rt).values() if item.envelope.subject_id == ticket]
    assert kinds[-1] == "Status deleted" and CONNECTOR.events[kinds[-1]] == "support.case.deleted"


def test_a_ticket_that_was_merged_away_is_a_deleted_case_before_the_other(rt: Rt) -> None:
    kept, gone = rt.opens(), rt.opens()
    rt.sets(gone, MergeInto=kept)
    first, second, *_ = CONNECTOR.fetch["support_case"](rt.client(), gone, call())
    assert isinstance(first, SupportCase) and isinstance(second, SupportCase)
    assert (first.external_id, first.deleted, second.external_id, second.deleted) == (gone, True, kept, False)
    assert moves(second) == ["opened"]


def test_a_ticket_that_left_our_queue_is_not_found_and_nothing_is_wrong_with_us(rt: Rt) -> None:
    ticket = rt.opens()
    rt.sets(ticket, Queue="Sales")
    with pytest.raises(Refused, match="left the queue") as no:
        case_of(rt, ticket)
    assert no.value.code == "not_found"
    with pytest.raises(Misconfigured, match="403"):
        case_of(rt, ticket, queue="Nowhere")
    assert ticket not in {item.envelope.subject_id for item in sweep(rt).values()}


# webhooks and sweep ------------------------------------------------------------------------------------------


def test_webhooks_verify_and_come_before_the_call_is_answered(rt: Rt) -> None:
    ticket = rt.opens()
    rt.replies(ticket)
    rt.sets(ticket, Status="resolved")
    kinds = {event["type"] for event in rt.about(ticket)}
    assert kinds == {"Create", "Correspond", "Status"}
    assert CONNECTOR.verify and CONNECTOR.envelope
    for delivery in rt.sink.deliveries:
        assert CONNECTOR.verify(delivery, [SECRET], datetime.now(UTC)) == 0
        with pytest.raises(BadSignature):
            CONNECTOR.verify(delivery, ["whsec_another_secret"], datetime.now(UTC))
    names = [CONNECTOR.events[CONNECTOR.envelope(orjson.dumps(event)).kind] for event in rt.about(ticket)]
    assert names[0] == "support.case.opened" and names[-1] == "support.case.resolved"


def test_webhooks_of_one_call_come_out_of_order(rt: Rt) -> None:
    ticket = rt.opens()
    rt.sets(ticket, Status="resolved")
    rt.writes(ticket, "It is down again")
    ids = [event["id"] for event in rt.about(ticket)]
    assert ids != sorted(ids)
    assert moves(case_of(rt, ticket)) == ["opened", "resolved", "reopened"]


def test_the_sweep_says_what_the_webhooks_said(rt: Rt) -> None:
    ticket = rt.opens()
    rt.replies(ticket)
    rt.sets(ticket, Status="resolved", Priority=50, CustomFields={"Incident": "INC-8"})
    assert CONNECTOR.envelope
    envelopes = [CONNECTOR.envelope(orjson.dumps(event)) for event in rt.about(ticket)]
    swept = sweep(rt)
    mine = [item.envelope for item in swept.values() if item.envelope.subject_id == ticket]
    assert sorted(envelopes, key=lambda it: it.external_id) == sorted(mine, key=lambda it: it.external_id)
    assert len(envelopes) == 6


def test_lost_webhooks_are_never_sent_again_and_the_sweep_finds_them(rt: Rt) -> None:
    ticket = rt.opens()
    before = len(rt.about(ticket))
    if rt.twin:
        rt.twin.losing = 2
    else:
        rt.sink.refuse = 2
    rt.sets(ticket, Status="stalled")
    rt.sets(ticket, Status="resolved")
    rt.sets(ticket, Priority=10)
    assert [event["type"] for event in rt.about(ticket)[before:]] == ["Set"]
    kinds = [item.envelope.kind for item in sweep(rt).values() if item.envelope.subject_id == ticket]
    assert kinds[-3:] == ["Status", "Status resolved", "Set"]


def test_a_sweep_starts_at_its_instant_whatever_the_time_zone_of_our_user(rt: Rt) -> None:
    rt.opens()
    page = CONNECTOR.pages["events"](rt.client(), datetime.now(UTC) + timedelta(hours=1), None, call())
    assert (list(page.items), page.cursor) == ([], None)


def test_pages_tell_no_total_and_are_short(rt: Rt) -> None:
    ticket = rt.opens()
    rt.replies(ticket)
    query = {"query": f"ObjectType = 'RT::Ticket' AND ObjectId = {ticket}", "orderby": "id", "per_page": 4}
    page = rt.client().get(call(), "transactions", **query)
    assert page["total"] is None and page["pages"] is None
    assert page["count"] == len(page["items"]) < 4
    assert moves(case_of(rt, ticket)) == ["opened", "first_reply"]


# writing -----------------------------------------------------------------------------------------------------


def test_the_block_is_written_once_and_replaced_in_place(rt: Rt) -> None:
    ticket, command = rt.opens(), CONNECTOR.commands["write_case"]
    assert command.find and command.find(rt.client(), block(ticket), call()) is None
    first = command.run(rt.client(), block(ticket), call())
    changes = len(rt.about(ticket))
    assert command.run(rt.client(), block(ticket), call()) == first == command.find(rt.client(), block(ticket), call())
    assert len(rt.about(ticket)) == changes == 5
    fields = shown(rt, ticket)
    assert (fields["Credit State"], fields["Credit Number"], fields["Credit Amount"]) == ("posted", "CM-7", "120.00 EUR")
    command.run(rt.client(), block(ticket, "Stopped <b>& explained</b>\n\nwith “quotes”", credit_state="rejected"), call())
    fields = shown(rt, ticket)
    assert fields["Tieout Block"] == "Stopped <b>& explained</b>\n\nwith “quotes”"
    assert fields["Credit State"] == "rejected" and not fields.get("Credit Number") and not fields.get("Credit Amount")


def shown(rt: Rt, ticket: str) -> dict[str, str]:
    listed = rt.ines("GET", f"ticket/{ticket}").json()["CustomFields"]
    return {entry["name"]: entry["values"][0] for entry in listed if entry["values"] not in ([], [None])}


def test_a_long_block_is_kept_whole(rt: Rt) -> None:
    ticket, long = rt.opens(), "\n".join(f"line {number}: what was posted where" for number in range(50))
    CONNECTOR.commands["write_case"].run(rt.client(), block(ticket, long), call())
    assert shown(rt, ticket)["Tieout Block"] == long


def test_a_field_that_does_not_exist_is_answered_200_and_refused_by_us(rt: Rt) -> None:
    ticket = rt.opens()
    assert rt.sets(ticket, CustomFields={"Nowhere": "x"}) == []
    with pytest.raises(Refused, match=r"does not keep Nowhere; it says: .*Credit State posted added") as no:
        CONNECTOR.commands["write_case"].run(rt.client(block_field="Nowhere"), block(ticket), call())
    assert no.value.code == "not_kept"


def test_a_value_that_is_not_allowed_is_answered_200_and_refused_by_us(rt: Rt) -> None:
    ticket = rt.opens()
    with pytest.raises(Refused, match="Invalid value for custom field"):
        CONNECTOR.commands["write_case"].run(rt.client(state_field="Plan Tier"), block(ticket), call())


def test_an_amount_without_a_currency_is_shown_as_it_is(rt: Rt) -> None:
    ticket = rt.opens()
    CONNECTOR.commands["write_case"].run(rt.client(), block(ticket, credit_amount="7.50"), call())
    assert shown(rt, ticket)["Credit Amount"] == "7.50"


def test_a_ticket_that_changed_meanwhile_is_busy(rt: Rt) -> None:
    ticket, client = rt.opens(), rt.client()
    _, etag = client.ticket(call(), ticket)
    rt.sets(ticket, Priority=20)
    with pytest.raises(Busy, match="412"):
        client.put(call(), f"ticket/{ticket}", {"CustomFields": {"Credit State": "posted"}}, etag=etag)
    assert "Credit State" not in shown(rt, ticket)


@pytest.mark.parametrize("public", [False, True])
def test_a_note_is_posted_once_also_when_the_customer_quotes_it(rt: Rt, public: bool) -> None:
    ticket, command = rt.opens(), CONNECTOR.commands["post_note"]
    note = PostNote(key=f"note-{ticket}-{public}-{rt.base_url}", case=ticket, text="Approved: 120.00 EUR", public=public)
    assert command.find and command.find(rt.client(), note, call()) is None
    first = command.run(rt.client(), note, call())
    text = rt.client().attachments(call(), ticket, {"TransactionId": ("=", int(first.external_id.partition("/")[2]))})
    rt.writes(ticket, "> " + text[0]["Content"].replace("\n", "\n> "))
    assert command.run(rt.client(), note, call()) == first == command.find(rt.client(), note, call())
    kinds = [event["type"] for event in rt.about(ticket) if event["creator"] == "hub"]
    assert kinds == ["Correspond" if public else "Comment"]


def test_what_staff_note_after_a_note_of_ours_is_told_with_its_words(rt: Rt) -> None:
    ticket = rt.opens()
    asked = CONNECTOR.commands["post_note"].run(
        rt.client(), PostNote(key=f"q-{ticket}-{rt.base_url}", case=ticket, text="Long?"), call()
    )
    words = {"Content": "Two hours, see 4242 4242 4242 4242", "ContentType": "text/plain"}
    rt.ines("POST", f"ticket/{ticket}/comment", words)
    rt.writes(ticket, "All day!")
    ours, answer = case_of(rt, ticket).notes
    assert (ours.external_id, ours.is_answer) == (asked.external_id, False)
    assert answer.is_answer and answer.by and answer.text.startswith("Two hours") and "4242 4242" not in answer.text


def test_a_case_that_does_not_exist_is_refused_by_every_call(rt: Rt) -> None:
    note = PostNote(key="nowhere", case="999999", text="x")
    client, write, post = rt.client(), CONNECTOR.commands["write_case"], CONNECTOR.commands["post_note"]
    calls = (
        lambda: CONNECTOR.fetch["support_case"](client, "999999", call()),
        lambda: CONNECTOR.fetch["support_case"](client, "../queue/3", call()),
        lambda: write.run(client, block("999999"), call()),
        lambda: post.run(client, note, call()),
        lambda: post.find and post.find(client, note, call()),
    )
    for attempt in calls:
        with pytest.raises(Refused) as no:
            attempt()
        assert no.value.code == "not_found"
