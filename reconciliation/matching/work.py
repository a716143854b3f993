"""Working tables: what all stages share, made anew for every match, in a schema that lives as long as it lasts.

They are unlogged tables, not temporary ones: PostgreSQL reads those with several processes at once. What a match found is
in temporary tables, for who goes on with it in the same transaction.
"""

from __future__ import annotations

from typing import Any

from django.db import connection as database
from psycopg import ClientCursor

from connectors.models import Connection
from reconciliation.invariants.base import literal
from reconciliation.matching.pairs import Side
from reconciliation.matching.parameters import Tolerances
from reconciliation.models import Scan

SETTINGS = "SET LOCAL work_mem = '256MB'; SET LOCAL jit = off; SET LOCAL enable_mergejoin = off"
"""For the transaction that matches: hashes in memory, and no merge joins, which sort both sides by text."""


class Work:
    """SQL with the scan and its tolerances at hand."""

    def __init__(self, scan: Scan, tolerances: Tolerances) -> None:
        closed = tolerances.closed_until
        self.schema = f"recon_{scan.pk}"
        self.values: dict[str, Any] = {
            "scan": scan.pk, "as_of": scan.as_of, "fresh": scan.as_of - tolerances.grace, "stale": tolerances.stale_after,
            "days": tolerances.days, "cap": tolerances.group_cap, "groups": tolerances.groups_cap, "rounding": tolerances.rounding,
            "closed": closed, "entity": scan.legal_entity_id,
        }  # fmt: skip
        self.systems: dict[str, list[tuple[int, str]]] = {"billing": [], "erp": [], "support": []}
        for pk, slug, role in Connection.objects.filter(legal_entity=scan.legal_entity_id).values_list("pk", "slug", "role"):
            self.systems[role].append((pk, slug))
        self.values["erp"] = [pk for pk, _ in self.systems["erp"]]
        self.values["all"] = [pk for systems in self.systems.values() for pk, _ in systems]

    def do(self, sql: str, **more: Any) -> int:
        """Run one statement; returns how many rows it touched."""
        with database.cursor() as cursor:
            cursor.execute(sql, self.values | more)
            return int(cursor.rowcount)

    def ask(self, sql: str, **more: Any) -> list[Any]:
        """The rows of a query."""
        with database.cursor() as cursor:
            cursor.execute(sql, self.values | more)
            return list(cursor.fetchall())

    def table(self, name: str, select: str, *, analyze: bool = False, **more: Any) -> int:
        """A working table made from a query; returns how many rows it has."""
        self.do(f"DROP TABLE IF EXISTS {self.schema}.{name}")
        made = self.do(f"CREATE UNLOGGED TABLE {self.schema}.{name} AS {select}", **more)
        if analyze:
            self.do(f"ANALYZE {name}")
        return made

    def gather(self, name: str, columns: str, select: str) -> None:
        """A working table of these columns, filled by a query over millions of rows.

        PostgreSQL works on a query in parallel when it makes a table of its own or returns it, but not under INSERT.
        """
        query = ClientCursor(database.connection).mogrify(select, self.values)
        self.do(f"DROP TABLE IF EXISTS {self.schema}.{name} CASCADE")
        self.do(f"CREATE UNLOGGED TABLE {self.schema}.{name} ({columns})")
        self.do(
            f"""CREATE FUNCTION {self.schema}.{name}_rows(query text) RETURNS SETOF {self.schema}.{name} LANGUAGE plpgsql
                AS $$ BEGIN RETURN QUERY EXECUTE query; END $$"""
        )
        self.do(f"INSERT INTO {self.schema}.{name} SELECT * FROM {self.schema}.{name}_rows(%(query)s)", query=query)

    def reading(self, side: Side) -> str:
        """The readings of a side, with key, excuse and customer.

        Systems stand there as constants, not joined, so that PostgreSQL knows how many rows to expect.
        """
        systems = ", ".join(f"({pk}::bigint, {literal(slug)})" for pk, slug in self.systems[side.role])
        return f"""SELECT r.*, c.slug, {side.key} AS key, {side.excuse} AS excuse, p.token, p.linked
            FROM reconciliation_readingrow r
            JOIN (VALUES {systems or "(NULL::bigint, NULL::text)"}) AS c(id, slug) ON c.id = r.connection_id
            LEFT JOIN recon_party p ON p.connection_id = r.connection_id AND p.external_id = r.party
            {side.joins}
            WHERE r.scan_id = %(scan)s AND r.kind = '{side.kind}' AND {side.where}"""

    def prepare(self, tolerances: Tolerances) -> None:
        """Memory for this transaction, the tables of results, and who is who."""
        self.do(SETTINGS)
        self.do(f"CREATE SCHEMA {self.schema}")
        self.do(f"SELECT set_config('search_path', '{self.schema}, ' || current_setting('search_path'), true)")
        for statement in RESULTS:
            self.do(statement)
        for name, select in SHARED:
            self.table(name, select, analyze=True)
        self.do(f"CREATE UNLOGGED TABLE {self.schema}.recon_currency (code text, tolerated numeric, unit numeric)")
        codes = [code for (code,) in self.ask("SELECT DISTINCT currency FROM recon_kind ORDER BY 1")]
        for code, tolerated, unit in tolerances.of([code for code in codes if code]):
            self.do(
                "INSERT INTO recon_currency VALUES (%(code)s, %(tolerated)s, %(unit)s)", code=code, tolerated=tolerated, unit=unit
            )

    def clear(self) -> None:
        """Leave nothing but the results."""
        self.do(f"SELECT set_config('search_path', replace(current_setting('search_path'), '{self.schema}, ', ''), true)")
        self.do(f"DROP SCHEMA {self.schema} CASCADE")


def readings(alias: str, kind: str, role: str) -> str:
    """FROM and WHERE of one kind of one role: further conditions follow with AND."""
    return f"""reconciliation_readingrow {alias} JOIN connectors_connection {alias}c
        ON {alias}c.id = {alias}.connection_id AND {alias}c.role = '{role}' AND {alias}.kind = '{kind}' AND {alias}.scan_id
            = %(scan)s"""


RESULTS = (
    "DROP TABLE IF EXISTS pg_temp.recon_candidate, pg_temp.recon_fate, pg_temp.recon_linked, pg_temp.recon_tally",
    """CREATE TEMP TABLE recon_candidate (pair text, type text, fingerprint text, title text, currency text, left_amount numeric,
         right_amount numeric, exposed numeric, "left" jsonb, "right" jsonb, period date)""",
    # What became of a reading that does not agree by its key at once, and why (`models.Fate`).
    "CREATE TEMP TABLE recon_fate (pair text, side text, reading bigint, fate text, why text, token text)",
    # Pairs of readings that are one thing but may not agree; those that agree at once are in KeyMatch alone.
    'CREATE TEMP TABLE recon_linked (pair text, "left" bigint, "right" bigint)',
    """CREATE TEMP TABLE recon_tally (pair text, side text, fate text, why text, currency text, period date, count bigint,
         amount numeric, hash numeric)""",
)

SHARED = (
    (
        # Our customer behind each system's id: by the link, by our key it carries, else itself. Merged ids lead to their survivor.
        "recon_party",
        """WITH known AS (
               SELECT x.connection_id, x.external_id, 'p:' || coalesce(s.object_id, x.object_id) AS token
               FROM canonical_externalref x JOIN connectors_connection c ON c.id = x.connection_id
               LEFT JOIN canonical_externalref s ON s.id = x.superseded_by_id
               WHERE x.object_kind = 'party' AND x.kind = 'party' AND x.external_id IS NOT NULL
                 AND x.connection_id = ANY(%(all)s)),
           said AS (
               SELECT r.connection_id, r.external_id, c.role, c.slug,
                      CASE WHEN c.role = 'billing' THEN c.slug || '/' || r.external_id
                           ELSE coalesce(nullif(r.reference, ''), nullif(r.same_as->>0, ''), c.slug || '/' || r.external_id) END
                               AS own
               FROM reconciliation_readingrow r JOIN connectors_connection c ON c.id = r.connection_id
               WHERE r.scan_id = %(scan)s AND r.connection_id = ANY(%(all)s) AND r.kind = 'party'),
           keyed AS (
               SELECT b.connection_id, b.external_id, b.own AS key, k.token FROM said b
               LEFT JOIN known k USING (connection_id, external_id) WHERE b.role = 'billing'),
           merged AS (
               SELECT connection_id, external_id, token FROM known
               UNION
               SELECT s.connection_id, s.external_id, coalesce(k.token, s.own) FROM said s
               LEFT JOIN keyed k ON k.key = s.own
               WHERE NOT EXISTS (SELECT FROM known x WHERE (x.connection_id, x.external_id) = (s.connection_id, s.external_id)))
           SELECT DISTINCT ON (connection_id, external_id) connection_id, external_id, token,
                  count(*) OVER (PARTITION BY token) > 1 AS linked
           FROM merged ORDER BY connection_id, external_id, token""",
    ),
    (
        # One pass over all: how many there are, and the few invoices that may be of service credits.
        "recon_kind",
        """SELECT connection_id, kind, currency, count(*) AS n,
                  array_agg(id) FILTER (WHERE kind = 'invoice' AND reference LIKE 'credit/%%'
                                        AND connection_id = ANY(%(erp)s)) AS maybe
           FROM reconciliation_readingrow WHERE scan_id = %(scan)s GROUP BY 1, 2, 3""",
    ),
    (
        # The readings that may be of service credits.
        "recon_maybe",
        """SELECT id, connection_id, kind, external_id, number, reference, extra->>'form' AS form FROM reconciliation_readingrow
           WHERE scan_id = %(scan)s AND connection_id = ANY(%(all)s) AND kind IN ('credit_memo', 'support_credit')
           UNION ALL
           SELECT id, connection_id, kind, external_id, number, reference, extra->>'form' FROM reconciliation_readingrow
           WHERE id IN (SELECT unnest(maybe) FROM recon_kind)""",
    ),
    (
        # Those → the credit they name: by link, by key, by number.
        "recon_credit_ref",
        f"""SELECT r.id, min(coalesce(x.object_id, u.id, n.id)) AS credit FROM recon_maybe r
            LEFT JOIN canonical_externalref x ON x.connection_id = r.connection_id AND x.external_id = r.external_id
                 AND x.object_kind = 'credit' AND x.kind <> 'note'
            LEFT JOIN credits_credit u ON r.reference LIKE 'credit/%%' AND u.uid::text = split_part(r.reference, '/', 2)
            LEFT JOIN credits_credit n ON n.id = CASE WHEN r.number ~ '{"^CR-[0-9]{1,15}$"}' THEN substr(r.number, 4)::bigint END
            WHERE coalesce(x.object_id, u.id, n.id) IS NOT NULL GROUP BY r.id""",
    ),
    (
        # Documents of service credits: they are compared three ways, and are no part of any other pair.
        "recon_special",
        """SELECT id, connection_id, kind FROM recon_maybe
           WHERE kind <> 'support_credit' AND (reference LIKE 'credit/%%' OR number ~ '^CR-[0-9]+$' OR form = 'balance'
                 OR id IN (SELECT id FROM recon_credit_ref))""",
    ),
    (
        "recon_count",
        """SELECT a.connection_id, a.kind, sum(a.n) - (SELECT count(*) FROM recon_special s
                  WHERE (s.connection_id, s.kind) = (a.connection_id, a.kind)) AS n FROM recon_kind a GROUP BY 1, 2""",
    ),
    (
        # Credit memos of the ERP that may take a whole invoice back; `used` once they turn out to.
        "recon_takes_back",
        """SELECT m.id AS memo, m.connection_id, i.external_id, m.total, false AS used, true AS by_key
           FROM reconciliation_readingrow m
           JOIN connectors_connection c ON c.id = m.connection_id AND c.role = 'erp'
           JOIN reconciliation_readingrow i ON i.scan_id = m.scan_id AND i.connection_id = m.connection_id AND i.kind = 'invoice'
                AND i.reference = left(m.reference, -9)
           WHERE m.scan_id = %(scan)s AND m.kind = 'credit_memo' AND m.reference LIKE '_%%/reversal'
             AND m.status NOT IN ('draft', 'void')
           UNION ALL  -- what an approved mend takes back: the very document it is about
           SELECT m.id, m.connection_id, m.about, m.total, true, true
           FROM reconciliation_readingrow m JOIN connectors_connection c ON c.id = m.connection_id AND c.role = 'erp'
           WHERE m.scan_id = %(scan)s AND m.kind = 'credit_memo' AND m.about <> '' AND m.reference LIKE 'mend/%%/reversal'
             AND m.status NOT IN ('draft', 'void')
           UNION ALL
           SELECT m.id, m.connection_id, m.about, m.total, false, false
           FROM reconciliation_readingrow m JOIN connectors_connection c ON c.id = m.connection_id AND c.role = 'erp'
           WHERE m.scan_id = %(scan)s AND m.kind = 'credit_memo' AND m.about <> '' AND m.reference NOT LIKE '%%/reversal'
             AND m.status NOT IN ('draft', 'void')""",
    ),
    (
        "recon_reversed",
        """SELECT connection_id, external_id, bool_or(by_key) AS by_key, sum(total) FILTER (WHERE NOT by_key) AS credited
           FROM recon_takes_back GROUP BY connection_id, external_id""",
    ),
    (
        # Invoices by the ERP's id, for payments that carry no key of their own.
        "recon_invoice",
        """SELECT DISTINCT ON (i.connection_id, i.external_id) i.connection_id, i.external_id, i.reference AS key
           FROM reconciliation_readingrow p
           JOIN reconciliation_readingrow i ON i.scan_id = p.scan_id AND i.connection_id = p.connection_id AND i.kind = 'invoice'
                AND i.external_id = p.about
           WHERE p.scan_id = %(scan)s AND p.kind = 'payment' AND p.about <> '' AND p.reference NOT LIKE '%%/payment'
             AND i.reference <> '' ORDER BY 1, 2""",
    ),
)
"""The order matters: later ones use earlier ones."""
