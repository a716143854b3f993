"""Settle: one transaction in which an outcome, the change it means and the next step become true together.

A batch settles at once. If one member raises, the batch is rolled back and each settles alone, so that the culprit
is recorded and the others are not held up.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import structlog
from django.db import transaction
from django.utils import timezone

from canonical import xref
from canonical.commands import Request, Written
from canonical.models import move, record_transition
from connectors.models import Connection
from hub import flows, review
from hub.engine import crash, health, retry, store
from hub.engine.flow import UNDO, Blocked, Effect, Flow, Gate, Keep, Local, Read, StepSpec, Undo
from hub.engine.perform import Outcome
from hub.engine.store import Change, Claimed, Ledger, NewStep
from hub.models import ReviewItem, Run, Step

log = structlog.get_logger("hub.engine")
_rng = random.Random()

Settled = tuple[Claimed, Outcome]


def settle(batch: Sequence[Settled]) -> None:
    """Settle what is still ours; outcomes of lost leases are dropped (their steps were handed on)."""
    crash.point("before_settle")
    try:
        _settle(batch)
    except Exception:
        for claimed, outcome in batch:
            _settle_alone(claimed, outcome)
    crash.point("after_settle")


def _settle(batch: Sequence[Settled], *, careful: bool = False) -> None:
    with transaction.atomic():
        review.hold_off_healing()
        mine = store.still_mine([claimed for claimed, _ in batch])
        ledger = Ledger()
        for claimed, outcome in batch:
            if claimed.step.pk in mine:
                Settlement(claimed, outcome, ledger, careful).apply()
            else:
                log.warning("lease_lost", step=claimed.step.pk, outcome=outcome.kind)
        store.write(ledger)
        health.note([(claimed.step.connection_id, outcome) for claimed, outcome in batch if claimed.step.pk in mine])
        crash.point("before_settle_commit")


def _settle_alone(claimed: Claimed, outcome: Outcome) -> None:
    for last_resort in (False, True):
        fresh = Step.objects.select_related("run").get(pk=claimed.step.pk)
        again = Claimed(fresh, claimed.token, claimed.lost)
        try:
            _settle([(again, outcome)], careful=True)
            return
        except Exception as error:
            if last_resort:
                raise
            log.exception("settle_failed", step=fresh.pk, run=fresh.run_id)
            kept = outcome.answer.model_dump(mode="json") if isinstance(outcome.answer, Written) else None
            outcome = Outcome(
                "crashed", answer=kept, code=type(error).__name__, message=str(error)[:2000],
                exchanges=outcome.exchanges, milliseconds=outcome.milliseconds,
            )  # fmt: skip


class Settlement:
    """What one outcome does to its step and run. `careful`: alone in its transaction, so a block can be caught there."""

    def __init__(self, claimed: Claimed, outcome: Outcome, ledger: Ledger, careful: bool) -> None:
        self.careful = careful
        self.step, self.lost = claimed.step, claimed.lost
        self.run: Run = claimed.step.run
        self.outcome, self.ledger = outcome, ledger
        try:
            self.flow: Flow = flows.get(self.run.flow, self.run.version)
            self.spec: StepSpec = self.flow.step(self.step.name)
        except LookupError as error:  # a run of another release waits for a person; it must not hold up its batch
            self.flow, self.spec = Flow(self.run.flow, self.run.flow, steps=()), Local(self.step.name, lambda run: None)
            self.outcome = replace(outcome, kind="crashed", code="no_such_flow", message=str(error))

    def apply(self) -> None:
        """Let the outcome take its course, and write the attempt."""
        getattr(self, f"_{self.outcome.kind}")()
        step, outcome = self.step, self.outcome
        if step.connection_id is not None or outcome.kind != "done":
            log.info(
                "step_settled", correlation_id=str(self.run.correlation_id), run=step.run_id, flow=self.run.flow, step=step.name,
                subject=self.run.subject_id, attempt=step.attempts, outcome=outcome.kind, code=outcome.code,
                ms=outcome.milliseconds,
            )  # fmt: skip
        self.ledger.attempts.append(
            (step.pk, step.run_id, step.connection_id, step.attempts, outcome.kind, step.worker,
             outcome.milliseconds, outcome.code[:100], outcome.message[:4000], json.dumps(outcome.exchanges))
        )  # fmt: skip

    # outcomes ------------------------------------------------------------------------------------------------

    def _done(self) -> None:
        if self.outcome.mismatch:
            self._wait_for_person(
                "mismatch", f"{self.spec.name}: posted, but not as asked", wanted_and_held=self.outcome.mismatch,
                result=self.outcome.answer.model_dump(mode="json"),
            )  # fmt: skip
            return
        if isinstance(self.spec, Gate):
            try:
                with transaction.atomic(savepoint=self.careful):
                    opens = self.spec.opens(self.run)
            except Blocked as blocked:
                self._wait_for_cause(blocked)
                return
            if opens is not True:
                self.outcome = replace(self.outcome, kind="blocked", code="gate", message="not yet")
                self._change("waiting" if opens is False else "ready", wait=float(opens))
                return
        before = _fingerprint_of(self.run)
        try:
            with transaction.atomic(savepoint=self.careful):
                result = self._carry_out()
        except Blocked as blocked:
            self._wait_for_cause(blocked)
            return
        self._change("done", result=result)
        if self.step.name.startswith(UNDO):
            undo_next(self.run, self.flow, self.step.name, self.ledger)
        elif (self.step.result or {}).get("then") == "undo":
            self._take_back()
        else:
            advance(self.run, self.flow, self.step.name, self.ledger)
        if _fingerprint_of(self.run) != before:
            self.ledger.runs[self.run.pk] = self.run

    _found = _done

    def _take_back(self) -> None:
        """A person wants this document, posted but not as asked, and what came before it, undone."""
        source = self.run.state
        self.run.compensate()
        record_transition(self.run, "compensate", source, by=(self.step.result or {})["answered_by"], run_id=self.run.pk)
        undo_next(self.run, self.flow, self.step.name, self.ledger, including=True)

    def _carry_out(self) -> Any:
        spec, run, answer = self.spec, self.run, self.outcome.answer
        if isinstance(spec, Gate):
            return None
        if isinstance(spec, Local):
            spec.apply(run)
            return None
        if isinstance(spec, Read):
            spec.apply(run, answer)
            return None
        assert isinstance(answer, Written)
        if self.step.name.startswith(UNDO):
            assert isinstance(spec.undo, Undo)
            spec.undo.apply(run, answer)
        else:
            if spec.creates:
                assert self.step.connection_id is not None
                xref.bind(self.step.connection_id, self.step.key, answer)
            spec.apply(run, answer)
        return answer.model_dump(mode="json")

    def _busy(self) -> None:
        outcome = self.outcome
        age = timezone.now() - self.step.tried_since
        if retry.exhausted(self.step.tries, age):
            self._quarantine()
            return
        wait = retry.after_busy(self.step.tries, outcome.throttled, outcome.retry_after, _rng)
        if wait.connection and self.step.connection_id:
            store.defer_connection(self.step.connection_id, wait.connection)
        extra = health.budget_wait(self.step.connection_id)
        self._change("unknown" if self.lost else "ready", wait=max(wait.item, extra))

    def _unknown(self) -> None:
        outcome = self.outcome
        if outcome.code == "cannot_be_searched" or self.step.lookups + outcome.lookup_failed >= retry.MAX_LOOKUPS:
            self._wait_for_person("unknown_outcome", f"{self.spec.name}: nobody knows whether it happened", group=self.flow.group)
            return
        if retry.exhausted(self.step.tries, timezone.now() - self.step.tried_since):
            self._wait_for_person("unknown_outcome", f"{self.spec.name}: still not known after {self.step.attempts} attempts")
            return
        if isinstance(self.spec, Read):
            self._change("ready", wait=retry.backoff(self.step.tries, _rng))
            return
        wait = self._quiet()
        if outcome.lookup_failed:
            again = retry.after_busy(self.step.tries, outcome.throttled, outcome.retry_after, _rng)
            wait = again.item
            if again.connection and self.step.connection_id:
                store.defer_connection(self.step.connection_id, again.connection)
        self._change("unknown", wait=wait, lookups=int(outcome.lookup_failed))

    def _connection(self) -> Connection:
        assert self.step.connection_id is not None
        return Connection.objects.select_for_update().get(pk=self.step.connection_id)

    def _quiet(self) -> float:
        return self._connection().quiet.total_seconds()

    def _refused(self) -> None:
        if self.step.name.startswith(UNDO) or self.flow.on_refusal == "person":
            self._wait_for_person("refused", f"{self.spec.name}: {self.outcome.message}"[:300])
            return
        self._change("failed")
        source = self.run.state
        self.run.compensate()
        record_transition(self.run, "compensate", source, by="engine", note=self.outcome.message, run_id=self.run.pk)
        undo_next(self.run, self.flow, self.step.name, self.ledger)
        self.run.save(update_fields=["state", "ended_at", "context"])

    def _misconfigured(self) -> None:
        connection = self._connection()
        pause_connection(connection, self.outcome.code, self.outcome.message)
        self._change("unknown" if self.lost else "ready")

    def _built(self) -> None:
        """A block left this step without a request: build it now, where nothing can change meanwhile."""
        assert isinstance(self.spec, Effect)
        try:
            new = build(self.run, self.flow, self.spec)
        except Blocked as blocked:
            self._wait_for_cause(blocked)
            return
        if new is None:
            self.outcome = replace(self.outcome, kind="done")
            self._change("done")
            advance(self.run, self.flow, self.step.name, self.ledger)
            self.run.save(update_fields=["state", "ended_at"])
            return
        Step.objects.filter(pk=self.step.pk).update(
            request=new.request, key=new.key, request_digest=new.digest, connection_id=new.connection_id, lane=new.lane
        )
        self._change("ready")

    def _wait_for_cause(self, blocked: Blocked) -> None:
        """Found missing and asked for in one transaction: nobody can mend it in between and look for us in vain."""
        if not self.careful:
            raise blocked
        self.outcome = replace(self.outcome, kind="blocked", code="blocked", message=blocked.title)
        self._change("waiting", waiting_on=open_for(blocked, self.run).pk)

    def _crashed(self) -> None:
        known = self.outcome.answer if isinstance(self.outcome.answer, dict) else None
        if self.step.crashes + 1 >= retry.MAX_CRASHES:
            self._quarantine(result=known)
        else:
            state = "unknown" if known or self.lost else "ready"
            self._change(state, wait=retry.backoff(self.step.tries, _rng), crashes=1)

    # what they share -----------------------------------------------------------------------------------------

    def _quarantine(self, result: Any = None) -> None:
        title = f"{self.run.flow}/{self.step.name}: {self.outcome.code} ({self.outcome.message})"
        mark = review.fingerprint("quarantined", self.run.flow, self.step.name, self.step.connection_id, self.outcome.code)
        self._park("quarantined", mark, title, result=result)

    def _wait_for_person(self, cause: str, title: str, *, group: str = "", result: Any = None, **detail: Any) -> None:
        title = f"{self.run.subject_kind} {self.run.subject_id}: {title}"
        self._park(cause, review.fingerprint(cause, "step", self.step.pk), title, group=group, result=result, **detail)

    def _park(self, cause: str, mark: str, title: str, *, group: str = "", result: Any = None, **detail: Any) -> None:
        run, step = self.run, self.step
        item = review.open_item(
            cause, mark, title, group=group or self.flow.group, source=step.connection_id or run.connection_id,
            detail={"run": run.pk, "step": step.name, "code": self.outcome.code, "message": self.outcome.message, **detail},
        )  # fmt: skip
        self._change("waiting", waiting_on=item.pk, result=result)
        if run.state != "parked":
            source = run.state
            run.park()
            record_transition(run, "park", source, by="engine", note=title, run_id=run.pk)
            run.save(update_fields=["state"])

    def _change(self, state: str, **fields: Any) -> None:
        fields.setdefault("error_code", self.outcome.code)
        fields.setdefault("error", self.outcome.message)
        self.ledger.changes[self.step.pk] = Change(state, **fields)


def _fingerprint_of(run: Run) -> tuple[Any, ...]:
    return json.dumps(run.context, sort_keys=True, default=str), run.amount, run.currency, run.object_id, run.state


def advance(run: Run, flow: Flow, after: str | None, ledger: Ledger) -> None:
    """Insert the next step that is needed, or end the run."""
    for spec in flow.after(after):
        new = next_step(run, flow, spec)
        if new is not None:
            ledger.steps.append(new)
            return
    run.finish()
    run.ended_at = timezone.now()


def next_step(run: Run, flow: Flow, spec: StepSpec) -> NewStep | None:
    """The row of the next step, waiting for its cause when it is blocked, or None when it is not needed."""
    try:
        return build(run, flow, spec)
    except Blocked as blocked:
        return NewStep(run.pk, spec.name, run.lane, state="waiting", waiting_on=open_for(blocked, run).pk)


def build(run: Run, flow: Flow, spec: StepSpec) -> NewStep | None:
    """The row of a step with its request frozen and its reference reserved. Raises Blocked."""
    if isinstance(spec, Local):
        return NewStep(run.pk, spec.name, run.lane)
    if isinstance(spec, Read):
        asked = spec.request(run)
        return None if asked is None else NewStep(run.pk, spec.name, run.lane, spec.on(run).pk, request=asked)
    if isinstance(spec, Gate):
        opens = spec.opens(run)
        return (
            None
            if opens is True
            else NewStep(run.pk, spec.name, run.lane, state="waiting" if opens is False else "ready", wait=float(opens))
        )
    request = spec.request(run)
    if request is None:
        return None
    target = spec.on(run)
    if spec.creates:
        kind, object_id = spec.owner(run) if spec.owner else (run.subject_kind, run.object_id or 0)
        xref.reserve(target.pk, spec.creates, kind, object_id, request.key, provenance=f"{run.flow} {run.pk}")
    lane = spec.lane(run) if spec.lane else run.lane
    return NewStep(run.pk, spec.name, lane, target.pk, request.key, request.model_dump(mode="json"), digest(request))


def digest(request: Request) -> str:
    """SHA-256 of the canonical form of a request: what an approval covers."""
    return hashlib.sha256(json.dumps(request.model_dump(mode="json"), sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def undo_next(run: Run, flow: Flow, after: str, ledger: Ledger, *, including: bool = False) -> None:
    """Insert the next undo step going backwards over what was done, or end the run as compensated.

    `including`: `after` itself has just been done, and is the first to be undone.
    """
    done = set(run.steps.filter(state="done").values_list("name", flat=True))
    specs = flow.before(after)
    if including:
        specs, done = [flow.step(after), *specs], done | {after}
    for spec in specs:
        if not isinstance(spec, Effect) or isinstance(spec.undo, Keep) or spec.name not in done:
            continue
        request = spec.undo.request(run)
        if request is not None:
            target = spec.on(run)
            ledger.steps.append(
                NewStep(
                    run.pk,
                    UNDO + spec.name,
                    run.lane,
                    target.pk,
                    request.key,
                    request.model_dump(mode="json"),
                    digest(request),
                )
            )
            return
    source = run.state
    run.restore()
    run.ended_at = timezone.now()
    record_transition(run, "restore", source, by="engine", run_id=run.pk)


def begin_undo(run: Run, failed_step: str, *, by: str, note: str) -> None:
    """A person asked for it: undo what this run did, last first. Inside a transaction."""
    flow = flows.get(run.flow, run.version)
    move(run, "compensate", by=by, note=note, run_id=run.pk)
    ledger = Ledger()
    undo_next(run, flow, failed_step, ledger)
    store.write(ledger)
    run.save(update_fields=["state", "ended_at"])


def open_for(blocked: Blocked, run: Run) -> ReviewItem:
    """The review item a block asks for."""
    return review.open_item(
        blocked.cause,
        blocked.fingerprint,
        blocked.title,
        group=blocked.group,
        source=run.connection_id,
        detail=blocked.detail,
    )


def pause_connection(connection: Connection, code: str, message: str) -> None:
    """Our credentials or rights are wrong: stop calling, and ask a person. Inside a transaction."""
    if connection.state == "active":
        move(connection, "pause", by="engine", note=message, save=["pause_reason"], reason=f"{code}: {message}")
    review.open_item(
        "misconfigured", review.fingerprint("misconfigured", connection.pk), f"{connection}: {message}",
        group="integration engineer", source=connection, detail={"code": code, "message": message},
    )  # fmt: skip
