"""/metrics: the state of the work, read from PostgreSQL at each scrape, so that every web process tells the same."""

from __future__ import annotations

from collections.abc import Iterator

from django.db import connection
from django.http import HttpRequest, HttpResponse
from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

GAUGES = {
    "tieout_steps": ("Open steps by state", ["state"], "SELECT state, count(*) FROM hub_step WHERE state IN ('ready', 'running', 'unknown', 'waiting') GROUP BY state"),
    "tieout_runs_open": ("Open runs by flow and state", ["flow", "state"], "SELECT flow, state, count(*) FROM hub_run WHERE state IN ('open', 'compensating', 'parked') GROUP BY flow, state"),
    "tieout_oldest_due_seconds": ("Age of the oldest step that is due", [], "SELECT coalesce(extract(epoch FROM now() - min(due_at)), 0) FROM hub_step WHERE state IN ('ready', 'unknown') AND due_at <= now()"),
    "tieout_review_items_open": ("Open review items by cause", ["cause"], "SELECT cause, count(*) FROM hub_reviewitem WHERE state = 'open' GROUP BY cause"),
    "tieout_connection_active": ("1 while a connection is active", ["connection"], "SELECT slug, (state = 'active')::int FROM connectors_connection WHERE state <> 'revoked'"),
    "tieout_connection_failures_in_row": ("Failed calls since the last answer", ["connection"], "SELECT slug, failures_in_row FROM connectors_connection WHERE state <> 'revoked'"),
}  # fmt: skip
COUNTERS = {
    "tieout_events_accepted": ("Events accepted (estimate of the planner beyond a few thousand)", [], "SELECT greatest(coalesce((SELECT reltuples FROM pg_class WHERE oid = 'hub_inboxevent'::regclass), 0), 0)"),
    "tieout_deliveries_rejected": ("Deliveries refused at the door", ["connection", "reason"], "SELECT c.slug, r.reason, sum(r.count) FROM hub_rejecteddelivery r JOIN connectors_connection c ON c.id = r.connection_id GROUP BY 1, 2"),
}  # fmt: skip


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
