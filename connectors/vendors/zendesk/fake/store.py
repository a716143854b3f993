"""What one Zendesk account holds, and what happens in it: every change of a ticket is an audit and sends events."""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Callable
from typing import Any

from connectors.vendors.zendesk.fake import shapes
from connectors.vendors.zendesk.fake.shapes import Obj

FIELDS = {
    "field_block": "360000000001", "field_state": "360000000002", "field_number": "360000000003",
    "field_amount": "360000000004", "field_currency": "360000000005", "field_request_reason": "360000000011",
    "field_request_amount": "360000000012", "field_request_currency": "360000000013", "field_request_note": "360000000014",
    "field_subscription": "360000000021", "field_incident": "360000000022", "field_plan": "360000000023",
}  # fmt: skip
"""The custom ticket fields of the account, under the names of the connector's settings."""
STATUSES = ("new", "open", "pending", "hold", "solved", "closed")
_PLAIN = ("subject", "priority", "status", "type", "problem_id", "organization_id", "requester_id", "assignee_id")
_EVENTS = {
    "subject": "subject_changed", "priority": "priority_changed", "status": "status_changed", "type": "type_changed",
    "problem_id": "problem_link_changed", "organization_id": "organization_changed", "requester_id": "requester_changed",
    "assignee_id": "agent_assignment_changed",
}  # fmt: skip


class ApiError(Exception):
    """An answer with an error status and Zendesk's body for it."""

    def __init__(self, status: int, error: str, description: str, details: Obj | None = None) -> None:
        super().__init__(description)
        self.status = status
        self.body = {"error": error, "description": description, **({"details": details} if details else {})}


def missing() -> ApiError:
    """The answer to an id that is not there."""
    return ApiError(404, "RecordNotFound", "Not found")


def invalid(field: str, description: str) -> ApiError:
    """The answer to a change that is not allowed."""
    return ApiError(422, "RecordInvalid", "Record validation errors", {field: [{"description": description}]})


class Store:
    """One account. Methods change it as people do; `update` is also the API's."""

    def __init__(self, now: Callable[[], int], email: str) -> None:
        self.now = now
        self.email = email
        self.on_event: Callable[[Obj], None] = lambda event: None
        # Ids go on after a reset, so that nobody takes a new object for an old one.
        self._ids = itertools.count(36_000_001)
        self._tickets = itertools.count(1001)
        self.clear()

    def clear(self) -> None:
        """Forget everything but the agent whom the API acts for."""
        self.users: dict[int, Obj] = {}
        self.organizations: dict[int, Obj] = {}
        self.tickets: dict[int, Obj] = {}
        self.audits: dict[int, list[Obj]] = {}
        self.metric_events: dict[int, dict[str, list[Obj]]] = {}
        self.events: list[Obj] = []
        self.me = self.user("Tieout", self.email, "admin")["id"]

    # people --------------------------------------------------------------------------------------------------

    def user(self, name: str, email: str = "", role: str = "end-user", organization_id: int | None = None) -> Obj:
        """A new user."""
        made = shapes.user(next(self._ids), self.now())
        made.update(name=name, email=email or None, role=role, organization_id=organization_id)
        return self.users.setdefault(made["id"], made)

    def organization(self, name: str, external_id: str | None = None, fields: Obj | None = None) -> Obj:
        """A new organisation."""
        made = shapes.organization(next(self._ids), self.now())
        made.update(name=name, external_id=external_id, organization_fields=fields or {})
        self.organizations[made["id"]] = made
        self._announce("organization.created", "organization", made["id"], shapes.organization_detail(made), {})
        return made

    def change_organization(self, organization_id: int, **given: Any) -> Obj:
        """Change its name or external id."""
        it = self._of(self.organizations, organization_id)
        for name, value in given.items():
            change = {"current": value, "previous": it[name]}
            it.update({name: value, "updated_at": shapes.iso(self.now())})
            detail = shapes.organization_detail(it)
            self._announce(f"organization.{name}_changed", "organization", organization_id, detail, change)
        return it

    # tickets -------------------------------------------------------------------------------------------------

    def open(self, subject: str, body: str, requester_id: int, by: int | None = None, **given: Any) -> Obj:
        """A new ticket with its first comment, by the requester unless an agent writes it down."""
        it = shapes.ticket(next(self._tickets), self.now())
        author, requester = by or requester_id, self._of(self.users, requester_id)
        it.update(subject=subject, raw_subject=subject, description=body, requester_id=requester_id, submitter_id=author)
        it["organization_id"] = requester["organization_id"]
        it["custom_fields"] = [{"id": int(field), "value": None} for field in FIELDS.values()]
        self.tickets[it["id"]], self.audits[it["id"]] = it, []
        audit = self._audit(it, author)
        self._say(audit, it, {"body": body}, author)
        wanted = {"subject": subject, "status": "new", "organization_id": it["organization_id"], **given}
        for change in _set(it, wanted, new=True):
            audit["events"].append({"id": next(self._ids), "type": "Create", **_told(change)})
        self._announce("ticket.created", "ticket", it["id"], shapes.ticket_detail(it, author), {"meta": {}})
        return it

    def update(self, ticket_id: int, given: Obj, by: int | None = None) -> tuple[Obj, Obj]:
        """Change a ticket as `PUT /api/v2/tickets/:id` does; the ticket and the audit of the change."""
        it = self.living(ticket_id)
        author = by or self.me
        if it["status"] == "closed":
            raise invalid("status", "Status: closed prevents ticket update")
        if given.get("safe_update") and given.get("updated_stamp") != it["updated_at"]:
            raise ApiError(409, "UpdateConflict", "Safe Update prevented the update due to outdated ticket data.")
        if given.get("status") not in (None, *STATUSES):
            raise invalid("status", f"Status: {given['status']} is not included in the list")
        if given.get("comment") and not given["comment"].get("body"):
            raise invalid("comment", "Comment: cannot be blank")
        audit = self._audit(it, author, given.get("metadata"))
        changed = _set(it, _with_tags(it, given))
        for change in changed:
            audit["events"].append({"id": next(self._ids), "type": "Change", **_told(change), "previous_value": change["previous"]})
        said = self._say(audit, it, given["comment"], author) if given.get("comment") else None
        if not audit["events"]:
            self.audits[ticket_id].remove(audit)
            return it, audit
        self._touch(it)
        self._announce_changes(it, author, changed, said)
        return it, audit

    def reply(self, ticket_id: int, by: int, body: str, public: bool = True, status: str | None = None) -> Obj:
        """Say something. A customer's reply opens a ticket that waits or is solved."""
        it = self.living(ticket_id)
        wakes = self._of(self.users, by)["role"] == "end-user" and it["status"] in ("pending", "hold", "solved")
        given = {"comment": {"body": body, "public": public}, **({"status": "open"} if wakes else {})}
        return self.update(ticket_id, {**given, **({"status": status} if status else {})}, by)[0]

    def delete(self, ticket_id: int) -> None:
        """Delete softly: the API shows it no more, the export goes on telling."""
        it = self.living(ticket_id)
        it["status"] = "deleted"
        self._touch(it)
        self._announce("ticket.soft_deleted", "ticket", ticket_id, shapes.ticket_detail(it, self.me), {"meta": {}})

    def measure(
        self, ticket_id: int, metric: str, type: str, target: int | None = None, policy: str = "", instance_id: int = 1
    ) -> Obj:
        """An SLA policy says something of a ticket; with a target, in minutes, that it applies from now on."""
        sla = {} if target is None else {"sla": {"target": target, "business_hours": False, "policy": {"id": 25, "title": policy}}}
        event = {
            "id": next(self._ids), "ticket_id": self.living(ticket_id)["id"], "metric": metric, "instance_id": instance_id,
            "type": type, "time": shapes.iso(self.now()), "deleted": False, **sla,
        }  # fmt: skip
        self.metric_events.setdefault(ticket_id, {}).setdefault(metric, []).append(event)
        return event

    def shown(self, ticket_id: int, include: str) -> Obj:
        """The ticket as it is read alone, with what is to be included."""
        it = self.living(ticket_id)
        found = {name: value for name, value in it.items() if name != "generated_timestamp"}
        return found | ({"metric_events": self.metric_events.get(ticket_id, {})} if include == "metric_events" else {})

    def living(self, ticket_id: int) -> Obj:
        """The ticket. Raises the 404 of Zendesk, also for a deleted one."""
        it = self._of(self.tickets, ticket_id)
        if it["status"] == "deleted":
            raise missing()
        return it

    # how -----------------------------------------------------------------------------------------------------

    def _of(self, table: dict[int, Obj], external_id: int) -> Obj:
        if external_id not in table:
            raise missing()
        return table[external_id]

    def _touch(self, it: Obj) -> None:
        it.update(updated_at=shapes.iso(self.now()), generated_timestamp=self.now())

    def _audit(self, it: Obj, author: int, metadata: Obj | None = None) -> Obj:
        audit = shapes.audit(next(self._ids), it["id"], author, self.now())
        audit["metadata"]["custom"] = dict(metadata or {})
        self.audits[it["id"]].append(audit)
        return audit

    def _say(self, audit: Obj, it: Obj, given: Obj, author: int) -> Obj:
        said = shapes.comment(next(self._ids), audit["id"], author, given["body"], bool(given.get("public", True)))
        audit["events"].append(said)
        return said

    def _announce_changes(self, it: Obj, author: int, changed: list[Obj], said: Obj | None) -> None:
        detail = shapes.ticket_detail(it, author)
        for change in changed:
            name = change["name"]
            told = {"current": shapes.capital(change["value"]), "previous": shapes.capital(change["previous"])}
            if name == "tags":
                now, then = change["value"], change["previous"]
                told = {"tags_added": [t for t in now if t not in then], "tags_removed": [t for t in then if t not in now]}
            elif name.isdigit():
                told = {"current": change["value"], "previous": change["previous"], "field": {"id": name, "type": "text"}}
            kind = _EVENTS.get(name, "tags_changed" if name == "tags" else "custom_field_changed")
            self._announce(f"ticket.{kind}", "ticket", it["id"], detail, told)
        if said:
            author_of = self._of(self.users, author)
            who = {"id": str(author), "is_staff": author_of["role"] != "end-user", "name": author_of["name"]}
            comment = {"id": str(said["id"]), "is_public": said["public"], "body": said["body"], "author": who}
            self._announce("ticket.comment_added", "ticket", it["id"], detail, {"comment": comment})

    def _announce(self, kind: str, what: str, subject: int, detail: Obj, change: Obj) -> None:
        event = shapes.event(kind, f"zen:{what}:{subject}", self.now(), str(uuid.uuid4()), detail, change)
        self.events.append(event)
        self.on_event(event)


def _set(it: Obj, wanted: Obj, *, new: bool = False) -> list[Obj]:
    """Write what differs; fields the account does not have are ignored, as Zendesk does."""
    changed = []
    for name in (*_PLAIN, "tags"):
        if name in wanted and (it[name] != wanted[name] or (new and wanted[name])):
            changed.append({"name": name, "value": wanted[name], "previous": it[name]})
            it[name] = wanted[name]
    slots = {slot["id"]: slot for slot in it["custom_fields"]}
    for given in wanted.get("custom_fields") or []:
        slot = slots.get(int(given["id"]))
        if slot is not None and slot["value"] != given["value"]:
            changed.append({"name": str(slot["id"]), "value": given["value"], "previous": slot["value"]})
            slot["value"] = given["value"]
    return changed


def _told(change: Obj) -> Obj:
    return {"field_name": change["name"], "value": change["value"]}


def _with_tags(it: Obj, given: Obj) -> Obj:
    """`tags` replaces them all; `additional_tags` and `remove_tags` go by one."""
    tags = given["tags"] if "tags" in given else it["tags"]
    tags = [*tags, *(tag for tag in given.get("additional_tags", []) if tag not in tags)]
    return {**given, "tags": [tag for tag in tags if tag not in given.get("remove_tags", [])]}
