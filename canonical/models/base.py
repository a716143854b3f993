"""What all models share: field shapes for money, facts that are only ever inserted, and recorded transitions."""

from __future__ import annotations

import uuid
from typing import Any, ClassVar

from django.db import models, transaction
from django.db.models.functions import Now
from django_fsm import ConcurrentTransition


class CurrencyField(models.CharField[str, str]):
    """An ISO 4217 code."""

    def __init__(self, **options: Any) -> None:
        options.setdefault("max_length", 3)
        super().__init__(**options)


class AmountField(models.DecimalField[Any, Any]):
    """An amount of money: NUMERIC(20,4), enough for every ISO exponent. The currency stands beside it."""

    def __init__(self, **options: Any) -> None:
        options.setdefault("max_digits", 20)
        options.setdefault("decimal_places", 4)
        super().__init__(**options)


class AppendOnly(models.Model):
    """A fact. A database trigger refuses UPDATE, DELETE and TRUNCATE (migration `facts_are_insert_only`)."""

    class Meta:
        abstract = True


class BusinessObject(models.Model):
    """Something of the business that outlives the systems that describe it."""

    kind: ClassVar[str]
    uid = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    seen_at = models.DateTimeField(null=True, blank=True, help_text="version of the source last applied")

    class Meta:
        abstract = True


class Transition(AppendOnly):
    """One state change of one object: from where to where, who or what did it, and why."""

    object_kind = models.CharField(max_length=40)
    object_id = models.BigIntegerField()
    name = models.CharField(max_length=60)
    source = models.CharField(max_length=40)
    target = models.CharField(max_length=40)
    by = models.CharField(max_length=150, help_text="a user name, or the part of the hub that did it")
    note = models.TextField(blank=True)
    run_id = models.BigIntegerField(null=True, blank=True)
    at = models.DateTimeField(db_default=Now())

    class Meta:
        indexes: ClassVar = [
            models.Index(fields=["object_kind", "object_id", "id"], name="transitions_of_an_object"),
            models.Index(fields=["run_id", "id"], name="transitions_of_a_run"),
        ]

    def __str__(self) -> str:
        return f"{self.object_kind} {self.object_id}: {self.source} → {self.target}"


def move(
    obj: models.Model,
    name: str,
    *,
    by: str,
    note: str = "",
    run_id: int | None = None,
    save: list[str] | None = None,
    **arguments: Any,
) -> None:
    """Perform the FSM transition `name` of `obj` under its row lock, save it and record it, all or nothing.

    Raises django_fsm.TransitionNotAllowed when the state does not allow it and ConcurrentTransition when somebody
    moved the object since it was read. `save` names further fields to store along.
    """
    with transaction.atomic():
        source: str = obj.state  # type: ignore[attr-defined]
        locked = type(obj)._base_manager.select_for_update().values_list("state", flat=True).get(pk=obj.pk)
        if locked != source:
            raise ConcurrentTransition(f"{obj} is {locked} by now, not {source}")
        getattr(obj, name)(**arguments)
        obj.save(update_fields=["state", *(save or [])])
        record_transition(obj, name, source, by=by, note=note, run_id=run_id)


def record_transition(obj: models.Model, name: str, source: str, *, by: str, note: str = "", run_id: int | None = None) -> None:
    """Write down a transition that has just been saved."""
    Transition.objects.create(
        object_kind=obj._meta.model_name or "",
        object_id=obj.pk,
        name=name,
        source=source,
        target=obj.state,  # type: ignore[attr-defined]
        by=by,
        note=note,
        run_id=run_id,
    )
