"""Panels that several pages share: facts, references, transitions, runs. Plain data; templates render and escape it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from django.db.models import Model

from canonical.models import ExternalRef, Transition
from hub.admin_ui import badge, link, money
from hub.models import Run

MOST = 100
"""Rows a panel shows."""


@dataclass(frozen=True, slots=True)
class Panel:
    """A titled table."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]
    empty: str = "None."
    more: bool = False


@dataclass(frozen=True, slots=True)
class Page:
    """What an object's page shows: facts on top, panels below, then texts in full."""

    facts: Sequence[tuple[str, Any]]
    panels: Sequence[Panel] = ()
    texts: Sequence[tuple[str, str]] = ()
    note: str = ""
    details: dict[str, Any] = field(default_factory=dict)


def facts_of(obj: Model, *names: str) -> list[tuple[str, Any]]:
    """Fields of an object by name, with their verbose names; empty ones are left out."""
    shown = []
    for name in names:
        value = getattr(obj, name)
        if value in (None, "", {}, []):
            continue
        label = str(obj._meta.get_field(name).verbose_name)  # type: ignore[union-attr]
        shown.append((label[:1].upper() + label[1:], present(name, value)))
    return shown


def present(name: str, value: Any) -> Any:
    """A value as people read it."""
    if isinstance(value, Model):
        return link(value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if name in ("state", "status"):
        return badge(str(value))
    return value


def references(kind: str, pk: int) -> Panel:
    """The ids an object has in each system, superseded ones last."""
    refs = ExternalRef.objects.filter(object_kind=kind, object_id=pk).select_related("connection").order_by("state", "id")[:MOST]
    rows = [(r.connection, r.kind, external(r), r.number, badge(r.state), link(r, "details")) for r in refs]
    return Panel("In the systems", ("System", "As", "Id", "Number", "State", ""), rows, "No system has it yet.")


def external(ref: ExternalRef) -> str:
    """The external id, linked to the system when it told an http address."""
    from django.utils.html import format_html

    label = ref.external_id or "(reserved)"
    if ref.url.startswith(("https://", "http://")):
        return format_html('<a class="tie-link" href="{}" rel="noopener noreferrer" target="_blank">{} ↗</a>', ref.url, label)
    return label


def transitions(kind: str, pk: int) -> Panel:
    """How an object came to its state."""
    moves = Transition.objects.filter(object_kind=kind, object_id=pk).order_by("id")[:MOST]
    rows = [(m.at, badge(m.source), badge(m.target), m.by, m.note) for m in moves]
    return Panel("How it came to its state", ("When", "From", "To", "By", "Note"), rows, "It has not moved yet.")


def runs(found: Iterable[Run], title: str = "Runs", empty: str = "No run was about it.") -> Panel:
    """Runs with their state."""
    rows = [
        (
            link(run, f"#{run.pk}"),
            run.flow,
            badge(run.state),
            run.subject_id,
            money(run.amount, run.currency),
            run.started_at,
            run.started_by,
        )
        for run in found
    ]
    return Panel(title, ("Run", "Flow", "State", "Subject", "Amount", "Started", "By"), rows, empty)


def runs_about(kind: str, pk: int) -> Panel:
    """The runs about an object, newest first, by the ids the systems know it by."""
    ids = ExternalRef.objects.filter(object_kind=kind, object_id=pk, kind=kind).values_list("external_id", flat=True)
    found = Run.objects.filter(subject_kind=kind, subject_id__in=[i for i in ids if i]).order_by("-id")[:20]
    return runs(found, "What the hub did about it")
