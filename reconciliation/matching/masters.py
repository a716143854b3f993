"""Customers and products across systems. What nobody needs there is no break: the hub makes customers when a document asks
for them, and a product is asked about when it is first sold."""

from __future__ import annotations

from reconciliation.matching.conclude import conclude
from reconciliation.matching.work import Work, readings


def compare(work: Work) -> None:
    """Judge customers by link or key, products by the mappings in force."""
    work.table("recon_case", """
        SELECT r.id, rc.role AS side, coalesce(p.token, rc.slug || '/' || r.external_id) AS token
        FROM reconciliation_readingrow r JOIN connectors_connection rc ON rc.id = r.connection_id
        LEFT JOIN recon_party p ON p.connection_id = r.connection_id AND p.external_id = r.external_id
        WHERE r.scan_id = %(scan)s AND r.kind = 'party'""")  # fmt: skip
    work.table("recon_case_verdict", f"""
        WITH live AS (  -- customers with a document in billing that the ERP should have
            SELECT DISTINCT p.token FROM {readings('d', 'invoice', 'billing')}
            JOIN recon_party p ON p.connection_id = d.connection_id AND p.external_id = d.party
            WHERE d.status NOT IN ('draft', 'void') AND d.total <> 0 AND coalesce(d.updated_at <= %(fresh)s, true)),
        customer AS (
            SELECT c.token, count(*) FILTER (WHERE side = 'billing') AS bn, count(*) FILTER (WHERE side = 'erp') AS en,
                   count(*) FILTER (WHERE side = 'billing' AND status <> 'gone') AS b_active,
                   count(*) FILTER (WHERE side = 'erp' AND status <> 'gone') AS e_active,
                   bool_or(side = 'erp' AND EXISTS (SELECT FROM connectors_connection k WHERE k.role = 'billing'
                           AND k.legal_entity_id = %(entity)s AND starts_with(reference, k.slug || '/'))) AS is_ours,
                   min(coalesce(nullif(extra->>'name', ''), nullif(number, ''), external_id)) AS name,
                   jsonb_agg(external_id ORDER BY external_id) FILTER (WHERE side = 'billing') AS b_ids,
                   jsonb_agg(external_id ORDER BY external_id) FILTER (WHERE side = 'erp') AS e_ids
            FROM recon_case c JOIN reconciliation_readingrow r USING (id) GROUP BY c.token),
        judged AS (
            SELECT *, CASE WHEN bn + en = 0 THEN 'excused: known to support alone'
                WHEN e_active > 1 THEN 'duplicate'
                WHEN bn > 0 AND en = 0 THEN CASE WHEN token IN (SELECT token FROM live) THEN 'missing_right' ELSE
                    'excused: no documents' END
                WHEN bn = 0 THEN CASE WHEN is_ours AND e_active > 0 THEN 'missing_left' ELSE 'excused: not of billing' END
                WHEN b_active > 0 AND e_active = 0 AND token IN (SELECT token FROM live) THEN 'status'
                ELSE 'agree' END AS verdict FROM customer)
        SELECT token, verdict, 'customer'::text AS family, ''::text AS currency, NULL::numeric AS left_amount, NULL::numeric AS
            right_amount,
               0::numeric AS exposed, format('customer %%s: %%s', name, CASE verdict WHEN 'duplicate' THEN
                   'there more than once in the ERP'
                   WHEN 'missing_right' THEN 'has documents in billing, and is not in the ERP'
                   WHEN 'missing_left' THEN 'in the ERP by our key, and not in billing' ELSE
                       'active in billing, gone from the ERP' END) AS title,
               jsonb_build_object('ids', b_ids) AS "left", jsonb_build_object('ids', e_ids) AS "right", NULL::date AS "on"
        FROM judged""")  # fmt: skip
    conclude(work, "customers", "key")
    _products(work)


def _products(work: Work) -> None:
    erp = readings("t", "product", "erp")
    work.table(
        "recon_case",
        f"""SELECT r.id, rc.role AS side, rc.slug || '/' || r.external_id AS token FROM {readings("r", "product", "billing")}
            UNION ALL SELECT t.id, tc.role, tc.slug || '/' || t.external_id FROM {erp}""",
    )
    work.table("recon_case_verdict", f"""
        WITH product AS (
            SELECT rc.slug || '/' || r.external_id AS token, r.external_id, r.status, r.extra, m.target_code, t.status AS there,
                   t.id AS erp
            FROM {readings('r', 'product', 'billing')}
            LEFT JOIN hub_codemapping m ON m.what = 'product' AND m.state = 'active' AND m.source_id = r.connection_id
                 AND m.source_code = r.external_id AND m.valid_from <= %(as_of)s::date
                 AND coalesce(m.valid_to >= %(as_of)s::date, true)
            LEFT JOIN LATERAL (SELECT t.id, t.status FROM {erp} WHERE t.connection_id = m.target_id
                 AND m.target_code IN (t.number, t.external_id) ORDER BY t.status, t.external_id LIMIT 1) t ON true),
        judged AS (
            SELECT *, CASE WHEN target_code IS NULL THEN 'excused: not mapped yet'
                WHEN there IS NULL THEN CASE WHEN EXISTS (SELECT FROM {erp}) THEN 'missing_right' ELSE 'excused: not read' END
                WHEN status <> 'gone' AND there = 'gone' THEN 'status' ELSE 'agree' END AS verdict FROM product
            UNION ALL
            SELECT tc.slug || '/' || t.external_id, t.external_id, NULL, NULL, NULL, NULL, t.id,
                   CASE WHEN t.id IN (SELECT erp FROM product) THEN 'agree' ELSE 'excused: not of billing' END FROM {erp})
        SELECT DISTINCT ON (token) token, verdict, 'product'::text AS family, ''::text AS currency, NULL::numeric AS left_amount,
               NULL::numeric AS right_amount, 0::numeric AS exposed,
               format('product %%s: %%s in the ERP is %%s', coalesce(nullif(extra->>'name', ''), external_id), target_code,
                      coalesce(there, 'missing')) AS title,
               jsonb_build_object('id', external_id) AS "left", jsonb_build_object('code', target_code) AS "right", NULL::date
                   AS "on"
        FROM judged ORDER BY token, verdict""")  # fmt: skip
    conclude(work, "products", "mapping")
