"""The close pack: everything a close says, as files for people, spreadsheets and programs.

`close.json` is what the hash is of; the tables say the same in other forms. The pack of a signed close is what was signed,
with what has changed since; of one that is not prepared it is what there is now, and says so.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from decimal import Decimal
from pathlib import Path
from typing import Any

from hub import sheets
from hub.audit import chain as audit
from hub.sheets import Row
from reconciliation import closing
from reconciliation.closing import gates
from reconciliation.models import PeriodClose

TABLES = ("close", "gates", "control totals", "breaks left", "certificates", "parameters", "changes since")
AMOUNTS = ("net", "tax", "total", "left_amount", "right_amount", "exposed")


def content_of(close: PeriodClose) -> dict[str, Any]:
    """What was prepared or signed; of a close that is open, what there is now."""
    if close.state in ("prepared", "signed"):
        return dict(close.content)
    judged = gates.judge(close.legal_entity, close.period)
    return {**closing.content(close.legal_entity, close.period), "gates": [gate.json() for gate in judged], "reasons": {}}


def tables(close: PeriodClose) -> dict[str, list[Row]]:
    """Table → its rows, the first of which are the names of the columns. Amounts are decimals."""
    told = content_of(close)
    changes = closing.difference(close) if close.state in ("prepared", "signed") else []
    return {
        "close": _close(close, told),
        "gates": _gates(told),
        "control totals": _table(told["totals"], ("source", "kind", "currency", "status", "count", "net", "tax", "total")),
        "breaks left": _table(
            told["breaks"],
            ("name", "pair", "type", "state", "title", "currency", "left_amount", "right_amount", "exposed", "cause",
             "fingerprint"),
        ),
        "certificates": [("source", "kind", "complete", "since", "until", "currency", "count at source", "amount at source",
                          "count as read", "amount as read"), *_certificates(told)],
        "parameters": [("parameter", "value"), *((name, _json(value)) for name, value in sorted(told["parameters"].items()))],
        "changes since": [("part", "entry", "before", "now"), *((c.part, c.name, _json(c.before), _json(c.now)) for c in changes)],
    }  # fmt: skip


def _close(close: PeriodClose, told: Mapping[str, Any]) -> list[Row]:
    scan = told["scan"] or {}
    return [
        ("fact", "value"), ("entity", told["entity"]), ("period", told["period"]), ("state", close.state),
        ("hash", closing.digest(told)), ("currency", told["currency"]), ("time zone", told["timezone"]),
        ("prepared by", str(close.prepared_by or "")), ("prepared at", _at(close.prepared_at)),
        ("signed by", str(close.signed_by or "")), ("signed at", _at(close.signed_at)),
        ("scan", scan.get("id")), ("scan as of", scan.get("as_of")), ("scan result hash", scan.get("result_hash")),
    ]  # fmt: skip


def _at(at: Any) -> str:
    return at.isoformat(timespec="seconds") if at else ""


def _gates(told: Mapping[str, Any]) -> list[Row]:
    rows: list[Row] = [("gate", "condition", "green", "why", "count", "money", "reason given")]
    for gate in told["gates"]:
        money = ", ".join(f"{amount} {currency}" for currency, amount in gate["money"].items())
        reason = told["reasons"].get(gate["name"], "")
        rows.append((gate["name"], gate["words"], gate["is_green"], gate["why"], gate["count"], money, reason))
    return rows


def _table(entries: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> list[Row]:
    return [columns, *(tuple(_value(name, entry[name]) for name in columns) for entry in entries)]


def _value(name: str, value: Any) -> Any:
    return Decimal(value) if name in AMOUNTS and value is not None else value


def _certificates(told: Mapping[str, Any]) -> list[Row]:
    rows: list[Row] = []
    for each in told["certificates"]:
        for currency in sorted({*each["at_source"], *each["as_read"]}) or [""]:
            there, here = each["at_source"].get(currency, {}), each["as_read"].get(currency, {})
            rows.append((each["source"], each["kind"], each["is_complete"], each["since"], each["until"], currency,
                         there.get("count"), _number(there), here.get("count"), _number(here)))  # fmt: skip
    return rows


def _number(sums: Mapping[str, Any]) -> Decimal | None:
    return Decimal(sums["amount"]) if sums else None


def _json(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True, ensure_ascii=False, default=str)


# the files -------------------------------------------------------------------------------------------------------


def as_json(close: PeriodClose) -> bytes:
    """The content exactly as it is hashed: the SHA-256 of these bytes is the hash."""
    return audit.canonical(content_of(close)).encode()


def as_xlsx(close: PeriodClose) -> bytes:
    """One workbook, a sheet a table."""
    return sheets.to_xlsx(tables(close))


def as_csv(close: PeriodClose) -> dict[str, bytes]:
    """File name → table."""
    return {f"{name.replace(' ', '_')}.csv": sheets.to_csv(rows) for name, rows in tables(close).items()}


def write(close: PeriodClose, folder: Path) -> list[Path]:
    """Write the pack into a new folder. Raises FileExistsError rather than writing over an earlier one."""
    folder.mkdir(parents=True)
    told = content_of(close)
    about = {
        "hash": closing.digest(told), "state": close.state, "entity": told["entity"], "period": told["period"],
        "prepared_by": str(close.prepared_by or ""), "signed_by": str(close.signed_by or ""), "signed_at": _at(close.signed_at),
        "changes_since": [asdict(each) for each in closing.difference(close)] if close.state in ("prepared", "signed") else [],
    }  # fmt: skip
    files = {
        "close.json": as_json(close), "close.xlsx": as_xlsx(close), **as_csv(close),
        "about.json": (json.dumps(about, indent=1, ensure_ascii=False, default=str) + "\n").encode(),
    }  # fmt: skip
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return [folder / name for name in files]
