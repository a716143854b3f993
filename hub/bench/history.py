"""The past of a hub that has been running for long: ended runs with all that belongs to them, made in SQL."""

from __future__ import annotations

import psycopg

CALLS = ("read", "book", "customer", "post", "write_back", "pay")

STATEMENTS = (
    """INSERT INTO canonical_party (id, uid, name, email, tax_id, address, region, deleted_at_source)
       SELECT n, gen_random_uuid(), 'Customer ' || n, n || '@customer.example', '', '{}', 'DE', false
       FROM generate_series(1, %(runs)s) n""",
    """INSERT INTO canonical_invoice (id, uid, number, status, currency, issued_on, net, tax, total, paid, state, legal_entity_id,
                                    party_id)
       SELECT n, gen_random_uuid(), 'OLD-' || n, 'paid', 'USD', current_date - 40, 49, 0, 49, 49, 'settled', %(entity)s, n
       FROM generate_series(1, %(runs)s) n""",
    """INSERT INTO canonical_invoiceline (invoice_id, external_id, position, description, quantity, net, tax, taxes, proration,
                                        posting)
       SELECT n, 'il_old' || n, 0, '1 × Team', 1, 49, 0, '[]', false, '{"revenue_account": "4000"}'
       FROM generate_series(1, %(runs)s) n""",
    """INSERT INTO canonical_externalref (connection_id, kind, object_kind, object_id, external_id, number, url, key, state,
                                        provenance)
       SELECT side, kind, kind, n, CASE side WHEN %(billing)s THEN left(kind, 3) || '_old' || n ELSE 'old' || n END, '', '',
              CASE side WHEN %(billing)s THEN NULL ELSE kind || '_old' || n END, 'active', 'history'
       FROM generate_series(1, %(runs)s) n, unnest(%(both)s::bigint[]) side, unnest('{party,invoice}'::text[]) kind""",
    """INSERT INTO canonical_observation (connection_id, kind, external_id, digest, said)
       SELECT %(billing)s, kind, left(kind, 3) || '_old' || n, md5(n::text), '{}'
       FROM generate_series(1, %(runs)s) n, unnest('{party,invoice}'::text[]) kind""",
    """INSERT INTO hub_inboxevent (id, connection_id, external_id, kind, name, subject_kind, subject_id, origin, disposition,
                                   correlation_id, received_at, body, body_digest)
       SELECT n, %(billing)s, 'evt_old' || n, 'invoice.paid', 'billing.invoice.paid', 'invoice', 'inv_old' || n, 'webhook', 'run',
              gen_random_uuid(), now() - n * interval '1 minute', convert_to(repeat(md5(n::text), 64), 'UTF8'), md5(n::text)
       FROM generate_series(1, %(runs)s) n""",
    """INSERT INTO hub_run (id, flow, version, lane, state, connection_id, event_id, subject_kind, subject_id, object_id, context,
                            currency, correlation_id, started_by, started_at, ended_at)
       SELECT id, 'order_to_cash', 1, 'invoice:' || connection_id || ':' || subject_id, 'done', connection_id, id, subject_kind,
              subject_id, id, '{"written_back": true}', 'USD', correlation_id, 'webhook', received_at, received_at
       FROM hub_inboxevent""",
    """INSERT INTO hub_step (run_id, name, lane, state, connection_id, key, request, request_digest, result, due_at, attempts,
                             tries, crashes, lookups, worker, error_code, error, ended_at)
       SELECT r.id, name, r.lane, 'done',
              CASE WHEN name IN ('read', 'write_back') THEN %(billing)s WHEN name <> 'book' THEN %(erp)s END, r.subject_id,
              '{"key": "of a document that was posted"}', '', '{"external_id": "1"}', r.ended_at, 1, 1, 0, 0, 'old', '', '',
              r.ended_at
       FROM hub_run r, unnest(%(steps)s::text[]) name""",
    """INSERT INTO hub_attempt (step_id, run_id, connection_id, number, outcome, worker, at, milliseconds, error_code, error,
                                exchanges)
       SELECT id, run_id, connection_id, 1, 'done', 'old', ended_at, 20, '', '',
              '[{"url": "http://vendor.example/", "status": 200}]'
       FROM hub_step""",
)
NUMBERED = ("canonical_party", "canonical_invoice", "hub_inboxevent", "hub_run")


def fill(database_url: str, runs: int, *, billing: int, erp: int, entity: int) -> None:
    """Give an otherwise unused database so many ended runs, and tell the planner about them."""
    values = {
        "runs": runs, "billing": billing, "erp": erp, "both": [billing, erp], "entity": entity, "steps": list(CALLS),
    }  # fmt: skip
    with psycopg.connect(database_url, autocommit=True) as database:
        for statement in STATEMENTS:
            database.execute(statement, values)
        for table in NUMBERED:
            database.execute("SELECT setval(pg_get_serial_sequence(%s, 'id'), %s)", [table, runs])
        database.execute("VACUUM ANALYZE")
