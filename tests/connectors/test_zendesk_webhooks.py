"""What Zendesk delivers when something happens, played by people over HTTP as well."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
import requests

from connectors.sdk.contract import Envelope
from connectors.sdk.twin import Answer, Asked
from connectors.vendors.zendesk import CONNECTOR
from connectors.vendors.zendesk.events import SIGNATURE, envelope
from tests.connectors.sink import Sink
from tests.connectors.zendesk import CARD, Desk

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
