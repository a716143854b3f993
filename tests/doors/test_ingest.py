"""The door for deliveries: what is let in, what is kept, and what is never lost."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any
from unittest import mock

import orjson
import pytest
import requests
import time_machine
from django.db import connection as database
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from canonical.models import LegalEntity, move
from connectors.models import Connection
from connectors.sdk.contract import Connector
from connectors.sdk.errors import BadPayload
from hub import answers, inbox
from hub.doors.ingest import MAX_BODY
from hub.engine import crash
from hub.models import InboxEvent, ReviewItem, Run, Step
from hub.models.inbox import RejectedDelivery
from tests.support.bodies import event
from tests.support.threads import at_once
from tests.support.world import SECRET, billing_connection, post, sign

NOT_JSON = b'{"id": "evt_1", '


@pytest.fixture(autouse=True)
def _no_crash_stays_armed() -> Iterator[None]:
    yield
    crash.disarm()


def refused() -> dict[str, int]:
    return dict(RejectedDelivery.objects.values_list("reason", "count"))


# what is let in --------------------------------------------------------------------------------------------------


def test_a_signed_delivery_is_stored_with_its_run_and_answered_with_its_ids(client: Client, door: Connection) -> None:
    body = event()
    answer = post(client, body)
    assert answer.status_code == 202
    kept, run = InboxEvent.objects.get(), Run.objects.get()
    assert answer.json() == {"event": kept.pk, "correlation_id": str(kept.correlation_id), "disposition": "run"}
    assert answer.headers["X-Correlation-Id"] == str(run.correlation_id) == str(kept.correlation_id)
    assert (bytes(kept.body), kept.origin, kept.name, kept.subject_id) == (body, "webhook", "billing.invoice.finalized", "in_1")
    assert (run.event, run.flow, run.lane) == (kept, "order_to_cash", f"invoice:{door.pk}:in_1")
    step = Step.objects.get()
    assert (step.run, step.name, step.state, step.request) == (run, "read", "ready", {"kind": "invoice", "id": "in_1"})


def test_accepting_is_one_write_statement_and_two_in_all(client: Client, door: Connection) -> None:
    with CaptureQueriesContext(database) as asked:
        assert post(client, event()).status_code == 202
    statements = [query["sql"].lstrip() for query in asked]
    assert [sql for sql in statements if not sql.startswith("SELECT")] == [
        sql for sql in statements if sql.startswith("WITH event")
    ]
    assert len(statements) == 2, statements


def test_an_event_nobody_listens_to_is_kept_all_the_same(client: Client, door: Connection) -> None:
    answer = post(client, event(kind="radar.early_fraud_warning.created"))
    assert (answer.status_code, answer.json()["disposition"]) == (202, "ignored")
    assert not Run.objects.exists()


def test_a_paused_connection_still_takes_deliveries(client: Client, door: Connection) -> None:
    move(door, "pause", by="ann", reason="maintenance")
    assert post(client, event()).status_code == 202


def test_the_broker_may_be_away(client: Client, door: Connection, settings: Any) -> None:
    settings.REDIS_URL = settings.CELERY_BROKER_URL = "redis://127.0.0.1:1/0"
    assert post(client, event()).status_code == 202
    assert client.get("/readyz").json()["broker"].startswith("away")


@pytest.mark.parametrize("declared", ["", "abc", "²", "9" * 5000, "-1"])
def test_a_strange_content_length_is_no_error_of_ours(client: Client, door: Connection, declared: str) -> None:
    answer = client.generic("POST", "/ingest/stripe/", event(), CONTENT_LENGTH=declared, HTTP_STRIPE_SIGNATURE=sign(event()))
    assert 400 <= answer.status_code < 500


FIRST = event(total=1)
RESENT = [
    orjson.dumps(orjson.loads(FIRST) | {"pending_webhooks": 1}),
    orjson.dumps(orjson.loads(FIRST) | {"request": {"id": "req_1", "idempotency_key": None}}),
    orjson.dumps(dict(reversed(orjson.loads(FIRST).items())), option=orjson.OPT_INDENT_2),
]

# duplicates ------------------------------------------------------------------------------------------------------


def test_a_second_delivery_is_kept_flagged_and_starts_nothing(client: Client, door: Connection) -> None:
    first = post(client, event()).json()
    again = post(client, event())
    assert (again.status_code, again.json()["disposition"]) == (200, "duplicate")
    assert again.json()["correlation_id"] == first["correlation_id"]
    assert Run.objects.count() == 1
    assert InboxEvent.objects.get(duplicate_of__isnull=False).duplicate_of_id == first["event"]


@pytest.mark.django_db(transaction=True)
def test_200_deliveries_of_one_event_at_once_start_one_run() -> None:
    billing_connection(entity=LegalEntity.objects.create(code="main", name="Main", currency="USD"))
    body = event()
    answers = at_once(200, lambda n: post(Client(), body).status_code)
    assert sorted(answers) == [200] * 199 + [202]
    assert Run.objects.count() == 1 and Step.objects.count() == 1
    kept = list(InboxEvent.objects.values_list("disposition", flat=True))
    assert sorted(kept) == ["duplicate"] * 199 + ["run"]
    assert not ReviewItem.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_it_works_over_a_real_socket(live_server: Any) -> None:
    billing_connection(entity=LegalEntity.objects.create(code="main", name="Main", currency="USD"))
    body = event()
    headers = {"Stripe-Signature": sign(body), "Content-Type": "application/json"}
    answers = [requests.post(f"{live_server.url}/ingest/stripe/", data=body, headers=headers, timeout=10) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [202, 200]
    big = requests.post(f"{live_server.url}/ingest/stripe/", data=b"x" * (MAX_BODY + 1), headers=headers, timeout=10)
    assert big.status_code == 413


def test_the_same_id_with_another_body_is_asked_about_and_not_dropped(client: Client, door: Connection) -> None:
    post(client, event(subject="in_1"))
    answer = post(client, event(subject="in_2"))
    assert (answer.status_code, answer.json()["disposition"]) == (200, "conflict")
    item = ReviewItem.objects.get()
    first, second = InboxEvent.objects.order_by("pk")
    assert (item.cause, item.event) == ("conflict", second)
    assert {item.detail["first_sha256"], item.detail["second_sha256"]} == {first.body_digest, second.body_digest}
    answers.answer(item, "process", by="ann", reason="the second one is right")
    assert list(Run.objects.order_by("pk").values_list("subject_id", flat=True)) == ["in_1", "in_2"]


@pytest.mark.parametrize("resent", RESENT)
def test_an_event_that_is_sent_again_in_other_bytes_is_a_plain_duplicate(client: Client, door: Connection, resent: bytes) -> None:
    assert resent != FIRST
    post(client, FIRST)
    answer = post(client, resent)
    assert (answer.status_code, answer.json()["disposition"]) == (200, "duplicate")
    assert not ReviewItem.objects.exists()
    assert Run.objects.count() == 1
    assert bytes(InboxEvent.objects.get(duplicate_of__isnull=False).body) == resent


@pytest.mark.parametrize("other", [{"total": 2}, {"total": True}, {"total": "1"}, {"total": None}, {}, {"total": 1, "tax": 0}])
def test_an_event_that_is_sent_again_with_another_amount_is_asked_about(
    client: Client, door: Connection, other: dict[str, Any]
) -> None:
    post(client, FIRST)
    assert post(client, event(**other)).json()["disposition"] == "conflict"
    assert ReviewItem.objects.get().cause == "conflict"


def test_bodies_are_compared_only_for_a_second_delivery_and_a_person_judges_when_that_fails(
    client: Client, door: Connection
) -> None:
    same = mock.Mock(side_effect=ZeroDivisionError)
    with mock.patch.object(Connection, "spec", _with(door.spec, same=same)):
        assert post(client, FIRST).status_code == 202
        assert post(client, FIRST).json()["disposition"] == "duplicate"
        assert not same.called
        assert post(client, RESENT[0]).json()["disposition"] == "conflict"
    assert ReviewItem.objects.get().cause == "conflict"


def test_a_connector_that_does_not_judge_compares_bytes(client: Client, door: Connection) -> None:
    with mock.patch.object(Connection, "spec", _with(door.spec, same=None)):
        post(client, FIRST)
        assert post(client, RESENT[0]).json()["disposition"] == "conflict"


def test_a_webhook_that_comes_after_its_sweep_is_a_duplicate_although_its_bytes_differ(client: Client, door: Connection) -> None:
    body = event()
    envelope = door.spec.envelope(body)  # type: ignore[misc]
    inbox.receive(door, orjson.dumps(orjson.loads(body), option=orjson.OPT_INDENT_2), origin="sweep", envelope=envelope)
    assert post(client, body).json()["disposition"] == "duplicate"
    assert not ReviewItem.objects.exists()


def test_a_webhook_that_says_something_else_than_its_sweep_is_asked_about(client: Client, door: Connection) -> None:
    swept = event(subject="in_2")
    inbox.receive(door, swept, origin="sweep", envelope=door.spec.envelope(swept))  # type: ignore[misc]
    assert post(client, event(subject="in_1")).json()["disposition"] == "conflict"


def test_two_connections_may_use_the_same_event_id(client: Client, door: Connection) -> None:
    billing_connection(slug="other", entity=door.legal_entity)
    assert [post(client, event(), slug).status_code for slug in ("stripe", "other")] == [202, 202]


# what is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        (lambda body: sign(body, "whsec_of_somebody_else"), "mismatch"),
        (lambda body: sign(body + b" "), "mismatch"),
        (lambda body: sign(body, age=301), "stale"),
        (lambda body: sign(body, age=-65), "future"),
        (lambda body: "", "missing"),
        (lambda body: "t=1", "malformed"),
    ],
)
def test_what_is_not_the_vendors_is_refused_and_only_counted(client: Client, door: Connection, header: Any, reason: str) -> None:
    body = event()
    for _ in range(2):
        assert post(client, body, **{"stripe-signature": header(body)}).status_code == 401
    assert refused() == {reason: 2}
    assert not InboxEvent.objects.exists() and not ReviewItem.objects.exists()


def test_a_connection_without_a_secret_lets_nobody_in(client: Client, door: Connection) -> None:
    Connection.objects.update(sealed_webhook_secrets="")
    body = event()
    for secret in ("", SECRET):
        assert post(client, body, **{"stripe-signature": sign(body, secret)}).status_code == 401
    assert refused() == {"no_secret": 2}


def test_an_empty_secret_cannot_be_set(door: Connection) -> None:
    with pytest.raises(ValueError, match="empty"):
        door.set_webhook_secret("")


def test_one_connections_secret_does_not_open_anothers_door(client: Client, door: Connection) -> None:
    other = billing_connection(slug="other", entity=door.legal_entity)
    other.set_webhook_secret("whsec_of_the_other", overlap=timedelta(0))
    other.save()
    assert post(client, event(), "other").status_code == 401
    assert not InboxEvent.objects.exists()


def test_both_secrets_open_the_door_while_one_replaces_the_other(client: Client, door: Connection) -> None:
    door.set_webhook_secret("whsec_new", overlap=timedelta(hours=24))
    door.save()
    old, new = event("evt_1"), event("evt_2")
    assert post(client, old).status_code == 202
    assert post(client, new, **{"stripe-signature": sign(new, "whsec_new")}).status_code == 202
    with time_machine.travel(timezone.now() + timedelta(hours=25)):
        door.save()  # the process forgets what it remembered of the door
        late = event("evt_3")
        assert post(client, late).status_code == 401
        assert post(client, late, **{"stripe-signature": sign(late, "whsec_new")}).status_code == 202


def test_a_secret_that_another_process_has_set_opens_a_remembered_door_at_once(client: Client, door: Connection) -> None:
    assert post(client, event("evt_1")).status_code == 202
    door.set_webhook_secret("whsec_new")
    Connection.objects.update(sealed_webhook_secrets=door.sealed_webhook_secrets)  # no signal here, as from elsewhere
    body = event("evt_2")
    assert post(client, body, **{"stripe-signature": sign(body, "whsec_new")}).status_code == 202


def test_a_door_that_does_not_exist_or_is_revoked_is_not_found(client: Client, door: Connection) -> None:
    assert post(client, event(), "nobody").status_code == 404
    move(door, "revoke", by="ann", save=["sealed_credentials", "sealed_webhook_secrets"])
    assert post(client, event()).status_code == 404
    assert not InboxEvent.objects.exists() and not RejectedDelivery.objects.exists()


def test_a_connector_without_webhooks_has_no_door(client: Client, door: Connection) -> None:
    Connection.objects.create(slug="erp", connector="tryton", state="active")
    assert post(client, event(), "erp").status_code == 404


@pytest.mark.parametrize("method", ["get", "put", "delete", "patch"])
def test_only_post_is_taken(client: Client, door: Connection, method: str) -> None:
    assert getattr(client, method)("/ingest/stripe/").status_code == 405


def test_too_much_is_refused_whether_or_not_the_length_is_told(client: Client, door: Connection) -> None:
    body = b"x" * (MAX_BODY + 1)
    assert post(client, body).status_code == 413
    fits = event(padding="x" * (MAX_BODY - len(event(padding=""))))
    assert len(fits) == MAX_BODY
    assert post(client, fits).status_code == 202


HOSTILE = [
    {"stripe-signature": "t=1,v1=" + "a" * 1_000_000},
    {"stripe-signature": ",".join(["v1=a"] * 5000)},
    {"stripe-signature": "t=²,v1=é"},
    {"stripe-signature": "t=99999999999999999999,v1=00"},
    {"stripe-signature": "\x00"},
    {"x-request-id": "a\r\nSet-Cookie: x" * 99},
    {"content-encoding": "gzip"},
    {"content-type": "multipart/form-data; boundary=x"},
    {"content-type": "\x00/\x00"},
    {"accept": "*/*;q=é"},
    {"host": "evil.example"},
    {"cookie": "sessionid=" + "x" * 100_000},
    {"transfer-encoding": "chunked"},
]


@pytest.mark.parametrize("headers", HOSTILE, ids=lambda headers: next(iter(headers)))
def test_hostile_headers_are_refused_or_ignored_and_never_an_error_of_ours(
    client: Client, door: Connection, headers: dict[str, str]
) -> None:
    meta: dict[str, Any] = {f"HTTP_{name.upper().replace('-', '_')}": value for name, value in headers.items()}
    meta.setdefault("HTTP_STRIPE_SIGNATURE", sign(event()))
    answer = client.generic("POST", "/ingest/stripe/", event(), meta.pop("HTTP_CONTENT_TYPE", "application/json"), **meta)
    assert answer.status_code < 500
    assert "Set-Cookie" not in answer.headers


# what is not understood ------------------------------------------------------------------------------------------

UNREADABLE = [
    NOT_JSON,
    b"",
    b"[]",
    b"null",
    b'{"id": 1, "type": "x"}',
    b"\xff\xfe",
    event(subject=""),
    event(external_id="evt\x00"),
]


@pytest.mark.parametrize("body", UNREADABLE)
def test_what_is_signed_but_not_understood_is_stored_and_asked_about(client: Client, door: Connection, body: bytes) -> None:
    answer = post(client, body)
    assert (answer.status_code, answer.json()["disposition"]) == (202, "quarantined")
    kept, item = InboxEvent.objects.get(), ReviewItem.objects.get()
    assert bytes(kept.body) == body
    assert (item.cause, item.event, item.group) == ("not_understood", kept, "integration engineer")
    assert post(client, body).status_code == 200
    assert ReviewItem.objects.count() == 1


def test_a_connector_that_stumbles_over_a_delivery_costs_us_nothing(client: Client, door: Connection) -> None:
    def stumble(body: bytes) -> Any:
        raise ZeroDivisionError

    with mock.patch.object(Connection, "spec", _with(door.spec, envelope=stumble)):
        assert post(client, event()).status_code == 202
    assert ReviewItem.objects.get().cause == "not_understood"


def test_what_is_read_again_after_the_connector_learned_it_starts_its_run(client: Client, door: Connection) -> None:
    def too_new(body: bytes) -> Any:
        raise BadPayload("a shape from next year")

    with mock.patch.object(Connection, "spec", _with(door.spec, envelope=too_new)):
        correlation = post(client, event()).json()["correlation_id"]
        item = ReviewItem.objects.get()
        with pytest.raises(BadPayload):
            answers.answer(item, "retry", by="ann", reason="perhaps")
    item.refresh_from_db()
    assert item.state == "open" and not Run.objects.exists()
    answers.answer(item, "retry", by="ann", reason="the connector was updated")
    run = Run.objects.get()
    assert (run.subject_id, str(run.correlation_id), run.started_by) == ("in_1", correlation, "ann")


def _with(spec: Connector, **changed: Any) -> Connector:
    return replace(spec, **changed)


# crashes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("body", [event(), NOT_JSON])
def test_a_crash_before_storing_leaves_nothing_and_the_vendor_sends_again(client: Client, door: Connection, body: bytes) -> None:
    crash.arm("intake_before_insert")
    with pytest.raises(crash.SimulatedCrash):
        post(client, body)
    assert not InboxEvent.objects.exists()
    assert post(client, body).status_code == 202
    assert Run.objects.count() + ReviewItem.objects.count() == 1


@pytest.mark.parametrize("body", [event(), NOT_JSON])
def test_a_crash_after_storing_loses_nothing_and_the_second_delivery_repeats_nothing(
    client: Client, door: Connection, body: bytes
) -> None:
    crash.arm("intake_after_insert")
    with pytest.raises(crash.SimulatedCrash):
        post(client, body)
    assert post(client, body).status_code == 200
    assert InboxEvent.objects.filter(duplicate_of=None).count() == 1
    assert Run.objects.count() + ReviewItem.objects.count() == 1


def test_a_quarantined_delivery_is_never_stored_without_its_question(client: Client, door: Connection) -> None:
    with mock.patch.object(inbox, "_ask_about", side_effect=crash.SimulatedCrash), pytest.raises(crash.SimulatedCrash):
        post(client, NOT_JSON)
    assert not InboxEvent.objects.exists()


def test_the_correlation_of_a_command_is_the_callers(door: Connection) -> None:
    mine = uuid.uuid4()
    assert inbox.receive(door, event(), correlation_id=mine).correlation_id == mine
    assert Run.objects.get().correlation_id == mine
