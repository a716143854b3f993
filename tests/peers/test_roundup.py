"""What the Roundup connector promises, asked of the twin and of a real Roundup: so each test also proves the twin."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from uuid import uuid4

import pytest
import requests

from canonical.types import Party, SupportCase
from connectors.sdk.errors import BadPayload, Misconfigured
from connectors.sdk.twin import Answer, Asked
from connectors.vendors.roundup import CONNECTOR, reading
from hub.demo.peers import PeerUnavailable
from hub.demo.peers.roundup import RoundupPeer
from tests.connectors.sink import Sink
from tests.peers.tracker import SECRET, Desk

pytestmark = pytest.mark.peer


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
