"""What the Zendesk connector makes of a living account, told by its twin: clocks, credits, notes, the export, webhooks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import orjson
import pytest
import requests
from hypothesis import given, settings
from hypothesis import strategies as st

from canonical.commands import PostNote, WriteCase
from canonical.types import Party, SupportCase
from connectors.sdk.contract import Envelope, SourceEvent
from connectors.sdk.errors import BadPayload, Busy, Misconfigured, Refused, Unknown
from connectors.sdk.http import Call, Http
from connectors.sdk.twin import Answer, Asked
from connectors.vendors.zendesk import CONNECTOR
from connectors.vendors.zendesk.client import Credentials, Settings, Zendesk, check
from connectors.vendors.zendesk.clock import clock_of
from connectors.vendors.zendesk.commands import find_case, find_note, post_note, write_case
from connectors.vendors.zendesk.events import SIGNATURE, envelope
from connectors.vendors.zendesk.fake import FIELDS, ZendeskTwin
from connectors.vendors.zendesk.reads import fetch_case, fetch_party, page_cases
from tests.connectors.sink import Sink

EMAIL, TOKEN = "hub@acme.example", "not-a-real-api-token"
CARD = "4242 4242 4242 4242"


@dataclass
class Desk:
    """A twin with a customer and an agent, and a client of it."""

    twin: ZendeskTwin
    client: Zendesk
    organization: int
    customer: int
    agent: int

    def open(self, **given: Any) -> str:
        with self.twin.lock:
            given = {"subject": "Exports fail", "body": "Every export fails.", "requester_id": self.customer, **given}
            return str(self.twin.store.open(**given)["id"])

    def says(self, case: str, by: int, body: str = "Words.", **given: Any) -> None:
        with self.twin.lock:
            self.twin.store.reply(int(case), by, body, **given)

    def sets(self, case: str, by: int | None = None, **given: Any) -> None:
        with self.twin.lock:
            self.twin.store.update(int(case), given, by or self.agent)

    def wait(self, minutes: float) -> None:
        self.twin.advance(60 * minutes)

    def case(self, external_id: str) -> SupportCase:
        found = fetch_case(self.client, external_id, Call())[0]
        assert isinstance(found, SupportCase)
        return found

    def field(self, case: str, name: str) -> Any:
        slots = self.twin.store.tickets[int(case)]["custom_fields"]
        return next(slot["value"] for slot in slots if str(slot["id"]) == FIELDS[name])

    def audits(self, case: str) -> list[dict[str, Any]]:
        return self.twin.store.audits[int(case)]

    def comments(self, case: str) -> list[dict[str, Any]]:
        return [event for audit in self.audits(case) for event in audit["events"] if event["type"] == "Comment"]

    def sweep(self, since: timedelta = timedelta(hours=1)) -> list[SourceEvent]:
        items: list[SourceEvent] = []
        page = page_cases(self.client, datetime.now(UTC) - since, None, Call())
        items += page.items
        while page.cursor:
            page = page_cases(self.client, datetime.now(UTC) - since, page.cursor, Call())
            items += page.items
        return items


@pytest.fixture
def desk() -> Iterator[Desk]:
    http = Http()
    with ZendeskTwin(EMAIL, TOKEN) as twin:
        with twin.lock:
            organization = twin.store.organization("Acme GmbH", "cus_0001", {"plan": "gold"})["id"]
            customer = twin.store.user("Rosa", "rosa@acme.example", organization_id=organization)["id"]
            agent = twin.store.user("Ada", "ada@desk.example", "agent")["id"]
        told = Settings(base_url=twin.url, email=EMAIL, organization_plan="plan", **FIELDS)
        yield Desk(twin, Zendesk(told, Credentials(api_token=TOKEN), http), organization, customer, agent)
    http.close()


def credit(case: str, key: str = "k1", **given: Any) -> WriteCase:
    wanted = {"block": "Credit requested", "values": {"credit_state": "requested"}, "tags": ("tieout_requested",), **given}
    return WriteCase(key=key, case=case, **wanted)


# the clock ---------------------------------------------------------------------------------------------------


def test_the_clock_is_what_the_audits_tell(desk: Desk) -> None:
    case = desk.open(priority="normal")
    desk.wait(5)
    desk.says(case, desk.agent, "Internal thought.", public=False, status="open")
    desk.wait(5)
    desk.sets(case, priority="urgent")
    desk.wait(10)
    desk.says(case, desk.agent, "Which export?", status="pending")
    desk.wait(60)
    desk.says(case, desk.customer, "All of them.")
    desk.wait(30)
    desk.says(case, desk.agent, "Repaired.", status="solved")
    desk.wait(30)
    desk.says(case, desk.customer, "No.")
    desk.wait(10)
    desk.sets(case, status="hold")
    desk.wait(10)
    desk.sets(case, status="solved")
    found = desk.case(case)
    start = found.opened_at
    told = [(event.what, event.value, round((event.at - start) / timedelta(minutes=1))) for event in found.clock]
    assert told == [
        ("opened", "", 0), ("severity", "normal", 0), ("severity", "urgent", 10), ("first_reply", "", 20),
        ("paused", "pending", 20), ("resumed", "open", 80), ("resolved", "solved", 110), ("reopened", "open", 140),
        ("paused", "hold", 150), ("resolved", "solved", 160),
    ]  # fmt: skip
    assert (found.status, found.severity) == ("resolved", "urgent")
    assert (found.first_reply_at, found.resolved_at) == (start + timedelta(minutes=20), start + timedelta(minutes=160))
    assert found.clock[3].external_id in {str(comment["id"]) for comment in desk.comments(case)}


def test_a_case_that_is_open_again_is_not_resolved(desk: Desk) -> None:
    case = desk.open()
    desk.sets(case, status="solved")
    desk.says(case, desk.customer, "It is back.")
    found = desk.case(case)
    assert (found.status, found.resolved_at) == ("open", None)
    assert [event.what for event in found.clock] == ["opened", "resolved", "reopened"]


def test_closing_a_solved_case_does_not_move_its_clock(desk: Desk) -> None:
    case = desk.open()
    desk.sets(case, status="solved")
    solved = desk.case(case)
    desk.wait(60)
    desk.sets(case, status="closed")
    closed = desk.case(case)
    assert (closed.status, closed.clock, closed.resolved_at) == ("closed", solved.clock, solved.resolved_at)


@pytest.mark.parametrize("by", ["customer", "hub", "agent who wrote the case down"])
def test_not_every_public_comment_is_a_first_reply(desk: Desk, by: str) -> None:
    case = desk.open(by=desk.agent if by.startswith("agent") else None)
    if by == "customer":
        desk.says(case, desk.customer, "Hello?")
    elif by == "hub":
        post_note(desk.client, PostNote(key="k", case=case, text="We have it.", public=True), Call())
    assert desk.case(case).first_reply_at is None
    desk.says(case, desk.agent, "Hello.")
    assert desk.case(case).first_reply_at is not None


def test_on_hold_counts_when_the_promise_says_so(desk: Desk) -> None:
    case = desk.open()
    for status in ("open", "hold", "pending", "hold", "open"):
        desk.sets(case, status=status)
    assert [event.what for event in desk.case(case).clock] == ["opened", "paused", "resumed"]
    desk.client.settings = desk.client.settings.model_copy(update={"hold_pauses": False})
    assert [event.what for event in desk.case(case).clock] == ["opened", "paused", "resumed"]
    assert [event.value for event in desk.case(case).clock] == ["", "pending", "hold"]


@settings(max_examples=200)
@given(st.lists(st.sampled_from(["new", "open", "pending", "hold", "solved", "closed"]), max_size=12), st.booleans())
def test_pauses_and_resolutions_never_nest(statuses: list[str], hold_pauses: bool) -> None:
    stamp = {"created_at": "2026-03-01T12:00:00Z"}
    audits = [
        {"id": number + 1, **stamp, "events": [{"type": "Change", "field_name": "status", "value": status}]}
        for number, status in enumerate(statuses)
    ]
    told = Settings(base_url="https://acme.zendesk.com", email=EMAIL, hold_pauses=hold_pauses)
    paused = resolved = False
    for event in clock_of(stamp, audits, {}, told)[1:]:
        match event.what:
            case "paused":
                assert not paused and not resolved
                paused = True
            case "resumed":
                assert paused and not resolved
                paused = False
            case "resolved":
                assert not resolved
                paused, resolved = False, True
            case "reopened":
                assert resolved
                resolved = False
    last = statuses[-1] if statuses else "new"
    assert resolved == (last in ("solved", "closed"))
    assert paused == (last == "pending" or (last == "hold" and hold_pauses))


def test_a_history_longer_than_a_page_is_read_to_its_end(desk: Desk) -> None:
    case = desk.open()
    for number in range(120):
        desk.says(case, desk.customer, f"Still broken, {number}.")
    desk.says(case, desk.agent, "We are on it.")
    assert desk.case(case).first_reply_at is not None


# who and what ------------------------------------------------------------------------------------------------


def test_a_case_brings_its_organisation_with_billings_id(desk: Desk) -> None:
    case, party = fetch_case(desk.client, desk.open(), Call())
    assert isinstance(case, SupportCase) and isinstance(party, Party)
    assert case.party == party.external_id == str(desk.organization)
    assert (party.name, party.same_as, case.plan) == ("Acme GmbH", "cus_0001", "gold")
    assert case.url == f"{desk.twin.url}/agent/tickets/{case.external_id}"


def test_a_requester_without_an_organisation_is_the_party(desk: Desk) -> None:
    with desk.twin.lock:
        alone = desk.twin.store.user("Otto", "otto@home.example")["id"]
    case, party = fetch_case(desk.client, desk.open(requester_id=alone), Call())
    assert isinstance(case, SupportCase) and isinstance(party, Party)
    assert case.party == party.external_id == f"user:{alone}"
    assert fetch_party(desk.client, party.external_id, Call()) == [party]
    assert party.email == "otto@home.example"


@pytest.mark.parametrize("external_id", ["987654321", "user:987654321", "user:", "user:me", "../users/me", "1/2", ""])
def test_what_is_no_party_is_not_found(desk: Desk, external_id: str) -> None:
    with pytest.raises(Refused) as refused:
        fetch_party(desk.client, external_id, Call())
    assert refused.value.code == "not_found"


def test_a_deleted_case_is_not_found(desk: Desk) -> None:
    case = desk.open()
    with desk.twin.lock:
        desk.twin.store.delete(int(case))
    with pytest.raises(Refused) as refused:
        desk.case(case)
    assert refused.value.code == "not_found"


def test_an_agent_asks_for_a_credit_with_fields(desk: Desk) -> None:
    case = desk.open()
    assert desk.case(case).credit is None
    wanted = {
        "field_request_reason": "Outage", "field_request_amount": "34.50", "field_request_currency": "eur",
        "field_request_note": "Promised.", "field_subscription": "sub_1",
    }  # fmt: skip
    desk.sets(case, custom_fields=[{"id": FIELDS[name], "value": value} for name, value in wanted.items()])
    found = desk.case(case)
    assert found.credit is not None
    assert found.credit.model_dump() == {
        "reason": "Outage", "amount": Decimal("34.50"), "currency": "EUR", "note": "Promised.", "by": "Ada",
    }  # fmt: skip
    assert found.subscription == "sub_1"


def test_a_tag_alone_asks_for_what_the_policy_computes_and_tells_who_set_it(desk: Desk) -> None:
    case = desk.open(tags=["tieout_credit_request"])
    found = desk.case(case).credit
    assert found is not None
    assert (found.amount, found.by) == (None, "Rosa (end-user)")


@pytest.mark.parametrize("amount", ["about 30", "-5", "0", "NaN", "Infinity", "1e999999999", "12,50", "1.00001", "\u0663", True])
def test_an_amount_that_cannot_be_read_is_not_guessed(desk: Desk, amount: Any) -> None:
    case = desk.open()
    desk.sets(case, custom_fields=[{"id": FIELDS["field_request_amount"], "value": amount}])
    with pytest.raises(BadPayload):
        desk.case(case)


def test_an_amount_that_zendesk_writes_as_a_number_is_exact(desk: Desk) -> None:
    case = desk.open()
    desk.sets(case, custom_fields=[{"id": FIELDS["field_request_amount"], "value": 0.1}])
    found = desk.case(case).credit
    assert found is not None and found.amount == Decimal("0.1")


def test_no_card_number_gets_past_the_mapping(desk: Desk) -> None:
    typed_in = ("request_reason", "request_currency", "request_note", "subscription", "incident", "plan")
    fields = [{"id": FIELDS[f"field_{name}"], "value": CARD} for name in typed_in]
    with desk.twin.lock:
        named = desk.twin.store.user(f"Rosa {CARD}", f"{CARD.replace(' ', '')}@acme.example")["id"]
    given = {"requester_id": named, "tags": [CARD.replace(" ", "")], "custom_fields": fields}
    case = desk.open(subject=f"Card {CARD}", body=f"Charged on {CARD.replace(' ', '')}!", **given)
    told = "".join(found.model_dump_json() for found in fetch_case(desk.client, case, Call()))
    assert "4242424242424242" not in told and CARD not in told
    assert "************4242" in told


# the credit on the ticket ------------------------------------------------------------------------------------


def test_the_block_is_rewritten_in_place_and_never_a_comment(desk: Desk) -> None:
    case = desk.open()
    states = ("requested", "approved", "posted")
    for state in states:
        values = {"credit_state": state, "credit_amount": "12.50", "credit_currency": "EUR", "credit_number": "CN-1"}
        written = write_case(desk.client, credit(case, state, block=f"Credit\n{state}", values=values), Call())
        assert written.external_id == case
    assert desk.field(case, "field_block") == "Credit\nposted"
    assert [desk.field(case, f"field_{name}") for name in ("state", "number", "amount", "currency")] == [
        "posted", "CN-1", "12.50", "EUR",
    ]  # fmt: skip
    assert len(desk.comments(case)) == 1


def test_writing_what_is_there_changes_nothing(desk: Desk) -> None:
    case = desk.open()
    write_case(desk.client, credit(case), Call())
    before, context = len(desk.audits(case)), Call()
    write_case(desk.client, credit(case, "another key"), context)
    assert len(desk.audits(case)) == before
    assert {exchange.method for exchange in context.exchanges} == {"GET"}


def test_the_hubs_tags_change_and_those_of_others_stay(desk: Desk) -> None:
    case = desk.open(tags=["enterprise", "tieout_credit_request", "tieout_old"])
    write_case(desk.client, credit(case, tags=("tieout_requested",)), Call())
    write_case(desk.client, credit(case, tags=("tieout_posted",)), Call())
    assert desk.twin.store.tickets[int(case)]["tags"] == ["enterprise", "tieout_credit_request", "tieout_posted"]
    assert find_case(desk.client, credit(case, tags=("tieout_requested",)), Call()) is None


def test_what_zendesk_reformats_still_counts_as_written(desk: Desk) -> None:
    case = desk.open()
    request = credit(case, block="Credit\nposted\n", values={"credit_amount": "12.50"})
    write_case(desk.client, request, Call())
    shown = [{"id": FIELDS["field_block"], "value": "Credit\r\nposted"}, {"id": FIELDS["field_amount"], "value": "12.5"}]
    desk.sets(case, custom_fields=shown)
    assert find_case(desk.client, request, Call()) is not None
    desk.sets(case, custom_fields=[{"id": FIELDS["field_amount"], "value": "12.51"}])
    assert find_case(desk.client, request, Call()) is None


def test_a_closed_case_is_refused_as_closed(desk: Desk) -> None:
    case = desk.open()
    desk.sets(case, status="closed")
    for attempt in (
        lambda: write_case(desk.client, credit(case), Call()),
        lambda: post_note(desk.client, PostNote(key="k", case=case, text="Too late."), Call()),
    ):
        with pytest.raises(Refused) as refused:
            attempt()
        assert refused.value.code == "closed"


def test_an_agents_change_meanwhile_is_not_overwritten(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    case = desk.open(tags=["one"])
    put = desk.client.put

    def late(call: Call, path: str, body: Any) -> Any:
        desk.wait(1)
        desk.sets(case, tags=["one", "two"])
        return put(call, path, body)

    monkeypatch.setattr(desk.client, "put", late)
    with pytest.raises(Busy) as busy:
        write_case(desk.client, credit(case), Call())
    assert busy.value.code == "conflict"
    assert desk.twin.store.tickets[int(case)]["tags"] == ["one", "two"]


def test_a_field_that_the_account_does_not_have_is_noticed(desk: Desk) -> None:
    desk.client.settings = desk.client.settings.model_copy(update={"field_block": "999"})
    with pytest.raises(Refused) as refused:
        write_case(desk.client, credit(desk.open()), Call())
    assert refused.value.code == "not_kept"


# notes -------------------------------------------------------------------------------------------------------


def test_a_note_is_posted_once_by_its_key(desk: Desk) -> None:
    case = desk.open()
    first = post_note(desk.client, PostNote(key="k1", case=case, text="For agents."), Call())
    again = post_note(desk.client, PostNote(key="k1", case=case, text="For agents."), Call())
    other = post_note(desk.client, PostNote(key="k2", case=case, text="For agents."), Call())
    assert first == again != other
    assert [(comment["body"], comment["public"]) for comment in desk.comments(case)[1:]] == [("For agents.", False)] * 2


def test_the_key_is_nowhere_where_a_customer_reads(desk: Desk) -> None:
    case = desk.open()
    post_note(desk.client, PostNote(key="a-secret-key", case=case, text="A credit was issued.", public=True), Call())
    assert desk.audits(case)[-1]["metadata"]["custom"] == {"tieout_key": "a-secret-key"}
    assert "a-secret-key" not in repr(desk.comments(case)) + repr(desk.twin.store.tickets[int(case)])


def test_a_note_whose_answer_was_lost_is_found(desk: Desk) -> None:
    request = PostNote(key="k1", case=desk.open(), text="Once.", public=True)
    assert find_note(desk.client, request, Call()) is None
    desk.twin.arm("drop_reply", match="PUT /api/v2/tickets/")
    with pytest.raises(Unknown):
        post_note(desk.client, request, Call())
    found = find_note(desk.client, request, Call())
    assert found == post_note(desk.client, request, Call())
    assert len(desk.comments(request.case)) == 2


# errors ------------------------------------------------------------------------------------------------------


def test_a_full_minute_is_waited_for_as_zendesk_asks(desk: Desk) -> None:
    case = desk.open()
    desk.twin.arm("status", status=429, retry_after="37", match="GET /api/v2/incremental")
    with pytest.raises(Busy) as busy:
        desk.sweep()
    assert (busy.value.retry_after, busy.value.throttled) == (37, True)
    desk.twin.arm("status", status=503, after=True, match="PUT /api/v2/tickets/")
    with pytest.raises(Unknown):
        write_case(desk.client, credit(case), Call())


def test_only_agents_get_in(desk: Desk) -> None:
    assert check(desk.client, Call()).identity == EMAIL
    with desk.twin.lock:
        desk.twin.store.users[desk.twin.store.me]["role"] = "end-user"
    with pytest.raises(Misconfigured):
        check(desk.client, Call())


# the export --------------------------------------------------------------------------------------------------


def test_the_export_tells_of_deleted_cases(desk: Desk) -> None:
    kept, deleted = desk.open(), desk.open()
    with desk.twin.lock:
        desk.twin.store.delete(int(deleted))
    desk.wait(2)
    told = {item.envelope.subject_id: CONNECTOR.events[item.envelope.kind] for item in desk.sweep()}
    assert told == {kept: "support.case.observed", deleted: "support.case.deleted"}


def test_the_last_minute_comes_with_the_next_sweep(desk: Desk) -> None:
    case = desk.open()
    assert desk.sweep() == []
    assert desk.sweep(since=timedelta(0)) == []  # and a start in it is not asked for
    desk.wait(2)
    assert [item.envelope.subject_id for item in desk.sweep()] == [case]


def test_a_case_is_another_event_once_it_has_changed(desk: Desk) -> None:
    case = desk.open()
    desk.wait(2)
    first, again = desk.sweep(), desk.sweep()
    assert first == again
    desk.says(case, desk.agent, "A reply changes no field.")
    desk.wait(2)
    (changed,) = desk.sweep()
    assert changed.envelope.external_id != first[0].envelope.external_id
    assert changed.envelope.subject_id == case


def test_the_export_keeps_nothing_that_a_person_typed(desk: Desk) -> None:
    desk.open(subject="Private subject", body="Private words", tags=["private_tag"])
    desk.wait(2)
    (item,) = desk.sweep()
    assert b"rivate" not in item.body
    assert envelope(item.body) == item.envelope


def test_a_ticket_nobody_can_read_hides_no_other(desk: Desk) -> None:
    broken, fine = desk.open(), desk.open()
    desk.wait(2)
    desk.twin.store.tickets[int(broken)]["updated_at"] = "yesterday"
    first, second = desk.sweep()
    assert (first.envelope.problem != "", second.envelope.subject_id, second.envelope.problem) == (True, fine, "")


# webhooks ----------------------------------------------------------------------------------------------------


def kinds(sink: Sink) -> list[Envelope]:
    return [envelope(delivery.body) for delivery in sink.deliveries]


def test_what_happens_is_delivered_signed(desk: Desk, sink: Sink) -> None:
    desk.twin.deliver_to(sink.url, "s3cret")
    case = desk.open()
    desk.says(case, desk.agent, "Hello.", status="open")
    desk.sets(case, status="solved")
    with desk.twin.lock:
        desk.twin.store.change_organization(desk.organization, external_id="cus_0002")
        desk.twin.store.delete(int(case))
    desk.twin.webhooks.wait_until_quiet()
    told = [(CONNECTOR.events[e.kind], e.subject_kind, e.subject_id) for e in kinds(sink)]
    assert told == [
        ("support.case.opened", "support_case", case),
        ("support.case.updated", "support_case", case),
        ("support.case.updated", "support_case", case),
        ("support.case.resolved", "support_case", case),
        ("support.party.updated", "party", str(desk.organization)),
        ("support.case.deleted", "support_case", case),
    ]
    for delivery in sink.deliveries:
        assert SIGNATURE.verify(delivery, ["s3cret"], datetime.now(UTC)) == 0


def test_deliveries_come_twice_late_or_never_when_told_to(desk: Desk, sink: Sink) -> None:
    desk.twin.deliver_to(sink.url, "s3cret", duplicate=1)
    desk.open()
    desk.twin.webhooks.wait_until_quiet()
    first, second = kinds(sink)
    assert first == second
    desk.twin.deliver_to(sink.url, "s3cret", reorder=0.5, seed=3)
    made = [desk.open() for _ in range(12)]
    desk.twin.webhooks.wait_until_quiet()
    came = [told.subject_id for told in kinds(sink)[2:]]
    assert sorted(came) == sorted(made) and came != made
    desk.twin.deliver_to(sink.url, "s3cret", drop=1)
    desk.open()
    desk.twin.webhooks.wait_until_quiet()
    assert len(sink.deliveries) == 14 and desk.twin.webhooks.dropped == 1


def test_a_refused_delivery_is_left_to_the_sweep(desk: Desk, sink: Sink) -> None:
    desk.twin.deliver_to(sink.url, "s3cret")
    sink.refuse = 1
    case = desk.open()
    desk.twin.webhooks.wait_until_quiet()
    assert sink.deliveries == [] and desk.twin.webhooks.failed == 1
    desk.wait(2)
    assert [item.envelope.subject_id for item in desk.sweep()] == [case]


class Colliding(Sink):
    """Answers 409 as often as it is told to refuse."""

    def handle(self, asked: Asked) -> Answer:
        answer = super().handle(asked)
        return Answer.json(409, {}) if answer.status == 503 else answer


@pytest.mark.parametrize(("times", "came"), [(3, 1), (4, 0)])
def test_a_collision_is_tried_again_three_times(desk: Desk, times: int, came: int) -> None:
    with Colliding() as sink:
        sink.refuse = times
        desk.twin.deliver_to(sink.url, "s3cret")
        desk.open()
        desk.twin.webhooks.wait_until_quiet()
        assert (len(sink.deliveries), desk.twin.webhooks.failed) == (came, 1 - came)


def test_card_numbers_in_a_delivery_are_not_kept(desk: Desk, sink: Sink) -> None:
    desk.twin.deliver_to(sink.url, "s3cret")
    desk.open(body=f"Charged on {CARD}.")
    desk.twin.webhooks.wait_until_quiet()
    body = sink.deliveries[0].body
    assert CONNECTOR.redact is not None
    kept = CONNECTOR.redact(body)
    assert CARD.encode() in body and CARD.encode() not in kept
    assert envelope(kept) == envelope(body)


# people, over the wire ---------------------------------------------------------------------------------------


def test_people_are_played_over_http(desk: Desk, sink: Sink) -> None:
    def asks(method: str, path: str, **given: Any) -> Any:
        answer = requests.request(method, f"{desk.twin.url}/_twin/{path}", data=orjson.dumps(given), timeout=5)
        assert answer.status_code == 200, answer.text
        return answer.json()

    asks("POST", "webhooks", url=sink.url, secret="s3cret")
    organization = asks("POST", "organizations", name="Beta", external_id="cus_2")["id"]
    customer = asks("POST", "users", name="Bob", email="bob@beta.example", organization_id=organization)["id"]
    agent = asks("POST", "users", name="Eve", role="agent")["id"]
    case = asks("POST", "tickets", subject="Down", body="It is down.", requester_id=customer)["id"]
    asks("POST", f"tickets/{case}/reply", by=agent, body="On it.", status="open")
    asks("POST", f"tickets/{case}", by=agent, priority="urgent", additional_tags=["vip"])
    found = desk.case(str(case))
    assert (found.severity, found.tags, found.party) == ("urgent", ("vip",), str(organization))
    assert found.first_reply_at is not None
    asks("DELETE", f"tickets/{case}")
    assert requests.get(f"{desk.twin.url}/_twin/books", timeout=5).json()["tickets"][0]["status"] == "deleted"
    sink.wait_for(1, "ticket.soft_deleted")
    refused = requests.post(f"{desk.twin.url}/_twin/tickets/{case}", data=b'{"status": "open"}', timeout=5)
    assert refused.status_code == 404
    asks("DELETE", "webhooks")


# Zendesk's own opinion -----------------------------------------------------------------------------------------


def test_what_zendesks_own_sla_policy_says_comes_with_the_case(desk: Desk) -> None:
    case = desk.open()
    with desk.twin.lock:
        store = desk.twin.store
        store.measure(int(case), "reply_time", "apply_sla", target=60, policy="Gold")
        store.measure(int(case), "reply_time", "breach")
        store.measure(int(case), "reply_time", "breach", instance_id=2)
        store.measure(int(case), "requester_wait_time", "breach")["deleted"] = True
        store.measure(int(case), "periodic_update_time", "breach")
    told = [(event.what, event.type, event.target, event.policy) for event in desk.case(case).platform_sla]
    assert told == [("first_response", "applied", 60, "Gold"), ("first_response", "breached", None, "")]
    assert desk.case(desk.open()).platform_sla == ()
