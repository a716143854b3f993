"""Who wakes the workers: leases that ran out are handed on, and nudges are sent, never more than workers can hold.

A nudge carries nothing: whoever gets one drains whatever is due. So losing the broker loses no work, and a nudge that
nobody claimed is simply sent again by the next beat.
"""

from __future__ import annotations

import structlog
from celery import Celery
from django.conf import settings
from django.db import transaction
from django.db.models.functions import Now
from kombu.exceptions import OperationalError

from connectors.models import Connection
from hub import flows, review
from hub.engine import retry, store
from hub.engine.flow import Local, Read
from hub.models import Attempt, Run, Step

log = structlog.get_logger("hub.engine")

MANY = 20
"""Due steps that are worth waking every worker for."""


def expire_leases(limit: int = 200) -> int:
    """Take back steps whose worker never came back: local ones are due again, effects become unknown."""
    with transaction.atomic():
        late = list(
            Step.objects.select_for_update(skip_locked=True, of=("self",))
            .filter(state="running", lease_until__lt=Now())
            .select_related("run")[:limit]
        )
        for step in late:
            _hand_on(step)
    if late:
        log.warning("leases_expired", steps=[step.pk for step in late])
    return len(late)


def _hand_on(step: Step) -> None:
    repeatable = _is_repeatable(step)
    Attempt.objects.create(
        step=step, run=step.run, connection_id=step.connection_id, number=step.attempts, outcome=Attempt.Outcome.LOST,
        worker=step.worker, error_code="lease_expired", error="the worker never came back",
    )  # fmt: skip
    quiet = 0.0
    if not repeatable and step.connection_id:
        quiet = Connection.objects.get(pk=step.connection_id).quiet.total_seconds()
    change = store.Change("ready" if repeatable else "unknown", wait=quiet, crashes=1, error_code="lease_expired")
    if step.crashes + 1 >= retry.MAX_CRASHES:
        change = _poison(step)
    store.write(store.Ledger(changes={step.pk: change}))


def _is_repeatable(step: Step) -> bool:
    try:
        spec = flows.get(step.run.flow, step.run.version).step(step.name)
    except LookupError:  # a step of another release must not keep the leases of all others from ending
        return step.connection_id is None
    return isinstance(spec, Local | Read)


def _group(run: Run) -> str:
    try:
        return flows.get(run.flow, run.version).group
    except LookupError:
        return "operator"


def _poison(step: Step) -> store.Change:
    run = step.run
    item = review.open_item(
        "quarantined", review.fingerprint("poison", run.flow, step.name, step.pk),
        f"{run.flow}/{step.name}: {retry.MAX_CRASHES} workers died of it", source=step.connection_id or run.connection_id,
        group=_group(run),
        detail={"run": run.pk, "step": step.name, "code": "worker_lost"},
    )  # fmt: skip
    if run.state != "parked":
        from canonical.models import move

        move(run, "park", by="engine", note=item.title, run_id=run.pk)
    return store.Change("waiting", waiting_on=item.pk, crashes=1, error_code="worker_lost")


def nudge() -> int:
    """Wake as many workers as there is work for and room in the queue; 0 while the broker is away."""
    from hub.celery import app
    from hub.tasks import drain

    if not store.pools():
        return 0
    wanted = settings.WORKERS if store.backlog(MANY) else 1
    try:
        sent = max(0, min(wanted, settings.WORKERS - waiting(app)))
    except away(app) as error:
        log.warning("broker_away", error=str(error))
        return 0
    for _ in range(sent):
        drain.apply_async()
    return sent


def away(app: Celery) -> tuple[type[BaseException], ...]:
    """What is raised while the broker cannot be reached."""
    return (OperationalError, *app.connection_for_write().recoverable_connection_errors)


def waiting(app: Celery) -> int:
    """How many messages no worker has taken yet, nudges and beats alike."""
    with app.connection_or_acquire() as broker:
        try:
            return int(broker.default_channel.queue_declare(app.conf.task_default_queue, passive=True).message_count)
        except broker.channel_errors:  # no queue: nothing was ever sent, or everything was flushed
            return 0
