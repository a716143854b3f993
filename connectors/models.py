"""Connections: one account at one vendor, with its settings, secrets, state and the wait it has to keep."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, ClassVar

from django.db import models
from django.db.models import Q
from django.utils import timezone
from django_fsm import FSMField, FSMModelMixin, transition
from simple_history.models import HistoricalRecords

from connectors import secrets
from connectors.registry import connector_for
from connectors.sdk.contract import Connector


class Connection(FSMModelMixin, models.Model):
    """An account at a vendor. Work is claimed for it only while it is active and past `not_before`."""

    kind: ClassVar[str] = "connection"
    slug = models.SlugField(max_length=60, unique=True, help_text="names the webhook URL: /ingest/SLUG/")
    title = models.CharField(max_length=200)
    connector = models.CharField(max_length=40)
    role = models.CharField(max_length=10, editable=False)
    legal_entity = models.ForeignKey(
        "canonical.LegalEntity", models.PROTECT, null=True, blank=True, related_name="connections",
        help_text="whose documents these are, unless the document says otherwise",
    )  # fmt: skip
    state = FSMField(default="draft", protected=True)
    settings = models.JSONField(default=dict, blank=True)
    sealed_credentials = models.TextField(blank=True, editable=False)
    sealed_webhook_secrets = models.TextField(blank=True, editable=False)
    pause_reason = models.TextField(blank=True, editable=False)
    not_before = models.DateTimeField(null=True, blank=True, editable=False, help_text="the wait the vendor asked for")
    failures_in_row = models.PositiveIntegerField(default=0, editable=False)
    last_success_at = models.DateTimeField(null=True, blank=True, editable=False)
    last_failure_at = models.DateTimeField(null=True, blank=True, editable=False)
    last_failure = models.TextField(blank=True, editable=False)
    quiet_seconds = models.PositiveIntegerField(null=True, blank=True, help_text="overrides the connector's quiet period")
    max_in_flight = models.PositiveIntegerField(null=True, blank=True, help_text="overrides the connector's limit")
    history = HistoricalRecords(
        excluded_fields=[
            "sealed_credentials", "sealed_webhook_secrets", "not_before", "failures_in_row", "last_success_at",
            "last_failure_at", "last_failure",
        ],
    )  # fmt: skip

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["legal_entity"],
                condition=Q(role="erp") & ~Q(state="revoked"),
                name="one_live_erp_per_legal_entity",
            )
        ]

    def __str__(self) -> str:
        return self.title or self.slug

    def save(self, *args: Any, **options: Any) -> None:
        self.role = self.spec.role
        super().save(*args, **options)

    @property
    def spec(self) -> Connector:
        """The connector. Raises LookupError when the registry has none of that name."""
        return connector_for(self.connector)

    @property
    def quiet(self) -> timedelta:
        """How long a lost call may still land at this vendor."""
        return self.spec.quiet if self.quiet_seconds is None else timedelta(seconds=self.quiet_seconds)

    @property
    def room(self) -> int:
        """How many calls may be in flight at once; one while recovering from failures."""
        from_spec = self.spec.limits.max_in_flight
        return 1 if self.failures_in_row >= BREAKER_AFTER else (self.max_in_flight or from_spec)

    # secrets -------------------------------------------------------------------------------------------------

    def set_credentials(self, values: dict[str, Any]) -> None:
        """Validate by the connector's model and seal. Raises pydantic.ValidationError. Does not save."""
        self.spec.credentials.model_validate(values)
        # What was given, not the model's dump, which masks its secrets.
        self.sealed_credentials = secrets.seal(f"{self.slug}/credentials", values)

    def read_credentials(self) -> Any:
        """The connector's credentials model. Raises connectors.secrets.Unreadable."""
        values = secrets.unseal(f"{self.slug}/credentials", self.sealed_credentials) if self.sealed_credentials else {}
        return self.spec.credentials.model_validate(values)

    def set_webhook_secret(self, secret: str, *, overlap: timedelta = timedelta(hours=24)) -> None:
        """Make `secret` the newest; the one before stays valid for `overlap`. Does not save."""
        if not secret:
            raise ValueError("an empty webhook secret would accept anything")
        until = (timezone.now() + overlap).isoformat()
        before = [{"secret": s["secret"], "until": s["until"] or until} for s in self._webhook_secrets()[:1]]
        self.sealed_webhook_secrets = secrets.seal(f"{self.slug}/webhook", [{"secret": secret, "until": None}, *before])

    def live_webhook_secrets(self, now: datetime | None = None) -> list[str]:
        """Secrets that verify a delivery now: the newest first, at most two."""
        at = now or timezone.now()
        return [s["secret"] for s in self._webhook_secrets() if not s["until"] or datetime.fromisoformat(s["until"]) > at]

    def _webhook_secrets(self) -> list[dict[str, Any]]:
        if not self.sealed_webhook_secrets:
            return []
        return list(secrets.unseal(f"{self.slug}/webhook", self.sealed_webhook_secrets))

    # states --------------------------------------------------------------------------------------------------

    @transition(state, source=["draft", "paused"], target="active")
    def activate(self) -> None:
        """Work flows again; the slate of failures is clean."""
        self.pause_reason, self.not_before, self.failures_in_row = "", None, 0

    @transition(state, source=["draft", "active"], target="paused")
    def pause(self, reason: str) -> None:
        """No call is made until somebody resumes it; deliveries are still accepted."""
        self.pause_reason = reason

    @transition(state, source=["draft", "active", "paused"], target="revoked")
    def revoke(self) -> None:
        """The end: secrets are forgotten, the door is closed."""
        self.sealed_credentials = self.sealed_webhook_secrets = ""


BREAKER_AFTER = 5
"""Failures in a row after which a connection is probed with one call at a time."""


class Cursor(models.Model):
    """Where the sweep of one stream of one connection stands."""

    connection = models.ForeignKey(Connection, models.CASCADE, related_name="cursors")
    stream = models.CharField(max_length=60)
    swept_to = models.DateTimeField(null=True, blank=True, help_text="everything before this has been read")
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        constraints: ClassVar = [models.UniqueConstraint(fields=["connection", "stream"], name="one_cursor_per_stream")]

    def __str__(self) -> str:
        return f"{self.connection}/{self.stream}: {self.swept_to}"
