"""What the ERP's own ledger recognised of an invoice line, against the line: never more, and in the end not less."""

from __future__ import annotations

from reconciliation.matching.conclude import conclude
from reconciliation.matching.judge import SAID
from reconciliation.matching.work import Work, readings

NAME = "recognition"


def compare(work: Work) -> None:
    """Judge every schedule of revenue. A schedule whose moves are all posted in advance is judged by what they will come to."""
    work.table(
        "recon_case",
        f"SELECT r.id, 'left'::text AS side, rc.slug || '/' || r.external_id AS token FROM {readings('r', NAME, 'erp')}",
    )
    work.table("recon_case_verdict", f"""
        WITH line AS (
            SELECT r.*, slug || '/' || external_id AS token,
                   CASE WHEN extra->>'scheduled' ~ '^-?[0-9]+([.][0-9]+)?$' AND extra->>'state' IS DISTINCT FROM 'draft'
                        THEN (extra->>'scheduled')::numeric END AS scheduled
            FROM (SELECT r.*, rc.slug FROM {readings('r', NAME, 'erp')}) r),
        judged AS (
            SELECT *, CASE WHEN status = 'done' THEN total WHEN total > net THEN total WHEN scheduled > net THEN scheduled END
                AS ends
            FROM line)
        SELECT token, CASE WHEN ends <> net THEN 'recognition'
                           WHEN status = 'running' AND service_to < %(as_of)s::date - %(stale)s THEN 'stale'
                           WHEN status = 'done' THEN 'agree' ELSE 'excused: running' END AS verdict,
               'recognition'::text AS family, currency, net AS left_amount, coalesce(ends, total) AS right_amount,
               net - coalesce(ends, total) AS exposed,
               format('%%s: %%s recognised of %%s %%s', coalesce(nullif(number, ''), external_id), trim_scale(coalesce(ends,
                   total)),
                      trim_scale(net), currency) AS title,
               {SAID} AS "left", '{{}}'::jsonb AS "right", service_to AS "on"
        FROM judged""")  # fmt: skip
    conclude(work, NAME, "recognised in full")
