"""/metrics: the state of the work, read from PostgreSQL at each scrape, so that every web process tells the same."""

from __future__ import annotations

from collections.abc import Iterator

from django.db import connection
from django.http import HttpRequest, HttpResponse
from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

OPEN_STEPS = "('ready', 'running', 'unknown', 'waiting')"
OPEN_RUNS = "('open', 'compensating', 'parked')"
GAUGES: dict[str, tuple[str, list[str], str]] = {
    "tieout_steps": (
        "Open steps by state",
        ["state"],
        f"SELECT state, count(*) FROM hub_step WHERE state IN {OPEN_STEPS} GROUP BY state",
    ),
    "tieout_runs_open": (
        "Open runs by flow and state",
        ["flow", "state"],
        f"SELECT flow, state, count(*) FROM hub_run WHERE state IN {OPEN_RUNS} GROUP BY flow, state",
    ),
    "tieout_oldest_due_seconds": (
        "Age of the oldest step that could be worked: due, its connection open, no earlier run of its lane before it",
        [],
        """SELECT coalesce(extract(epoch FROM now() - min(s.due_at)), 0)
           FROM hub_step s JOIN hub_run own ON own.id = s.run_id LEFT JOIN connectors_connection c ON c.id = s.connection_id
           WHERE s.state IN ('ready', 'unknown') AND s.due_at <= now()
             AND (c.id IS NULL OR c.state = 'active' AND (c.not_before IS NULL OR c.not_before <= now()))
             AND NOT EXISTS (SELECT 1 FROM hub_run r WHERE r.lane = own.lane AND r.id < s.run_id
                             AND r.state IN ('open', 'compensating', 'parked'))""",
    ),
    "tieout_review_items_open": (
        "Open review items by cause",
        ["cause"],
        "SELECT cause, count(*) FROM hub_reviewitem WHERE state = 'open' GROUP BY cause",
    ),
    "tieout_connection_active": (
        "1 while a connection is active",
        ["connection"],
        "SELECT slug, (state = 'active')::int FROM connectors_connection WHERE state <> 'revoked'",
    ),
    "tieout_connection_failures_in_row": (
        "Failed calls since the last answer",
        ["connection"],
        "SELECT slug, failures_in_row FROM connectors_connection WHERE state <> 'revoked'",
    ),
}
COUNTERS: dict[str, tuple[str, list[str], str]] = {
    "tieout_events_stored": (
        "Events stored, duplicates included, since PostgreSQL's statistics began",
        [],
        "SELECT n_tup_ins FROM pg_stat_user_tables WHERE relid = 'hub_inboxevent'::regclass",
    ),
    "tieout_deliveries_rejected": (
        "Deliveries refused at the door",
        ["connection", "reason"],
        """SELECT c.slug, r.reason, sum(r.count) FROM hub_rejecteddelivery r
           JOIN connectors_connection c ON c.id = r.connection_id GROUP BY 1, 2""",
    ),
}


class FromDatabase:
    """A Prometheus collector: one small query a metric, all on partial indexes."""

    def collect(self) -> Iterator[Metric]:
        """The families, as of now."""
        for kind, queries in ((GaugeMetricFamily, GAUGES), (CounterMetricFamily, COUNTERS)):
            for name, (help_text, labels, query) in queries.items():
                family = kind(name, help_text, labels=labels)
                with connection.cursor() as cursor:
                    cursor.execute(query)
                    for *values, number in cursor.fetchall():
                        family.add_metric([str(value) for value in values], number)
                yield family


def metrics(request: HttpRequest) -> HttpResponse:
    """The exposition."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(FromDatabase())
    return HttpResponse(generate_latest(registry), content_type=CONTENT_TYPE_LATEST)
