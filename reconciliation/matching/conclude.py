"""How the comparisons that are not two lists of documents conclude: a table of judged items into candidates, fates, tally.

`recon_case` has one row per reading (id, side, token); `recon_case_verdict` one per token with its verdict.
"""

from __future__ import annotations

from reconciliation.matching.bulk import IDENTITY
from reconciliation.matching.judge import fingerprint
from reconciliation.matching.work import Work

FATE = "CASE WHEN v.verdict = 'agree' THEN 'matched' WHEN v.verdict LIKE 'excused%%' THEN 'excused' ELSE 'break' END"
WHY = "CASE WHEN v.verdict = 'agree' THEN %(rule)s ELSE replace(v.verdict, 'excused: ', '') END"

BREAKS = f"""
    INSERT INTO recon_candidate
    SELECT %(pair)s, verdict, {fingerprint("family", "token", "''")}, left(title, 300), coalesce(currency, ''), left_amount,
        right_amount,
           abs(coalesce(exposed, 0)), coalesce("left", '{{}}'), coalesce("right", '{{}}'), date_trunc('month', "on")::date
    FROM recon_case_verdict WHERE verdict NOT LIKE 'excused%%' AND verdict <> 'agree'"""

FATES = f"""
    INSERT INTO recon_fate
    SELECT %(pair)s, c.side, c.id, {FATE}, {WHY},
           CASE {FATE} WHEN 'matched' THEN v.token WHEN 'break' THEN {fingerprint("v.family", "v.token", "''")} ELSE '' END
    FROM recon_case c JOIN recon_case_verdict v USING (token)"""

TALLY = f"""
    INSERT INTO recon_tally
    SELECT %(pair)s, c.side, {FATE}, {WHY}, r.currency, date_trunc('month', r."on")::date, count(*), coalesce(sum(r.total), 0),
           sum(hashtextextended({IDENTITY.format("r").replace("r.slug", "k.slug")} || v.token, 0)::numeric)
    FROM recon_case c JOIN recon_case_verdict v USING (token) JOIN reconciliation_readingrow r ON r.id = c.id
    JOIN connectors_connection k ON k.id = r.connection_id GROUP BY 1, 2, 3, 4, 5, 6"""


def conclude(work: Work, pair: str, rule: str) -> None:
    """Write down what a comparison has judged."""
    for statement in (BREAKS, FATES, TALLY):
        work.do(statement, pair=pair, rule=rule)
