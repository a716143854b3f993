"""The twin: Tryton's REST and JSON-RPC over the books in memory, for tests, the demo and the load bench.

    python -m connectors.vendors.tryton.fake --port 8069

Faults and books are steered over `/_twin/` (see `connectors.sdk.twin`); a fault's `match` meets JSON-RPC calls as
"POST /twin/rpc/<method>", wizards with their state behind it. Here also POST /_twin/periods `{"close": "2026-10"}` or
`{"reopen": …}`. Like the original it honours no idempotency key.
"""

from __future__ import annotations

import argparse
import base64
import json
import threading
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import orjson

from connectors.sdk.twin import Answer, Asked, Twin
from connectors.vendors.tryton import fake_deferring, fake_ledger
from connectors.vendors.tryton.fake_books import DEFERRED, INVOICE, MOVE, MOVE_LINE, RELATIONS, Books, Record
from connectors.vendors.tryton.fake_errors import Missing, UserError, UserWarning

DATABASE, REST_KEY, LOGIN, PASSWORD = "twin", "twin-rest-key", "admin", "twin-password"
SESSION, RPC_PATH = "twin-session", f"/{DATABASE}/rpc/"


class TrytonTwin(Twin):
    """One Tryton server with one database. `entry` is how to get in."""

    vendor = "tryton"
    entry = {"database": DATABASE, "company": 1, "rest_key": REST_KEY, "login": LOGIN, "password": PASSWORD}

    def __init__(self) -> None:
        super().__init__()
        self.reset()

    def reset(self) -> None:
        """The books as they are on the first day."""
        self.db = Books(datetime.now(UTC).date())
        self._begun = 0

    def books(self) -> Any:
        """{"documents", "payments", "journals"} in the order in which they became money; signed amounts as strings."""
        return {
            "documents": [self._document(entry["id"]) for entry in self.db.ledger if entry["kind"] == "document"],
            "payments": [self._payment(entry) for entry in self.db.ledger if entry["kind"] == "payment"],
            "journals": [self._journal(entry["id"]) for entry in self.db.ledger if entry["kind"] == "journal"],
        }

    def control(self, asked: Asked) -> Answer | None:
        """Close and reopen accounting periods by name."""
        if (asked.method, asked.path) != ("POST", "/_twin/periods"):
            return None
        states = {"close": "closed", "reopen": "open"}
        for verb, name in json.loads(asked.body).items():
            for period in self.db.search("account.period", [["name", "=", name]]):
                period["state"] = states[verb]
        return Answer.json(200, {"ok": True})

    def refusal(self, status: int) -> Any:
        """A refusal as Tryton words one."""
        return {"status": status, "message": f"the twin was told to answer {status}", "description": ""}

    def answer(self, asked: Asked) -> Answer | None:
        """Name the method in the path, so that faults can tell one JSON-RPC call from another."""
        if asked.path == RPC_PATH:
            body = orjson.loads(asked.body)
            method = body["method"]
            if method.endswith(".execute"):
                method += f"/{body['params'][2]}"
            asked = replace(asked, path=RPC_PATH + method)
        return super().answer(asked)

    def handle(self, asked: Asked) -> Answer:
        """Route one request as the original does."""
        parts = asked.path.strip("/").split("/")
        if parts == ["rpc"]:
            return _json({"id": 1, "result": "8.0"})
        if parts[0] != DATABASE:
            return _html(404)
        try:
            if asked.path.startswith(RPC_PATH):
                return self._rpc(asked)
            if parts[1:3] == ["rest", "model"]:
                return self._rest(asked, parts[3:])
        except Missing:
            return _html(404)
        except KeyError:
            return _html(400)
        return _html(404)

    # REST ------------------------------------------------------------------------------------------------

    def _rest(self, asked: Asked, parts: Sequence[str]) -> Answer:
        if asked.headers.get("authorization") != f"Bearer {REST_KEY}":
            return _html(401)
        model = parts[0]
        fields = [value for name, value in asked.query if name == "f"] or ["rec_name"]
        body = _untagged(orjson.loads(asked.body)) if asked.body else {}
        try:
            match asked.method, len(parts):
                case "GET", 1:
                    return _json([self._show(model, row, fields) for row in self._found(model, dict(asked.query))])
                case "POST", 1:
                    return _json(self._show(model, self.db.create(model, body), fields))
                case "DELETE", 2:
                    self.db.delete(model, self.db.get(model, int(parts[1])))
                    return Answer(204, b"")
                case "PUT", 2:
                    self.db.write(model, self.db.get(model, int(parts[1])), body)
                    return _json(self._show(model, self.db.get(model, int(parts[1])), fields))
                case "GET", 2:
                    return _json(self._show(model, self.db.get(model, int(parts[1])), fields))
                case "POST", 3 if (model, parts[2]) == (INVOICE, "post"):
                    self.db.post(self.db.get(model, int(parts[1])))
                    return _json(self._show(model, self.db.get(model, int(parts[1])), fields))
        except (UserError, UserWarning) as no:
            return _json({"status": 400, "message": no.args[-1], "description": ""}, 400)
        return _html(403)

    def _found(self, model: str, query: dict[str, str]) -> list[Record]:
        rows = self.db.search(model, _decoded(query.get("d")) or [])
        for field, direction in reversed(_decoded(query.get("o")) or []):
            rows.sort(key=lambda row: row[field], reverse=direction.startswith("DESC"))
        start = int(query.get("p", 0))
        return rows[start : start + int(query["s"])] if "s" in query else rows[start:]

    def _show(self, model: str, record: Record, fields: Sequence[str]) -> Record:
        """A record with the asked fields; dots reach into relations, as in Tryton's REST."""
        shown: Record = {"id": record["id"], "__name__": model}
        nested: dict[str, list[str]] = {}
        for field in fields:
            name, _, rest = field.partition(".")
            if rest:
                nested.setdefault(name, []).append(rest)
            elif name not in shown:
                shown[name] = record.get("name") if name == "rec_name" else record[name]
        for name, inner in nested.items():
            target, value = RELATIONS[(model, name)], record[name]
            if isinstance(value, list):
                shown[name] = [self._show(target, self.db.get(target, number), inner) for number in value]
            else:
                shown[name] = None if value is None else self._show(target, self.db.get(target, value), inner)
        return shown

    # JSON-RPC --------------------------------------------------------------------------------------------

    def _rpc(self, asked: Asked) -> Answer:
        body = _untagged(orjson.loads(asked.body))
        method, params = body["method"], body["params"]
        if method == "common.db.login":
            known = params[0] == LOGIN and params[1].get("password") == PASSWORD
            return _json({"id": body["id"], "result": [1, SESSION, None]}) if known else _html(401)
        ticket = base64.b64encode(f"{LOGIN}:1:{SESSION}".encode()).decode()
        if asked.headers.get("authorization") != f"Session {ticket}":
            return _html(401)
        try:
            result = self._called(method, params)
        except UserWarning as warning:
            return _json({"id": body["id"], "error": ["UserWarning", [*warning.args, ""]]})
        except (UserError, Missing) as error:
            return _json({"id": body["id"], "error": ["UserError", [str(error), "", None]]})
        except LookupError as error:
            return _json({"id": body["id"], "error": [str(error), ""]})
        return _json({"id": body["id"], "result": result})

    def _called(self, method: str, params: list[Any]) -> Any:
        match method.split("."):
            case ["model", "account", ("invoice" | "move") as kind, "post"]:
                for number in params[0]:
                    self._post(kind, number)
            case ["model", "res", "user", "warning", "skip"]:
                self.db.acknowledged.add(params[0])
            case ["model", "account", "period", ("close" | "reopen") as verb]:
                for number in params[0]:
                    self.db.get("account.period", number)["state"] = "closed" if verb == "close" else "open"
            case ["model", "account", "invoice", "deferred", "run"]:
                for number in params[0]:
                    fake_deferring.start(self.db, self.db.get(DEFERRED, number))
            case ["model", *model, "search_count"]:
                return len(self.db.search(".".join(model), params[0]))
            case ["wizard", "account", "invoice", "pay", step]:
                return self._pay(step, params)
            case ["wizard", "account", "move", "reconcile_lines", step]:
                return self._reconcile(step, params)
            case _:
                raise LookupError(method)
        return None

    def _post(self, kind: str, number: int) -> None:
        if kind == "invoice":
            self.db.post(self.db.get(INVOICE, number))
        else:
            fake_ledger.post(self.db, self.db.get(MOVE, number))

    def _pay(self, step: str, params: list[Any]) -> Any:
        """The payment wizard: create, execute start / choice / pay, delete."""
        if step != "execute":
            return self._wizard(step)
        _, data, state, context = params
        invoice = self.db.get(INVOICE, context["active_id"])
        if state == "start":
            due = {"amount": invoice["amount_to_pay"], "currency": invoice["currency"], "payee": invoice["party"]}
            defaults = {**due, "company": invoice["company"], "date": self.db.today}
            return {"view": {"state": "start", "defaults": defaults}}
        start = data["start"]
        if state == "choice" and start["amount"] != invoice["amount_to_pay"]:
            return {"view": {"state": "ask", "defaults": {"type": "partial", "amount": start["amount"]}}}
        self.db.pay(invoice, start["amount"], start["date"], start.get("description"))
        return {}

    def _reconcile(self, step: str, params: list[Any]) -> Any:
        """The wizard that reconciles the chosen lines: create, execute start, delete. It asks about a difference."""
        if step != "execute":
            return self._wizard(step)
        lines = [self.db.get(MOVE_LINE, number) for number in params[-1]["active_ids"]]
        if difference := sum(line["amount"] for line in lines):
            return {"view": {"state": "writeoff", "defaults": {"amount": difference}}}
        self.db.reconcile(lines)
        return {}

    def _wizard(self, step: str) -> Any:
        """Begin or end a wizard."""
        if step == "delete":
            return None
        self._begun += 1
        return [self._begun, "start", "end"]

    # what an oracle reads --------------------------------------------------------------------------------

    def _document(self, number: int) -> Record:
        row = self.db.get(INVOICE, number)
        return {
            "id": number,
            "key": row["reference"],
            "number": row["number"],
            "party": row["party"],
            "party_code": self.db.get("party.party", row["party"])["code"],
            "currency": self.db.code(row),
            "net": str(row["untaxed_amount"]),
            "tax": str(row["tax_amount"]),
            "total": str(row["total_amount"]),
            "date": row["invoice_date"].isoformat(),
            "state": row["state"],
        }

    def _payment(self, entry: Record) -> Record:
        move, invoice = self.db.get("account.move", entry["id"]), self.db.get(INVOICE, entry["invoice"])
        return {
            "id": entry["id"],
            "key": move["description"],
            "invoice": entry["invoice"],
            "currency": self.db.code(invoice),
            "amount": str(entry["amount"]),
            "date": move["date"].isoformat(),
        }

    def _journal(self, number: int) -> Record:
        move = self.db.get(MOVE, number)
        lines = [self.db.get(MOVE_LINE, line) for line in move["lines"]]
        return {
            "id": number,
            "key": move["description"],
            "number": move["number"],
            "about": move["origin"],
            "date": move["date"].isoformat(),
            "lines": {
                self.db.get("account.account", line["account"])["code"]: str(line["debit"] - line["credit"]) for line in lines
            },
        }


def _json(value: Any, status: int = 200) -> Answer:
    return Answer(status, orjson.dumps(value, default=_tagged, option=orjson.OPT_PASSTHROUGH_DATETIME))


def _html(status: int) -> Answer:
    return Answer(status, b"<!doctype html>\n<title>Tryton</title>", {"Content-Type": "text/html; charset=utf-8"})


def _decoded(text: str | None) -> Any:
    return _untagged(orjson.loads(base64.urlsafe_b64decode(text))) if text else None


def _tagged(value: Any) -> Any:
    if isinstance(value, Decimal):
        return {"__class__": "Decimal", "decimal": str(value)}
    day = {"__class__": "date", "year": value.year, "month": value.month, "day": value.day}
    if isinstance(value, datetime):
        clock = {"hour": value.hour, "minute": value.minute, "second": value.second, "microsecond": value.microsecond}
        return {**day, **clock, "__class__": "datetime"}
    return day


def _untagged(value: Any) -> Any:
    if isinstance(value, list):
        return [_untagged(item) for item in value]
    if not isinstance(value, dict):
        return value
    match value.get("__class__"):
        case "Decimal":
            return Decimal(value["decimal"])
        case "date":
            return date(value["year"], value["month"], value["day"])
        case "datetime":
            clock = (value["hour"], value["minute"], value["second"], value["microsecond"])
            return datetime(value["year"], value["month"], value["day"], *clock, tzinfo=UTC)
    return {name: _untagged(item) for name, item in value.items()}


def main() -> None:
    """Serve one twin until interrupted."""
    options = argparse.ArgumentParser(description="Tryton in memory")
    options.add_argument("--port", type=int, default=0)
    twin = TrytonTwin().start(options.parse_args().port)
    print(json.dumps({"base_url": twin.url, **TrytonTwin.entry}), flush=True)
    try:
        threading.Event().wait()
    except KeyboardInterrupt:
        twin.stop()


if __name__ == "__main__":
    main()
