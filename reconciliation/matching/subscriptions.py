"""Subscriptions against what the ERP holds for them: obligations after the end, plan changes it never saw, service periods.

Whether an invoice is there is the matter of the invoices; here it is what they are for. Needs of billing's invoices
`extra.subscription`. `extra.recurring` is what recurs of it at list price, as the worth of a subscription is told (the
net where it is not told). Invoices of which nothing recurs say nothing about periods: `extra.proration` is "true" for those
of parts of periods, and "other" for usage and single items. A change that was posted as a proration is one the ERP has seen.
"""

from __future__ import annotations

from reconciliation.matching.bulk import IDENTITY
from reconciliation.matching.conclude import conclude
from reconciliation.matching.judge import SAID, fingerprint
from reconciliation.matching.work import Work, readings

NAME = "subscriptions"
AMOUNT = "'^-?[0-9]+([.][0-9]+)?$'"
INSTANT = "'^[0-9]{4}-[0-9]{2}-[0-9]{2}'"
MONTHS = "greatest(1, round((service_to - service_from + 1) / 30.4375))"


def compare(work: Work) -> None:
    """Judge every subscription, by the weightiest of what is wrong with it."""
    if not work.ask("SELECT FROM reconciliation_readingrow WHERE scan_id = %(scan)s AND kind = 'subscription' LIMIT 1"):
        return
    work.table("recon_subscription", SUBSCRIPTIONS, analyze=True)
    work.table("recon_posting", POSTINGS, analyze=True)
    _postings_after_the_end(work)
    work.table("recon_case", "SELECT id, 'left'::text AS side, sub AS token FROM recon_subscription")
    work.table("recon_case_verdict", f"""
        SELECT DISTINCT ON (sub) sub AS token, verdict, family, currency, left_amount, right_amount, exposed, title, {SAID} AS
            "left",
               coalesce("right", '{{}}') AS "right", at AS "on"
        FROM ({OBLIGATIONS} UNION ALL {PLAN_CHANGES} UNION ALL {GAPS} UNION ALL
              SELECT 9, s.sub, CASE WHEN EXISTS (SELECT FROM recon_posting p WHERE p.sub = s.sub AND p.erp IS NOT NULL)
                     THEN 'agree' ELSE 'excused: nothing posted' END, '', NULL, NULL, NULL, '', NULL::jsonb, NULL FROM
                         recon_subscription s
             ) found(weight, sub, verdict, family, left_amount, right_amount, exposed, title, "right", at)
        JOIN recon_subscription s USING (sub) ORDER BY sub, weight, at""")  # fmt: skip
    conclude(work, NAME, "periods")


SUBSCRIPTIONS = f"""
    SELECT r.*, rc.slug, rc.slug || '/' || r.external_id AS sub, p.token AS customer,
           CASE WHEN r.status = 'cancelled' THEN coalesce(
               CASE WHEN r.extra->>'ended_at' ~ {INSTANT} THEN left(r.extra->>'ended_at', 10)::date END,
               r.service_to) END AS ended
    FROM {readings("r", "subscription", "billing")}
    LEFT JOIN recon_party p ON p.connection_id = r.connection_id AND p.external_id = r.party"""

POSTINGS = f"""
    WITH linked AS (
        SELECT r.id AS a, e.id AS b FROM {readings("r", "invoice", "billing")}
        JOIN (SELECT e.id, e.reference FROM {readings("e", "invoice", "erp")}) e ON e.reference = rc.slug || '/' || r.external_id
        WHERE e.id NOT IN (SELECT reading FROM recon_fate WHERE pair = 'invoices' AND why IN ('duplicate', 'reversed'))
        UNION SELECT "left", "right" FROM recon_linked WHERE pair = 'invoices'),
    both_ways AS (SELECT a, b FROM linked UNION ALL SELECT b, a FROM linked)
    SELECT rc.slug || '/' || (r.extra->>'subscription') AS sub, r.id AS billing, e.id AS erp, e.external_id AS erp_id,
        e.connection_id,
           coalesce(e.service_from, r.service_from) AS service_from, coalesce(e.service_to, r.service_to) AS service_to,
           CASE WHEN r.extra->>'recurring' ~ {AMOUNT} THEN (r.extra->>'recurring')::numeric ELSE e.net END AS recurring,
           coalesce(nullif(e.number, ''), e.external_id) AS name, f.fate IS NOT DISTINCT FROM 'break' AS is_broken,
           coalesce(r.extra->>'proration', '') <> '' AS is_proration, r.extra->>'proration' = 'true' AS is_change
    FROM {readings("r", "invoice", "billing")}
    LEFT JOIN both_ways k ON k.a = r.id
    LEFT JOIN reconciliation_readingrow e ON e.id = k.b
    LEFT JOIN recon_fate f ON f.reading = r.id AND f.pair = 'invoices'
    WHERE r.extra->>'subscription' <> '' AND r.status NOT IN ('draft', 'void')"""


def _postings_after_the_end(work: Work) -> None:
    """An invoice that only the ERP has, for a service after the end of what the customer had, is an obligation that goes on."""
    work.do(f"""
        WITH told AS (UPDATE recon_candidate x SET pair = %(pair)s, type = 'obligation', fingerprint
            = {fingerprint("'posting'", "'billing'", "o.identity")},
               title = left(format('%%s: posted for a service after the end of %%s', o.name, o.ended_sub), 300)
        FROM (SELECT coalesce(nullif(e.number, ''), e.external_id) AS name,
            {IDENTITY.format("e").replace("e.slug", "ec.slug")} AS identity,
                     e.id, ec.slug, e.external_id, min(s.sub) AS ended_sub
              FROM {readings("e", "invoice", "erp")}
              JOIN recon_fate f ON f.reading = e.id AND f.pair = 'invoices' AND f.why IN ('missing_left', 'missing_right')
              JOIN recon_party p ON p.connection_id = e.connection_id AND p.external_id = e.party
              JOIN recon_subscription s ON s.customer = p.token OR starts_with(e.reference, s.sub || '/') OR e.same_as
                  ? s.external_id
              WHERE e.service_from > s.ended AND NOT EXISTS (
                    SELECT FROM recon_subscription o WHERE o.customer = s.customer AND o.ended IS NULL)
              GROUP BY e.id, ec.slug) o
        WHERE x.pair = 'invoices' AND x.type LIKE 'missing%%' AND o.external_id IN (x."left"->>'id', x."right"->>'id')
          AND o.slug IN (x."left"->>'system', x."right"->>'system')
        RETURNING o.id, x.fingerprint)
        UPDATE recon_fate f SET why = 'obligation', token = told.fingerprint FROM told
        WHERE f.pair = 'invoices' AND f.reading = told.id""", pair=NAME)  # fmt: skip


OBLIGATIONS = f"""
    SELECT 1, s.sub, 'obligation', 'obligation', NULL::numeric, sum(r.net - r.total), sum(r.net - r.total),
           format('%%s ended on %%s, and the ERP goes on to recognise until %%s', s.external_id, s.ended, max(r.service_to)),
           jsonb_build_object('items', jsonb_agg(jsonb_build_object('system', rc.slug, 'kind', 'recognition', 'id', r.external_id,
                              'net', r.net::text, 'total', r.total::text) ORDER BY r.external_id)), s.ended
    FROM recon_subscription s JOIN recon_posting p USING (sub)
    JOIN {readings("r", "recognition", "erp")} ON r.about = p.erp_id AND r.connection_id = p.connection_id
    WHERE s.ended IS NOT NULL AND r.status = 'running' AND r.service_to > s.ended AND r.net > r.total
      AND r.extra->>'form' IS DISTINCT FROM 'credit' AND coalesce(s.updated_at <= %(fresh)s, true)
    GROUP BY s.sub, s.external_id, s.ended"""

PLAN_CHANGES = f"""
    SELECT 2, s.sub, 'plan_change', 'plan', s.net * months, recurring, s.net * months - recurring,
           format('%%s: worth %%s %%s a month, posted as %%s for %%s months in %%s', s.external_id, trim_scale(s.net), s.currency,
                  trim_scale(recurring), months, name), NULL::jsonb, service_from
    FROM (SELECT DISTINCT ON (sub) *, {MONTHS} AS months FROM recon_posting
          WHERE erp IS NOT NULL AND NOT is_proration AND %(as_of)s::date BETWEEN service_from AND service_to
          ORDER BY sub, service_from DESC, name) p
    JOIN (SELECT sub, external_id, net, currency, status, updated_at FROM recon_subscription) s USING (sub)
    JOIN recon_currency c ON c.code = s.currency
    WHERE s.status IN ('active', 'past_due') AND abs(s.net * months - recurring) > unit * months
      AND coalesce(s.updated_at <= %(fresh)s, true)
      AND NOT EXISTS (SELECT FROM recon_posting b WHERE b.sub = p.sub AND (b.is_broken OR (b.is_change
          AND b.erp IS NOT NULL AND %(as_of)s::date BETWEEN b.service_from AND b.service_to)))"""

GAPS = """
    SELECT 3, sub, 'gap', 'period/' || service_from, NULL::numeric, recurring, recurring,
           format('%%s: %%s serves from %%s, what came before it until %%s', sub, name, service_from, until), NULL::jsonb,
               service_from
    FROM (SELECT *, max(service_to) OVER before AS until, lag(service_from) OVER same AS from_before, lag(service_to) OVER same
        AS to_before
          FROM recon_posting WHERE service_from IS NOT NULL AND service_to IS NOT NULL AND NOT is_proration
          WINDOW before AS (PARTITION BY sub ORDER BY service_from, service_to, name ROWS BETWEEN UNBOUNDED PRECEDING AND 1
              PRECEDING),
                 same AS (PARTITION BY sub ORDER BY service_from, service_to, name)) p
    WHERE until IS NOT NULL AND (service_from > until + 1 OR (service_from <= until AND service_to > until)
                                 OR (service_from, service_to) = (from_before, to_before))"""
