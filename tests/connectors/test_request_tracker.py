"""What a ticket and its history mean, whatever people do to them; the mapping alone, without a server."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from canonical.types import SupportCase
from connectors.sdk.errors import BadPayload
from connectors.vendors.request_tracker import CONNECTOR, events, mapping
from connectors.vendors.request_tracker.client import Settings, quoted
from connectors.vendors.request_tracker.commands import marker

SETTINGS = Settings(base_url="https://rt.example")
START = datetime(2026, 3, 1, 12, tzinfo=UTC)
STATUSES = ("new", "open", "stalled", "resolved", "rejected", "deleted")


def ticket(status: str = "open", priority: Any = "0", **fields: str) -> dict[str, Any]:
    listed = [
        {"id": str(n), "name": name.replace("_", " "), "values": [value]} for n, (name, value) in enumerate(fields.items(), 1)
    ]
    times = {"Created": "2026-03-01T12:00:00Z", "LastUpdated": "2026-03-01T13:00:00Z"}
    return {"id": 7, "Subject": "Down", "Status": status, "Priority": priority, "CustomFields": listed, "Requestor": [], **times}


def entry(number: int, kind: str, by: str = "ines", **more: str) -> dict[str, Any]:
    at = (START + timedelta(minutes=number)).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {"id": str(number), "Type": kind, "Created": at, "Creator": {"id": by}, **more}


def through(statuses: list[str]) -> list[dict[str, Any]]:
    """The history of a ticket that went through these statuses, from new."""
    pairs = itertools.pairwise(["new", *statuses])
    moved = [entry(n, "Status", OldValue=old, NewValue=new) for n, (old, new) in enumerate(pairs, 2) if old != new]
    return [entry(1, "Create", "ap@acme.example"), *moved]


def case(read: dict[str, Any], history: list[dict[str, Any]] | None = None, **more: Any) -> SupportCase:
    return mapping.support_case(mapping.Case(read, history or [], **more), SETTINGS)


@given(st.lists(st.sampled_from(STATUSES), max_size=12), st.randoms())
def test_the_clock_agrees_with_the_status_whatever_the_order_of_reading(statuses: list[str], random: Any) -> None:
    history = through(statuses)
    random.shuffle(history)
    read = case(ticket(statuses[-1] if statuses else "new"), history)
    assert list(read.clock) == sorted(read.clock, key=lambda event: event.at)
    ended = paused = False
    for event in read.clock:
        if event.what in ("resolved", "reopened"):
            assert ended is (event.what == "reopened")
            ended = not ended
        paused = event.what == "paused" or (paused and event.what == "severity")
    assert ended is (read.status in ("resolved", "closed"))
    assert paused is (read.status == "pending")
    assert (read.resolved_at is not None) is ended
    assert read.deleted is (bool(statuses) and statuses[-1] == "deleted")


def test_a_case_is_opened_when_its_ticket_says_not_a_second_later() -> None:
    read = case(ticket(), [entry(1, "Create", "ap@acme.example")])
    assert (read.clock[0].what, read.clock[0].at, read.opened_at) == ("opened", START, START)


def test_the_first_reply_is_the_first_of_the_staff() -> None:
    history = [entry(3, "Correspond", "ines"), entry(2, "Correspond", "colleague@acme.example"), entry(5, "Correspond", "ines")]
    read = case(ticket(), history, staff={"ines"})
    assert [(event.what, event.external_id) for event in read.clock] == [("first_reply", "transaction/3")]
    assert case(ticket(), history).first_reply_at is None


@pytest.mark.parametrize(
    ("priority", "severity"),
    [("0", "low"), (49, "low"), ("50", "medium"), ("99", "medium"), ("100", "high"), ("250", "high"), ("-1", "-1")],
)
def test_a_priority_is_the_highest_severity_it_reaches(priority: Any, severity: str) -> None:
    assert case(ticket(priority=priority)).severity == severity


@pytest.mark.parametrize("amount", ["about 100", "1,200", "1.200,00", "0", "-5", "1e3", "NaN", "١٢", "12 EUR", "1" * 20])
def test_an_amount_that_is_not_plainly_a_number_is_left_to_people(amount: str) -> None:
    credit = case(ticket(Credit_Request_Reason="late", Credit_Request_Amount=amount)).credit
    assert credit is not None and credit.amount is None
    assert f"The amount is not readable: {amount!r}." in credit.note


@given(st.decimals(min_value="0.01", max_value="999999999999", places=2))
def test_a_plain_amount_is_read_to_the_cent(amount: Decimal) -> None:
    credit = case(ticket(Credit_Request_Amount=f" {amount} ")).credit
    assert credit is not None and (credit.amount, credit.note) == (amount, "")


def test_without_reason_and_amount_nobody_asks_for_a_credit() -> None:
    assert case(ticket(Credit_Request_Note="just a thought", Credit_Request_Currency="EUR")).credit is None


def test_a_request_is_by_whoever_filled_it_last_else_by_whoever_opened_the_ticket() -> None:
    opened = entry(1, "Create", "ap@acme.example")
    fields = {"Incident": "INC-1", "Credit_Request_Reason": "late"}
    filled = [entry(3, "CustomField", "bea", Field="2"), entry(2, "CustomField", "ines", Field="2")]
    other = entry(4, "CustomField", "carl", Field="1")
    for history, by in (([opened, other], "ap@acme.example"), ([opened, *filled, other], "bea")):
        credit = case(ticket(**fields), history).credit
        assert credit is not None and credit.by == by


def test_every_text_of_people_is_masked() -> None:
    card = "4242 4242 4242 4242"
    fields = ("Incident", "Plan_Tier", "Subscription", "Credit_Request_Reason", "Credit_Request_Amount", "Credit_Request_Note")
    read = case({**ticket(**dict.fromkeys(fields, card)), "Subject": card}, description=card)
    assert "4242 4242" not in read.model_dump_json()


def test_a_ticket_belongs_to_the_customer_it_names_else_to_the_first_requestor() -> None:
    asking = {**ticket(), "Requestor": [{"id": "ap@acme.example"}, {"id": "bo@acme.example"}]}
    assert case(ticket()).party is None
    assert case(asking).party == "user:ap@acme.example"
    assert case(asking | {"CustomFields": ticket(Billing_Customer=" cus_1 ")["CustomFields"]}).party == "customer:cus_1"


@pytest.mark.parametrize(
    "broken",
    [
        {"Created": "yesterday"}, {"Created": None}, {"LastUpdated": "2026-03-01T12:00:00"}, {"Priority": "urgent"},
        {"CustomFields": [{"values": ["x"]}]}, {"CustomFields": "x"}, {"CustomFields": [7]}, {"Requestor": [7]},
        {"Requestor": [{"id": "x" * 300}]}, {"id": None},
    ],
)  # fmt: skip
def test_a_ticket_that_is_not_understood_is_bad_payload(broken: dict[str, Any]) -> None:
    with pytest.raises(BadPayload):
        case({**ticket(), **broken})


@given(st.sampled_from(("Create", "Status", "Set", "Comment", "Munge")), st.text(max_size=20), st.integers(1, 10**9))
def test_a_swept_transaction_has_the_identity_of_its_webhook(kind: str, new: str, number: int) -> None:
    swept = events.envelope(events.delivery(entry(5, kind, ObjectId=str(number), NewValue=new) | {"id": str(number)}, "Support"))
    told = {"id": number, "ticket": number, "type": kind, "new": new, "created": "2026-03-01T12:05:00Z", "status": "open"}
    assert events.envelope(orjson.dumps(told)) == swept
    assert (swept.subject_id == str(number)) is (kind != "Munge")


@pytest.mark.parametrize(
    "told",
    [{"id": "7"}, {"id": 0}, {"id": True}, {"ticket": None}, {"type": ""}, {"type": 7}, {"created": "noon"}, {"created": None}],
)
def test_a_delivery_without_identity_is_bad_payload(told: dict[str, Any]) -> None:
    whole = {"id": 1, "ticket": 2, "type": "Create", "created": "2026-03-01T12:00:00Z"}
    events.envelope(orjson.dumps(whole))
    with pytest.raises(BadPayload):
        events.envelope(orjson.dumps(whole | told))


def test_no_delivery_keeps_a_card_number() -> None:
    body = orjson.dumps({"id": 4242424242424242, "ticket": 1, "type": "CustomField", "new": "card 4242 4242 4242 4242"})
    assert CONNECTOR.redact is not None
    kept = orjson.loads(CONNECTOR.redact(body))
    assert kept["new"] == "card **** **** **** 4242" and kept["id"] == 4242424242424242


@given(st.text(min_size=1), st.text(min_size=1))
def test_a_marker_tells_keys_apart_and_needs_no_quoting(one: str, other: str) -> None:
    assert (marker(one) == marker(other)) is (one == other)
    assert not set(marker(one)) & set("%_\\'\"")


def test_names_cannot_leave_their_place_in_a_query() -> None:
    assert quoted("o'neill\\") == "'o\\'neill\\\\'"
