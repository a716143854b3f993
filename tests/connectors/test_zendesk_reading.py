"""What a case of Zendesk becomes: its clock, whose it is, what is asked for, and what the export tells."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from canonical.commands import PostNote
from canonical.types import Party, SupportCase
from connectors.sdk.errors import BadPayload, Refused
from connectors.sdk.http import Call
from connectors.vendors.zendesk import CONNECTOR
from connectors.vendors.zendesk.client import Settings
from connectors.vendors.zendesk.clock import clock_of
from connectors.vendors.zendesk.commands import post_note
from connectors.vendors.zendesk.events import envelope
from connectors.vendors.zendesk.fake import FIELDS
from connectors.vendors.zendesk.reads import fetch_case, fetch_party
from tests.connectors.zendesk import CARD, EMAIL, Desk

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
