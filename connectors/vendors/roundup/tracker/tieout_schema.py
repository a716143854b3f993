"""What the hub adds to a tracker's schema. Belongs in the tracker's `lib/`; at the end of its `schema.py` stands

    import tieout_schema
    tieout_schema.extend(db, Class, issue)

Amounts are kept as text, exactly as typed: Roundup's own numbers are binary fractions.
"""

from __future__ import annotations

from typing import Any

from roundup.hyperdb import Link, String  # type: ignore[import-not-found]

FIELDS = (
    "billing_customer", "plan", "subscription", "incident", "external_id",
    "credit_request_reason", "credit_request_amount", "credit_request_currency", "credit_request_note",
    "tieout_block", "credit_state", "credit_number", "credit_amount", "credit_currency", "last_note",
)  # fmt: skip
READABLE = ("id", "username", "realname", "address", "organisation", "roles", "timezone")


def extend(db: Any, class_of: Any, issue: Any) -> None:
    """Add the properties, notes that only staff and the hub may read, and the roles of both.

    A note is no message: Roundup mails messages to everyone on the nosy list, and customers may read them.
    """
    note = class_of(db, "note", issue=Link("issue"), content=String(), messageid=String())
    note.setkey("messageid")
    issue.addprop(**{name: String() for name in FIELDS})
    permit = db.security.addPermissionToRole
    db.security.addRole(name="Agent", description="Staff who answer customers")
    db.security.addRole(name="Tieout", description="The hub")
    for right in ("View", "Create"):
        permit("Agent", right, note.classname)
        permit("Tieout", right, note.classname)
    who = db.security.addPermission(name="View", klass="user", properties=READABLE, description="Read who is who")
    permit("Tieout", who)
