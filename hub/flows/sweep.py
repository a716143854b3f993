"""sweep: page through what a source has, and feed what was missed through the same door, marked as such.

One run per page, serial in the lane of its stream; the last page moves the cursor. Windows overlap, because systems
commit late and clocks differ; what came in already costs one lookup.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from django.db.models import Q, QuerySet
from django.utils import timezone

from connectors.models import Connection, Cursor
from connectors.sdk.contract import Connector, Page
from connectors.sdk.http import Call
from hub import inbox
from hub.engine.flow import Flow, Read
from hub.models import InboxEvent, Run
from hub.models.work import OPEN_RUN

OVERLAP = timedelta(hours=1)
FIRST_WINDOW = timedelta(days=30)
"""How far back the first sweep looks: as long as Stripe keeps events."""


def begin(connection: Connection, stream: str, *, by: str, since: datetime | None = None) -> Run:
    """Start a sweep from where the last one ended (less the overlap), or from `since`. Raises LookupError.

    While the stream is being swept, asking again returns the run that is going on: sweeps do not queue up.
    """
    if stream not in connection.spec.pages:
        raise LookupError(f"{connection} has no stream {stream}; it has {', '.join(sorted(connection.spec.pages)) or 'none'}")
    if since is None and (going := _going_on(connection, stream)) is not None:
        return going
    cursor = Cursor.objects.filter(connection=connection, stream=stream).first()
    now = timezone.now()
    start = since or (cursor.swept_to - OVERLAP if cursor and cursor.swept_to else now - FIRST_WINDOW)
    context = {
        "stream": stream,
        "since": start.isoformat(),
        "until": now.isoformat(),
        "cursor": None,
        "page": 1,
        **NOTHING,
    }
    return inbox.start(FLOW, connection=connection, subject_kind="stream", subject_id=stream, by=by, context=context)


def _going_on(connection: Connection, stream: str) -> Run | None:
    sweeps = Run.objects.filter(flow="sweep", connection=connection, subject_kind="stream", subject_id=stream)
    return sweeps.filter(state__in=OPEN_RUN).order_by("-id").first()


NOTHING: dict[str, Any] = {"seen": 0, "missed": [], "failed": []}


def request(run: Run) -> dict[str, Any]:
    """The page to read."""
    return {"stream": run.context["stream"], "since": run.context["since"], "cursor": run.context["cursor"]}


def ask(connector: Connector, client: Any, asked: dict[str, Any], call: Call) -> Page:
    """Read one page."""
    since = datetime.fromisoformat(asked["since"]).astimezone(UTC)
    return connector.pages[asked["stream"]](client, since, asked["cursor"], call)


def feed(run: Run, page: Page) -> None:
    """Let in what was missed, say of the rest whether it had failed, and go on to the next page."""
    connection = run.connection
    assert connection is not None
    had = inbox.known(connection, [item.envelope.external_id for item in page.items])
    missed = [item for item in page.items if item.envelope.external_id not in had]
    for item in missed:
        inbox.receive(connection, item.body, origin=InboxEvent.Origin.SWEEP, envelope=item.envelope, correlation_id=None)
    stuck = failed_runs().filter(event__in=[pk for pk, _ in had.values()])
    counts = {
        "seen": run.context["seen"] + len(page.items),
        "missed": [*run.context["missed"], *(item.envelope.external_id for item in missed)][:KEPT],
        "failed": sorted({*run.context["failed"], *stuck.values_list("event__external_id", flat=True)})[:KEPT],
    }
    run.context = {**run.context, **counts}
    if page.cursor is None:
        Cursor.objects.update_or_create(
            connection=connection,
            stream=run.context["stream"],
            defaults={"swept_to": datetime.fromisoformat(run.context["until"])},
        )
        return
    following = {**run.context, "cursor": page.cursor, "page": run.context["page"] + 1}
    inbox.start(
        FLOW, connection=connection, subject_kind="stream", subject_id=run.context["stream"], by=run.started_by, context=following,
        correlation_id=run.correlation_id,
    )  # fmt: skip


KEPT = 1000
"""Ids listed in a sweep's report; the events themselves are all kept."""


def failed_runs() -> QuerySet[Run]:
    """Runs that do not go on by themselves: parked, or at a step that waits for a person or a mapping."""
    return Run.objects.filter(Q(state="parked") | Q(steps__state="waiting", steps__waiting_on__isnull=False)).distinct()


def diagnosis(event: InboxEvent) -> str:
    """Of an event: 'missed' (its webhook never came), 'failed' (it came, and its work is stuck), or 'fine'."""
    if event.origin == InboxEvent.Origin.SWEEP:
        return "missed"
    return "failed" if failed_runs().filter(event=event).exists() else "fine"


def of_connection(run: Run) -> Connection:
    """The source being swept."""
    assert run.connection is not None
    return run.connection


FLOW = Flow(
    name="sweep",
    title="Sweep",
    lane=lambda run: f"sweep:{run.connection_id}:{run.subject_id}",
    steps=(Read("page", of_connection, request, ask, feed),),
)
