"""Nothing accepted is lost: events have outcomes, runs have something that moves them, questions have somebody to answer."""

from __future__ import annotations

from hub import flows
from hub.engine.flow import Gate
from reconciliation.invariants.base import Invariant, values

OPEN_RUN = "('open', 'parked', 'compensating')"
OPEN_STEP = "('ready', 'running', 'unknown', 'waiting')"


def waiting_for_nobody() -> str:
    """Steps that wait without an open item; gates wait for a decision on their subject instead."""
    gates = [(name, spec.name) for name in flows.names() for spec in flows.current(name).steps if isinstance(spec, Gate)]
    known = f"AND (r.flow, s.name) NOT IN (VALUES {values(gates)})" if gates else ""
    return f"""SELECT format('step %s (%s of run %s) waits for %s', s.id, s.name, s.run_id,
                          CASE WHEN i.id IS NULL THEN 'nobody' ELSE format('item %s, which is %s', i.id, i.state) END)
               FROM hub_step s JOIN hub_run r ON r.id = s.run_id LEFT JOIN hub_reviewitem i ON i.id = s.waiting_on_id
               WHERE s.state = 'waiting' AND i.state IS DISTINCT FROM 'open'
                 AND NOT (s.waiting_on_id IS NULL {known.replace("NOT IN", "IN") or "AND false"})"""


INVARIANTS = (
    Invariant(
        "events_have_runs",
        "An event that was to start a workflow has started one.",
        """SELECT format('event %s (%s %s) has no run', e.id, e.kind, e.external_id) FROM hub_inboxevent e
           WHERE e.disposition = 'run' AND NOT EXISTS (SELECT 1 FROM hub_run r WHERE r.event_id = e.id)""",
    ),
    Invariant(
        "unclear_events_are_asked_about",
        "A delivery that was not understood, or contradicts an earlier one, has become a question for a person.",
        """SELECT format('event %s (%s) is in %s, and nobody was asked', e.id, e.external_id, e.disposition)
           FROM hub_inboxevent e WHERE e.disposition IN ('quarantined', 'conflict') AND NOT EXISTS (
               SELECT 1 FROM hub_reviewitem i JOIN hub_inboxevent about ON about.id = i.event_id
               WHERE about.id = e.id OR (about.duplicate_of_id = e.duplicate_of_id AND about.body_digest = e.body_digest))""",
    ),
    Invariant(
        "open_runs_have_one_open_step",
        "A run that has not ended has exactly one step that can move it.",
        f"""SELECT format('run %s (%s, %s) has %s open steps', r.id, r.flow, r.state, count(s.id)) FROM hub_run r
            LEFT JOIN hub_step s ON s.run_id = r.id AND s.state IN {OPEN_STEP}
            WHERE r.state IN {OPEN_RUN} GROUP BY r.id HAVING count(s.id) <> 1""",
    ),
    Invariant(
        "ended_runs_have_no_open_step",
        "A run that has ended leaves nothing to do behind.",
        f"""SELECT format('run %s is %s, and its step %s is %s', r.id, r.state, s.name, s.state)
            FROM hub_run r JOIN hub_step s ON s.run_id = r.id
            WHERE r.state NOT IN {OPEN_RUN} AND s.state IN {OPEN_STEP}""",
    ),
    Invariant(
        "done_runs_are_done",
        "A run that calls itself done has no step that failed.",
        """SELECT format('run %s is done, and its step %s failed', r.id, s.name)
           FROM hub_run r JOIN hub_step s ON s.run_id = r.id WHERE r.state = 'done' AND s.state = 'failed'""",
    ),
    Invariant(
        "waiting_steps_wait_for_somebody",
        "A step that waits for a person belongs to an open review item, or is a gate.",
        waiting_for_nobody,
    ),
    Invariant(
        "parked_runs_wait_for_somebody",
        "A parked run has a step that waits for a person.",
        """SELECT format('run %s (%s) is parked, and nobody is asked', r.id, r.flow) FROM hub_run r
           WHERE r.state = 'parked' AND NOT EXISTS (SELECT 1 FROM hub_step s WHERE s.run_id = r.id AND s.state = 'waiting')""",
    ),
    Invariant(
        "owed_invoices_are_worked",
        "An invoice that is owed and not in the ERP a day later is being worked, or a person has ended that.",
        """SELECT format('invoice %s (%s %s) is %s, and no run is about it', i.id, i.total, i.currency, i.state)
            FROM canonical_invoice i
            WHERE i.state IN ('recorded', 'mapped') AND i.status IN ('open', 'paid', 'uncollectible') AND i.total <> 0
              AND i.created_at < now() - interval '1 day'
              AND NOT EXISTS (SELECT 1 FROM hub_run r WHERE r.subject_kind = 'invoice' AND r.object_id = i.id
                              AND r.flow = 'order_to_cash' AND r.state IN ('open', 'parked', 'compensating', 'closed'))""",
    ),
)
