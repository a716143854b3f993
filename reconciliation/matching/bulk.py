"""The first stage, for millions: both sides joined once by the key they carry. What agrees at once is a match; the rest,
which is small, goes on to the stages that look closer."""

from __future__ import annotations

from reconciliation.matching.pairs import Pair
from reconciliation.matching.work import Work

IDENTITY = "{0}.slug || '/' || {0}.kind || '/' || {0}.external_id"
"""Names a reading in every scan."""

AGREE = """l.excuse IS NULL AND r.excuse IS NULL AND l.currency = r.currency AND l.total = r.total
    AND l.tax IS NOT DISTINCT FROM coalesce(r.tax, l.tax)
    AND (l."on" = r."on" OR date_trunc('month', l."on") = date_trunc('month', r."on"))
    AND (l.token = r.token OR l.token IS NULL OR r.token IS NULL OR NOT (l.linked OR r.linked))
    AND coalesce(l.extra->>'rate' = r.extra->>'rate', true)"""

ITEM = """id, key, excuse, token, linked, slug, connection_id, kind, external_id, number, reference, same_as, party, about,
    currency, net,
    tax, total, "on", service_from, service_to, status, updated_at, extra"""


# Compressing millions of ids takes longer than joining what they name.
JOINED = """currency text, "on" date, agrees boolean, n bigint, total numeric, hash numeric,
    l bigint[] STORAGE EXTERNAL, r bigint[] STORAGE EXTERNAL"""


def join(work: Work, pair: Pair) -> None:
    """What agrees by its key goes to KeyMatch and `recon_tally`, the rest to `recon_item`."""
    work.gather(
        "recon_join", JOINED,
        f"""SELECT l.currency::text, l."on", coalesce({AGREE}, false), count(*), sum(l.total), sum(hashtextextended(l.key, 0)),
                   array_agg(l.id), array_agg(r.id)
            FROM ({work.reading(pair.left)}) l FULL JOIN ({work.reading(pair.right)}) r ON l.key = r.key GROUP BY 1, 2, 3""",
    )  # fmt: skip
    work.do(
        """INSERT INTO recon_tally SELECT %(pair)s, side, 'matched', 'reference', currency, date_trunc('month', "on")::date,
               sum(n), sum(total), sum(hash)
           FROM recon_join, unnest('{left,right}'::text[]) side WHERE agrees GROUP BY 2, 5, 6""",
        pair=pair.name,
    )
    work.table(
        "recon_left_over",
        """SELECT DISTINCT side, id FROM recon_join, unnest(l, r) AS one(l_id, r_id),
               LATERAL (VALUES ('l', l_id), ('r', r_id)) AS each(side, id) WHERE NOT agrees AND id IS NOT NULL""",
        analyze=True,
    )
    agreed = "recon_agreed" if _set_apart_what_occurs_twice(work, pair) else "recon_join"
    work.do(
        f"""INSERT INTO reconciliation_keymatch (scan_id, pair, "left", "right")
            SELECT %(scan)s, %(pair)s, l, r FROM {agreed} WHERE agrees""",
        pair=pair.name,
    )
    work.table(
        "recon_item",
        " UNION ALL ".join(
            f"""SELECT '{column}'::text AS side, {ITEM}, NULL::bigint AS grp, ''::text AS rule, false AS again
                FROM ({work.reading(side)}) x WHERE id IN (SELECT id FROM recon_left_over WHERE side = '{column}')"""
            for column, side in (("l", pair.left), ("r", pair.right))
        ),
        analyze=True,
    )


def _set_apart_what_occurs_twice(work: Work, pair: Pair) -> bool:
    """Of a key that occurs several times on a side everything goes on, also what would agree: whether there was any.

    What still agrees is then in `recon_agreed`.

    There is none exactly when the joined rows are as many as the readings of each side: a key that occurs a times here and b
    times there is joined a · b times.
    """
    ((agreed, left, right),) = work.ask(
        """SELECT (SELECT coalesce(sum(n), 0) FROM recon_join WHERE agrees), count(*) FILTER (WHERE side = 'l'),
                  count(*) FILTER (WHERE side = 'r')
           FROM recon_left_over"""
    )
    there = [
        work.ask("SELECT coalesce(sum(n), 0) FROM recon_count k JOIN connectors_connection c ON c.id = k.connection_id"
                 " WHERE c.role = %(role)s AND k.kind = %(kind)s", role=side.role, kind=side.kind)[0][0]
        for side in (pair.left, pair.right)
    ]  # fmt: skip
    if [agreed + left, agreed + right] == there:
        return False
    work.table(
        "recon_twice",
        " UNION ".join(
            f"SELECT key FROM ({work.reading(side)}) x WHERE key IS NOT NULL GROUP BY key HAVING count(*) > 1"
            for side in (pair.left, pair.right)
        ),
        analyze=True,
    )
    twice = [
        f"(SELECT * FROM ({work.reading(side)}) x WHERE key IN (SELECT key FROM recon_twice))" for side in (pair.left, pair.right)
    ]
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
        work.do(f"""INSERT INTO recon_left_over SELECT '{column}', id FROM {readings_of} x
                    WHERE id NOT IN (SELECT id FROM recon_left_over WHERE side = '{column}')""")
    work.table(
        "recon_agreed",
        """SELECT true AS agrees, array_agg(one.l) AS l, array_agg(one.r) AS r FROM recon_join j, unnest(l, r) AS one(l, r)
           WHERE agrees AND one.l NOT IN (SELECT id FROM recon_left_over) GROUP BY "on", currency""",
    )
    return True
