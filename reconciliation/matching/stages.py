"""The stages that look closer at what the join by key left over. Each links what belongs together, whether or not it agrees.

Order: own reference, cross-reference, `same_as`, number, then what carries nothing of the other side: equal amount and
day, tolerated amount, window of days, 1:N, N:1, capped N:M. Only readings of one known customer and currency are linked by
amounts. Ranks follow day, number and id at the source, so the order of rows decides nothing.
"""

from __future__ import annotations

from reconciliation.matching.pairs import Pair
from reconciliation.matching.work import Work

ORDER = """excuse IS NOT NULL, "on", number, slug, external_id"""
TOLD = """(SELECT id, jsonb_array_elements_text(same_as) AS code FROM recon_item WHERE grp IS NULL AND same_as <> '[]') told"""
NAMED = """(SELECT id, unnest(ARRAY[external_id, nullif(number, '')]) AS code FROM recon_item WHERE grp IS NULL) named"""
"""Who says what it is the same as, and what everybody is called: met by hash, as many may be left that nothing links."""
MAX_ROUNDS = 16
"""Of the stages that repeat until nothing more is found."""


def link(work: Work, pair: Pair) -> None:
    """Give every item of `recon_item` that has a counterpart its group (`grp`) and the rule that found it."""
    by_key(work, "reference")
    own, other = ("l", "r") if pair.left.owns_key else ("r", "l")
    for rule, condition in _identities(pair, own):
        work.do(
            f"""UPDATE recon_item i SET key = found.key FROM (
                    SELECT DISTINCT ON (o.id) o.id, w.key FROM recon_item o JOIN recon_item w ON w.side = '{own}' AND w.grp IS NULL
                    {condition} WHERE o.side = '{other}' AND o.grp IS NULL AND w.key IS NOT NULL
                    ORDER BY o.id, w."on", w.number, w.slug, w.external_id) found
                WHERE i.id = found.id"""
        )
        by_key(work, rule)
    by_amount(work)
    by_sums(work)
    again(work, pair)


def _identities(pair: Pair, own: str) -> list[tuple[str, str]]:
    other = pair.right if own == "l" else pair.left
    owner = pair.left if own == "l" else pair.right
    refs = [("cross-reference", f"""
        JOIN canonical_externalref x ON x.connection_id = o.connection_id AND x.external_id = o.external_id AND x.kind
            = ANY('{{{",".join(other.refs)}}}')
        JOIN canonical_externalref y ON y.object_kind = x.object_kind AND y.object_id = x.object_id
             AND y.connection_id = w.connection_id AND y.external_id = w.external_id AND y.kind = ANY('{{{",".join(owner.refs)}}}')
        """)] if other.refs and owner.refs else []  # fmt: skip
    return [
        *refs,
        ("same as", f"""
        JOIN (SELECT told.id AS a, named.id AS b FROM {TOLD} JOIN {NAMED} USING (code)
              UNION SELECT named.id, told.id FROM {TOLD} JOIN {NAMED} USING (code)) same ON same.a = o.id AND same.b = w.id
        """),
        ("natural key", """AND w.number = o.number AND w.number <> '' AND coalesce(w.token = o.token, true)"""),
    ]  # fmt: skip


def by_key(work: Work, rule: str) -> None:
    """Link what shares a key: whole groups whose sums agree, then equal amounts one by one, then one by one in order."""
    work.do(
        """UPDATE recon_item i SET grp = g.grp, rule = %(rule)s || g.shape FROM (
               SELECT key, min(id) FILTER (WHERE side = 'l') AS grp,
                      CASE WHEN count(*) FILTER (WHERE side = 'l') = 1 THEN ' 1:N'
                           WHEN count(*) FILTER (WHERE side = 'r') = 1 THEN ' N:1' ELSE ' N:M' END AS shape
               FROM recon_item WHERE grp IS NULL AND excuse IS NULL AND key IS NOT NULL GROUP BY key
               HAVING count(*) > 2 AND min(currency) = max(currency)
                  AND sum(total) FILTER (WHERE side = 'l') = sum(total) FILTER (WHERE side = 'r')) g
           WHERE i.key = g.key AND i.grp IS NULL AND i.excuse IS NULL""",
        rule=rule,
    )
    _ranked(work, rule, "key, currency, total")
    _ranked(work, rule, "key")


def _ranked(work: Work, rule: str, by: str, where: str = "key IS NOT NULL") -> int:
    """Link the first with the first, the second with the second, of what is equal in `by`."""
    names = [name.strip() for name in by.split(",")]
    return work.do(
        f"""WITH ranked AS (
                SELECT id, side, {by}, row_number() OVER (PARTITION BY side, {by} ORDER BY {ORDER}) AS n
                FROM recon_item WHERE grp IS NULL AND {where}),
            linked AS (
                SELECT l.id AS l, r.id AS r FROM ranked l JOIN ranked r ON l.side = 'l' AND r.side = 'r' AND l.n = r.n
                AND {" AND ".join(f"l.{name} = r.{name}" for name in names)})
            UPDATE recon_item i SET grp = linked.l, rule = %(rule)s FROM linked WHERE i.id IN (linked.l, linked.r)""",
        rule=rule,
    )


def by_amount(work: Work) -> None:
    """Link single documents of one customer: equal amount and day, then within the tolerance, then within the days."""
    free = "token IS NOT NULL AND excuse IS NULL AND total IS NOT NULL"
    _ranked(work, "exact", 'token, currency, total, "on"', free)
    buckets = """(SELECT i.*, c.tolerated, floor(i.total / greatest(c.tolerated, c.unit)) AS bucket
                  FROM recon_item i JOIN recon_currency c ON c.code = i.currency
                  WHERE i.grp IS NULL AND i.excuse IS NULL AND i.token IS NOT NULL)"""
    nearest = """abs(l.total - r.total), abs(l."on" - r."on")"""
    ties = 'a."on", a.number, a.slug, a.external_id'
    for rule, days, tolerated in (("tolerance", "0", "l.tolerated"), ("date window", "%(days)s", "0"),
                                  ("tolerance in date window", "%(days)s", "l.tolerated")):  # fmt: skip
        for _ in range(MAX_ROUNDS):
            # Near amounts fall into the same bucket or the next one, so that only those meet.
            linked = work.do(
                f"""WITH near AS (
                        SELECT l.id AS l, r.id AS r,
                               row_number() OVER (PARTITION BY l.id ORDER BY {nearest}, {ties.replace("a.", "r.")}) AS of_l,
                               row_number() OVER (PARTITION BY r.id ORDER BY {nearest}, {ties.replace("a.", "l.")}) AS of_r
                        FROM {buckets} l CROSS JOIN (VALUES (-1), (0), (1)) step(n)
                        JOIN {buckets} r ON l.side = 'l' AND r.side = 'r' AND r.token = l.token AND r.currency = l.currency
                             AND r.bucket = l.bucket + step.n AND abs(l.total - r.total) <= {tolerated}
                             AND abs(l."on" - r."on") <= {days})
                    UPDATE recon_item i SET grp = near.l, rule = %(rule)s FROM near
                    WHERE of_l = 1 AND of_r = 1 AND i.id IN (near.l, near.r)""",
                rule=rule,
            )
            if not linked:
                break


def by_sums(work: Work) -> None:
    """Link several with one, one with several, and several with several, of one customer and currency, whose sums are equal.

    Subsets are tried of at most `group_cap` documents a side, in at most `groups_cap` groups: 2^cap sums each. Of all that
    add up the one with the fewest documents is taken, and the rest is tried again.
    """
    for _ in range(MAX_ROUNDS):
        groups = work.table(
            "recon_open",
            f"""WITH small AS (
                    SELECT token, currency FROM recon_item WHERE grp IS NULL AND excuse IS NULL AND token IS NOT NULL AND total > 0
                    GROUP BY token, currency
                    HAVING count(*) > 2 AND count(*) FILTER (WHERE side = 'l') BETWEEN 1 AND %(cap)s
                       AND count(*) FILTER (WHERE side = 'r') BETWEEN 1 AND %(cap)s
                    ORDER BY token, currency LIMIT %(groups)s)
                SELECT i.id, i.side, i.token, i.currency, i.total, i."on",
                       1 << (row_number() OVER (PARTITION BY i.side, i.token, i.currency ORDER BY {ORDER})::int - 1) AS bit
                FROM recon_item i JOIN small USING (token, currency)
                WHERE i.grp IS NULL AND i.excuse IS NULL AND i.total > 0""",
        )
        if not groups or not work.do(SUBSETS):
            break


SUBSETS = """
    WITH sums AS (
        SELECT side, token, currency, mask, sum(total) AS total, count(*) AS size, min("on") AS first, max("on") AS last
        FROM recon_open CROSS JOIN generate_series(1, (1 << %(cap)s) - 1) mask
        WHERE bit & mask <> 0 AND mask < 2 * (SELECT max(m.bit) FROM recon_open m
              WHERE (m.side, m.token, m.currency) = (recon_open.side, recon_open.token, recon_open.currency))
        GROUP BY side, token, currency, mask),
    best AS (
        SELECT DISTINCT ON (token, currency) token, currency, l.mask AS l, r.mask AS r,
               CASE WHEN l.size = 1 THEN '1:N' WHEN r.size = 1 THEN 'N:1' ELSE 'N:M' END AS rule
        FROM sums l JOIN sums r USING (token, currency, total)
        WHERE l.side = 'l' AND r.side = 'r' AND l.size + r.size > 2
          AND greatest(l.last, r.last) - least(l.first, r.first) <= %(days)s
        ORDER BY token, currency, l.size + r.size, l.size * r.size, least(l.mask, r.mask), greatest(l.mask, r.mask), l.mask),
    chosen AS (
        SELECT o.id, b.rule, min(o.id) FILTER (WHERE o.side = 'l') OVER (PARTITION BY token, currency) AS grp
        FROM best b JOIN recon_open o USING (token, currency)
        WHERE o.bit & CASE o.side WHEN 'l' THEN b.l ELSE b.r END <> 0)
    UPDATE recon_item i SET grp = chosen.grp, rule = chosen.rule FROM chosen WHERE i.id = chosen.id"""


def again(work: Work, pair: Pair) -> None:
    """Mark what is there once more: it shares its key with something linked, or is its twin and carries no key."""
    part = "AND t.total = i.total AND t.currency = i.currency" if pair.in_parts else ""
    work.do(
        f"""UPDATE recon_item i SET again = true WHERE grp IS NULL AND excuse IS NULL AND EXISTS (
                SELECT FROM recon_item t WHERE t.side = i.side AND t.key = i.key AND t.grp IS NOT NULL {part})"""
    )
    carries = "r" if pair.left.owns_key else "l"
    # The few are hashed, and met by the many in passing: PostgreSQL would rather have it the other way round.
    work.table(
        "recon_lone",
        """SELECT id, side, connection_id, kind, party, currency, total, "on", number, reference FROM recon_item
           WHERE grp IS NULL AND excuse IS NULL AND party <> '' AND (number <> '' OR (side = %(carries)s AND reference = ''))""",
        analyze=True,
        carries=carries,
    )
    work.table(
        "recon_twin",
        """SELECT i.id FROM reconciliation_readingrow t JOIN recon_lone i ON t.party = i.party AND t.total = i.total
                WHERE t.scan_id = %(scan)s AND t.id <> i.id AND t."on" - i."on" = 0
                  AND (t.kind, t.connection_id, t.currency) IS NOT DISTINCT FROM (i.kind, i.connection_id, i.currency)
                  AND ((i.number <> '' AND t.number = i.number)
                       OR (i.side = %(carries)s AND i.reference = '' AND t.reference <> ''))
                  AND NOT EXISTS (SELECT FROM recon_item o WHERE o.id = t.id AND (o.grp IS NULL OR o.excuse IS NOT NULL))""",
        carries=carries,
    )
    work.do("UPDATE recon_item SET again = true WHERE id IN (SELECT id FROM recon_twin)")
