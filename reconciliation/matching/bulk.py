"""The first stage, for millions: both sides joined once by the key they carry. What agrees at once is a match; the rest,
which is small, goes on to the stages that look closer."""

from __future__ import annotations

from reconciliation.matching.pairs import Pair
from reconciliation.matching.work import Work, reading

IDENTITY = "{0}.slug || '/' || {0}.kind || '/' || {0}.external_id"
"""Names a reading in every scan."""

AGREE = """l.excuse IS NULL AND r.excuse IS NULL AND l.currency = r.currency AND l.total = r.total
    AND l.tax IS NOT DISTINCT FROM coalesce(r.tax, l.tax) AND date_trunc('month', l."on") = date_trunc('month', r."on")
    AND (l.token = r.token OR l.token IS NULL OR r.token IS NULL OR NOT (l.linked OR r.linked))
    AND coalesce(l.extra->>'rate' = r.extra->>'rate', true)"""

ITEM = """id, key, excuse, token, linked, slug, connection_id, kind, external_id, number, reference, same_as, party, about,
    currency, net,
    tax, total, "on", service_from, service_to, status, updated_at, extra"""


def join(work: Work, pair: Pair) -> None:
    """Tally what agrees by its key in `recon_tally`; leave the rest in `recon_item`.

    What agrees so gets no row of its own: the key says which two readings they are, and both are kept with the scan.
    """
    # OFFSET 0 keeps PostgreSQL from computing `agrees` anew wherever it is used.
    work.table(
        "recon_bulk",
        f"""SELECT l, r, currency, period, count(*) AS n, sum(total) AS total, sum(hash) AS hash
            FROM (SELECT CASE WHEN NOT agrees THEN l END AS l, CASE WHEN NOT agrees THEN r END AS r,
                         CASE WHEN agrees THEN currency END AS currency, CASE WHEN agrees THEN period END AS period, total,
                         CASE WHEN agrees THEN hashtextextended(key, 0) END AS hash
                  FROM (SELECT l.id AS l, r.id AS r, l.key, l.currency, l.total, date_trunc('month', l."on")::date AS period,
                               coalesce({AGREE}, false) AS agrees
                        FROM ({reading(pair.left)}) l FULL JOIN ({reading(pair.right)}) r ON l.key = r.key OFFSET 0) joined) sorted
            GROUP BY 1, 2, 3, 4""",
        analyze=True,
    )
    work.do(
        """INSERT INTO recon_tally SELECT %(pair)s, side, 'matched', 'reference', currency, period, sum(n), sum(total), sum(hash)
           FROM recon_bulk, unnest('{left,right}'::text[]) side WHERE l IS NULL AND r IS NULL GROUP BY side, currency, period""",
        pair=pair.name,
    )
    _set_apart_what_occurs_twice(work, pair)
    work.table(
        "recon_item",
        " UNION ALL ".join(
            f"""SELECT '{column}'::text AS side, {ITEM}, NULL::bigint AS grp, ''::text AS rule, false AS again
                FROM ({reading(side)}) x WHERE id IN (SELECT {column} FROM recon_bulk WHERE {column} IS NOT NULL)"""
            for column, side in (("l", pair.left), ("r", pair.right))
        ),
        analyze=True,
    )


def _set_apart_what_occurs_twice(work: Work, pair: Pair) -> None:
    """Of a key that occurs several times on a side everything goes on, also what would agree.

    There is none exactly when the joined rows are as many as the readings of each side: a key that occurs a times here and b
    times there is joined a · b times.
    """
    ((agreed, left, right),) = work.ask(
        """SELECT coalesce(sum(n) FILTER (WHERE l IS NULL AND r IS NULL), 0), count(DISTINCT l), count(DISTINCT r) FROM
            recon_bulk"""
    )
    there = [
        work.ask("SELECT coalesce(sum(n), 0) FROM recon_count k JOIN connectors_connection c ON c.id = k.connection_id"
                 " WHERE c.role = %(role)s AND k.kind = %(kind)s", role=side.role, kind=side.kind)[0][0]
        for side in (pair.left, pair.right)
    ]  # fmt: skip
    if [agreed + left, agreed + right] == there:
        return
    work.table(
        "recon_twice",
        " UNION ".join(
            f"SELECT key FROM ({reading(side)}) x WHERE key IS NOT NULL GROUP BY key HAVING count(*) > 1"
            for side in (pair.left, pair.right)
        ),
        analyze=True,
    )
    twice = [f"(SELECT * FROM ({reading(side)}) x WHERE key IN (SELECT key FROM recon_twice))" for side in (pair.left, pair.right)]
    work.do(
        f"""INSERT INTO recon_tally
            SELECT %(pair)s, side, 'matched', 'reference', currency, period, -count(*), -sum(total), -sum(hashtextextended(key,
                0)::numeric)
            FROM (SELECT l.key, l.currency, l.total, date_trunc('month', l."on")::date AS period
                  FROM {twice[0]} l JOIN {twice[1]} r ON l.key = r.key WHERE {AGREE}) joined, unnest('{{left,right}}'::text[]) side
            GROUP BY side, currency, period""",
        pair=pair.name,
    )
    for column, readings_of in zip("lr", twice, strict=True):
        work.do(f"""INSERT INTO recon_bulk ({column}) SELECT id FROM {readings_of} x
                    WHERE id NOT IN (SELECT {column} FROM recon_bulk WHERE {column} IS NOT NULL)""")
