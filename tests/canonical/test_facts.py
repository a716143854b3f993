"""What has happened stays what it was, whoever asks for something else."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import IntegrityError, InternalError, connection, transaction
from django_fsm import ConcurrentTransition, TransitionNotAllowed

from canonical.models import Invoice, Observation, Transition, move
from canonical.record import Recorder
from connectors.models import Connection
from hub import inbox
from tests.canonical import said
from tests.support.bodies import event
from tests.support.world import map_code, people, rule_for

FACTS = ["hub_inboxevent", "hub_attempt", "canonical_observation", "canonical_transition"]


def guarded() -> set[str]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT tgrelid::regclass::text FROM pg_trigger WHERE tgname = 'facts_are_insert_only'")
        return {row[0] for row in cursor.fetchall()}


def refused(change: str, *values: Any) -> str:
    with pytest.raises((IntegrityError, InternalError)) as no, transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(change, values)
    return str(no.value)


def test_every_table_of_facts_is_guarded(db: None) -> None:
    assert set(FACTS) <= guarded()


@pytest.mark.django_db(transaction=True)
def test_facts_refuse_update_delete_and_truncate(source: Connection, recorder: Recorder) -> None:
    inbox.receive(source, event())
    recorder.record([said.party()])
    move(source, "pause", by="ann", reason="test")
    for table, column in (("hub_inboxevent", "kind"), ("canonical_observation", "kind"), ("canonical_transition", "note")):
        assert "insert-only" in refused(f"UPDATE {table} SET {column} = 'x'")
        assert "insert-only" in refused(f"DELETE FROM {table}")
    for table in FACTS:
        assert refused(f"TRUNCATE {table} CASCADE")
    assert Observation.objects.count() == 1 and Transition.objects.count() == 1


def test_a_change_of_state_says_who_did_it_and_why(recorder: Recorder) -> None:
    recorder.record([said.invoice(), said.party(), said.product()])
    invoice = Invoice.objects.get()
    move(invoice, "map", by="ann", note="by hand", run_id=7)
    told = Transition.objects.get()
    assert (told.object_kind, told.object_id, told.name, told.source, told.target) == (
        "invoice",
        invoice.pk,
        "map",
        "recorded",
        "mapped",
    )
    assert (told.by, told.note, told.run_id) == ("ann", "by hand", 7)


def test_a_change_that_is_not_allowed_leaves_no_trace(recorder: Recorder) -> None:
    recorder.record([said.invoice(), said.party(), said.product()])
    with pytest.raises(TransitionNotAllowed):
        move(Invoice.objects.get(), "settle", by="ann")
    assert Invoice.objects.get().state == "recorded" and not Transition.objects.exists()


def test_two_who_read_the_same_state_do_not_both_change_it(recorder: Recorder) -> None:
    recorder.record([said.invoice(), said.party(), said.product()])
    one, other = Invoice.objects.get(), Invoice.objects.get()
    move(one, "map", by="ann")
    with pytest.raises(ConcurrentTransition):
        move(other, "map", by="bob")
    assert Transition.objects.count() == 1


# rules -----------------------------------------------------------------------------------------------------------


def test_a_rule_that_was_approved_keeps_what_it_says(entity: Any, source: Connection, erp: Connection) -> None:
    rule, mapping = rule_for(entity), map_code("product", source, "prod_1", erp, "PLAN")
    assert "draft a new version" in refused("UPDATE hub_accountingrule SET revenue_account = '9' WHERE id = %s", rule.pk)
    assert "draft a new version" in refused("UPDATE hub_codemapping SET target_code = '9' WHERE id = %s", mapping.pk)
    assert "draft a new version" in refused("DELETE FROM hub_accountingrule WHERE id = %s", rule.pk)
    type(rule).objects.filter(pk=rule.pk).update(valid_to="2030-01-01", state="retired")
    assert "draft a new version" in refused("UPDATE hub_accountingrule SET revenue_account = '9' WHERE id = %s", rule.pk)


def test_who_drafted_a_rule_cannot_approve_it_not_even_in_sql(entity: Any) -> None:
    maker, checker = people()
    rule = rule_for(entity, state="draft", approved_by=None, approved_at=None)
    assert "accounting_rule_maker_is_not_checker" in refused(
        "UPDATE hub_accountingrule SET state = 'active', approved_by_id = drafted_by_id WHERE id = %s", rule.pk
    )
    assert "accounting_rule_in_force_is_approved" in refused(
        "UPDATE hub_accountingrule SET state = 'active' WHERE id = %s", rule.pk
    )
    type(rule).objects.filter(pk=rule.pk).update(state="active", approved_by=checker)
    assert maker != checker


def test_a_rule_cannot_end_before_it_begins(entity: Any) -> None:
    rule = rule_for(entity, state="draft", approved_by=None)
    assert "ends_after_it_begins" in refused("UPDATE hub_accountingrule SET valid_to = '2019-01-01' WHERE id = %s", rule.pk)
