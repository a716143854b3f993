"""The tickets of the twin: users, custom fields, transactions and texts in memory, with RT's own messages. No HTTP here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

Row = dict[str, Any]
QUEUE = {"id": "3", "Name": "Support"}
OTHER_QUEUE = "Sales"
"""Exists, and is nothing the hub may see."""
NEVER = "1970-01-01T00:00:00Z"
STATUSES = ("new", "open", "stalled", "resolved", "rejected", "deleted")
INACTIVE = ("resolved", "rejected", "deleted")
PLANS = ("free", "pro", "enterprise")
FIELDS = (
    "Billing Customer", "Subscription", "Incident", "Credit Request Reason", "Credit Request Amount",
    "Credit Request Currency", "Credit Request Note", "Plan Tier", "Credit State", "Credit Number", "Credit Amount",
    "Tieout Block",
)  # fmt: skip
MAILED = "EmailRecord"
"""RT notes the mail an answer causes as a transaction that only administrators see."""


class Missing(LookupError):
    """No such ticket or user."""


class Denied(Exception):
    """RT's 403, with its message."""


@dataclass(slots=True)
class Desk:
    """One queue. `now` gives Unix seconds; `changed` collects the transactions that start scrips."""

    now: Callable[[], int]
    users: dict[str, Row] = field(default_factory=dict)
    tickets: dict[int, Row] = field(default_factory=dict)
    merged: dict[int, int] = field(default_factory=dict)
    transactions: list[Row] = field(default_factory=list)
    texts: list[Row] = field(default_factory=list)
    changed: list[Row] = field(default_factory=list)

    def add_user(self, login: str, *, privileged: bool = False, name: str | None = None) -> str:
        """A user; those who write in are made by their first ticket."""
        self.users.setdefault(
            login, {"Name": login, "RealName": name, "EmailAddress": login if "@" in login else None, "Privileged": int(privileged)}
        )
        return login

    def ticket(self, number: int) -> Row:
        """A ticket, or the one it was merged into. Raises Missing."""
        try:
            return self.tickets[self.merged.get(number, number)]
        except KeyError:
            raise Missing(number) from None

    def etag(self, ticket: Row) -> str:
        """RT's: the id of the ticket's last transaction."""
        return f'"{max(row["id"] for row in self.transactions if row["ticket"] == ticket["id"])}"'

    def open(self, by: str, given: Mapping[str, Any]) -> Row:
        """A new ticket. Custom fields given with it leave no transactions. Raises Denied for another queue."""
        if given.get("Queue") != QUEUE["Name"]:
            raise Denied(f"No permission to create tickets in the queue '{given.get('Queue')}'")
        asked = given.get("Requestor") or []
        ticket: Row = {
            "id": len(self.tickets) + 1,
            "Subject": given.get("Subject", ""),
            "Queue": QUEUE["Name"],
            "Status": given.get("Status", "new"),
            "Priority": int(given.get("Priority", 0)),
            "Requestor": [self.add_user(login) for login in ([asked] if isinstance(asked, str) else asked)],
            "Created": self._at(),
            "Resolved": NEVER,
            "fields": {name: str(value) for name, value in given.get("CustomFields", {}).items() if name in FIELDS and value},
        }
        self.tickets[ticket["id"]] = ticket
        opened = self._note(ticket, by, "Create")
        if given.get("Content"):
            self._text(opened, given)
        return ticket

    def write(self, ticket: Row, by: str, kind: str, given: Mapping[str, Any]) -> Row:
        """A comment or an answer. An answer is mailed, and opens a new ticket; a customer's also one that has ended."""
        done = self._note(ticket, by, kind)
        self._text(done, given)
        if kind == "Correspond":
            self._note(ticket, "RT_System", MAILED)
            if ticket["Status"] == "new" or (ticket["Status"] in INACTIVE and not self.users[by]["Privileged"]):
                self._set_status(ticket, "RT_System", "open")
        return done

    def update(self, ticket: Row, by: str, given: Mapping[str, Any]) -> list[str]:
        """Change a ticket; what RT says to it, good or bad. A custom field it does not know is not worth a word.

        One that is emptied keeps a null, and can be emptied again.
        """
        said: list[str] = []
        if status := given.get("Status"):
            if status not in STATUSES:
                said.append(f"Ticket {ticket['id']}: Status '{status}' isn't a valid status for this ticket.")
            elif status != ticket["Status"]:
                said.append(f"Ticket {ticket['id']}: Status changed from '{ticket['Status']}' to '{status}'")
                self._set_status(ticket, by, status)
        if given.get("Queue") == OTHER_QUEUE:
            ticket["Queue"] = OTHER_QUEUE
            self._note(ticket, by, "Set", "Queue", "3", "4")
        if (priority := given.get("Priority")) is not None and int(priority) != ticket["Priority"]:
            said.append(f"Ticket {ticket['id']}: Priority changed from '{ticket['Priority']}' to '{priority}'")
            self._note(ticket, by, "Set", "Priority", str(ticket["Priority"]), str(int(priority)))
            ticket["Priority"] = int(priority)
        for name, value in given.get("CustomFields", {}).items():
            said += self._set_field(ticket, by, name, value)
        if other := given.get("MergeInto"):
            self.merged[ticket["id"]] = int(other)
            for number in (ticket["id"], int(other)):
                self._note(self.tickets[number], by, "AddLink", "MergedInto", "", f"fsck.com-rt://support.example/ticket/{other}")
            said.append("Merge Successful")
        return said

    def _set_field(self, ticket: Row, by: str, name: str, value: Any) -> list[str]:
        if name not in FIELDS:
            return []
        old, new = ticket["fields"].get(name) or "", "" if value is None else str(value)
        if name == "Plan Tier" and new and new not in PLANS:
            return ["Invalid value for custom field"]
        if old == new and new:
            return []
        ticket["fields"] = {**ticket["fields"], name: new or None}
        self._note(ticket, by, "CustomField", field_id(name), old, new)
        return [f"{name} {old} changed to {new}" if old and new else f"{name} {new} added" if new else f"{name} {old} deleted"]

    def _set_status(self, ticket: Row, by: str, status: str) -> None:
        old, ticket["Status"] = ticket["Status"], status
        ticket["Resolved"] = self._at() if status in INACTIVE else ticket["Resolved"]
        self._note(ticket, by, "Status", "Status", old, status)

    def _note(self, ticket: Row, by: str, kind: str, name: str = "", old: str = "", new: str = "") -> Row:
        row = {
            "id": len(self.transactions) + 1,
            "ticket": ticket["id"],
            "Type": kind,
            "Field": name,
            "OldValue": old,
            "NewValue": new,
            "Created": self._at(),
            "Creator": by,
        }
        self.transactions.append(row)
        ticket["LastUpdated"] = row["Created"]
        if kind != MAILED and ticket["Queue"] == QUEUE["Name"]:
            self.changed.append(row)
        return row

    def _text(self, transaction: Row, given: Mapping[str, Any]) -> None:
        text = {"Content": given["Content"], "ContentType": given.get("ContentType", "text/plain")}
        owner = {"TransactionId": str(transaction["id"]), "ticket": transaction["ticket"], "kind": transaction["Type"]}
        self.texts.append({"id": str(len(self.texts) + 1), **text, **owner})

    def _at(self) -> str:
        return datetime.fromtimestamp(self.now(), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def field_id(name: str) -> str:
    """RT's number of a custom field."""
    return str(FIELDS.index(name) + 1)
