"""The ID cross-reference's verbs: reserve before a create, bind when the id is known, look up both ways, supersede."""

from __future__ import annotations

from django.db import transaction
from django.db.models.functions import Now

from canonical.commands import Written
from canonical.models import ExternalRef

LIVE = (ExternalRef.RESERVED, ExternalRef.ACTIVE)


class NotThere(LookupError):
    """The system does not have the object yet, as far as we know."""


class AlreadyBound(Exception):
    """The id belongs to another object, or the object has another id there. A person must say which is right."""


def find(connection_id: int, kind: str, external_id: str) -> int | None:
    """Our id of the object a system calls `external_id`, or None. A merged-away id leads to its survivor."""
    refs = ExternalRef.objects.filter(connection_id=connection_id, kind=kind, external_id=external_id)
    ref = refs.exclude(state=ExternalRef.SUPERSEDED).first() or refs.order_by("-id").first()
    while ref is not None and ref.superseded_by_id is not None:
        ref = ref.superseded_by
    return ref.object_id if ref else None


def external(object_kind: str, object_id: int, connection_id: int, kind: str | None = None) -> ExternalRef | None:
    """The active reference of our object in a system, or None while it has none."""
    return ExternalRef.objects.filter(
        object_kind=object_kind,
        object_id=object_id,
        connection_id=connection_id,
        kind=kind or object_kind,
        state=ExternalRef.ACTIVE,
    ).first()


def id_of(object_kind: str, object_id: int, connection_id: int, kind: str | None = None) -> str:
    """What a system calls our object, or what of it is a `kind` there.

    Raises NotThere: the step that makes it there has to come before.
    """
    ref = external(object_kind, object_id, connection_id, kind)
    if ref is None or ref.external_id is None:
        raise NotThere(f"{object_kind} {object_id} has no id in connection {connection_id}")
    return ref.external_id


def link(connection_id: int, kind: str, external_id: str, object_kind: str, object_id: int, *, provenance: str) -> ExternalRef:
    """Say that a system calls our object `external_id`. Saying it again changes nothing. Raises AlreadyBound."""
    ref, _ = ExternalRef.objects.get_or_create(
        connection_id=connection_id, kind=kind, external_id=external_id, state=ExternalRef.ACTIVE,
        defaults={"object_kind": object_kind, "object_id": object_id, "provenance": provenance},
    )  # fmt: skip
    if (ref.object_kind, ref.object_id) != (object_kind, object_id):
        raise AlreadyBound(f"{kind} {external_id} is {ref.object_kind} {ref.object_id}, not {object_kind} {object_id}")
    return ref


def reserve(connection_id: int, kind: str, object_kind: str, object_id: int, key: str, *, provenance: str) -> ExternalRef:
    """Write down that we are about to create it, before the first byte is sent. Reserving again returns the same row.

    Raises AlreadyBound when the object's live reference there was made under another key.
    """
    ref, _ = ExternalRef.objects.exclude(state=ExternalRef.SUPERSEDED).get_or_create(
        connection_id=connection_id, kind=kind, object_kind=object_kind, object_id=object_id,
        defaults={"key": key, "state": ExternalRef.RESERVED, "provenance": provenance},
    )  # fmt: skip
    if ref.key != key:
        raise AlreadyBound(f"{object_kind} {object_id} exists there under the key {ref.key}, not {key}")
    return ref


def bind(connection_id: int, key: str, written: Written) -> ExternalRef:
    """The reserved create has an id now. Binding the same id again changes nothing. Raises AlreadyBound."""
    with transaction.atomic():
        ref = (
            ExternalRef.objects.select_for_update().exclude(state=ExternalRef.SUPERSEDED).get(connection_id=connection_id, key=key)
        )
        if ref.state == ExternalRef.ACTIVE and ref.external_id != written.external_id:
            raise AlreadyBound(f"{ref} was created as {ref.external_id}; now the system says {written.external_id}")
        ref.external_id, ref.number, ref.url = written.external_id, written.number, written.url
        ref.state = ExternalRef.ACTIVE
        ref.save(update_fields=["external_id", "number", "url", "state"])
        return ref


def supersede(old: ExternalRef, survivor: ExternalRef) -> None:
    """The system merged `old` into `survivor`: the old id leads there from now on, and stays in the history.

    Raises AlreadyBound when the survivor was merged away itself, or is of another kind or system.
    """
    with transaction.atomic():
        rows = ExternalRef.objects.select_for_update().filter(pk__in=[old.pk, survivor.pk]).order_by("pk")
        locked = {ref.pk: ref for ref in rows}
        old, survivor = locked[old.pk], locked[survivor.pk]
        of_one_kind = (old.connection_id, old.kind) == (survivor.connection_id, survivor.kind)
        if old == survivor or survivor.state == ExternalRef.SUPERSEDED or not of_one_kind:
            raise AlreadyBound(f"{old} cannot lead to {survivor}")
        old.state, old.superseded_by, old.valid_to = ExternalRef.SUPERSEDED, survivor, Now()
        old.save(update_fields=["state", "superseded_by", "valid_to"])


def replace(
    connection_id: int, kind: str, external_id: str, object_kind: str, object_id: int, *, provenance: str,
    key: str | None = None, number: str = "",
) -> ExternalRef:  # fmt: skip
    """Say that a system holds our object as `external_id` from now on; the id it had there before leads to the new one.

    `key` is what the new one was made under; None keeps the key of the one before. Saying it again changes nothing.
    Raises AlreadyBound when the id is another object's.
    """
    with transaction.atomic():
        rows = ExternalRef.objects.select_for_update().exclude(state=ExternalRef.SUPERSEDED)
        taken = rows.filter(connection_id=connection_id, kind=kind, external_id=external_id).first()
        if taken is not None:
            if (taken.object_kind, taken.object_id) != (object_kind, object_id):
                raise AlreadyBound(f"{kind} {external_id} is {taken.object_kind} {taken.object_id}, not {object_kind} {object_id}")
            return taken
        old = rows.filter(connection_id=connection_id, kind=kind, object_kind=object_kind, object_id=object_id).first()
        if old is not None:
            old.state, old.valid_to = ExternalRef.SUPERSEDED, Now()
            old.save(update_fields=["state", "valid_to"])
        made = ExternalRef.objects.create(
            connection_id=connection_id, kind=kind, external_id=external_id, object_kind=object_kind, object_id=object_id,
            number=number, key=key or (old.key if old else None), provenance=provenance,
        )  # fmt: skip
        if old is not None:
            old.superseded_by = made
            old.save(update_fields=["superseded_by"])
        return made
