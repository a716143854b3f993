"""Connections: their health, their settings and secrets, and the switches."""

from __future__ import annotations

import time
from typing import Any

from django.contrib import admin
from django.db import IntegrityError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django_fsm import ConcurrentTransition, TransitionNotAllowed

from canonical.models import move
from connectors.clients import client_for
from connectors.models import Connection, Cursor
from connectors.registry import CONNECTORS
from connectors.sdk.errors import VendorError
from connectors.sdk.http import Call
from hub.admin.connection_form import ConnectionForm, NewConnectionForm
from hub.admin.home import trouble
from hub.admin.panels import transitions
from hub.admin_ui import Choices, EditAdmin, Problem, badge, button, url_of, when
from hub.flows import sweep
from hub.models import ReviewItem, Step
from hub.models.work import OPEN_STEP

STATES = ("draft", "active", "paused", "revoked")


@admin.register(Connection)
class ConnectionAdmin(EditAdmin):
    """An account at a vendor."""

    list_display = ("title", "connector_", "role", "legal_entity", "state_", "health_", when("last_success_at"))
    list_select_related = ("legal_entity",)
    list_filter = (
        Choices.of("state", [(s, s) for s in STATES]),
        Choices.of("role", [(r, r) for r in ("billing", "support", "erp")]),
    )
    ordering = ("role", "title")
    change_form_outer_before_template = "admin/tieout/connection_health.html"

    @admin.display(description="connector")
    def connector_(self, obj: Connection) -> str:
        return obj.connector

    @admin.display(description="state")
    def state_(self, obj: Connection) -> str:
        return badge(obj.state)

    @admin.display(description="health")
    def health_(self, obj: Connection) -> str:
        return trouble(obj) or ("well" if obj.last_success_at else "not called yet")

    # form ----------------------------------------------------------------------------------------------------------

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **options: Any) -> Any:
        if obj is None:
            return super().get_form(request, obj, change, **{**options, "form": NewConnectionForm})
        if not self._editable(request, obj):
            return super().get_form(request, obj, change, **{**options, "help_texts": ConnectionForm.Meta.help_texts})
        # The fields of the secrets are the form's own: naming them here would look for them on the model.
        return super().get_form(request, obj, change, **{**options, "form": ConnectionForm, "fields": ConnectionForm.Meta.fields})

    def _editable(self, request: HttpRequest, obj: Connection) -> bool:
        return self.has_change_permission(request, obj) and obj.state != "revoked"

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return super().has_change_permission(request, obj) and (obj is None or _known(obj))

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        if obj is None:
            return [(None, {"fields": ["connector", "slug", "title", "legal_entity"]})]
        named = ["title", "slug", "connector", "legal_entity"]
        sets: list[Any] = [("Account", {"fields": named}), ("Settings", {"fields": ["settings"]})]
        if self._editable(request, obj):
            secret = [f"credential_{name}" for name in obj.spec.credentials.model_fields]
            secret += ["webhook_secret"] if obj.spec.verify is not None else []
            note = "Stored encrypted and never shown again. Empty means unchanged."
            sets.append(("Secrets", {"fields": secret, "description": note}))
        return [*sets, ("Limits", {"fields": ["quiet_seconds", "max_in_flight"]})]

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        if obj is None:
            return ()
        if obj.state == "revoked":
            return ("title", "slug", "connector", "legal_entity", "settings", "quiet_seconds", "max_in_flight")
        return ("slug", "connector")

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def response_add(self, request: HttpRequest, obj: Any, post_url_continue: str | None = None) -> HttpResponse:
        self.message_user(request, "Now its settings and credentials; then test it and activate it.")
        return redirect(url_of(obj))

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        obj = self.get_object(request, object_id)
        health = self._health(request, obj) if obj is not None and self.has_view_permission(request, obj) else {}
        return super().change_view(request, object_id, form_url, {**(extra_context or {}), **health})

    def _health(self, request: HttpRequest, obj: Connection) -> dict[str, Any]:
        swept = {cursor.stream: cursor.swept_to for cursor in Cursor.objects.filter(connection=obj)}
        may = self._may(request)
        return {
            "connection": obj,
            "trouble": trouble(obj) if _known(obj) else f"this release has no connector {obj.connector}",
            "open_steps": Step.objects.filter(connection=obj, state__in=OPEN_STEP).count(),
            "open_items": ReviewItem.objects.filter(connection=obj, state="open").count(),
            "streams": [(stream, swept.get(stream)) for stream in sorted(obj.spec.pages)] if _known(obj) else [],
            "webhook_path": reverse("ingest", args=[obj.slug]) if _known(obj) and obj.spec.verify else "",
            "may": may,
            "switches": [name for name, states in SWITCHES.items() if obj.state in states and may[name] and _known(obj)],
            "moves": [transitions("connection", obj.pk)],
        }

    # buttons -------------------------------------------------------------------------------------------------------

    @button("connectors.operate_connection")
    def test(self, request: HttpRequest, obj: Connection) -> str:
        """One read that proves reachability and credentials."""
        started = time.perf_counter()
        try:
            health = obj.spec.check(client_for(obj), Call(timeout=15.0))
        except VendorError as error:
            raise Problem(f"It does not work: {type(error).__name__}, {error.message}") from None
        took = round((time.perf_counter() - started) * 1000)
        return f"It works: {health.identity}{f' ({health.detail})' if health.detail else ''}, answered in {took} ms."

    @button("connectors.operate_connection")
    def activate(self, request: HttpRequest, obj: Connection) -> str:
        """Let calls flow, again or for the first time."""
        try:
            client_for(obj)
        except VendorError as error:
            raise Problem(f"It cannot be activated: {error.message}") from None
        self._move(request, obj, "activate", save=["pause_reason", "not_before", "failures_in_row"])
        return "Active: work flows."

    @button("connectors.operate_connection")
    def pause(self, request: HttpRequest, obj: Connection) -> str:
        """Make no more calls; deliveries are still accepted."""
        reason = request.POST.get("reason", "").strip()
        if len(reason) < 5:
            raise Problem("Say why, in a few words.")
        self._move(request, obj, "pause", note=reason, save=["pause_reason"], reason=reason)
        return "Paused: no call is made until somebody resumes it; deliveries are still accepted."

    @button("connectors.revoke_connection")
    def revoke(self, request: HttpRequest, obj: Connection) -> str:
        """Forget its secrets for good. The slug has to be typed, because there is no way back."""
        if request.POST.get("confirm", "").strip() != obj.slug:
            raise Problem(f"Type {obj.slug} to confirm: revoking forgets its secrets and cannot be undone.")
        self._move(request, obj, "revoke", save=["sealed_credentials", "sealed_webhook_secrets"])
        return "Revoked: its secrets are gone and its door is closed."

    @button("connectors.operate_connection")
    def sweep(self, request: HttpRequest, obj: Connection) -> str:
        """Read a stream now, from where the last sweep ended."""
        if obj.state != "active":
            raise Problem("Only an active connection can be swept.")
        try:
            run = sweep.begin(obj, request.POST.get("stream", ""), by=request.user.get_username())
        except LookupError as error:
            raise Problem(str(error)) from None
        return f"Sweep of {run.subject_id} started as run #{run.pk}."

    def _move(self, request: HttpRequest, obj: Connection, name: str, **how: Any) -> None:
        try:
            move(obj, name, by=request.user.get_username(), **how)
        except (TransitionNotAllowed, ConcurrentTransition):
            raise Problem(f"It is {Connection.objects.get(pk=obj.pk).state} now: that cannot be done.") from None
        except IntegrityError:
            raise Problem("Another live ERP keeps the books of this legal entity.") from None


def _known(obj: Connection) -> bool:
    """Whether this release has the connector: a connection of one taken out can only be looked at."""
    return obj.connector in CONNECTORS


SWITCHES = {"activate": ("draft", "paused"), "pause": ("draft", "active"), "revoke": ("draft", "active", "paused")}
"""Which switch is offered in which states."""
