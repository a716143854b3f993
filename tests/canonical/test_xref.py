"""Identity: one object per id, one id per object and system, in the database itself."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import IntegrityError, transaction

from canonical import xref
from canonical.commands import Written
from canonical.models import ExternalRef
from connectors.models import Connection
from tests.support.threads import at_once


def reserve(erp: Connection, object_id: int = 1, key: str = "k1", kind: str = "invoice") -> ExternalRef:
    return xref.reserve(erp.pk, kind, "invoice", object_id, key, provenance="test")


def linked(erp: Connection, external_id: str, object_id: int) -> ExternalRef:
    return xref.link(erp.pk, "invoice", external_id, "invoice", object_id, provenance="test")


def test_a_reference_is_reserved_before_and_bound_after(erp: Connection) -> None:
    ref = reserve(erp)
    assert (ref.state, ref.external_id, xref.external("invoice", 1, erp.pk)) == ("reserved", None, None)
    bound = xref.bind(erp.pk, "k1", Written(external_id="42", number="INV-42", url="http://erp/42"))
    assert (bound.pk, bound.state, bound.number) == (ref.pk, "active", "INV-42")
    assert xref.find(erp.pk, "invoice", "42") == 1
    assert xref.external("invoice", 1, erp.pk) == bound


def test_reserving_and_binding_again_change_nothing(erp: Connection) -> None:
    first = reserve(erp)
    for _ in range(2):
        xref.bind(erp.pk, "k1", Written(external_id="42"))
        assert reserve(erp).pk == first.pk
    assert ExternalRef.objects.count() == 1


def test_a_second_id_for_one_create_is_refused(erp: Connection) -> None:
    reserve(erp)
    xref.bind(erp.pk, "k1", Written(external_id="42"))
    with pytest.raises(xref.AlreadyBound):
        xref.bind(erp.pk, "k1", Written(external_id="43"))
    assert ExternalRef.objects.get().external_id == "42"


def test_a_create_under_another_key_is_refused(erp: Connection) -> None:
    reserve(erp)
    with pytest.raises(xref.AlreadyBound):
        reserve(erp, key="k2")


def test_the_same_key_for_two_objects_is_refused_by_the_database(erp: Connection) -> None:
    reserve(erp)
    with pytest.raises(IntegrityError, match="one_document_per_key"), transaction.atomic():
        reserve(erp, object_id=2)


def test_one_id_never_names_two_objects(erp: Connection) -> None:
    linked(erp, "42", 1)
    with pytest.raises(xref.AlreadyBound):
        linked(erp, "42", 2)
    with pytest.raises(IntegrityError, match="one_object_per_external_id"), transaction.atomic():
        ExternalRef.objects.create(connection=erp, kind="invoice", external_id="42", object_kind="invoice", object_id=2)


def test_one_object_never_has_two_live_ids_in_a_system(erp: Connection) -> None:
    linked(erp, "42", 1)
    with pytest.raises(IntegrityError, match="one_live_ref_per_object_and_system"), transaction.atomic():
        linked(erp, "43", 1)


def test_one_object_may_be_several_things_over_there(erp: Connection) -> None:
    reserve(erp)
    reserve(erp, key="k1/payment", kind="payment")
    assert ExternalRef.objects.filter(object_id=1).count() == 2


def test_an_active_reference_without_an_id_is_refused_by_the_database(erp: Connection) -> None:
    with pytest.raises(IntegrityError, match="active_ref_has_an_id"), transaction.atomic():
        ExternalRef.objects.create(connection=erp, kind="invoice", object_kind="invoice", object_id=1)


def test_a_merged_id_leads_to_its_survivor_and_stays_in_the_history(erp: Connection) -> None:
    a, b, c = linked(erp, "a", 1), linked(erp, "b", 2), linked(erp, "c", 3)
    xref.supersede(a, b)
    xref.supersede(b, c)
    assert [xref.find(erp.pk, "invoice", x) for x in "abc"] == [3, 3, 3]
    kept = ExternalRef.objects.get(external_id="a")
    assert (kept.object_id, kept.state) == (1, "superseded")
    assert kept.valid_from and kept.valid_to


def test_a_merge_survives_the_next_time_the_old_id_is_told(erp: Connection) -> None:
    a, b = linked(erp, "a", 1), linked(erp, "b", 2)
    xref.supersede(a, b)
    assert xref.find(erp.pk, "invoice", "a") == 2
    linked(erp, "d", 1)
    assert xref.external("invoice", 1, erp.pk).external_id == "d"  # type: ignore[union-attr]


def test_a_merge_never_goes_in_a_circle_or_across_systems(erp: Connection, source: Connection) -> None:
    a, b = linked(erp, "a", 1), linked(erp, "b", 2)
    elsewhere = xref.link(source.pk, "invoice", "a", "invoice", 9, provenance="test")
    xref.supersede(a, b)
    for old, survivor in ((b, a), (b, b), (b, elsewhere)):
        with pytest.raises(xref.AlreadyBound):
            xref.supersede(old, survivor)
    assert xref.find(erp.pk, "invoice", "a") == 2


@pytest.mark.django_db(transaction=True)
def test_many_reservations_at_once_are_one_row(erp: Connection) -> None:
    rows = at_once(12, lambda n: reserve(erp).pk, threads=6)
    assert len(set(rows)) == ExternalRef.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_many_links_at_once_are_one_row_and_a_second_object_gets_none(erp: Connection) -> None:
    def link(n: int) -> Any:
        try:
            return linked(erp, "42", 1 + n % 2).object_id
        except xref.AlreadyBound:
            return None

    answers = set(at_once(12, link, threads=6))
    assert ExternalRef.objects.count() == 1
    assert answers == {None, ExternalRef.objects.get().object_id}
