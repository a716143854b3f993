"""What the doors for machines tell about the hub itself."""

from __future__ import annotations

from typing import Any
from unittest import mock

from django.db import DatabaseError
from django.db import connection as database
from django.test import Client

from connectors.models import Connection
from tests.support.bodies import event
from tests.support.world import post


def test_a_process_that_answers_is_healthy_without_asking_anyone(client: Client, django_assert_num_queries: Any, db: None) -> None:
    with django_assert_num_queries(0):
        assert client.get("/healthz").json() == {"status": "ok"}


def test_it_is_ready_while_postgresql_answers(client: Client, db: None, redis: Any) -> None:
    assert client.get("/readyz").json() == {"status": "ready", "database": "ok", "broker": "ok"}


def test_it_is_not_ready_without_postgresql(client: Client, db: None) -> None:
    with mock.patch.object(database, "cursor", side_effect=DatabaseError):
        answer = client.get("/readyz")
    assert (answer.status_code, answer.json()["status"]) == (503, "not ready")


def test_metrics_tell_the_work_there_is_and_what_was_refused(client: Client, door: Connection) -> None:
    post(client, event())
    post(client, event("evt_2"), **{"stripe-signature": "t=1,v1=00"})
    post(client, b"not json")
    told = client.get("/metrics").content.decode()
    for line in (
        'tieout_steps{state="ready"} 1.0',
        'tieout_runs_open{flow="order_to_cash",state="open"} 1.0',
        'tieout_review_items_open{cause="not_understood"} 1.0',
        'tieout_connection_active{connection="stripe"} 1.0',
        'tieout_deliveries_rejected_total{connection="stripe",reason="stale"} 1.0',
    ):
        assert line in told, told


def test_the_counter_of_events_counts_from_the_first_one(client: Client, transactional_db: None, door: Connection) -> None:
    def counted() -> float:
        with database.cursor() as cursor:
            cursor.execute("SELECT pg_stat_force_next_flush()")
            cursor.execute("SELECT pg_stat_clear_snapshot()")
        lines = client.get("/metrics").content.decode().splitlines()
        return next(float(line.split()[-1]) for line in lines if line.startswith("tieout_events_stored_total "))

    before = counted()
    for n in range(3):
        post(client, event(f"evt_{n}"))
    assert counted() == before + 3


def test_metrics_show_no_customer_and_no_secret(client: Client, door: Connection) -> None:
    post(client, event(subject="in_secret_customer"))
    told = client.get("/metrics").content.decode()
    assert "in_secret_customer" not in told and "whsec" not in told
