"""Service credits, three ways: the case shows it, billing gives it, the ERP holds it, and somebody approved it.

What was approved is the one thing taken from the hub: no system but the hub knows it. A case shows one of its credits, so
another one's absence there is none.
"""

from __future__ import annotations

from reconciliation.matching.conclude import conclude
from reconciliation.matching.judge import SAID
from reconciliation.matching.work import Work

NAME = "credits"
SHOWN = "('credited', 'approved')"
"""What a case says (`hub.credits.writing.SHOWN`) when it claims that there is a credit."""
UNDECIDED = "('pending', 'needs_info', 'returned', 'stopped', 'rejected', 'expired', 'withdrawn', 'split')"
"""States of `hub.credits` in which a credit stands for no money."""

MEMBERS = """
    WITH member AS (
        SELECT r.*, c.slug, c.role, f.credit, p.token AS customer, p.linked FROM reconciliation_readingrow r
        JOIN connectors_connection c ON c.id = r.connection_id
        LEFT JOIN recon_credit_ref f ON f.id = r.id
        LEFT JOIN recon_party p ON p.connection_id = r.connection_id AND p.external_id = r.party
        WHERE r.id IN (SELECT id FROM recon_maybe WHERE kind = 'support_credit' UNION ALL SELECT id FROM recon_special)),
    numbered AS (  -- a case calls a credit by the number of the ERP's memo, or, when an agent has changed that, by nothing of ours
        SELECT m.id, coalesce(m.credit,
                   (SELECT min(e.credit) FROM member e WHERE m.role = 'support' AND e.role = 'erp' AND e.number = m.number AND
                       m.number <> ''),
                   (SELECT max(k.id) FROM canonical_externalref x JOIN credits_credit k ON k.case_id = x.object_id
                    WHERE m.role = 'support' AND x.object_kind = 'support_case' AND x.connection_id = m.connection_id
                      AND x.external_id = m.external_id)) AS credit
        FROM member m)
    SELECT m.*, n.credit AS stands_for, coalesce('credit/' || n.credit, m.slug || '/' || m.kind || '/' || m.external_id) AS
        group_token
    FROM member m JOIN numbered n USING (id)"""

ROLES = {
    "s": "role = 'support'",
    "b": "role = 'billing' AND status = 'issued'",
    "e": "role = 'erp' AND status NOT IN ('draft', 'void')",
}


def compare(work: Work) -> None:
    """Judge every credit that any system shows, and every one that was posted and that none shows any more."""
    work.table("recon_member", MEMBERS, analyze=True)
    work.table("recon_case", "SELECT id, role AS side, group_token AS token FROM recon_member")
    work.table("recon_case_verdict", _judged())
    conclude(work, NAME, "key")


def _judged() -> str:
    per_role = ", ".join(
        f"""count(*) FILTER (WHERE {where}) AS {r}n, sum(total) FILTER (WHERE {where}) AS {r}total,
            min(currency) FILTER (WHERE {where}) AS {r}currency, min(customer) FILTER (WHERE {where}) AS {r}customer,
            (array_agg({SAID} ORDER BY slug, external_id) FILTER (WHERE {where}))[1] AS {r}said"""
        for r, where in ROLES.items()
    )
    return f"""
        WITH shown AS (
            SELECT group_token AS token, min(stands_for) AS credit, {per_role},
                   count(*) FILTER (WHERE role = 'support' AND status IN {SHOWN}) AS claims,
                   min(status) FILTER (WHERE role = 'support') AS word, bool_or(linked) AS linked,
                   bool_or(extra->>'form' = 'balance') AS is_balance, max("on") AS "on",
                   coalesce(bool_or(updated_at > %(fresh)s), false) AS is_fresh,
                   min(coalesce(nullif(number, ''), external_id)) AS name
            FROM recon_member GROUP BY group_token),
        joined AS (
            SELECT coalesce(s.token, 'credit/' || c.id) AS token, s.*, c.id AS known, c.state, c.total AS approved, c.currency
                AS approved_in,
                   c.reverses_id, c.support_id, c.decided_at, coalesce(c.decided_at::date, s."on") AS at,
                   c.support_id IS NULL OR coalesce(sn, 0) > 0 OR c.state NOT IN ('told', 'closed') OR EXISTS (
                       SELECT FROM recon_member o JOIN credits_credit k ON k.id = o.stands_for
                       WHERE o.role = 'support' AND k.case_id = c.case_id) AS is_shown
            FROM shown s FULL JOIN (SELECT * FROM credits_credit WHERE legal_entity_id = %(entity)s) c ON c.id = s.credit
            WHERE s.token IS NOT NULL OR (c.state IN ('posted', 'mirrored', 'told', 'closed') AND c.reverses_id IS NULL)),
        judged AS (SELECT *, {VERDICT} AS verdict, coalesce(bn, 0) AS in_billing, coalesce(en, 0) AS in_erp FROM (
            SELECT token AS group_token, known, state, approved, approved_in, reverses_id, support_id, decided_at, at, is_shown,
                sn, stotal,
                   scurrency, ssaid, bn, btotal, bcurrency, bcustomer, bsaid, en, etotal, ecurrency, ecustomer, esaid, claims,
                       word, linked,
                   is_balance, is_fresh, name,
                   array_remove(ARRAY[CASE WHEN claims > 0 THEN stotal END, btotal, etotal], NULL) AS amounts
            FROM (SELECT * FROM joined) AS j(token, old_token, credit, sn, stotal, scurrency, scustomer, ssaid, bn, btotal,
                bcurrency,
                  bcustomer, bsaid, en, etotal, ecurrency, ecustomer, esaid, claims, word, linked, is_balance, "on", is_fresh,
                      name, known,
                  state, approved, approved_in, reverses_id, support_id, decided_at, at, is_shown)) x)
        SELECT group_token AS token, verdict, CASE WHEN verdict = 'unapproved' THEN 'unapproved' ELSE 'credit' END AS family,
               coalesce(ecurrency, bcurrency, scurrency, approved_in) AS currency, coalesce(btotal, stotal) AS left_amount,
               etotal AS right_amount,
               CASE verdict WHEN 'amount' THEN (SELECT max(a) - min(a) FROM unnest(amounts) a)
                            WHEN 'unapproved' THEN CASE WHEN state IS NULL OR state IN {UNDECIDED} THEN (SELECT max(a) FROM
                                unnest(amounts) a)
                                                        ELSE (SELECT max(abs(a - approved)) FROM unnest(amounts) a) END
                            ELSE coalesce((SELECT max(a) FROM unnest(amounts) a), approved) END AS exposed,
               format('credit %%s: %%s', coalesce('CR-' || lpad(known::text, 6, '0'), name), CASE verdict
                   WHEN 'unapproved' THEN 'nobody approved it, or not this much'
                   WHEN 'orphan_credit' THEN 'only in ' || coalesce(nullif(concat_ws(', ', CASE WHEN claims > 0 THEN 'support' END,
                        CASE WHEN bn > 0 THEN 'billing' END, CASE WHEN en > 0 THEN 'the ERP' END), ''), 'the hub')
                   WHEN 'stale' THEN 'approved long ago, and not posted' ELSE replace(verdict, '_', ' ') || ' differs' END) AS
                       title,
               jsonb_strip_nulls(jsonb_build_object('support', ssaid, 'billing', bsaid)) AS "left", esaid AS "right", at AS "on"
        FROM judged"""


VERDICT = f"""CASE
    WHEN known IS NULL AND claims = 0 AND coalesce(bn, 0) + coalesce(en, 0) = 0 THEN 'excused: stands for no money'
    WHEN known IS NULL THEN 'unapproved'
    WHEN state IN {UNDECIDED} THEN CASE WHEN coalesce(claims, 0) + coalesce(bn, 0) + coalesce(en, 0) = 0
         THEN 'excused: not approved' ELSE 'unapproved' END
    WHEN reverses_id IS NOT NULL THEN 'excused: takes a credit back'
    WHEN state = 'reversed' THEN CASE WHEN bn > 0 AND NOT is_balance THEN 'status' ELSE 'excused: taken back' END
    WHEN state IN ('approved', 'posting') AND coalesce(bn, 0) + coalesce(en, 0) = 0 AND coalesce(word, '') <> 'credited' THEN
         CASE WHEN decided_at < %(as_of)s - make_interval(days => %(stale)s) THEN 'stale' ELSE 'excused: under way' END
    WHEN coalesce(en, 0) = 0 OR coalesce(bn, 0) = 0 OR NOT is_shown THEN
         CASE WHEN is_fresh OR decided_at > %(fresh)s THEN 'excused: fresh' ELSE 'orphan_credit' END
    WHEN bcurrency <> ecurrency OR (claims > 0 AND scurrency <> ecurrency) THEN 'fx'
    WHEN btotal <> etotal OR (claims > 0 AND stotal IS DISTINCT FROM etotal) THEN 'amount'
    WHEN etotal <> approved OR ecurrency <> approved_in THEN 'unapproved'
    WHEN bcustomer <> ecustomer AND linked THEN 'party'
    ELSE 'agree' END"""
