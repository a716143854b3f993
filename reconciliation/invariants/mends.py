"""What mended itself was allowed to: by a rule that two people put in force, and within its limits."""

from __future__ import annotations

from reconciliation.invariants.base import Invariant

# A version that was replaced in the course of a day was in force until then.
IN_FORCE = """r.state <> 'draft' AND r.approved_at <= m.at AND r.valid_from <= (m.at AT TIME ZONE 'UTC')::date
    AND (r.valid_to IS NULL OR r.valid_to >= (m.at AT TIME ZONE 'UTC')::date
         OR EXISTS (SELECT FROM reconciliation_mendrule n WHERE n.replaces_id = r.id AND n.approved_at >= m.at))"""

INVARIANTS = (
    Invariant(
        "self_mends_were_allowed",
        "A break that mended itself did so under a rule in force, of its plan, type, entity and currency, within its limit.",
        f"""SELECT format('mend %s of break %s (%s %s) is not what rule %s allows', m.id, b.id, m.amount, m.currency, m.rule_id)
            FROM reconciliation_mend m JOIN reconciliation_break b ON b.id = m.item_id
            LEFT JOIN reconciliation_mendrule r ON r.id = m.rule_id
            WHERE m.is_automatic AND (r.id IS NULL OR m.plan <> r.plan OR m.currency <> r.currency OR abs(m.amount) > r."limit"
                OR (r.type <> '' AND b.type <> r.type) OR coalesce(r.legal_entity_id <> b.legal_entity_id, false)
                OR NOT ({IN_FORCE}))""",
    ),
    Invariant(
        "self_mends_stay_within_a_day",
        "What mended itself under one rule in a day comes to no more than the rule says.",
        """SELECT format('rule %s: %s %s on %s, of %s', r.id, sum(abs(m.amount)), r.currency, (m.at AT TIME ZONE 'UTC')::date,
                         r.per_day)
           FROM reconciliation_mend m JOIN reconciliation_mendrule r ON r.id = m.rule_id
           GROUP BY r.id, (m.at AT TIME ZONE 'UTC')::date HAVING sum(abs(m.amount)) > r.per_day""",
    ),
)
