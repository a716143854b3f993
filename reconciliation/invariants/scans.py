"""Scans come to an end, what they prove is signed, and breaks can be traced to the scan that saw them."""

from __future__ import annotations

from reconciliation.invariants.base import Invariant
from reconciliation.scanning import MATCHING_LOCK

GRACE = "interval '15 minutes'"
"""How long a scan may stand between two of those that move it."""

INVARIANTS = (
    Invariant(
        "scans_in_progress_move",
        "A scan that reads has an open run; one that matches is being matched, or was so minutes ago.",
        f"""SELECT format('scan %s is %s, and nothing moves it', s.id, s.state) FROM reconciliation_scan s
            WHERE (s.state = 'reading' AND s.started_at < now() - {GRACE} AND NOT EXISTS (
                     SELECT 1 FROM hub_run r WHERE r.flow = 'reconcile' AND r.subject_kind = 'scan' AND r.subject_id = s.id::text
                     AND (r.state IN ('open', 'parked', 'compensating') OR r.ended_at > now() - {GRACE})))
               OR (s.state = 'matching' AND NOT EXISTS (
                     SELECT 1 FROM canonical_transition t WHERE t.object_kind = 'scan' AND t.object_id = s.id
                     AND t.at > now() - {GRACE})
                   AND coalesce((s.progress #>> '{{matching,since}}')::timestamptz, '-infinity') < now() - {GRACE}
                   AND NOT EXISTS (
                     SELECT 1 FROM pg_locks l WHERE l.locktype = 'advisory' AND l.classid = {MATCHING_LOCK} AND l.objsubid = 2
                     AND l.objid = s.legal_entity_id::int AND l.granted
                     AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())))""",
    ),
    Invariant(
        "read_scans_have_certificates",
        "A scan that has been read has a certificate for every one of its sources.",
        """SELECT format('scan %s has no certificate of %s', s.id, source) FROM reconciliation_scan s
           CROSS JOIN LATERAL jsonb_object_keys(s.parameters -> 'since') AS source
           WHERE s.state IN ('matching', 'done') AND NOT EXISTS (
               SELECT 1 FROM reconciliation_certificate c JOIN connectors_connection x ON x.id = c.connection_id
               WHERE c.scan_id = s.id AND x.slug || '/' || c.kind = source)""",
    ),
    Invariant(
        "pruned_scans_keep_nothing_and_are_not_needed",
        "A scan whose readings were pruned has none left a day later, and no open break or close stands on it.",
        """SELECT format('scan %s was pruned at %s', s.id, s.readings_pruned_at) FROM reconciliation_scan s
           WHERE s.readings_pruned_at IS NOT NULL AND (
               (s.readings_pruned_at < now() - interval '1 day'
                   AND EXISTS (SELECT 1 FROM reconciliation_readingrow r WHERE r.scan_id = s.id))
               OR EXISTS (SELECT 1 FROM reconciliation_periodclose c WHERE c.scan_id = s.id)
               OR EXISTS (SELECT 1 FROM reconciliation_break b WHERE b.last_scan_id = s.id AND b.state <> 'closed'))""",
    ),
    Invariant(
        "certificates_are_audited",
        "Every certificate is in the audit trail with the sums it has now, and says what its sums say.",
        """SELECT format('certificate %s (%s of scan %s) %s', c.id, c.kind, c.scan_id,
                         CASE WHEN e.id IS NULL THEN 'is not in the audit trail'
                              WHEN c.is_complete AND c.at_source <> c.as_read THEN 'calls itself complete, and is not'
                              ELSE 'is not as it was signed' END)
           FROM reconciliation_certificate c
           LEFT JOIN audit_auditentry e ON e.action = 'certificate.signed' AND e.object_kind = 'certificate' AND e.object_id = c.id
           WHERE e.id IS NULL OR (c.is_complete AND c.at_source <> c.as_read)
              OR (e.content::jsonb #> '{after,at_source}', e.content::jsonb #> '{after,as_read}',
                  e.content::jsonb #> '{after,is_complete}') IS DISTINCT FROM (c.at_source, c.as_read, to_jsonb(c.is_complete))""",
    ),
    Invariant(
        "breaks_belong_to_scans",
        "A break was found by scans of its own entity, and the last of them was brought to its end.",
        """SELECT format('break %s of entity %s was found by scan %s, which is %s of entity %s',
                         b.id, b.legal_entity_id, s.id, s.state, s.legal_entity_id)
           FROM reconciliation_break b JOIN reconciliation_scan s ON s.id IN (b.first_scan_id, b.last_scan_id)
           WHERE s.legal_entity_id <> b.legal_entity_id OR s.state <> 'done' OR b.first_scan_id > b.last_scan_id""",
    ),
    Invariant(
        "breaks_have_transitions",
        "The recorded transitions of a break lead to its present state.",
        """SELECT format('break %s is %s, and its last transition led to %s', b.id, b.state, t.target)
           FROM reconciliation_break b JOIN LATERAL (
               SELECT target FROM canonical_transition WHERE object_kind = 'break' AND object_id = b.id
               ORDER BY id DESC LIMIT 1) AS t ON true
           WHERE b.state <> t.target""",
    ),
)
