"""The reference of `engine`: a loop written by hand for exactly this work, on the hub's own tables.

Claims 50 steps and commits; calls in 8 threads through the hub's own HTTP client; settles 50 and commits. It keeps the
same facts (attempts, next steps, ended runs), and nothing of what makes the hub safe: no lanes, no fence, no retries.
"""

from __future__ import annotations

import os
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
from psycopg.types.json import Jsonb

from connectors.sdk.http import Call, Http
from hub.bench import lab

NEXT = {"one": "two", "two": "three", "three": "four"}
BATCH, THREADS = 50, 8

CLAIM = """
    UPDATE hub_step SET state = 'running', attempts = attempts + 1, tries = tries + 1, lease_token = %s,
           lease_until = now() + interval '45 seconds', worker = %s
    WHERE id IN (SELECT id FROM hub_step WHERE state = 'ready' AND due_at <= now()
                 ORDER BY due_at, id LIMIT %s FOR UPDATE SKIP LOCKED)
    RETURNING id, run_id, name, lane, connection_id, request
"""
DONE = """
    UPDATE hub_step SET state = 'done', ended_at = now(), lease_token = NULL, lease_until = NULL, result = v.result
    FROM unnest(%s::bigint[], %s::jsonb[]) AS v(pk, result) WHERE id = v.pk
"""
ATTEMPTS = """
    INSERT INTO hub_attempt (step_id, run_id, connection_id, number, outcome, worker, milliseconds, error_code, error, exchanges)
    SELECT v.step, v.run, v.connection, 1, 'done', %s, 0, '', '', v.exchanges
    FROM unnest(%s::bigint[], %s::bigint[], %s::bigint[], %s::jsonb[]) AS v(step, run, connection, exchanges)
"""
STEPS = """
    INSERT INTO hub_step (run_id, name, lane, state, connection_id, key, request, request_digest, attempts, tries, crashes,
                          lookups, worker, error_code, error)
    SELECT v.run, v.name, v.lane, 'ready', v.connection, '', v.request, '', 0, 0, 0, 0, '', '', ''
    FROM unnest(%s::bigint[], %s::text[], %s::text[], %s::bigint[], %s::jsonb[]) AS v(run, name, lane, connection, request)
    RETURNING id
"""
RUNS = "UPDATE hub_run SET state = 'done', ended_at = now() WHERE id = ANY(%s)"


class Bare:
    """One process of it."""

    def __init__(self, base_url: str) -> None:
        self.database = psycopg.connect(os.environ["DATABASE_URL"])
        self.base_url, self.http = base_url, Http()
        self.threads = ThreadPoolExecutor(THREADS)

    def work(self) -> dict[str, Any]:
        """Until nothing is due."""
        settled, before = 0, lab.commits()
        while rows := self.claim():
            self.settle(rows, list(self.threads.map(self.call, rows)))
            settled += len(rows)
        return {"settled": settled, "commits": lab.commits() - before, "memory": lab.memory()}

    def claim(self) -> list[Any]:
        rows = self.database.execute(CLAIM, [uuid.uuid4(), "bare", BATCH]).fetchall()
        self.database.commit()
        return rows

    def call(self, row: Any) -> tuple[Any, Any]:
        """(result, exchanges) of a step."""
        _, run, name, _, connection, _ = row
        return ask(self.http, self.base_url, f"{run}/{name}") if connection else (None, [])

    def settle(self, rows: list[Any], results: list[tuple[Any, Any]]) -> None:
        keep(self.database, "bare", rows, results)
        create_next(self.database, rows)
        self.database.commit()


def ask(http: Http, base_url: str, key: str) -> tuple[Any, Any]:
    """The call, through the hub's own client."""
    call = Call(correlation_id=str(uuid.uuid4()), key=key)
    started = time.perf_counter()
    answer = http.json(call, "POST", base_url, "/documents", json={"key": key})
    seconds = time.perf_counter() - started
    exchanges = [
        {"url": sent.url, "request": sent.request, "response": sent.response, "status": sent.status, "seconds": seconds}
        for sent in call.exchanges
    ]
    return {"external_id": answer["id"]}, exchanges


def keep(database: Any, worker: str, rows: list[Any], results: list[tuple[Any, Any]]) -> None:
    """Write what came of steps, and end the runs whose last ones they were."""
    steps, runs, connections = [row[0] for row in rows], [row[1] for row in rows], [row[4] for row in rows]
    database.execute(DONE, [steps, [None if result is None else Jsonb(result) for result, _ in results]])
    database.execute(ATTEMPTS, [worker, steps, runs, connections, [Jsonb(exchanges) for _, exchanges in results]])
    if ended := [row[1] for row in rows if row[2] not in NEXT]:
        database.execute(RUNS, [ended])


def create_next(database: Any, rows: list[Any]) -> list[int]:
    """Insert the steps that follow; returns their ids."""
    new = [row for row in rows if row[2] in NEXT]
    if not new:
        return []
    columns = [
        [row[1] for row in new], [NEXT[row[2]] for row in new], [row[3] for row in new], [row[4] for row in new],
        [Jsonb({"key": f"{row[1]}/{NEXT[row[2]]}"}) for row in new],
    ]  # fmt: skip
    return [row[0] for row in database.execute(STEPS, columns).fetchall()]


if __name__ == "__main__":
    import sys

    import django

    django.setup()
    lab.serve(Bare(sys.argv[1]).work, memory=lab.memory())
