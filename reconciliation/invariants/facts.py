"""Facts are as they were written, and what guards them and the rules is in force."""

from __future__ import annotations

from django.db.models import CheckConstraint, UniqueConstraint

from canonical.models import AppendOnly
from hub.models.rules import DatedRule
from reconciliation.invariants.base import Invariant, our_models, values


def triggers_are_armed() -> str:
    """The triggers that `canonical.triggers` installs, per table."""
    wanted = [
        (model._meta.db_table, trigger)
        for model in our_models()
        for base, names in {
            AppendOnly: ("facts_are_insert_only", "facts_are_never_truncated"),
            DatedRule: ("approved_rules_keep_what_they_say",),
        }.items()
        if issubclass(model, base)
        for trigger in names
    ]
    return f"""SELECT format('%s: trigger %s is %s', w.relation, w.name, CASE WHEN t.oid IS NULL THEN 'missing' ELSE 'disabled' END)
               FROM (VALUES {values(wanted)}) AS w(relation, name)
               LEFT JOIN pg_trigger t ON t.tgrelid = w.relation::regclass AND t.tgname = w.name
               WHERE t.tgenabled IS NULL OR t.tgenabled NOT IN ('O', 'A')"""


def constraints_are_in_force() -> str:
    """Every check and unique constraint the models declare; conditional ones are unique indexes in PostgreSQL."""
    wanted = [
        (model._meta.db_table, constraint.name)
        for model in our_models()
        for constraint in model._meta.constraints
        if isinstance(constraint, CheckConstraint | UniqueConstraint)
    ]
    return f"""SELECT format('%s: constraint %s is %s', w.relation, w.name,
                             CASE WHEN c.oid IS NULL AND i.indexrelid IS NULL THEN 'missing' ELSE 'not valid' END)
               FROM (VALUES {values(wanted)}) AS w(relation, name)
               LEFT JOIN pg_constraint c ON c.conrelid = w.relation::regclass AND c.conname = w.name
               LEFT JOIN pg_class x ON x.relname = w.name AND x.relkind = 'i'
               LEFT JOIN pg_index i ON i.indexrelid = x.oid AND i.indrelid = w.relation::regclass AND i.indisunique
               WHERE NOT coalesce(c.convalidated, i.indisvalid, false)
               UNION ALL
               SELECT format('%s: foreign key %s is not valid', conrelid::regclass, conname) FROM pg_constraint
               WHERE contype = 'f' AND NOT convalidated AND connamespace = 'public'::regnamespace"""


def rules_have_two_people() -> str:
    """Accounting rules and code mappings alike."""
    tables = [model._meta.db_table for model in our_models() if issubclass(model, DatedRule)]
    return " UNION ALL ".join(
        f"""SELECT format('{table} %s is %s, drafted by user %s and approved by %s', id, state, drafted_by_id,
                          coalesce('user ' || approved_by_id, 'nobody'))
            FROM {table} WHERE state <> 'draft' AND approved_by_id IS NOT DISTINCT FROM drafted_by_id
                            OR state <> 'draft' AND approved_by_id IS NULL"""
        for table in tables
    )


INVARIANTS = (
    Invariant(
        "events_are_unchanged",
        "The body of every event still has the digest it came with, and a conflict says something else than its original.",
        """SELECT format('event %s (%s) is not what came in', id, external_id) FROM hub_inboxevent
           WHERE encode(sha256(body), 'hex') <> body_digest
           UNION ALL
           SELECT format('event %s is called a %s of event %s', e.id, e.disposition, o.id)
           FROM hub_inboxevent e JOIN hub_inboxevent o ON o.id = e.duplicate_of_id
           WHERE e.disposition = 'conflict' AND e.body_digest = o.body_digest""",
    ),
    Invariant(
        "attempts_are_complete",
        "Every claim of a step has left its attempt: numbered from one, without a gap.",
        """SELECT format('step %s (%s of run %s) was claimed %s times, and %s attempts are known, the last is number %s',
                         s.id, s.name, s.run_id, s.attempts, count(a.id), coalesce(max(a.number), 0))
           FROM hub_step s LEFT JOIN hub_attempt a ON a.step_id = s.id GROUP BY s.id
           HAVING count(a.id) <> s.attempts - (s.state = 'running')::int
               OR coalesce(max(a.number), 0) <> count(a.id)
               OR bool_or(a.run_id <> s.run_id)""",
    ),
    Invariant(
        "transitions_are_complete",
        "The recorded transitions of an invoice lead from its beginning to its present state, each from where the last ended.",
        """SELECT format('invoice %s: a transition from %s follows one to %s', object_id, source, before) FROM (
               SELECT object_id, source, lag(target, 1, 'recorded') OVER (PARTITION BY object_id ORDER BY id) AS before
               FROM canonical_transition WHERE object_kind = 'invoice') AS chain
           WHERE source <> before
           UNION ALL
           SELECT format('invoice %s is %s, and its last transition led to %s', i.id, i.state, coalesce(t.target, 'recorded'))
           FROM canonical_invoice i LEFT JOIN LATERAL (
               SELECT target FROM canonical_transition WHERE object_kind = 'invoice' AND object_id = i.id
               ORDER BY id DESC LIMIT 1) AS t ON true
           WHERE i.state <> coalesce(t.target, 'recorded')""",
    ),
    Invariant(
        "facts_are_guarded",
        "The triggers that keep facts and approved rules from being changed are there and enabled.",
        triggers_are_armed,
    ),
    Invariant(
        "constraints_are_in_force",
        "Every constraint that the models declare is in the database, and has been checked against all rows.",
        constraints_are_in_force,
    ),
    Invariant(
        "rules_have_two_people",
        "Every rule and mapping in force was approved by a second person.",
        rules_have_two_people,
    ),
)
