"""One document per key, and a cross-reference that leads somewhere."""

from __future__ import annotations

from canonical.models.base import BusinessObject
from reconciliation.invariants.base import Invariant, literal, our_models


def refs_lead_to_objects() -> str:
    """Each kind of object has a table of its own; a reference of an unknown kind leads nowhere."""
    tables = [(model.kind, model._meta.db_table) for model in our_models() if issubclass(model, BusinessObject)]
    known = " UNION ALL ".join(f"SELECT {literal(kind)} AS kind, id FROM {table}" for kind, table in tables)
    return f"""SELECT format('reference %s says %s is %s %s, and there is none', r.id, coalesce(r.external_id, r.key),
                             r.object_kind, r.object_id)
               FROM canonical_externalref r LEFT JOIN ({known}) AS object
               ON object.kind = r.object_kind AND object.id = r.object_id
               WHERE r.state <> 'superseded' AND object.id IS NULL"""


INVARIANTS = (
    Invariant(
        "one_document_per_key",
        "A key names at most one live reference of a system, and an id at most one object.",
        """SELECT format('connection %s: key %s has %s references', connection_id, key, count(*)) FROM canonical_externalref
           WHERE state <> 'superseded' AND key IS NOT NULL GROUP BY connection_id, key HAVING count(*) > 1
           UNION ALL
           SELECT format('connection %s: %s %s has %s references', connection_id, kind, external_id, count(*))
           FROM canonical_externalref WHERE state <> 'superseded' AND external_id IS NOT NULL
           GROUP BY connection_id, kind, external_id HAVING count(*) > 1""",
    ),
    Invariant(
        "money_is_posted_once",
        "At most one step has posted the money document of a key, but for documents that are gone and were replaced by a mend.",
        """SELECT format('connection %s: %s was posted by steps %s', connection_id, key,
                         string_agg(id::text, ', ' ORDER BY id))
           FROM hub_step s WHERE state = 'done' AND key <> '' AND request ?| array['total', 'amount'] AND NOT EXISTS (
               SELECT 1 FROM canonical_externalref r JOIN canonical_externalref now ON now.id = r.superseded_by_id
               WHERE r.connection_id = s.connection_id AND r.key = s.key AND r.state = 'superseded'
                 AND r.external_id = s.result ->> 'external_id' AND now.provenance LIKE 'mend %')
           GROUP BY connection_id, key HAVING count(*) > 1""",
    ),
    Invariant(
        "reservations_are_used_or_explained",
        "A reserved reference belongs to a step that is still to be done, or that ended without its document.",
        """SELECT format('reference %s (%s) is reserved, and no step is about to fill it', r.id, r.key)
           FROM canonical_externalref r WHERE r.state = 'reserved' AND NOT EXISTS (
               SELECT 1 FROM hub_step s WHERE s.connection_id = r.connection_id AND s.key = r.key AND s.state <> 'done')""",
    ),
    Invariant(
        "references_lead_to_objects",
        "Every live reference belongs to an object that exists.",
        refs_lead_to_objects,
    ),
    Invariant(
        "merged_references_lead_to_a_survivor",
        "Following a superseded reference ends at a live one.",
        """WITH RECURSIVE chain(start, id, state, next, path) AS (
               SELECT id, id, state, superseded_by_id, array[id] FROM canonical_externalref WHERE state = 'superseded'
               UNION ALL
               SELECT c.start, r.id, r.state, r.superseded_by_id, c.path || r.id
               FROM chain c JOIN canonical_externalref r ON r.id = c.next
               WHERE c.state = 'superseded' AND NOT r.id = ANY(c.path))
           SELECT format('reference %s is superseded and leads to nothing live', start)
           FROM chain GROUP BY start HAVING bool_and(state = 'superseded')""",
    ),
    Invariant(
        "posted_invoices_have_a_number",
        "An invoice we call posted has an active reference in its ERP, with the ERP's number.",
        """SELECT format('invoice %s (%s) is %s, and has no number in the ERP', i.id, i.number, i.state)
           FROM canonical_invoice i WHERE i.state IN ('posted', 'confirmed', 'settled', 'reversed') AND NOT EXISTS (
               SELECT 1 FROM canonical_externalref r JOIN connectors_connection c ON c.id = r.connection_id
               WHERE r.object_kind = 'invoice' AND r.object_id = i.id AND r.kind = 'invoice' AND r.state = 'active'
                 AND r.number <> '' AND c.role = 'erp' AND c.legal_entity_id = i.legal_entity_id)""",
    ),
)
