"""Control totals per pair, month and currency: what was tolerated one by one must not add up to something."""

from __future__ import annotations

from reconciliation.matching.judge import fingerprint
from reconciliation.matching.work import Work

NAME = "control_totals"
MANY = 10
"""Tolerated differences of one month and currency may come to so many times the tolerance of one document."""


def compare(work: Work) -> None:
    """A candidate where the matched amounts of a month differ by more than that."""
    work.do(f"""
        INSERT INTO recon_candidate
        SELECT %(pair)s, 'amount', {fingerprint("'control'", "concat_ws('/', t.pair, period, currency)", "''")},
               format('%%s of %%s: matched amounts differ by %%s %%s in all', t.pair, to_char(period, 'YYYY-MM'), trim_scale(l
                   - r), currency),
               currency, l, r, abs(l - r), '{{}}', '{{}}', period
        FROM (SELECT pair, period, currency, coalesce(sum(amount) FILTER (WHERE side = 'left'), 0) AS l,
                     coalesce(sum(amount) FILTER (WHERE side = 'right'), 0) AS r
              FROM recon_tally WHERE fate = 'matched' AND side IN ('left', 'right') AND why LIKE 'tolerance%%'
              GROUP BY pair, period, currency) t JOIN recon_currency c ON c.code = currency
        WHERE abs(l - r) > {MANY} * tolerated AND period IS NOT NULL""", pair=NAME)  # fmt: skip
