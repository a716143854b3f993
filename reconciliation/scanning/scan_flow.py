"""reconcile: read one page of one source into a scan; after the last page, prove that nothing was lost.

One run a page, serial in the lane of its source, so that sources are read side by side and a killed worker's page is
read again by the lease rules. A page is stored in the transaction that settles it. After the last page the source counts
what it has, page by page as well; the last source to be counted hands the scan over to matching.
"""

from __future__ import annotations

from datetime import date, datetime
from typing import Any

import structlog

from canonical.models import move
from canonical.readings import Window
from connectors.models import Connection
from connectors.sdk.contract import Connector, Count, Extract, Period
from connectors.sdk.http import Call
from hub import inbox
from hub.audit import chain as audit
from hub.engine.flow import Flow, Read
from hub.models import Run
from reconciliation.models import Certificate, Scan
from reconciliation.scanning import storing

log = structlog.get_logger("reconciliation")

READINGS = 2
"""How often a source is read before a difference is believed: something may have changed while it was paged through."""
FIRST_PAGE: dict[str, Any] = {"cursor": None, "page": 1, "read": 0, "reading": 1, "is_last": False}
NOT_COUNTED: dict[str, Any] = {"cursor": None, "pages": 0, "sums": {}}
"""The source's own count so far, `count` in the context: where it goes on, how many pages that were, and what they came to."""


def name_of(connection: Connection, kind: str) -> str:
    """What progress calls a source."""
    return f"{connection.slug}/{kind}"


def counted_of(run: Run) -> dict[str, Any]:
    """What the source has counted before this run."""
    so_far: dict[str, Any] = run.context.get("count") or NOT_COUNTED
    return so_far


def source_of(run: Run) -> Connection:
    """The system that is read."""
    assert run.connection is not None
    return run.connection


def page_request(run: Run) -> dict[str, Any] | None:
    """The page to read; none once the source counts."""
    return None if counted_of(run)["pages"] else {name: run.context[name] for name in ("kind", "window", "cursor")}


def ask_page(connector: Connector, client: Any, asked: dict[str, Any], call: Call) -> Extract:
    """Read one page."""
    return connector.extracts[asked["kind"]](client, _window(asked), asked["cursor"], call)


def _window(asked: dict[str, Any]) -> Window:
    since, until = asked["window"]["since"], asked["window"]["until"]
    return Window(since=datetime.fromisoformat(since) if since else None, until=datetime.fromisoformat(until))


def store_page(run: Run, extract: Extract) -> None:
    """Keep a page and go on to the next; of a scan that has ended meanwhile, keep nothing."""
    if not Scan.objects.filter(pk=run.subject_id, state="reading").exists():
        return
    read = run.context["read"] + storing.store(int(run.subject_id), source_of(run).pk, run.context["kind"], extract.readings)
    scan = _progressed(run, pages=run.context["page"], read=read)
    if scan.state != "reading":
        return
    run.context = {**run.context, "read": read, "is_last": extract.cursor is None}
    if extract.cursor is not None:
        _go_on(run, cursor=extract.cursor, page=run.context["page"] + 1)


def _go_on(run: Run, **change: Any) -> None:
    inbox.start(
        FLOW, connection=run.connection, subject_kind="scan", subject_id=run.subject_id, by=run.started_by,
        context={**run.context, **change}, correlation_id=run.correlation_id,
    )  # fmt: skip


def periods_request(run: Run) -> dict[str, Any] | None:
    """Once a scan, of the ERP: which months are closed."""
    asks = (
        run.context["is_last"]
        and not counted_of(run)["pages"]
        and run.context["kind"] == "invoice"
        and source_of(run).spec.periods is not None
    )
    return {} if asks else None


def ask_periods(connector: Connector, client: Any, asked: dict[str, Any], call: Call) -> list[Period]:
    """The periods of its books."""
    assert connector.periods is not None
    return list(connector.periods(client, call))


def note_periods(run: Run, periods: list[Period]) -> None:
    """Keep the last day of the closed periods before the first open one: documents of those days rightly move."""
    first_open = min((period.start for period in periods if period.is_open), default=date.max)
    closed_until = max((period.end for period in periods if period.end < first_open), default=None)
    scan = Scan.objects.select_for_update(no_key=True).get(pk=run.subject_id)
    if scan.state == "reading" and closed_until is not None:
        scan.parameters = {**scan.parameters, "closed_until": closed_until.isoformat()}
        scan.save(update_fields=["parameters"])


def totals_request(run: Run) -> dict[str, Any] | None:
    """After the last page: the same window again, by another way."""
    if not run.context["is_last"]:
        return None
    return {"kind": run.context["kind"], "window": run.context["window"], "cursor": counted_of(run)["cursor"]}


def ask_totals(connector: Connector, client: Any, asked: dict[str, Any], call: Call) -> Count | None:
    """What the source says it has; None when it cannot say."""
    count = connector.totals.get(asked["kind"])
    return None if count is None else count(client, _window(asked), asked["cursor"], call)


def certify(run: Run, count: Count | None) -> None:
    """Add up what the source counts; at its end compare, read once more when they differ, and sign what came of it.

    The last source begins the matching.
    """
    scan = Scan.objects.get(pk=run.subject_id)
    if scan.state != "reading":
        return
    source, kind, before = source_of(run), run.context["kind"], counted_of(run)
    there = storing.sums([*storing.totals(before["sums"]), *(count.totals if count else ())])
    pages = before["pages"] + 1
    if count is not None and count.cursor is not None:
        _progressed(run, counted=pages)
        _go_on(run, count={"cursor": count.cursor, "pages": pages, "sums": there})
        return
    here = storing.as_read(scan.pk, source.pk, kind)
    is_complete = count is not None and there == here
    if count is not None and not is_complete and run.context["reading"] < READINGS:
        storing.forget(scan.pk, source.pk, kind)
        again = run.context["reading"] + 1
        _progressed(run, read=0, pages=0, counted=0, reading=again)
        _go_on(run, **{**FIRST_PAGE, "reading": again, "count": NOT_COUNTED})
        return
    if not is_complete:
        why = "the source cannot count" if count is None else storing.differences(there, here)
        log.warning("source_incomplete", scan=scan.pk, source=name_of(source, kind), why=why)
    scan = _progressed(run, counted=pages if count else 0, done=True, complete=is_complete)
    _sign(run, scan, there, here, is_complete)
    if all(told["done"] for told in scan.progress.values()):
        move(scan, "match", by="engine", run_id=run.pk)


def _sign(run: Run, scan: Scan, there: storing.Sums, here: storing.Sums, is_complete: bool) -> None:
    source, window = source_of(run), _window(run.context)
    certificate = Certificate.objects.create(
        scan=scan, connection=source, kind=run.context["kind"], since=window.since, until=window.until,
        at_source=there, as_read=here, is_complete=is_complete,
    )  # fmt: skip
    audit.append(
        "certificate.signed", actor="engine", obj=certificate, correlation_id=run.correlation_id,
        after={
            "scan": scan.pk, "source": name_of(source, certificate.kind), "since": window.since, "until": window.until,
            "at_source": there, "as_read": here, "is_complete": is_complete,
        },
    )  # fmt: skip


def _progressed(run: Run, **told: Any) -> Scan:
    """Note how far a source is, under the scan's lock; readings refer to the scan, and do not wait for it."""
    scan = Scan.objects.select_for_update(no_key=True).get(pk=run.subject_id)
    if scan.state == "reading":
        name = name_of(source_of(run), run.context["kind"])
        scan.progress = {**scan.progress, name: {**scan.progress[name], **told}}
        scan.save(update_fields=["progress"])
    return scan


FLOW = Flow(
    name="reconcile",
    title="Reconciliation: read a source",
    lane=lambda run: f"scan:{run.subject_id}:{run.connection_id}:{run.context['kind']}",
    steps=(
        Read("page", source_of, page_request, ask_page, store_page),
        Read("periods", source_of, periods_request, ask_periods, note_periods),
        Read("totals", source_of, totals_request, ask_totals, certify),
    ),
)
