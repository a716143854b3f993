"""Work: runs of a flow, their steps, and what each attempt at a step did.

Invariants are constraints here, named as sentences. The engine (`hub.engine`) is the only writer.

    step:  ready → running → done
             ↑        ├ busy → ready (later)
             │        ├ unknown → (quiet period) → running: find before call
             │        └ refused → failed
             └ waiting ← needs a person or a mapping
    run:   open → done | parked → open | closed ; open → compensating → compensated
"""

from __future__ import annotations

import uuid
from typing import ClassVar

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now
from django_fsm import FSMField, FSMModelMixin, transition

from canonical.models import AppendOnly
from canonical.models.base import AmountField, CurrencyField
from connectors.models import Connection
from hub.models.inbox import InboxEvent

OPEN_RUN = ("open", "compensating", "parked")
CLAIMABLE = ("ready", "unknown")
OPEN_STEP = ("ready", "running", "unknown", "waiting")


class Run(FSMModelMixin, models.Model):
    """One workflow for one event (or sweep, or command). The lane is its unit of order: serial within, parallel across."""

    kind: ClassVar[str] = "run"
    flow = models.CharField(max_length=60)
    version = models.PositiveIntegerField(default=1)
    lane = models.CharField(max_length=300)
    state = FSMField(default="open", protected=True)
    connection = models.ForeignKey(Connection, models.PROTECT, null=True, blank=True, help_text="where it came from")
    event = models.ForeignKey(InboxEvent, models.PROTECT, null=True, blank=True, related_name="runs")
    replay_of = models.ForeignKey("self", models.PROTECT, null=True, blank=True, related_name="replays")
    subject_kind = models.CharField(max_length=40, blank=True)
    subject_id = models.CharField(max_length=255, blank=True, help_text="the vendor's id of what it is about")
    object_id = models.BigIntegerField(null=True, blank=True, help_text="our id of it, once known")
    context = models.JSONField(default=dict)
    amount = AmountField(null=True, blank=True)
    currency = CurrencyField(blank=True, default="")
    correlation_id = models.UUIDField(default=uuid.uuid4)
    started_by = models.CharField(max_length=150, default="engine")
    started_at = models.DateTimeField(db_default=Now())
    ended_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["event", "flow"], condition=Q(replay_of__isnull=True), name="one_run_per_event_and_flow"
            ),
            models.CheckConstraint(condition=Q(state__in=[*OPEN_RUN, "done", "compensated", "closed"]), name="run_states"),
            models.CheckConstraint(condition=Q(state__in=OPEN_RUN) ^ Q(ended_at__isnull=False), name="ended_runs_have_an_end"),
        ]
        indexes: ClassVar = [
            models.Index(fields=["lane", "id"], condition=Q(state__in=OPEN_RUN), name="open_runs_of_a_lane"),
            models.Index(fields=["subject_kind", "subject_id", "-id"], name="runs_of_a_subject"),
            models.Index(fields=["correlation_id"], name="runs_by_correlation"),
            models.Index(fields=["state", "-id"], name="runs_by_state"),
            models.Index(fields=["flow", "-id"], name="runs_by_flow"),
            models.Index(fields=["ended_at"], name="runs_by_end"),
        ]

    def __str__(self) -> str:
        return f"{self.flow} {self.subject_id or self.pk}"

    @transition(state, source=["open", "parked"], target="done")
    def finish(self) -> None:
        """Every step is done."""

    @transition(state, source=["open", "compensating"], target="parked")
    def park(self) -> None:
        """A person must look; its lane waits, others flow."""

    @transition(state, source="parked", target="open")
    def resume(self) -> None:
        """A person let it go on."""

    @transition(state, source=["open", "parked"], target="compensating")
    def compensate(self) -> None:
        """What was done is being undone, last first."""

    @transition(state, source="compensating", target="compensated")
    def restore(self) -> None:
        """Everything that could be undone is."""

    @transition(state, source="parked", target="closed")
    def close(self) -> None:
        """A person ended it with a reason."""


class Step(FSMModelMixin, models.Model):
    """One thing to do. The row is the outbox: inserted with the change that demands it, claimed under a lease."""

    run = models.ForeignKey(Run, models.PROTECT, related_name="steps")
    name = models.CharField(max_length=60)
    lane = models.CharField(max_length=300)
    state = FSMField(default="ready", protected=True)
    connection = models.ForeignKey(Connection, models.PROTECT, null=True, blank=True, help_text="whom it calls")
    key = models.CharField(max_length=255, blank=True, help_text="idempotency key of the call")
    request = models.JSONField(null=True, blank=True)
    request_digest = models.CharField(max_length=64, blank=True)
    result = models.JSONField(null=True, blank=True)
    due_at = models.DateTimeField(db_default=Now())
    attempts = models.PositiveIntegerField(default=0, help_text="counted when claimed, so that a killed worker counts")
    tries = models.PositiveIntegerField(default=0, help_text="attempts since it was created or a person let it go on")
    tried_since = models.DateTimeField(db_default=Now())
    crashes = models.PositiveIntegerField(default=0, help_text="leases that ran out")
    lookups = models.PositiveIntegerField(default=0, help_text="searches that could not tell")
    lease_until = models.DateTimeField(null=True, blank=True)
    lease_token = models.UUIDField(null=True, blank=True)
    worker = models.CharField(max_length=100, blank=True)
    waiting_on = models.ForeignKey("hub.ReviewItem", models.PROTECT, null=True, blank=True, related_name="blocks")
    error_code = models.CharField(max_length=100, blank=True)
    error = models.TextField(blank=True)
    created_at = models.DateTimeField(db_default=Now())
    ended_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["lane"], condition=Q(state="running"), name="one_running_step_per_lane"),
            models.UniqueConstraint(fields=["run", "name"], name="one_row_per_step"),
            models.UniqueConstraint(fields=["run"], condition=Q(state__in=OPEN_STEP), name="one_open_step_per_run"),
            models.CheckConstraint(condition=Q(state__in=[*OPEN_STEP, "done", "failed"]), name="step_states"),
            models.CheckConstraint(condition=Q(state="running") ^ Q(lease_token__isnull=True), name="running_steps_have_a_lease"),
        ]
        indexes: ClassVar = [
            models.Index(fields=["connection", "due_at", "id"], condition=Q(state__in=CLAIMABLE), name="steps_to_claim"),
            models.Index(fields=["lease_until"], condition=Q(state="running"), name="running_steps_by_lease"),
            models.Index(fields=["connection"], condition=Q(state="running"), name="running_steps_by_connection"),
            models.Index(fields=["waiting_on"], condition=Q(state="waiting"), name="steps_waiting_for_a_review"),
        ]

    def __str__(self) -> str:
        return f"{self.name} of run {self.run_id}"

    @transition(state, source=["ready", "unknown"], target="running")
    def claim(self) -> None:
        """A worker has it, until its lease ends."""

    @transition(state, source="running", target="done")
    def finish(self) -> None:
        """The effect is certain."""

    @transition(state, source=["running", "waiting"], target="ready")
    def again(self) -> None:
        """Nothing happened; due later. Or a person let it go on."""

    @transition(state, source=["running", "waiting"], target="unknown")
    def lose(self) -> None:
        """It may have happened: look before calling again."""

    @transition(state, source="running", target="waiting")
    def wait(self) -> None:
        """A person or a mapping must come first."""

    @transition(state, source=["running", "waiting"], target="failed")
    def fail(self) -> None:
        """Refused, or given up by a person."""


class Attempt(AppendOnly):
    """What one attempt at a step did, written when it settled (or when its lease ran out)."""

    class Outcome(models.TextChoices):
        DONE = "done"
        FOUND = "found", "found: an earlier call had landed"
        REFUSED = "refused"
        BUSY = "busy"
        MISCONFIGURED = "misconfigured"
        UNKNOWN = "unknown"
        BLOCKED = "blocked", "blocked: needs a mapping or a person"
        BUILT = "built", "built: its request is known now"
        CRASHED = "crashed", "crashed: raised an unexpected error"
        LOST = "lost", "lost: the worker never came back"

    step = models.ForeignKey(Step, models.PROTECT, related_name="history")
    run = models.ForeignKey(Run, models.PROTECT, related_name="attempts")
    connection = models.ForeignKey(Connection, models.PROTECT, null=True, blank=True)
    number = models.PositiveIntegerField()
    outcome = models.CharField(max_length=14, choices=Outcome.choices)
    worker = models.CharField(max_length=100, blank=True)
    at = models.DateTimeField(db_default=Now())
    milliseconds = models.PositiveIntegerField(default=0)
    error_code = models.CharField(max_length=100, blank=True)
    error = models.TextField(blank=True)
    exchanges = models.JSONField(default=list, help_text="requests and answers on the wire, without headers")

    class Meta:
        constraints: ClassVar = [models.UniqueConstraint(fields=["step", "number"], name="one_outcome_per_attempt")]
        indexes: ClassVar = [
            models.Index(fields=["run", "id"], name="attempts_of_a_run"),
            models.Index(fields=["connection", "-at"], condition=Q(connection__isnull=False), name="calls_of_a_connection"),
        ]

    def __str__(self) -> str:
        return f"attempt {self.number} at step {self.step_id}: {self.outcome}"
