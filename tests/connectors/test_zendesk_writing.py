"""The credit on a Zendesk ticket: a block and notes, each once, and the errors of both."""

from __future__ import annotations

from typing import Any

import pytest

from canonical.commands import PostNote
from connectors.sdk.errors import Busy, Misconfigured, Refused, Unknown
from connectors.sdk.http import Call
from connectors.vendors.zendesk.client import check
from connectors.vendors.zendesk.commands import find_case, find_note, post_note, write_case
from connectors.vendors.zendesk.fake import FIELDS
from tests.connectors.zendesk import EMAIL, Desk, credit

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
