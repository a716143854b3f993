"""The journal of an issue over REST, which Roundup itself does not offer. Belongs in the tracker's home as `interfaces.py`.

    GET <tracker>/rest/tieout/journal/<issue id>

answers who did what when: `entries` in the order of time, each with `at` (UTC), `by`, `action`, the names of the
properties it `changed`, the status and priority it left behind (`was`) and the messages it attached; `now` has the
status and priority of today. The text of properties stays out. Needs the right to view the issue and notes.
"""

from __future__ import annotations

from typing import Any

from roundup.exceptions import Unauthorised  # type: ignore[import-not-found]
from roundup.rest import NotFound, RestfulInstance, Routing, _data_decorator  # type: ignore[import-not-found]

ACTIONS = ("create", "set", "retired", "restored")
NAMED = ("status", "priority")


def journal(self: Any, item_id: str, input_payload: Any) -> tuple[int, dict[str, Any]]:
    """The journal as Roundup keeps it, names instead of ids."""
    db, uid = self.db, self.db.getuid()
    if not item_id.isdigit() or not db.hasnode("issue", item_id):
        raise NotFound(f"no issue {item_id}")
    may = db.security.hasPermission
    if not may("View", uid, "issue", itemid=item_id) or not may("View", uid, "note"):
        raise Unauthorised(f"the journal of issue{item_id} is not for this user")
    entries = [_entry(db, entry) for entry in db.getjournal("issue", item_id) if entry[3] in ACTIONS]
    now = {name: _name(db, name, db.issue.get(item_id, name)) for name in NAMED}
    return 200, {"issue": item_id, "retired": bool(db.issue.is_retired(item_id)), "now": now, "entries": entries}


def _entry(db: Any, entry: Any) -> dict[str, Any]:
    _, when, who, action, params = entry
    old = params if isinstance(params, dict) else {}
    messages = [ids for sign, ids in old.get("messages") or () if sign == "+"]
    return {
        "at": when.formal(sep="T") + "Z",
        "by": {"id": who, "username": db.user.get(who, "username"), "roles": db.user.get(who, "roles") or ""},
        "action": action,
        "changed": sorted(old),
        "was": {name: _name(db, name, old[name]) for name in NAMED if name in old},
        "messages": [message for ids in messages for message in ids],
    }


def _name(db: Any, kind: str, item: str | None) -> str:
    return db.getclass(kind).get(item, "name") if item else ""


RestfulInstance.tieout_journal = Routing.route("/tieout/journal/<:item_id>")(_data_decorator(journal))
