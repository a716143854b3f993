"""What is made of the linked and of the lone: a match, a break of one type, or an excuse. Every item gets exactly one.

Of several differences the weightiest names the break, and its title names the others.
"""

from __future__ import annotations

from reconciliation.matching.bulk import IDENTITY
from reconciliation.matching.pairs import Pair
from reconciliation.matching.work import Work

SAID = """jsonb_strip_nulls(jsonb_build_object('system', slug, 'kind', kind, 'id', external_id, 'number', nullif(number, ''),
    'reference', nullif(reference, ''), 'party', nullif(party, ''), 'about', nullif(about, ''), 'currency', currency, 'net',
        net::text,
    'tax', tax::text, 'total', total::text, 'on', "on", 'status', status, 'service_from', service_from, 'service_to',
        service_to))"""
"""A reading as a break shows it. Amounts are text: JSON has no decimals."""

NAME = "coalesce(nullif(number, ''), external_id)"


RULE = "CASE WHEN v.verdict = 'tolerance' AND i.rule NOT LIKE 'tolerance%%' THEN 'tolerance' ELSE i.rule END"


def fingerprint(family: str, left: str, right: str, pair: str = "%(pair)s") -> str:
    """SHA-256 over pair, family and the stable names of what is on each side: the same in every scan."""
    return (
        f"encode(sha256(convert_to(concat_ws(chr(10), {pair}::text, {family}, 'left', {left}, 'right', {right}), 'UTF8')), 'hex')"
    )


def judge(work: Work, pair: Pair) -> None:
    """Conclude the pair: its items go to `recon_fate`, what is broken to `recon_candidate`, their sums to `recon_tally`."""
    _compare(work, pair)
    of = {"pair": pair.name}
    work.do(
        """INSERT INTO recon_linked SELECT %(pair)s, l.id, r.id FROM recon_item l JOIN recon_item r USING (grp)
           WHERE l.side = 'l' AND r.side = 'r'""",
        **of,
    )
    work.do(GROUPS, **of)
    work.do(LONERS, **of)
    work.do(FATES, **of)
    work.do(TALLY, **of)


def _compare(work: Work, pair: Pair) -> None:
    """`recon_verdict`: what each group comes to."""
    there, here = ("l", "r") if pair.left.owns_key else ("r", "l")
    work.table("recon_verdict", f"""
        WITH sums AS (
            SELECT grp, min(rule) AS rule, count(*) FILTER (WHERE side = 'l') AS nl, count(*) FILTER (WHERE side = 'r') AS nr,
                   {_both("sum(total)", "total")}, {_both("sum(tax)", "tax")}, {_both("min(currency)", "currency")},
                   {_both('min("on")', "on")}, {_both("min(token)", "token")}, {_both("bool_or(linked)", "linked")},
                   {_both("min(excuse)", "excuse")}, {_both("min(extra->>'rate')", "rate")}, {_both("min(" + NAME + ")", "name")},
                   {_both(f"string_agg({IDENTITY.format('item')}, ' ' ORDER BY slug, kind, external_id)", "identity")},
                   {_both("string_agg(DISTINCT status, ', ')", "status")}, {_both("count(tax)", "taxed")},
                   {_both("jsonb_agg(" + SAID + " ORDER BY slug, external_id)", "said")},
                   max(coalesce(CASE WHEN extra->>'lines' ~ '^[0-9]{{1,6}}$' THEN (extra->>'lines')::int END, 1)) AS lines,
                   bool_or(updated_at > %(fresh)s) AS is_fresh,
                   bool_or(excuse = 'void') AS is_void,
                   bool_or(credited >= total) AS is_credited
            FROM (SELECT i.*, v.credited FROM recon_item i LEFT JOIN recon_reversed v ON i.kind = 'invoice'
                  AND (v.connection_id, v.external_id) = (i.connection_id, i.external_id) WHERE grp IS NOT NULL) item GROUP BY grp),
        judged AS (
            SELECT s.*, c.tolerated, c.unit, {DIFFERENCES.format(there=there, here=here)} FROM sums s LEFT JOIN recon_currency c
                ON c.code = s.lcurrency)
        SELECT *, {VERDICT} AS verdict FROM judged""")  # fmt: skip


def _both(what: str, name: str) -> str:
    return ", ".join(f"{what} FILTER (WHERE side = '{side}') AS {side}{name}" for side in "lr")


# A document of a closed month rightly moves on to the first open one, from where it was issued to where it is booked.
DIFFERENCES = """
    array_remove(ARRAY[
        CASE WHEN (lexcuse IS NULL) <> (rexcuse IS NULL) AND 'nothing to post' <> coalesce(lexcuse, rexcuse) THEN 'status' END,
        CASE WHEN lcurrency <> rcurrency OR (ltotal = rtotal AND lrate <> rrate) THEN 'fx' END,
        CASE WHEN ltoken <> rtoken AND (llinked OR rlinked) THEN 'party' END,
        CASE WHEN lcurrency <> rcurrency OR (abs(ltotal - rtotal) <= tolerated
                  AND (ltaxed = 0 OR rtaxed = 0 OR abs(ltax - rtax) <= tolerated)) THEN NULL
             WHEN ltotal = rtotal THEN 'tax'
             WHEN abs(ltotal - rtotal) <= %(rounding)s * unit * lines THEN 'rounding'
             WHEN ltaxed > 0 AND rtaxed > 0 AND ltax <> rtax AND ltotal - ltax = rtotal - rtax THEN 'tax'
             ELSE 'amount' END,
        CASE WHEN date_trunc('month', lon) <> date_trunc('month', ron) AND NOT (
                  coalesce({there}on < {here}on AND {there}on <= %(closed)s::date
                           AND date_trunc('month', {here}on) <= date_trunc('month', %(closed)s::date + 1), false)) THEN 'period' END
    ], NULL) AS differences"""

VERDICT = """
    CASE WHEN lexcuse IS NOT NULL AND rexcuse IS NOT NULL THEN 'excused'
         WHEN is_void AND is_credited AND (lexcuse = 'void' OR rexcuse = 'void') THEN 'excused'
         WHEN differences[1] = 'status' AND is_fresh THEN 'fresh'
         WHEN cardinality(differences) > 0 THEN differences[1]
         WHEN ltotal <> rtotal OR (ltaxed > 0 AND rtaxed > 0 AND ltax <> rtax) THEN 'tolerance' ELSE 'agree' END"""

LABELS = """'{"status": "another status", "fx": "another currency or rate", "party": "another customer", "tax": "another tax",
    "rounding": "rounding", "amount": "another amount", "period": "another period"}'::jsonb"""

SHOWN = "CASE WHEN jsonb_array_length({0}) = 1 THEN {0}->0 ELSE jsonb_build_object('items', {0}) END"

DIFFERENCE = fingerprint("'difference'", "lidentity", "ridentity")

GROUPS = f"""
    INSERT INTO recon_candidate
    SELECT %(pair)s, verdict, {DIFFERENCE},
           left(format('%%s: %%s, %%s %%s and %%s %%s', lname,
                (SELECT string_agg({LABELS}->>d, ', ' ORDER BY n) FROM unnest(differences) WITH ORDINALITY AS t(d, n)),
                trim_scale(ltotal), lcurrency, trim_scale(rtotal), rcurrency), 300),
           lcurrency, ltotal, rtotal,
           CASE verdict WHEN 'amount' THEN abs(ltotal - rtotal) WHEN 'rounding' THEN abs(ltotal - rtotal)
                        WHEN 'tax' THEN greatest(abs(ltotal - rtotal), abs(ltax - rtax))
                        WHEN 'status' THEN CASE WHEN lexcuse IS NULL THEN ltotal ELSE rtotal END
                        ELSE ltotal END,
           {SHOWN.format("lsaid")}, {SHOWN.format("rsaid")}, date_trunc('month', lon)::date
    FROM recon_verdict WHERE verdict NOT IN ('agree', 'tolerance', 'excused', 'fresh')"""

FATE = """CASE WHEN excuse IN ('draft', 'pending') AND "on" < %(as_of)s::date - %(stale)s
                    AND (excuse = 'pending' OR reference <> '') THEN 'stale'
               WHEN excuse IS NOT NULL THEN 'excused' WHEN again THEN 'duplicate'
               WHEN updated_at > %(fresh)s THEN 'fresh'
               WHEN side = 'l' THEN 'missing_right' ELSE 'missing_left' END"""
"""What becomes of an item without a counterpart."""

ALONE = fingerprint(
    "CASE WHEN fate LIKE 'missing%%' THEN 'missing' ELSE fate END",
    "CASE side WHEN 'l' THEN identity END",
    "CASE side WHEN 'r' THEN identity END",
)

LONERS = f"""
    INSERT INTO recon_candidate
    SELECT %(pair)s, fate, {ALONE},
           left(format('%%s: %%s, %%s %%s', {NAME}, CASE fate WHEN 'stale' THEN 'long under way (' || status || ')'
                WHEN 'duplicate' THEN 'there more than once in ' || slug ELSE 'only in ' || slug END, trim_scale(total),
                    currency), 300),
           currency, CASE side WHEN 'l' THEN total END, CASE side WHEN 'r' THEN total END, coalesce(total, 0),
           CASE side WHEN 'l' THEN {SAID} ELSE '{{}}' END, CASE side WHEN 'r' THEN {SAID} ELSE '{{}}' END,
           date_trunc('month', "on")::date
    FROM (SELECT *, {FATE} AS fate, {IDENTITY.format("i")} AS identity FROM recon_item i WHERE grp IS NULL) lone
    WHERE fate NOT IN ('excused', 'fresh')"""

FATES = f"""
    INSERT INTO recon_fate
    SELECT %(pair)s, CASE side WHEN 'l' THEN 'left' ELSE 'right' END, id,
           CASE WHEN rule IS NOT NULL THEN 'matched' WHEN fate IN ('excused', 'fresh') THEN 'excused' ELSE 'break' END,
           CASE WHEN rule IS NOT NULL THEN rule WHEN fate = 'excused' THEN coalesce(excuse, 'taken back') ELSE fate END,
           CASE WHEN rule IS NOT NULL THEN grp::text WHEN fate IN ('excused', 'fresh') THEN ''
                WHEN grp IS NOT NULL THEN {DIFFERENCE} ELSE {ALONE} END
    FROM (SELECT i.side, i.id, i.excuse, i.grp, v.lidentity, v.ridentity, {IDENTITY.format("i")} AS identity,
                 CASE WHEN v.verdict IN ('agree', 'tolerance') THEN {RULE} END AS rule,
                 coalesce(v.verdict, {FATE.replace('"on"', 'i."on"')}) AS fate
          FROM recon_item i LEFT JOIN recon_verdict v USING (grp)) item"""

TALLY = f"""
    INSERT INTO recon_tally
    SELECT %(pair)s, f.side, f.fate, f.why, i.currency, date_trunc('month', i."on")::date, count(*), coalesce(sum(i.total), 0),
           sum(hashtextextended({IDENTITY.format("i")}, 0)::numeric)
    FROM recon_fate f JOIN recon_item i ON i.id = f.reading WHERE f.pair = %(pair)s AND f.fate <> 'matched'
    GROUP BY 1, 2, 3, 4, 5, 6
    UNION ALL
    SELECT %(pair)s, CASE i.side WHEN 'l' THEN 'left' ELSE 'right' END, 'matched', {RULE}, i.currency,
           date_trunc('month', i."on")::date, count(*), coalesce(sum(i.total), 0),
           sum(hashtextextended({IDENTITY.format("i")} || least(lidentity, ridentity) || greatest(lidentity, ridentity),
               0)::numeric)
    FROM recon_item i JOIN recon_verdict v USING (grp) WHERE v.verdict IN ('agree', 'tolerance') GROUP BY 1, 2, 3, 4, 5, 6"""
