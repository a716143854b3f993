"""The twin: RT's REST 2 and its webhooks over a desk in memory, for tests, the demo and the load bench.

    python -m connectors.vendors.request_tracker.fake --port 8082

It keeps RT's manners: a webhook for each transaction, the last one first, before the call is answered, never again;
errors as messages beside status 200, or none at all; pages that are cut before what may not be seen is left out.
Beside the faults of `connectors.sdk.twin` there are

| request | effect |
|---|---|
| GET /_twin/entry | how to get in |
| POST /_twin/webhook `{"url": …, "secret": …}` | where transactions are told; an empty URL tells none |
| POST /_twin/lose `{"webhooks": 2}` | so many of the next ones are lost |
| POST /_twin/open `{"Requestor": …, "Subject": …, "Content": …, "Priority": 50, "CustomFields": {…}}` | a customer asks |
| POST /_twin/act `{"ticket": 1, "as": "ines", "reply" or "comment": …, "Status": …, "Priority": …, "CustomFields": {…}}` | |
"""

from __future__ import annotations

import argparse
import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any
from urllib.parse import unquote

import requests

from connectors.sdk.signatures import StampedScheme
from connectors.sdk.twin import Answer, Asked, Twin
from connectors.vendors.request_tracker import events
from connectors.vendors.request_tracker.fake_desk import FIELDS, MAILED, QUEUE, Denied, Desk, Missing, Row, field_id

TOKEN, AGENT_TOKEN = "1-27-twin-token-of-the-hub", "1-29-twin-token-of-an-agent"
LOGINS = {TOKEN: "hub", AGENT_TOKEN: "ines"}
SIGNATURE = StampedScheme("X-RT-Signature")
API = "/REST/2.0/"
CONDITION = re.compile(
    r"('CF\.\{(?P<cf>.+?)\}'|(?P<name>\w+)) (?P<how>=|!=|<|>|IS NOT) ('(?P<text>(\\.|[^'])*)'|(?P<number>\d+)|NULL)"
)


class RequestTrackerTwin(Twin):
    """One RT with one queue. `entry` is how to get in."""

    vendor = "request_tracker"
    entry = {"queue": QUEUE["Name"], "login": "hub", "token": TOKEN, "agent_login": "ines", "agent_token": AGENT_TOKEN}

    def __init__(self) -> None:
        super().__init__()
        self.webhook: dict[str, str] = {"url": "", "secret": ""}
        self.losing = 0
        self.reset()

    def reset(self) -> None:
        """An empty queue; the webhook stays."""
        self.desk = Desk(self.clock.now)
        self.desk.add_user("hub", privileged=True, name="The hub")
        self.desk.add_user("ines", privileged=True, name="Ines")
        self.desk.add_user("RT_System", name="The RT System itself")

    def books(self) -> Any:
        """{"tickets"}: their fields, and their notes as [kind, text]."""
        notes = [(text["ticket"], [text["kind"], text["Content"]]) for text in self.desk.texts if text["kind"] != "Create"]
        return {
            "tickets": [
                {
                    "id": row["id"],
                    "status": row["Status"],
                    "fields": row["fields"],
                    "notes": [note for number, note in notes if number == row["id"]],
                }
                for row in self.desk.tickets.values()
            ]
        }

    def refusal(self, status: int) -> Any:
        """A refusal as RT words one."""
        return {"message": f"the twin was told to answer {status}"}

    def control(self, asked: Asked) -> Answer | None:
        """What customers and agents do, and what becomes of webhooks."""
        given = json.loads(asked.body or b"{}")
        match asked.method, asked.path.removeprefix("/_twin/"):
            case "GET", "entry":
                return Answer.json(200, self.entry)
            case "POST", "webhook":
                self.webhook = {"url": given["url"], "secret": given["secret"]}
            case "POST", "lose":
                self.losing = int(given["webhooks"])
            case "POST", "open":
                return Answer.json(200, {"id": self.open(**given)})
            case "POST", "act":
                self.act(given.pop("ticket"), given.pop("as"), **given)
            case _:
                return None
        return Answer.json(200, {"ok": True})

    def open(self, Requestor: str = "ap@acme.example", **given: Any) -> int:
        """A customer opens a ticket; its number."""
        with self.lock:
            self.desk.add_user(Requestor)
            ticket = self.desk.open(Requestor, {"Queue": QUEUE["Name"], "Requestor": Requestor, **given})
        self._tell()
        return int(ticket["id"])

    def act(self, ticket: int, by: str, *, reply: str = "", comment: str = "", **changes: Any) -> None:
        """Somebody answers, comments or changes a ticket."""
        with self.lock:
            row = self.desk.ticket(ticket)
            for kind, text in (("Correspond", reply), ("Comment", comment)):
                if text:
                    self.desk.write(row, by, kind, {"Content": text})
            self.desk.update(row, by, changes)
        self._tell()

    # webhooks --------------------------------------------------------------------------------------------

    def answer(self, asked: Asked) -> Answer | None:
        """Tell about what the request has done before answering it, as RT's scrips do."""
        answer = super().answer(asked)
        self._tell()
        return answer

    def _handle(self, asked: Asked) -> Answer:
        answer = super()._handle(asked)
        self._tell()
        return answer

    def _tell(self) -> None:
        with self.lock:
            changed, self.desk.changed = self.desk.changed, []
            kept = changed[self.losing :]
            self.losing = max(self.losing - len(changed), 0)
        for row in reversed(kept if self.webhook["url"] else []):
            body = events.delivery(_shown(row), QUEUE["Name"])
            headers = {"Content-Type": "application/json", **SIGNATURE.sign(body, self.webhook["secret"], self.clock.now())}
            with suppress(requests.RequestException):
                requests.post(self.webhook["url"], data=body, headers=headers, timeout=3)

    # REST ------------------------------------------------------------------------------------------------

    def handle(self, asked: Asked) -> Answer:
        """Route one request as the original does."""
        by = LOGINS.get(asked.headers.get("authorization", "").removeprefix("token "))
        if by is None:
            return _message(401, "Unauthorized")
        parts = [unquote(part) for part in asked.path.removeprefix(API).split("/")]
        try:
            given: Any = json.loads(asked.body) if asked.body else {}
        except ValueError:
            return Answer(500, b"")
        try:
            match asked.method, parts:
                case "GET", _:
                    return self._read(by, parts, dict(asked.query))
                case "POST", ["ticket"]:
                    return Answer.json(201, {"id": str(self.desk.open(by, given)["id"]), "type": "ticket"})
                case "POST", ["ticket", number, "attachments"]:
                    return self._texts(int(number), given)
                case "POST", ["ticket", number, ("comment" | "correspond") as kind]:
                    return self._write(int(number), by, kind.capitalize(), given)
                case "PUT", ["ticket", number]:
                    return self._update(asked, int(number), by, given)
                case "DELETE", ["ticket", number]:
                    self.desk.update(self.desk.ticket(int(number)), by, {"Status": "deleted"})
                    return Answer(204, b"")
        except Missing:
            return _message(404, "Not Found" if asked.method != "PUT" else "Resource does not exist; use POST to create")
        except Denied as why:
            return _message(403, str(why))
        return _message(404, "Not Found")

    def _read(self, by: str, parts: list[str], query: dict[str, str]) -> Answer:
        match parts:
            case ["rt"]:
                return Answer.json(200, {"Version": "5.0.3-twin"})
            case ["queue", name]:
                return Answer.json(200, QUEUE) if name in QUEUE.values() else _message(403, "Forbidden")
            case ["user", login]:
                if login not in self.desk.users:
                    raise Missing(login)
                return Answer.json(200, self.desk.users[login])
            case ["ticket", number]:
                ticket = self.desk.ticket(int(number))
                if by == "hub" and ticket["Queue"] != QUEUE["Name"]:
                    raise Denied("Forbidden")
                return Answer.json(200, _ticket(ticket), ETag=self.desk.etag(ticket))
            case ["tickets"]:
                wanted = list(_conditions(query["query"]))
                found = [row for row in self.desk.tickets.values() if all(holds(row) for holds in wanted)]
                if query.get("order") == "DESC":
                    found.reverse()
                return _page([_listed(row, query.get("fields", "")) for row in found], query, len(found))
            case ["transactions"]:
                wanted = list(_conditions(query["query"]))
                seen = [row for row in self.desk.transactions if self.desk.tickets[row["ticket"]]["Queue"] == QUEUE["Name"]]
                found = [row for row in seen if all(holds(row) for holds in wanted)]
                if query.get("order") == "DESC":
                    found.reverse()
                return _page([_shown(row) for row in found], query, None)
        raise Missing(parts)

    def _texts(self, number: int, conditions: list[Row]) -> Answer:
        """For a ticket that does not exist RT searches the texts of all."""
        found = [text for text in self.desk.texts if text["ticket"] == number or number not in self.desk.tickets]
        for wanted in conditions:
            name, value = wanted["field"], str(wanted["value"])
            like = wanted.get("operator") == "LIKE"
            found = [text for text in found if (value in text[name] if like else text[name] == value)]
        return _page(found, {}, None)

    def _write(self, number: int, by: str, kind: str, given: Row) -> Answer:
        if number not in self.desk.tickets:
            return _message(400, "Message could not be recorded")
        if given.get("Content") and not given.get("ContentType"):
            return _message(400, "ContentType is a required field for application/json")
        done = self.desk.write(self.desk.ticket(number), by, kind, given)
        said = ["Correspondence added" if kind == "Correspond" else "Comments added"]
        return Answer.json(201, said, Location=f"{API}transaction/{done['id']}")

    def _update(self, asked: Asked, number: int, by: str, given: Row) -> Answer:
        ticket = self.desk.ticket(number)
        if asked.headers.get("if-match", "*") not in ("*", self.desk.etag(ticket)):
            return _message(412, "Precondition Failed")
        return Answer.json(200, self.desk.update(ticket, by, given))


def _conditions(query: str) -> Iterator[Callable[[Row], bool]]:
    """The conditions of a TicketSQL query that are joined by AND. Raises ValueError for what the twin does not know."""
    for part in re.split(r" AND (?=(?:[^']|'(?:\\.|[^'])*')*$)", query):
        found = CONDITION.fullmatch(part)
        if found is None:
            raise ValueError(f"the twin does not understand {part!r}")
        yield _condition(found)


def _condition(found: re.Match[str]) -> Callable[[Row], bool]:
    how, text = found["how"], re.sub(r"\\(.)", r"\1", found["text"] or "")
    if found["cf"]:
        name = re.sub(r"\\(.)", r"\1", found["cf"])
        if how == "IS NOT":
            # True for a field that was emptied, too.
            return lambda row: name in row["fields"]
        return lambda row: row["fields"].get(name) == text
    match found["name"], how:
        case ("ObjectType", "=") | ("TicketQueue" | "Queue", "="):
            return lambda row: text in ("RT::Ticket", QUEUE["Name"])
        case "Type", "!=":
            return lambda row: bool(row["Type"] != text)
        case "id", ">":
            return lambda row: bool(row["id"] > int(found["number"]))
        case "id", "<":
            return lambda row: bool(row["id"] < int(found["number"]))
        case "ObjectId", "=":
            return lambda row: bool(row["ticket"] == int(found["number"]))
    raise ValueError(f"the twin does not understand {found[0]!r}")


def _page(rows: list[Row], query: dict[str, str], total: int | None) -> Answer:
    size = min(int(query.get("per_page", 20)), 100)
    cut = rows[:size]
    seen = [row for row in cut if row.get("Type") != MAILED]
    told = {"count": len(seen), "total": total, "per_page": size, "page": 1, "pages": None, "items": seen}
    return Answer.json(200, told)


def _shown(row: Row) -> Row:
    told = {name: row[name] for name in ("Type", "Field", "OldValue", "NewValue", "Created")}
    return {**told, "id": str(row["id"]), "type": "transaction", "ObjectId": str(row["ticket"]), "Creator": _user(row["Creator"])}


def _ticket(row: Row) -> Row:
    told = {name: row[name] for name in ("id", "Subject", "Status", "Created", "Resolved", "LastUpdated")}
    return {
        **told,
        "type": "ticket",
        "Priority": str(row["Priority"]),
        "Queue": {"id": QUEUE["id"], "type": "queue"},
        "Requestor": [_user(login) for login in row["Requestor"]],
        "CustomFields": [
            {
                "id": field_id(name),
                "type": "customfield",
                "name": name,
                "values": [row["fields"][name]] if name in row["fields"] else [],
            }
            for name in FIELDS
        ],
    }


def _listed(row: Row, fields: str) -> Row:
    told = _ticket(row)
    return {"id": str(row["id"]), "type": "ticket", **{name: told[name] for name in fields.split(",") if name in told}}


def _user(login: str) -> Row:
    return {"id": login, "type": "user"}


def _message(status: int, text: str) -> Answer:
    return Answer.json(status, {"message": text})


def main() -> None:
    """Serve one twin until interrupted."""
    options = argparse.ArgumentParser(description="Request Tracker in memory")
    options.add_argument("--port", type=int, default=0)
    twin = RequestTrackerTwin().start(options.parse_args().port)
    print(json.dumps({"base_url": twin.url, **RequestTrackerTwin.entry}), flush=True)
    try:
        threading.Event().wait()
    except KeyboardInterrupt:
        twin.stop()


if __name__ == "__main__":
    main()
