"""The figures of the dashboards, each with the SQL it comes from: whoever doubts one runs that, and gets the same.

A figure of one number has it as `value`; others have rows (column → value). Amounts are never added over currencies.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from django.db import connection as database

from canonical.models import LegalEntity

Rows = list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Figure:
    """`value`: a number (None: nothing to say yet) or rows. `sql` is complete, with its parameters in it."""

    name: str
    title: str
    value: int | Decimal | Rows | None
    unit: str
    sql: str


@dataclass(frozen=True, slots=True)
class Question:
    """How a figure is asked for. `is_one`: it is one number. Parameters: entity, zone, days."""

    name: str
    title: str
    unit: str
    sql: str
    is_one: bool = False


# What became of the readings of each scan: its counts, unfolded.
TALLY = """
    tally AS (
        SELECT s.id AS scan, s.as_of, pair.key AS pair, fate.key AS fate, currency.key AS currency,
               (currency.value ->> 'count')::bigint AS count, (currency.value ->> 'amount')::numeric AS amount
        FROM reconciliation_scan s
        CROSS JOIN LATERAL jsonb_each(s.counts - '{breaks,explained,carried_forward,red}'::text[]) AS pair
        CROSS JOIN LATERAL jsonb_each(pair.value) AS side
        CROSS JOIN LATERAL jsonb_each(side.value) AS fate
        CROSS JOIN LATERAL jsonb_each(fate.value) AS why
        CROSS JOIN LATERAL jsonb_each(why.value) AS currency
        WHERE s.state = 'done' AND s.legal_entity_id = %(entity)s AND fate.key IN ('matched', 'break'))"""
# The last scan of every day.
DAILY = """
    daily AS (
        SELECT DISTINCT ON ((as_of AT TIME ZONE %(zone)s)::date) id, (as_of AT TIME ZONE %(zone)s)::date AS day
        FROM reconciliation_scan
        WHERE state = 'done' AND legal_entity_id = %(entity)s AND as_of > now() - make_interval(days => %(days)s)
        ORDER BY 2, as_of DESC, id DESC)"""
SHARE = "round(100.0 * sum({0}) FILTER (WHERE fate = 'matched') / nullif(sum({0}), 0), 2)"

DECIDED = "('approved', 'posting', 'posted', 'mirrored', 'told', 'closed', 'reversed')"
IN_ERP = "('posted', 'mirrored', 'told', 'closed', 'reversed')"
IN_BILLING = "('mirrored', 'told', 'closed', 'reversed')"

QUESTIONS: tuple[Question, ...] = (
    Question(
        "agreement_by_count",
        "Agreement per pair and day, by documents",
        "percent",
        f"""WITH {TALLY}, {DAILY}
            SELECT day, pair, coalesce({SHARE.format("count")}, 0) AS share, sum(count)::bigint AS documents
            FROM daily JOIN tally ON scan = daily.id GROUP BY day, pair ORDER BY day, pair""",
    ),
    Question(
        "agreement_by_money",
        "Agreement per pair, currency and day, by money",
        "percent",
        f"""WITH {TALLY}, {DAILY}
            SELECT day, pair, currency, coalesce({SHARE.format("amount")}, 0) AS share, sum(amount) AS amount
            FROM daily JOIN tally ON scan = daily.id WHERE currency <> ''
            GROUP BY day, pair, currency ORDER BY day, pair, currency""",
    ),
    Question(
        "breaks_by_type",
        "Open breaks by type",
        "breaks",
        """SELECT type, currency, count(*) AS breaks, sum(exposed) AS exposed FROM reconciliation_break
           WHERE legal_entity_id = %(entity)s AND state <> 'closed' GROUP BY type, currency ORDER BY type, currency""",
    ),
    Question(
        "breaks_by_age",
        "Open breaks by age",
        "breaks",
        """SELECT age, currency, count(*) AS breaks, sum(exposed) AS exposed FROM (
               SELECT currency, exposed, CASE WHEN opened_at > now() - interval '1 day' THEN '1: up to a day'
                      WHEN opened_at > now() - interval '7 days' THEN '2: up to a week'
                      WHEN opened_at > now() - interval '30 days' THEN '3: up to a month' ELSE '4: older' END AS age
               FROM reconciliation_break WHERE legal_entity_id = %(entity)s AND state <> 'closed') aged
           GROUP BY age, currency ORDER BY age, currency""",
    ),
    Question(
        "variance",
        "Rounding written off to the variance account, by month",
        "documents",
        # Signed: positive where billing had more. Rounding cancels out over the months; a net that grows is something else.
        """SELECT date_trunc('month', m.ended_at AT TIME ZONE %(zone)s)::date AS month, m.currency, count(*) AS documents,
                  sum(m.amount) AS net, sum(abs(m.amount)) AS gross
           FROM reconciliation_mend m JOIN reconciliation_break b ON b.id = m.item_id
           WHERE m.plan = 'write_off' AND m.state = 'done' AND b.legal_entity_id = %(entity)s
             AND m.ended_at > now() - make_interval(days => %(days)s)
           GROUP BY 1, 2 ORDER BY 1, 2""",
    ),
    Question(
        "mended_by_itself",
        "Mends under a rule, and those two people agreed on",
        "mends",
        """SELECT m.plan, coalesce(m.currency, '') AS currency, count(*) FILTER (WHERE m.is_automatic) AS by_rule,
                  count(*) FILTER (WHERE NOT m.is_automatic) AS by_people
           FROM reconciliation_mend m JOIN reconciliation_break b ON b.id = m.item_id
           WHERE m.state = 'done' AND b.legal_entity_id = %(entity)s AND m.ended_at > now() - make_interval(days => %(days)s)
           GROUP BY 1, 2 ORDER BY 1, 2""",
    ),
    Question(
        "credits",
        "Credits asked for, approved, in the ERP, in billing",
        "credits",
        f"""SELECT currency, count(*) AS requested, count(*) FILTER (WHERE state IN {DECIDED}) AS approved,
                   count(*) FILTER (WHERE state IN {IN_ERP}) AS posted, count(*) FILTER (WHERE state IN {IN_BILLING}) AS mirrored,
                   sum(total) AS requested_amount, coalesce(sum(total) FILTER (WHERE state IN {DECIDED}), 0) AS approved_amount,
                   coalesce(sum(total) FILTER (WHERE state IN {IN_ERP}), 0) AS posted_amount,
                   coalesce(sum(total) FILTER (WHERE state IN {IN_BILLING}), 0) AS mirrored_amount
            FROM credits_credit WHERE legal_entity_id = %(entity)s AND reverses_id IS NULL AND state <> 'split'
              AND created_at > now() - make_interval(days => %(days)s) GROUP BY currency ORDER BY currency""",
    ),
    Question(
        "auto_match_rate",
        "Readings that the last scan matched by itself",
        "percent",
        f"""WITH {TALLY} SELECT coalesce({SHARE.format("count")}, 0) FROM tally
            WHERE scan = (SELECT max(scan) FROM tally) HAVING sum(count) > 0""",
        is_one=True,
    ),
    Question(
        "time_to_close",
        "From the end of a month to its signature",
        "days",
        """SELECT period, round(extract(epoch FROM signed_at - (period + interval '1 month') AT TIME ZONE %(zone)s) / 86400, 1)
                  AS days
           FROM reconciliation_periodclose WHERE legal_entity_id = %(entity)s AND state = 'signed' ORDER BY period""",
    ),
    Question(
        "touches_avoided",
        "Entries in a system that nobody had to make or correct by hand",
        "entries",
        # One for every write of a run in which nothing waited for a person and that no person started.
        """SELECT count(*) FROM hub_step s JOIN hub_run r ON r.id = s.run_id
           JOIN connectors_connection c ON c.id = r.connection_id
           WHERE c.legal_entity_id = %(entity)s AND s.state = 'done' AND s.key <> '' AND r.state = 'done'
             AND r.ended_at > now() - make_interval(days => %(days)s)
             AND NOT EXISTS (SELECT FROM hub_attempt a WHERE a.run_id = r.id AND a.error_code <> 'gate'
                             AND a.outcome IN ('blocked', 'refused', 'misconfigured'))
             AND NOT EXISTS (SELECT FROM auth_user u WHERE u.username = r.started_by)""",
        is_one=True,
    ),
)


def figures(entity: LegalEntity, *, days: int = 90) -> list[Figure]:
    """All figures of an entity, over the last `days` where they are of a time."""
    return [ask(question, entity, days=days) for question in QUESTIONS]


def figure(name: str, entity: LegalEntity, *, days: int = 90) -> Figure:
    """One figure by its name. Raises LookupError."""
    for question in QUESTIONS:
        if question.name == name:
            return ask(question, entity, days=days)
    raise LookupError(f"there is no figure {name}")


def ask(question: Question, entity: LegalEntity, *, days: int) -> Figure:
    """Run what is shown, exactly as it is shown."""
    with database.cursor() as cursor:
        sql = _lean(cursor.mogrify(question.sql, {"entity": entity.pk, "zone": entity.timezone, "days": days}))
        cursor.execute(sql)
        rows: Sequence[Sequence[Any]] = cursor.fetchall()
        names = [column.name for column in cursor.description or ()]
    one = rows[0][0] if rows else None
    value = one if question.is_one else [dict(zip(names, row, strict=True)) for row in rows]
    return Figure(question.name, question.title, value, question.unit, sql)


def _lean(sql: str) -> str:
    return "\n".join(line.strip() for line in sql.strip().splitlines())
