"""Matching: every reading of a scan is matched, or in a break, or excused with a reason. Set-based, exact, deterministic.

`match` runs in PostgreSQL. Python sends statements and reads counts, so its memory does not grow with the rows.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from reconciliation.matching import bulk, control, credits, judge, masters, recognition, stages, subscriptions
from reconciliation.matching.pairs import PAIRS, Pair
from reconciliation.matching.parameters import Tolerances
from reconciliation.matching.work import Work
from reconciliation.models import Scan

__all__ = ["PAIRS", "Outcome", "Pair", "Tolerances", "match"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """`counts`: what became of the readings, per pair, side, currency and reason. `result_hash`: SHA-256 of what matched
    and what broke, equal for equal readings whatever their order and ids."""

    counts: dict[str, Any]
    result_hash: str


def match(scan: Scan, tolerances: Tolerances | None = None, pairs: Sequence[Pair] = PAIRS) -> Outcome:
    """Match all readings of a scan, inside one transaction.

    Writes Match rows of what belongs together by anything but its key alone, and what does not agree into the temporary
    table `recon_candidate` of this session, which `breaking.store` turns into breaks. `recon_fate` says what else became of
    a reading; one that is in none of them agrees with the one of the same key.
    """
    tolerances = tolerances or Tolerances()
    work = Work(scan, tolerances)
    work.prepare(tolerances)
    for pair in pairs:
        bulk.join(work, pair)
        stages.link(work, pair)
        judge.judge(work, pair)
        _follow(work, pair)
    credits.compare(work)
    subscriptions.compare(work)
    masters.compare(work)
    recognition.compare(work)
    control.compare(work)
    return outcome(work)


def _follow(work: Work, pair: Pair) -> None:
    """What a concluded pair tells the ones after it."""
    if pair.name != "invoices":
        return
    # A memo takes its invoice back where billing has voided it, where the two differ in just that, or where it was posted anew.
    work.do(
        """UPDATE recon_takes_back t SET used = true FROM recon_item i
           WHERE (i.connection_id, i.external_id) = (t.connection_id, t.external_id)
             AND (i.grp IS NOT NULL
                  OR (t.by_key AND EXISTS (SELECT FROM recon_item o WHERE o.key = i.key AND o.side = i.side AND o.grp IS NOT NULL)))
             AND (t.by_key OR EXISTS (SELECT FROM recon_verdict v WHERE v.grp = i.grp AND v.verdict = 'excused'))"""
    )
    work.do(
        """INSERT INTO recon_invoice SELECT e.connection_id, e.external_id, c.slug || '/' || b.external_id
           FROM recon_linked k
           JOIN reconciliation_readingrow x ON x.id IN (k."left", k."right")
           JOIN connectors_connection c ON c.id = x.connection_id AND c.role = 'billing'
           JOIN reconciliation_readingrow b ON b.id = x.id
           JOIN reconciliation_readingrow e ON e.id IN (k."left", k."right") AND e.id <> b.id AND e.kind = 'invoice'
           WHERE NOT EXISTS (SELECT FROM recon_invoice o WHERE (o.connection_id, o.external_id) = (e.connection_id,
               e.external_id))"""
    )


def outcome(work: Work) -> Outcome:
    """Counts by pair, and the hash of everything that was found."""
    told = work.ask(
        """SELECT pair, side, fate, why, currency, sum(count)::bigint, sum(amount), sum(hash) FROM recon_tally
           GROUP BY 1, 2, 3, 4, 5 HAVING sum(count) <> 0 ORDER BY 1, 2, 3, 4, 5"""
    )
    counts: dict[str, Any] = {}
    for pair, side, fate, why, currency, count, amount, _ in told:
        by_currency = counts.setdefault(pair, {}).setdefault(side, {}).setdefault(fate, {}).setdefault(why, {})
        by_currency[currency] = {"count": count, "amount": f"{Decimal(amount or 0).normalize():f}"}
    breaks = work.ask("SELECT fingerprint, type, left_amount, right_amount FROM recon_candidate ORDER BY fingerprint")
    said = [[[str(value) for value in row] for row in told], [[str(value) for value in row] for row in breaks]]
    return Outcome(counts, hashlib.sha256(json.dumps(said).encode()).hexdigest())
