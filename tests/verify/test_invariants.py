"""Each invariant, broken by hand: exactly it must name what was done."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import StringIO

import pytest
from django.core.management import call_command
from django.db import connection as database

from canonical.models import ExternalRef, Party, move
from hub.models import InboxEvent, Run
from reconciliation.invariants import INVARIANTS, audit, check, mends, scans
from tests import facts
from tests.verify.conftest import Hub, a_posting, a_question, an_invoice, sql

Damage = Callable[[Hub], None]
DAMAGES: list[tuple[str, Damage, str]] = []


def damage(invariant: str, says: str) -> Callable[[Damage], Damage]:
    """Register a way to break an invariant, and what it must be called."""

    def register(do: Damage) -> Damage:
        DAMAGES.append((invariant, do, says))
        return do

    return register


@contextmanager
def without(table: str, constraint: str) -> Iterator[None]:
    """Insert what a constraint refuses, and put a harmless one of its name back."""
    with database.cursor() as cursor:
        cursor.execute("SELECT conname FROM pg_constraint WHERE conname = %s", [constraint])
        is_constraint = cursor.fetchone() is not None
        cursor.execute(f"ALTER TABLE {table} DROP CONSTRAINT {constraint}" if is_constraint else f"DROP INDEX {constraint}")
    yield
    again = f"ALTER TABLE {table} ADD CONSTRAINT {constraint} CHECK (true)"
    sql(again if is_constraint else f"CREATE UNIQUE INDEX {constraint} ON {table} (id)")


@pytest.fixture
def schema_restored() -> Iterator[None]:
    """Definitions of constraints that a damage replaces, put back for the tests that follow."""
    with database.cursor() as cursor:
        cursor.execute(DEFINITIONS)
        before = dict(cursor.fetchall())
    yield
    with database.cursor() as cursor:
        cursor.execute(DEFINITIONS)
        after = dict(cursor.fetchall())
        for name in {n for n in before if after.get(n) != before[n]}:
            facts.clear("canonical_externalref", "hub_accountingrule")
            table, kind, definition = before[name].split("|", 2)
            if kind == "c":
                cursor.execute(f"ALTER TABLE {table} DROP CONSTRAINT IF EXISTS {name}")
                cursor.execute(f"ALTER TABLE {table} ADD CONSTRAINT {name} {definition}")
            else:
                cursor.execute(f"DROP INDEX IF EXISTS {name}")
                cursor.execute(definition)


DEFINITIONS = """
    SELECT conname, conrelid::regclass || '|c|' || pg_get_constraintdef(oid) FROM pg_constraint
    WHERE contype = 'c' AND connamespace = 'public'::regnamespace
    UNION ALL
    SELECT indexname, tablename || '|i|' || indexdef FROM pg_indexes
    WHERE schemaname = 'public' AND indexdef LIKE '%UNIQUE%WHERE%'
"""


# work --------------------------------------------------------------------------------------------------------------


@damage("events_have_runs", "evt_1")
def _(hub: Hub) -> None:
    sql(f"UPDATE hub_run SET event_id = NULL WHERE id = {hub.run.pk}")


@damage("unclear_events_are_asked_about", "quarantined")
def _(hub: Hub) -> None:
    InboxEvent.objects.create(
        connection=hub.billing, external_id="evt_2", origin="webhook", disposition="quarantined", body=hub.event.body,
        body_digest=hub.event.body_digest,
    )  # fmt: skip


@damage("open_runs_have_one_open_step", "has 0 open steps")
def _(hub: Hub) -> None:
    sql(f"UPDATE hub_run SET state = 'open', ended_at = NULL WHERE id = {hub.run.pk}")


@damage("ended_runs_have_no_open_step", "extra")
def _(hub: Hub) -> None:
    hub.run.steps.create(name="extra", lane=hub.run.lane)


@damage("done_runs_are_done", "failed")
def _(hub: Hub) -> None:
    hub.run.steps.create(name="extra", lane=hub.run.lane, state="failed")


@damage("waiting_steps_wait_for_somebody", "waits for nobody")
def _(hub: Hub) -> None:
    hub.run.steps.create(name="extra", lane=hub.run.lane, state="waiting")
    sql(f"UPDATE hub_run SET state = 'open', ended_at = NULL WHERE id = {hub.run.pk}")


@damage("waiting_steps_wait_for_somebody", "which is resolved")
def _(hub: Hub) -> None:
    item = a_question(hub)
    hub.run.steps.create(name="extra", lane=hub.run.lane, state="waiting", waiting_on=item)
    sql(f"UPDATE hub_run SET state = 'parked', ended_at = NULL WHERE id = {hub.run.pk}")
    sql(f"UPDATE hub_reviewitem SET state = 'resolved', answer = 'x', resolved_by = 'y' WHERE id = {item.pk}")


@damage("parked_runs_wait_for_somebody", "nobody is asked")
def _(hub: Hub) -> None:
    hub.run.steps.create(name="extra", lane=hub.run.lane)
    sql(f"UPDATE hub_run SET state = 'parked', ended_at = NULL WHERE id = {hub.run.pk}")


@damage("owed_invoices_are_worked", "no run is about it")
def _(hub: Hub) -> None:
    an_invoice(hub.entity, hub.invoice.party, "in_2", "5.00")
    sql("UPDATE canonical_invoice SET created_at = now() - interval '2 days' WHERE number = 'in_2'")


# identity ----------------------------------------------------------------------------------------------------------


@damage("one_document_per_key", "stripe/in_1 has 2 references")
def _(hub: Hub) -> None:
    other = Party.objects.create(name="Bob")
    with without("canonical_externalref", "one_document_per_key"):
        ExternalRef.objects.create(
            connection=hub.erp, kind="invoice", object_kind="party", object_id=other.pk, external_id="8", key="stripe/in_1",
            provenance="t",
        )  # fmt: skip


@damage("money_is_posted_once", "was posted by steps")
def _(hub: Hub) -> None:
    a_posting(hub.run, hub.erp, "stripe/in_1", "11.90", name="undo:post")


@damage("reservations_are_used_or_explained", "no step is about to fill it")
def _(hub: Hub) -> None:
    ExternalRef.objects.create(
        connection=hub.erp, kind="payment", object_kind="invoice", object_id=hub.invoice.pk, key="stripe/in_1/payment",
        state="reserved", provenance="test",
    )  # fmt: skip


@damage("references_lead_to_objects", "there is none")
def _(hub: Hub) -> None:
    ExternalRef.objects.create(
        connection=hub.billing, kind="party", object_kind="party", object_id=10**9, external_id="cus_x", provenance="t"
    )


@damage("references_lead_to_objects", "spaceship")
def _(hub: Hub) -> None:
    ExternalRef.objects.create(
        connection=hub.billing, kind="spaceship", object_kind="spaceship", object_id=1, external_id="x", provenance="t"
    )


@damage("merged_references_lead_to_a_survivor", "leads to nothing live")
def _(hub: Hub) -> None:
    for external_id in ("cus_1", "cus_2"):
        ExternalRef.objects.create(
            connection=hub.billing, kind="party", object_kind="party", object_id=hub.invoice.party_id, external_id=external_id,
            state="superseded", valid_to="2026-01-01T00:00Z", provenance="t",
        )  # fmt: skip
    first, second = ExternalRef.objects.filter(state="superseded")
    ExternalRef.objects.filter(pk=first.pk).update(superseded_by=second)
    ExternalRef.objects.filter(pk=second.pk).update(superseded_by=first)


@damage("posted_invoices_have_a_number", "has no number")
def _(hub: Hub) -> None:
    ExternalRef.objects.filter(kind="invoice").update(number="")


# money -------------------------------------------------------------------------------------------------------------


@damage("written_as_asked", "asked for 11.90 EUR, and 11.89 EUR is held")
def _(hub: Hub) -> None:
    hub.step.result = {"facts": {"total": "11.89", "currency": "EUR"}}
    hub.step.save()


@damage("written_as_asked", "USD is held")
def _(hub: Hub) -> None:
    hub.step.result = {"facts": {"total": "11.90", "currency": "USD"}}
    hub.step.save()


@damage("lines_add_up", "its lines have 9.9900")
def _(hub: Hub) -> None:
    hub.invoice.lines.update(net="9.99")


# facts -------------------------------------------------------------------------------------------------------------


@damage("events_are_unchanged", "is not what came in")
def _(hub: Hub) -> None:
    sql(f"UPDATE hub_inboxevent SET body = 'other' WHERE id = {hub.event.pk}")


@damage("events_are_unchanged", "is called a conflict")
def _(hub: Hub) -> None:
    again = InboxEvent.objects.create(
        connection=hub.billing, external_id="evt_1", origin="webhook", disposition="conflict", duplicate_of=hub.event,
        body=hub.event.body, body_digest=hub.event.body_digest,
    )  # fmt: skip
    item = a_question(hub)
    item.event = again
    item.save()


@damage("attempts_are_complete", "claimed 1 times, and 0 attempts are known")
def _(hub: Hub) -> None:
    sql("DELETE FROM hub_attempt")


@damage("attempts_are_complete", "the last is number 2")
def _(hub: Hub) -> None:
    sql("UPDATE hub_attempt SET number = 2")


@damage("transitions_are_complete", "a transition from mapped follows one to recorded")
def _(hub: Hub) -> None:
    sql("DELETE FROM canonical_transition WHERE object_kind = 'invoice' AND name = 'map'")


@damage("transitions_are_complete", "its last transition led to confirmed")
def _(hub: Hub) -> None:
    sql("UPDATE canonical_invoice SET state = 'settled'")


@damage("rules_have_two_people", "approved by nobody")
def _(hub: Hub) -> None:
    with without("hub_accountingrule", "accounting_rule_in_force_is_approved"):
        sql("UPDATE hub_accountingrule SET approved_by_id = NULL")


@damage("rules_have_two_people", "drafted by user")
def _(hub: Hub) -> None:
    with without("hub_accountingrule", "accounting_rule_maker_is_not_checker"):
        sql("UPDATE hub_accountingrule SET approved_by_id = drafted_by_id")


def broken() -> dict[str, str]:
    """The invariants that do not hold now, with what they name."""
    return {f.invariant.name: " ".join(f.named) for f in check() if f.count}


def test_a_hub_in_good_order_keeps_every_invariant(hub: Hub) -> None:
    assert broken() == {}
    out = StringIO()
    call_command("verify", stdout=out)
    assert f"{len(INVARIANTS)} invariants hold" in out.getvalue()


@pytest.mark.parametrize(("invariant", "do", "says"), DAMAGES, ids=[f"{name}-{n}" for n, (name, _, _) in enumerate(DAMAGES)])
def test_exactly_the_broken_invariant_names_the_damage(
    hub: Hub, schema_restored: None, invariant: str, do: Damage, says: str
) -> None:
    do(hub)
    found = broken()
    assert list(found) == [invariant], found
    assert says in found[invariant]


def test_a_changed_cent_is_named_by_every_invariant_that_counts_it(hub: Hub) -> None:
    sql("UPDATE canonical_invoice SET total = total + 0.01, net = net + 0.01")
    found = broken()
    assert set(found) == {"money_is_conserved", "posted_as_billed", "lines_add_up"}
    assert "billed 11.9100, but posted 11.90" in found["money_is_conserved"]


def test_two_errors_that_cancel_out_do_not_hide(hub: Hub) -> None:
    """A sum per currency would balance; each invoice on its own does not."""
    other = an_invoice(hub.entity, hub.invoice.party, "in_2", "5.00")
    run = Run.objects.create(
        flow="order_to_cash", lane="l2", subject_kind="invoice", subject_id="in_2", object_id=other.pk, state="done",
        ended_at="2026-11-01T00:00Z",
    )  # fmt: skip
    a_posting(run, hub.erp, "stripe/in_2", "6.00")
    hub.step.request = hub.step.request | {"total": "10.90"}
    hub.step.result = {"facts": {"total": "10.90", "currency": "EUR"}}
    hub.step.save()
    ExternalRef.objects.create(
        connection=hub.erp, kind="invoice", object_kind="invoice", object_id=other.pk, external_id="9", number="INV/9",
        key="stripe/in_2", provenance="test",
    )  # fmt: skip
    for name in ("map", "post"):
        move(other, name, by="test")
    found = broken()
    assert list(found) == ["posted_as_billed"]
    assert "posted 1 times, 10.90" in found["posted_as_billed"] and "posted 1 times, 6.00" in found["posted_as_billed"]


@pytest.mark.parametrize(
    ("break_it", "mend_it", "says"),
    [
        (
            "ALTER TABLE hub_attempt DISABLE TRIGGER facts_are_insert_only",
            "ALTER TABLE hub_attempt ENABLE TRIGGER USER",
            "trigger facts_are_insert_only is disabled",
        ),
        (
            "ALTER TABLE hub_inboxevent RENAME CONSTRAINT only_duplicates_have_an_original TO gone",
            "ALTER TABLE hub_inboxevent RENAME CONSTRAINT gone TO only_duplicates_have_an_original",
            "constraint only_duplicates_have_an_original is missing",
        ),
        (
            "ALTER INDEX one_running_step_per_lane RENAME TO gone",
            "ALTER INDEX gone RENAME TO one_running_step_per_lane",
            "constraint one_running_step_per_lane is missing",
        ),
    ],
)
def test_a_guard_that_is_gone_is_named(hub: Hub, break_it: str, mend_it: str, says: str) -> None:
    with database.cursor() as cursor:
        cursor.execute(break_it)
        try:
            found = broken()
        finally:
            cursor.execute(mend_it)
    assert len(found) == 1 and says in next(iter(found.values()))


def test_verify_exits_with_1_and_tells_machines_what_is_wrong(hub: Hub) -> None:
    sql("DELETE FROM hub_attempt")
    out = StringIO()
    with pytest.raises(SystemExit) as ended:
        call_command("verify", json=True, stdout=out)
    said = json.loads(out.getvalue())
    assert ended.value.code == 1 and said["ok"] is False
    (wrong,) = [i for i in said["invariants"] if i["violations"]]
    assert wrong["name"] == "attempts_are_complete" and wrong["first"]


def test_every_invariant_can_be_broken() -> None:
    """No invariant without a damage that it finds."""
    here = {"money_is_conserved", "posted_as_billed", "facts_are_guarded", "constraints_are_in_force"}
    # tests/audit, tests/credits/test_invariants.py, tests/reconciliation/test_invariants.py and test_mending.py break these
    elsewhere = {one.name for one in (*audit.INVARIANTS, *scans.INVARIANTS, *mends.INVARIANTS)} | {"credits_are_conserved"}
    assert {name for name, _, _ in DAMAGES} | here | elsewhere == {invariant.name for invariant in INVARIANTS}
