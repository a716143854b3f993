"""Money is conserved: what billing says is owed is what the ERP was asked for, holds, is still to get, or never should."""

from __future__ import annotations

from reconciliation.invariants.base import Invariant

POSTED = "('posted', 'confirmed', 'settled', 'reversed')"
# Of the postings of an invoice the last one counts: what a mend took back and has not posted anew counts as not posted.
STANDING = """standing AS (
        SELECT * FROM (
            SELECT DISTINCT ON (r.object_id) r.object_id, s.name, s.connection_id, s.request->>'currency' AS currency,
                   (s.request->>'total')::numeric AS total, count(*) FILTER (WHERE s.name = 'post') OVER of_invoice
                   - count(*) FILTER (WHERE s.name = 'reverse') OVER of_invoice AS times
            FROM hub_step s JOIN hub_run r ON r.id = s.run_id
            WHERE s.state = 'done' AND r.subject_kind = 'invoice'
              AND (s.name = 'post' OR (r.flow = 'restate' AND s.name = 'reverse'))
            WINDOW of_invoice AS (PARTITION BY r.object_id) ORDER BY r.object_id, s.id DESC) last
        WHERE name = 'post')"""

INVARIANTS = (
    Invariant(
        "money_is_conserved",
        "Per legal entity and currency: finalized by billing = posted in the ERP + pending + withdrawn, to the cent.",
        # Posted is taken from the requests of the steps that were done, not from the invoices that say so.
        f"""WITH billed AS (
                SELECT legal_entity_id, currency, sum(total) AS total,
                       coalesce(sum(total) FILTER (WHERE state IN ('recorded', 'mapped')), 0) AS pending,
                       coalesce(sum(total) FILTER (WHERE state = 'withdrawn'), 0) AS withdrawn
                FROM canonical_invoice WHERE status <> 'draft' OR state IN {POSTED} GROUP BY 1, 2),
            {STANDING},
            posted AS (
                SELECT c.legal_entity_id, s.currency, sum(s.total) AS total
                FROM standing s JOIN connectors_connection c ON c.id = s.connection_id GROUP BY 1, 2)
            SELECT format('%s %s: billed %s, but posted %s, pending %s, withdrawn %s', e.code,
                          coalesce(b.currency, p.currency), coalesce(b.total, 0), coalesce(p.total, 0),
                          coalesce(b.pending, 0), coalesce(b.withdrawn, 0))
            FROM billed b FULL JOIN posted p USING (legal_entity_id, currency)
            JOIN canonical_legalentity e ON e.id = coalesce(b.legal_entity_id, p.legal_entity_id)
            WHERE coalesce(b.total, 0) <> coalesce(p.total, 0) + coalesce(b.pending, 0) + coalesce(b.withdrawn, 0)""",
    ),
    Invariant(
        "credits_are_conserved",
        "Per legal entity and currency: approved credits = asked of the ERP + pending release, reversals by themselves.",
        # Asked of the ERP is taken from the requests of the steps that were done, not from the credits that say so.
        """WITH approved AS (
                SELECT c.legal_entity_id, c.currency, c.reverses_id IS NOT NULL AS is_reversal, sum(c.total) AS total,
                       coalesce(sum(c.total) FILTER (WHERE c.state IN ('approved', 'posting')), 0) AS pending
                FROM credits_credit c WHERE c.state IN ('approved', 'posting', 'posted', 'mirrored', 'told', 'closed', 'reversed')
                 AND c.billing_id NOT IN (SELECT id FROM connectors_connection WHERE state = 'revoked') GROUP BY 1, 2, 3),
            asked AS (
                SELECT c.legal_entity_id, c.currency, s.name = 'take_back' AS is_reversal,
                       sum((s.request->>'total')::numeric) AS total
                FROM hub_step s JOIN hub_run r ON r.id = s.run_id JOIN credits_credit c ON c.id = r.object_id
                WHERE r.flow = 'issue_to_credit' AND s.name IN ('post', 'take_back') AND s.state = 'done' GROUP BY 1, 2, 3)
           SELECT format('%s %s: %s approved %s, but asked of the ERP %s, pending %s', e.code, coalesce(a.currency, p.currency),
                         CASE WHEN coalesce(a.is_reversal, p.is_reversal) THEN 'reversals' ELSE 'credits' END,
                         coalesce(a.total, 0), coalesce(p.total, 0), coalesce(a.pending, 0))
           FROM approved a FULL JOIN asked p USING (legal_entity_id, currency, is_reversal)
           JOIN canonical_legalentity e ON e.id = coalesce(a.legal_entity_id, p.legal_entity_id)
           WHERE coalesce(a.total, 0) <> coalesce(p.total, 0) + coalesce(a.pending, 0)""",
    ),
    Invariant(
        "posted_as_billed",
        "An invoice was posted with the total, the currency and as often as billing issued it: once, what was taken back apart.",
        f"""WITH {STANDING}
            SELECT format('invoice %s of %s %s is %s, and was posted %s times, %s %s in all', i.id, i.total, i.currency,
                          i.state, coalesce(p.times, 0), coalesce(p.total, 0), p.currency)
            FROM canonical_invoice i LEFT JOIN standing p ON p.object_id = i.id
            WHERE (i.state IN {POSTED} AND (p.times IS DISTINCT FROM 1 OR p.total <> i.total OR p.currency <> i.currency))
               OR (i.state NOT IN {POSTED} AND p.times > 0)""",
    ),
    Invariant(
        "lines_add_up",
        "The lines of an invoice that is to be posted, or was, add up to it.",
        """SELECT format('invoice %s: net %s and tax %s, but its lines have %s and %s', i.id, i.net, i.tax,
                         coalesce(sum(l.net), 0), coalesce(sum(l.tax), 0))
           FROM canonical_invoice i LEFT JOIN canonical_invoiceline l ON l.invoice_id = i.id
           WHERE i.state NOT IN ('recorded', 'withdrawn') GROUP BY i.id
           HAVING coalesce(sum(l.net), 0) <> i.net OR coalesce(sum(l.tax), 0) <> i.tax""",
    ),
    Invariant(
        "written_as_asked",
        "What a system said it holds after a write is what it was asked for, or a person has accepted the difference.",
        """SELECT format('step %s (%s of run %s) asked for %s %s, and %s %s is held', s.id, s.name, s.run_id,
                         asked.amount, s.request->>'currency', held.amount, s.result->'facts'->>'currency')
           FROM hub_step s
           CROSS JOIN LATERAL (SELECT coalesce(s.request->>'total', s.request->>'amount')::numeric AS amount) AS asked
           CROSS JOIN LATERAL (SELECT (s.result->'facts'->>'total')::numeric AS amount) AS held
           WHERE s.state = 'done' AND asked.amount IS NOT NULL
             AND (asked.amount <> held.amount OR s.request->>'currency' <> s.result->'facts'->>'currency')
             AND NOT EXISTS (SELECT 1 FROM hub_reviewitem i WHERE i.cause = 'mismatch' AND i.answer = 'accept'
                             AND i.detail->>'run' = s.run_id::text AND i.detail->>'step' = s.name)""",
    ),
)
