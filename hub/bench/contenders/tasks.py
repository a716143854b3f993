"""The other reference of `engine`: Celery as it is usually used, a task a step, three commits each, the same call.

The commits: it runs, it is done, the next one is there; then that one's task is sent.
"""

from __future__ import annotations

import os
from functools import cache
from typing import Any

import psycopg
from celery import Celery

from connectors.sdk.http import Http
from hub.bench.contenders import bare

QUEUE = "bench"
app = Celery("bench", broker=os.environ.get("REDIS_URL"))
app.conf.update(
    task_default_queue=QUEUE, task_ignore_result=True, task_acks_late=True, worker_prefetch_multiplier=1,
    worker_hijack_root_logger=False,
)  # fmt: skip

RUNNING = """
    UPDATE hub_step SET state = 'running', attempts = attempts + 1, tries = tries + 1, lease_token = gen_random_uuid(),
           lease_until = now() + interval '45 seconds', worker = 'celery'
    WHERE id = %s RETURNING id, run_id, name, lane, connection_id, request
"""


@cache
def tools() -> tuple[psycopg.Connection[Any], Http]:
    """What a worker process keeps open."""
    return psycopg.connect(os.environ["DATABASE_URL"]), Http()


@app.task(name="bench.step")
def step(pk: int) -> None:
    """Perform one step and send the next."""
    database, http = tools()
    rows = database.execute(RUNNING, [pk]).fetchall()
    database.commit()
    results = [bare.ask(http, os.environ["BENCH_SINK"], f"{rows[0][1]}/{rows[0][2]}")]
    bare.keep(database, "celery", rows, results)
    database.commit()
    following = bare.create_next(database, rows)
    database.commit()
    for next_pk in following:
        step.delay(next_pk)
