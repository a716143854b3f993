"""Waking workers: with a real Celery worker, a real broker, and without either."""

from __future__ import annotations

import signal
import subprocess
import sys

import redis as redis_py
from django.conf import settings
from django.db import connection as database

from connectors.models import Connection
from hub import tasks
from hub.celery import app
from hub.config import ROOT
from hub.engine import pump
from hub.models import Attempt, Run, Step
from tests.chaos.conftest import WORKER, customers_arrive, done, process, until


def queued(client: redis_py.Redis) -> int:
    """Messages in every list of the broker."""
    return sum(client.llen(key) for key in client.scan_iter() if client.type(key) == b"list")


def test_a_nudge_wakes_a_worker_and_a_flushed_broker_loses_no_work(
    billing: Connection, redis: redis_py.Redis, child_env: dict[str, str]
) -> None:
    customers_arrive(billing, 3)
    with process(child_env, *WORKER):
        assert pump.nudge() == 1
        until(lambda: done() == 3, "the work of the first nudge")
        customers_arrive(billing, 30)
        pump.nudge()
        redis.flushall()
        until(lambda: pump.nudge() == 0 and done() == 33, "the work whose nudges were flushed")


def test_a_thousand_beats_without_a_worker_leave_a_bounded_queue(billing: Connection, redis: redis_py.Redis) -> None:
    customers_arrive(billing, 30)
    for _ in range(1000):
        tasks.beat.apply_async(expires=5)
        pump.nudge()
    assert queued(redis) <= settings.WORKERS + tasks.Beat.beyond_drains
    assert pump.waiting(app) == queued(redis)


def test_a_queue_full_of_drains_has_room_for_the_pump_which_goes_first(redis: redis_py.Redis) -> None:
    for _ in range(50):
        tasks.drain.apply_async()
    assert queued(redis) == settings.WORKERS
    tasks.beat.apply_async()
    first = redis.brpop(["celery", *sorted(redis.keys("celery\x06*"))], timeout=1)
    assert first is not None and b'"tieout.pump"' in first[1]


def test_as_many_workers_are_woken_as_there_is_work_for(billing: Connection, redis: redis_py.Redis) -> None:
    assert pump.nudge() == 0 and queued(redis) == 0
    customers_arrive(billing, 1)
    assert pump.nudge() == 1
    customers_arrive(billing, pump.MANY)
    assert pump.nudge() == settings.WORKERS - 1
    redis.flushall()
    assert pump.nudge() == settings.WORKERS, "what nobody took is sent again"


def test_a_broker_that_is_away_fails_nobody(billing: Connection, child_env: dict[str, str]) -> None:
    customers_arrive(billing, 1)
    nudge = [sys.executable, "manage.py", "shell", "-v0", "-c", "from hub.engine import pump; print(pump.nudge())"]
    away = {**child_env, "REDIS_URL": "redis://127.0.0.1:1/0"}
    said = subprocess.run(nudge, env=away, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
    assert said.stdout.split()[-1] == "0"
    assert Run.objects.get().state == "open"


def test_without_a_broker_everything_is_worked_and_a_term_ends_the_worker(billing: Connection, child_env: dict[str, str]) -> None:
    customers_arrive(billing, 10)
    with process(child_env, "manage.py", "work", REDIS_URL="redis://127.0.0.1:1/0") as worker:
        until(lambda: done() == 10, "the work")
        customers_arrive(billing, 1)
        until(lambda: done() == 11, "the work that came later")
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(timeout=20) == 0
    assert {name.rpartition(":")[2] for name in Attempt.objects.values_list("worker", flat=True)} == {"work"}


def test_the_broker_free_worker_helps_only_when_nobody_else_does(billing: Connection, child_env: dict[str, str]) -> None:
    customers_arrive(billing, 2)
    for overdue, worked in ((0, 0), (600, 2)):
        with database.cursor() as cursor:
            cursor.execute("UPDATE hub_step SET due_at = now() - %s * interval '1 second' WHERE state = 'ready'", [overdue])
        with process(child_env, "manage.py", "work", "--grace", "300", "--once") as worker:
            assert worker.wait(timeout=60) == 0
        assert done() == worked


def test_a_worker_outlives_the_end_of_its_database_sessions(billing: Connection, child_env: dict[str, str]) -> None:
    end = """SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
             WHERE datname = current_database() AND pid <> pg_backend_pid()"""
    with process(child_env, "manage.py", "work") as worker:
        for goal in (1, 2, 3):
            customers_arrive(billing, 1)
            until(lambda goal=goal: done() == goal, "the work")  # type: ignore[misc]
            with database.cursor() as cursor:
                cursor.execute(end)
        assert worker.poll() is None


def test_leases_of_a_flow_that_is_gone_do_not_hold_up_the_others(billing: Connection) -> None:
    customers_arrive(billing, 2)
    gone, other = Step.objects.order_by("id")
    with database.cursor() as cursor:
        cursor.execute("UPDATE hub_run SET flow = 'of another release' WHERE id = %s", [gone.run_id])
        cursor.execute(
            """UPDATE hub_step SET state = 'running', attempts = 1, lease_token = gen_random_uuid(),
                                   lease_until = now() - interval '1 second'"""
        )
    assert pump.expire_leases() == 2
    other.refresh_from_db()
    gone.refresh_from_db()
    assert (other.state, gone.state) == ("ready", "unknown")
