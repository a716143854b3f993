"""The reviewer's desk with ten credits and with a million: the queue and the page of one credit.

The database is honest: every credit is sealed and moves through its states under the guards of the schema, decided ones
with the approvals they needed or under a rule that asks for nobody. One comes a minute. The first ten wait for a decision, so
that both queues have rows to show, and of the others the newest hundredth: no credit waits for longer than it takes to expire.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from datetime import date
from decimal import Decimal
from typing import Any

from django.contrib.auth.models import Group, User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext, override_settings

from canonical.models import LegalEntity
from connectors.models import Connection
from hub import roles, rulebook
from hub.bench.report import Row
from hub.credits.models import ApprovalRule, ApproverLimit, Credit

FEW, MANY = 10, 1_000_000
BATCH = 50_000
SLOWER = 1.5
"""How much slower the 95th percentile may be with many credits than with few."""
LEAST = 60
"""Requests that are measured, however short the time."""
HISTORY = 200
"""Credits of one customer."""

PARTIES = """
    INSERT INTO canonical_party (uid, name, email, tax_id, address, region, deleted_at_source)
    SELECT gen_random_uuid(), 'Customer ' || n, n || '@customer.example', '', '{}', 'US', false
    FROM generate_series(%(first)s::bigint, %(last)s) n WHERE n %% %(history)s = 1
"""
CREDITS = f"""
    INSERT INTO credits_credit (uid, party_id, legal_entity_id, billing_id, origin, reason, tier, incident, note, evidence,
        currency, computed, net, tax, total, reporting_amount, calculation, flags, settlement, lines, payload, digest, revision,
        requested_by, approval_rule_id, stages, approvals_needed, waiting_role, priority, submitted_at, due_at, expires_at,
        escalations, duplicate_why, duplicate_allowed, state)
    SELECT uid, party, %(entity)s, %(billing)s, 'sla', 'resolution', 'enterprise', '', '', '', 'USD', net, net, 0, net, net,
        jsonb_build_object('decision', jsonb_build_object('lines', jsonb_build_array(
            jsonb_build_object('text', 'R-7: resolution, 90 min late on enterprise', 'amount', net::text, 'rule', 'R-7')))),
        '[]', 'credit_note', lines, said, encode(sha256(convert_to(said, 'UTF8')), 'hex'), 1, 'hub',
        CASE WHEN alone THEN %(nobody)s ELSE %(one)s END, CASE WHEN alone THEN '[]'::jsonb ELSE %(stages)s::jsonb END,
        CASE WHEN alone THEN 0 ELSE 1 END, CASE WHEN alone THEN '' ELSE %(role)s END,
        round(10 * log(1 + net) - n / 1440.0, 4), asked, asked + interval '8 hours', asked + interval '30 days', 0, '', '',
        'pending'
    FROM (
        SELECT *, jsonb_build_object('uid', uid, 'party', party, 'legal_entity', %(entity)s::bigint, 'billing', %(billing)s::bigint,
            'case', NULL, 'subscription', NULL, 'invoice', NULL, 'reverses', NULL, 'split_from', NULL, 'settlement', 'credit_note',
            'period', '["", ""]'::jsonb, 'currency', 'USD',
            'net', net::text, 'tax', '0.00', 'total', net::text, 'reason', 'resolution', 'lines', lines)::text said
        FROM (
            SELECT n, gen_random_uuid() uid, %(party)s + (n - 1) / %(history)s party, (5 + n %% 900)::numeric(20, 2) net,
                n %% 900 < 20 AND n BETWEEN {FEW + 1} AND %(decided)s alone, now() - (%(upto)s - n) * interval '1 minute' AS asked,
                jsonb_build_array(jsonb_build_object('description', 'Credit (resolution too late): Team plan', 'net',
                    (5 + n %% 900)::numeric(20, 2)::text, 'tax', '0.00', 'revenue_account', '4.2.2')) lines
            FROM generate_series(%(first)s::bigint, %(last)s) n
        ) made
    ) sealed
"""
DECIDED = f"id BETWEEN %(low)s AND least(%(high)s, %(decided)s - %(first)s + %(low)s) AND %(last)s > {FEW}"
"""Of a batch, those that are old enough; of the first one, none."""
OPEN_SHARE = 100
"""One of so many is open."""
APPROVALS = f"""
    INSERT INTO credits_approval (credit_id, revision, digest, stage, decision, by_id, role, total, currency, reporting_amount,
        reason_code, note)
    SELECT id, 1, digest, 1, 'approve', %(approver)s, %(role)s, total, currency, reporting_amount, '', ''
    FROM credits_credit WHERE {DECIDED} AND approvals_needed > 0
"""
MOVES = (
    f"""UPDATE credits_credit SET state = 'approved', held_until = submitted_at + interval '10 minutes', decided_at = submitted_at,
        waiting_role = '', due_at = NULL WHERE {DECIDED}""",
    f"UPDATE credits_credit SET state = 'posting' WHERE {DECIDED}",
    f"UPDATE credits_credit SET state = 'closed' WHERE {DECIDED}",
)
RUNS = """
    INSERT INTO hub_run (flow, version, lane, state, connection_id, subject_kind, subject_id, object_id, context, amount, currency,
        correlation_id, started_by, started_at, ended_at)
    SELECT 'issue_to_credit', 1, 'credit:' || number, CASE state WHEN 'closed' THEN 'done' ELSE 'open' END, billing_id, 'credit',
        number, id, '{}', total, currency, gen_random_uuid(), 'hub', submitted_at, CASE state WHEN 'closed' THEN submitted_at END
    FROM (
        SELECT *, 'CR-' || lpad(id::text, greatest(6, length(id::text)), '0') number FROM credits_credit
        WHERE id BETWEEN %(low)s AND %(high)s
    ) credit
"""
TRANSITIONS = """
    INSERT INTO canonical_transition (object_kind, object_id, name, source, target, by, note)
    SELECT 'credit', id, name, source, target, 'bench', ''
    FROM credits_credit, (VALUES ('approve', 'pending', 'approved'), ('release', 'approved', 'posting'),
        ('close', 'told', 'closed')) move (name, source, target)
    WHERE id BETWEEN %(low)s AND %(high)s AND state = 'closed'
"""


def run(seconds: float, credits: int = MANY) -> list[Row]:
    """Statements and the 95th percentile of both pages, with few credits and with many."""
    ground = _ground()
    pages: dict[int, dict[str, tuple[int, float]]] = {}
    for upto in (FEW, credits):
        _fill(upto, ground)
        pages[upto] = _measured(seconds, ground["reviewer"])
    rows = []
    for page in pages[FEW]:
        statements, before = pages[credits][page][0], pages[FEW][page][0]
        rows.append(
            Row(
                f"desk: {page}, SQL statements with {credits:,} credits", statements, "a page", before, statements / before,
                f"= those with {FEW}", statements == before,
            )
        )  # fmt: skip
        slow, fast = pages[credits][page][1], pages[FEW][page][1]
        rows.append(
            Row(
                f"desk: {page}, p95 with {credits:,} credits", slow, "ms", fast, slow / fast, f"≤ {SLOWER:g} × with {FEW}",
                slow <= SLOWER * fast,
            )
        )  # fmt: skip
    return rows


def _ground() -> dict[str, Any]:
    """A company, a reviewer, and rules in force: nobody is asked below 25 USD, one reviewer from there."""
    entity = LegalEntity.objects.create(code="bench", name="Bench Inc", currency="USD", country="US")
    billing = Connection.objects.create(slug="billing", connector="stripe", legal_entity=entity, state="active")
    Connection.objects.create(slug="erp", connector="tryton", legal_entity=entity, state="active")
    ann, ben = User.objects.create(username="ann"), User.objects.create(username="ben")
    people = {name: User.objects.create(username=name, is_staff=True) for name in ("reviewer", "approver")}
    for person in people.values():
        person.groups.add(Group.objects.get(name=roles.FINANCE))
    since: dict[str, Any] = {"currency": "USD", "valid_from": date(2020, 1, 1), "drafted_by": ann}
    stages = [{"role": roles.FINANCE, "count": 1}]
    nobody = ApprovalRule.objects.create(at_least=0, below=25, stages=[], **since)
    one = ApprovalRule.objects.create(at_least=25, stages=stages, **since)
    limit = ApproverLimit.objects.create(role=roles.FINANCE, per_credit=Decimal(10**6), **since)
    for draft in (nobody, one, limit):
        rulebook.approve(draft, ben)
    return {**people, "entity": entity.pk, "billing": billing.pk, "nobody": nobody.pk, "one": one.pk}


def _fill(upto: int, ground: dict[str, Any]) -> None:
    """Add credits until there are so many."""
    have = Credit.objects.count()
    with connection.cursor() as cursor:
        while have < upto:
            # Batches grow with the tables: the triggers' plans are those of the size the planner was told last. Each credit
            # passes through its open states here as it does in life, where autovacuum clears away what they leave.
            last = min(upto, have + min(BATCH, max(FEW, 10 * have)))
            _batch(have + 1, last, upto, ground)
            cursor.execute("VACUUM ANALYZE")
            have = last


def _batch(first: int, last: int, upto: int, ground: dict[str, Any]) -> None:
    values = {
        **{name: ground[name] for name in ("entity", "billing", "nobody", "one")}, "approver": ground["approver"].pk,
        "first": first, "last": last, "upto": upto, "decided": upto - upto // OPEN_SHARE, "history": HISTORY, "role": roles.FINANCE,
        "stages": f'[{{"role": "{roles.FINANCE}", "count": 1}}]',
    }  # fmt: skip
    with connection.cursor() as cursor:
        cursor.execute(PARTIES, values)
        cursor.execute("SELECT min(id) FROM canonical_party")
        values["party"] = cursor.fetchone()[0]
        cursor.execute(CREDITS, values)
        cursor.execute("SELECT max(id) FROM credits_credit")
        high = cursor.fetchone()[0]
        values |= {"low": high - (last - first), "high": high}
        for statement in (APPROVALS, *MOVES, RUNS, TRANSITIONS):
            cursor.execute(statement, values)


@override_settings(ALLOWED_HOSTS=["testserver"])
def _measured(seconds: float, reviewer: User) -> dict[str, tuple[int, float]]:
    """Page → SQL statements and the 95th percentile of its time, in ms."""
    client = Client()
    client.force_login(reviewer)
    some = list(
        Credit.objects.filter(state="pending", waiting_role=roles.FINANCE)
        .order_by("-priority", "id")
        .values_list("pk", flat=True)[:200]
    )
    wanted = {
        "queue": lambda turn: "/admin/desk/",
        "page of a credit": lambda turn: f"/admin/desk/{some[turn % len(some)]}/",
    }  # fmt: skip
    return {page: _page(client, address, seconds / 2) for page, address in wanted.items()}


def _page(client: Client, address: Callable[[int], str], seconds: float) -> tuple[int, float]:
    for turn in range(5):
        assert client.get(address(turn)).status_code == 200
    with CaptureQueriesContext(connection) as seen:
        client.get(address(0))
    counted = len(seen)
    took: list[float] = []
    ends = time.perf_counter() + seconds
    while len(took) < LEAST or time.perf_counter() < ends:
        begun = time.perf_counter()
        client.get(address(len(took)))
        took.append(time.perf_counter() - begun)
    return counted, statistics.quantiles(took, n=20)[-1] * 1000
