"""The audit trail is unbroken, and money moved only as far as people let it."""

from __future__ import annotations

from hub.audit import anchors
from reconciliation.invariants.base import Invariant, values

WRITTEN_AT = """to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"+00:00"')"""
LINKS = f"""
    SELECT seq, CASE
        WHEN seq <> n THEN format('is missing: entry %s follows entry %s', seq, coalesce(seq_before, 0))
        WHEN prev_hash <> coalesce(hash_before, repeat('0', 64)) THEN 'does not continue the entry before it'
        -- The first entries of an old trail were hashed without their time.
        WHEN hash NOT IN (
                encode(sha256(convert_to(concat_ws('|', prev_hash, seq, {WRITTEN_AT}, content), 'UTF8')), 'hex'),
                encode(sha256(convert_to(concat_ws('|', prev_hash, seq, content), 'UTF8')), 'hex'))
            THEN 'has another content or time than was hashed'
        WHEN (content::jsonb ->> 'actor', content::jsonb ->> 'action', content::jsonb ->> 'object_kind',
              coalesce(content::jsonb ->> 'object_id', '')) <> (actor, action, object_kind, coalesce(object_id::text, ''))
            THEN 'has columns that say something else than its content'
        END AS trouble
    FROM (SELECT *, row_number() OVER (ORDER BY seq) AS n, lag(hash) OVER (ORDER BY seq) AS hash_before,
                 lag(seq) OVER (ORDER BY seq) AS seq_before FROM audit_auditentry) AS linked
"""


def chain_meets_its_anchors() -> str:
    """Heads that were written down outside the database are still what it holds."""
    known = [(str(anchor.seq), anchor.hash) for anchor in anchors.read()]
    if not known:
        return "SELECT NULL::text WHERE false"
    return f"""SELECT format('entry %s was anchored as %s… and is %s', w.seq, left(w.hash, 12),
                             coalesce(left(e.hash, 12) || '…', 'gone'))
               FROM (VALUES {values(known)}) AS w(seq, hash) LEFT JOIN audit_auditentry e ON e.seq = w.seq::bigint
               WHERE e.hash IS DISTINCT FROM w.hash"""


INVARIANTS = (
    Invariant(
        "audit_chain_is_unbroken",
        "Every audit entry continues the one before it, and says what was hashed.",
        f"""SELECT format('entry %s %s; it is the first of %s', seq, trouble, count(*) OVER ())
            FROM ({LINKS}) AS links WHERE trouble IS NOT NULL ORDER BY seq LIMIT 1""",
    ),
    Invariant(
        "audit_chain_meets_its_anchors",
        "The trail still holds every head that was written down outside the database.",
        chain_meets_its_anchors,
    ),
    Invariant(
        "credits_in_books_were_approved",
        "A credit beyond approval has as many approvals of exactly this payload as it needed, none by who made it.",
        """SELECT format('credit %s (%s) has %s of %s approvals', c.id, c.state, count(DISTINCT a.by_id), c.approvals_needed)
           FROM credits_credit c LEFT JOIN credits_approval a ON a.credit_id = c.id AND a.revision = c.revision
                AND a.digest = c.digest AND a.decision = 'approve' AND a.total = c.total
                AND a.by_id IS DISTINCT FROM c.made_by_id AND a.by_id IS DISTINCT FROM c.edited_by_id
           WHERE c.state IN ('approved', 'posting', 'posted', 'mirrored', 'told', 'closed', 'reversed')
           GROUP BY c.id HAVING count(DISTINCT a.by_id) < c.approvals_needed""",
    ),
    Invariant(
        "credits_without_people_are_allowed_by_rule",
        "A credit that needed nobody was let through by an approval rule that says so.",
        """SELECT format('credit %s (%s) needed nobody, and no rule says so', c.id, c.state)
           FROM credits_credit c LEFT JOIN credits_approvalrule r ON r.id = c.approval_rule_id
           WHERE c.approvals_needed = 0 AND c.state NOT IN ('rejected', 'expired', 'withdrawn', 'stopped')
             AND (r.id IS NULL OR r.state = 'draft' OR r.stages <> '[]'::jsonb OR c.reverses_id IS NOT NULL)""",
    ),
    Invariant(
        "credits_say_what_was_hashed",
        "The digest of every credit is that of its payload, and the payload names its amount.",
        """SELECT format('credit %s is not what its payload says', id) FROM credits_credit
           WHERE digest <> encode(sha256(convert_to(payload, 'UTF8')), 'hex')
              OR (payload::jsonb ->> 'total')::numeric <> total OR payload::jsonb ->> 'currency' <> currency""",
    ),
    Invariant(
        "credits_have_transitions",
        "The recorded transitions of a credit lead to its present state.",
        """SELECT format('credit %s is %s, and its last transition led to %s', c.id, c.state, t.target)
           FROM credits_credit c JOIN LATERAL (
               SELECT target FROM canonical_transition WHERE object_kind = 'credit' AND object_id = c.id
               ORDER BY id DESC LIMIT 1) AS t ON true
           WHERE c.state <> t.target""",
    ),
    Invariant(
        "decisions_are_audited",
        "Every decision about a credit has its entry in the audit trail.",
        """SELECT format('the %s of credit %s by user %s is not in the audit trail', a.decision, a.credit_id, a.by_id)
           FROM credits_approval a WHERE NOT EXISTS (
               SELECT 1 FROM audit_auditentry e WHERE e.object_kind = 'credit' AND e.object_id = a.credit_id)""",
    ),
    Invariant(
        "reversals_take_back_all",
        "A reversal has the amount, the currency and the customer of the credit it takes back.",
        """SELECT format('credit %s reverses credit %s, and differs from it', r.id, c.id)
           FROM credits_credit r JOIN credits_credit c ON c.id = r.reverses_id
           WHERE (r.total, r.currency, r.party_id) <> (c.total, c.currency, c.party_id)""",
    ),
    Invariant(
        "parts_add_up",
        "The parts of a split credit add up to it.",
        """SELECT format('the parts of credit %s are %s of %s', c.id, coalesce(sum(p.net), 0), c.net)
           FROM credits_credit c LEFT JOIN credits_credit p ON p.split_from_id = c.id
           WHERE c.state = 'split' GROUP BY c.id HAVING coalesce(sum(p.net), 0) <> c.net""",
    ),
)
