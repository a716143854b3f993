"""Flows that do nothing, four steps a run: locally, or by one HTTP call each. What remains is the engine's own cost."""

from __future__ import annotations

from typing import Any

from django.db import connection as database
from pydantic import BaseModel

from canonical.commands import Request, Written
from connectors import registry
from connectors.models import Connection
from connectors.sdk.contract import Command, Connector, Health, Limits, WriteSafety
from connectors.sdk.http import Call, Http
from hub import flows
from hub.engine.flow import Effect, Flow, Keep, Local
from hub.models import Run

STEPS = ("one", "two", "three", "four")
SLUG = "sink"


class Put(Request):
    """Keep a document of this key."""


class Settings(BaseModel):
    """Where the sink is."""

    base_url: str


class Nothing(BaseModel):
    """No secrets."""


def put(client: tuple[str, Http], request: Put, call: Call) -> Written:
    """One POST."""
    base_url, http = client
    answer = http.json(call, "POST", base_url, "/documents", json={"key": request.key})
    return Written(external_id=str(answer["id"]))


CONNECTOR = Connector(
    slug="bench", title="Sink", role="support", settings=Settings, credentials=Nothing,
    open=lambda settings, _, http: (settings.base_url, http), check=lambda client, call: Health(identity="sink"),
    commands={"put": Command("put", Put, put, None, WriteSafety.UPSERT)}, limits=Limits(max_in_flight=64),
)  # fmt: skip

LOCAL = Flow("bench_local", "Four local steps", tuple(Local(name, lambda run: None) for name in STEPS))


def _effect(name: str) -> Effect:
    return Effect(
        name, "put", _sink, lambda run: Put(key=f"{run.subject_id}/{name}"), lambda run, written: None, Keep("nothing to undo")
    )


def _sink(run: Run) -> Connection:
    assert run.connection is not None
    return run.connection


CALLS = Flow("bench_calls", "Four calls", tuple(_effect(name) for name in STEPS))


def register() -> None:
    """Make the flows and their connector known to this process."""
    registry.register(CONNECTOR)
    flows.register(LOCAL, CALLS)


def connect(base_url: str) -> Connection:
    """The connection to a sink."""
    return Connection.objects.create(slug=SLUG, connector="bench", state="active", settings={"base_url": base_url})


def fill(flow: Flow, runs: int) -> list[int]:
    """So many runs, each with its first step due; returns the steps' ids."""
    source = Connection.objects.get(slug=SLUG).pk
    with database.cursor() as cursor:
        cursor.execute(
            """WITH run AS (
                   INSERT INTO hub_run (flow, version, lane, state, connection_id, subject_kind, subject_id, context, currency,
                                        correlation_id, started_by)
                   SELECT %(flow)s, 1, 'bench:' || id, 'open', %(source)s, 'thing', id, '{}', '', id, 'bench'
                   FROM (SELECT gen_random_uuid() AS id FROM generate_series(1, %(runs)s)) AS subject
                   RETURNING id, lane, subject_id)
               INSERT INTO hub_step (run_id, name, lane, state, connection_id, key, request, request_digest, attempts, tries,
                                     crashes, lookups, worker, error_code, error)
               SELECT id, %(first)s, lane, 'ready', %(target)s, '', jsonb_build_object('key', subject_id || '/one'), '',
                      0, 0, 0, 0, '', '', ''
               FROM run RETURNING id""",
            {
                "flow": flow.name, "source": source, "runs": runs, "first": STEPS[0],
                "target": source if flow is CALLS else None,
            },
        )  # fmt: skip
        return [row[0] for row in cursor.fetchall()]


def unfinished() -> int:
    """How many runs have not ended."""
    return _number("SELECT count(*) FROM hub_run WHERE state IN ('open', 'parked', 'compensating')")


def newest_attempt() -> int:
    """Id of the last attempt there is."""
    return _number("SELECT coalesce(max(id), 0) FROM hub_attempt")


def calls(after: int) -> int:
    """How many requests the attempts after that one have sent."""
    return _number("SELECT coalesce(sum(jsonb_array_length(exchanges)), 0) FROM hub_attempt WHERE id > %s", after)


def stuck() -> list[Any]:
    """What open steps say about themselves."""
    with database.cursor() as cursor:
        cursor.execute("SELECT name, state, error_code, error FROM hub_step WHERE state NOT IN ('done', 'failed') LIMIT 5")
        return list(cursor.fetchall())


def _number(sql: str, *values: int) -> int:
    with database.cursor() as cursor:
        cursor.execute(sql, values)
        return int(cursor.fetchone()[0])
