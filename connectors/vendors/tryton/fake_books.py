"""Tryton's books in memory: the records and rules that the twin serves. Not thread safe; the twin holds the lock.

Only what our connector relies on is modelled, and that as the real server was seen to behave: party codes are unique
and references are not, invoices are numbered in the order of their dates, closed periods and unacknowledged warnings
refuse, drafts can be deleted and posted documents cannot. The peer tests run the same beliefs against the original.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

from canonical.money import exponent, round_money
from connectors.vendors.tryton import fake_ledger
from connectors.vendors.tryton.fake_errors import Missing, UserError, UserWarning
from connectors.vendors.tryton.fake_seed import CASH, seed

Record = dict[str, Any]
INVOICE, LINE, TAX_LINE = "account.invoice", "account.invoice.line", "account.invoice.tax"
MOVE, MOVE_LINE, DEFERRED = "account.move", "account.move.line", "account.invoice.deferred"

RELATIONS = {
    ("party.party", "addresses"): "party.address",
    ("party.party", "contact_mechanisms"): "party.contact_mechanism",
    ("party.party", "identifiers"): "party.identifier",
    ("party.address", "country"): "country.country",
    ("company.company", "party"): "party.party",
    ("company.company", "currency"): "currency.currency",
    ("account.configuration", "deferred_account_revenue"): "account.account",
    ("product.product", "default_uom"): "product.uom",
    (INVOICE, "currency"): "currency.currency",
    (INVOICE, "party"): "party.party",
    (INVOICE, "lines"): LINE,
    (INVOICE, "taxes"): TAX_LINE,
    (LINE, "invoice"): INVOICE,
    (LINE, "product"): "product.product",
    (LINE, "taxes"): "account.tax",
    (DEFERRED, "invoice_line"): LINE,
    (DEFERRED, "company"): "company.company",
    (DEFERRED, "moves"): MOVE,
    (INVOICE, "lines_to_pay"): MOVE_LINE,
    (INVOICE, "payment_lines"): MOVE_LINE,
    (INVOICE, "reconciliation_lines"): MOVE_LINE,
    (MOVE, "lines"): MOVE_LINE,
    (MOVE, "company"): "company.company",
    (MOVE, "journal"): "account.journal",
    (MOVE, "period"): "account.period",
    (MOVE_LINE, "account"): "account.account",
    ("account.account", "type"): "account.account.type",
    (MOVE_LINE, "second_currency"): "currency.currency",
}
"""(model, field) → the model it points to."""
INDEXED = {("party.party", "code"), (INVOICE, "reference"), (MOVE, "description")}
DEFAULTS: dict[str, Record] = {
    "party.party": {
        "code": None, "active": True, "account_receivable": None, "addresses": [], "contact_mechanisms": [],
        "identifiers": [],
    },
    "party.address": {"street": "", "city": "", "postal_code": "", "country": None},
    "party.identifier": {"type": None},
    INVOICE: {
        "state": "draft", "number": None, "reference": None, "invoice_date": None, "accounting_date": None,
        "payment_term": None, "payment_term_date": None, "description": None, "comment": None, "lines": [], "taxes": [],
        "sequence_type_cache": None, "origin_invoices": [], "lines_to_pay": [], "payment_lines": [],
        "reconciliation_lines": [], "reconciled": None, "total_amount_cache": None,
    },
    MOVE: {"state": "draft", "number": None, "origin": None, "description": None, "lines": []},
    MOVE_LINE: {
        "reconciliation": None, "move_origin": None, "account": None, "party": None, "second_currency": None,
        "amount_second_currency": None, "debit": Decimal(0), "credit": Decimal(0), "invoice_payments": [],
    },
    DEFERRED: {"type": "out", "moves": []},
    "product.product": {"name": "", "active": True},
    LINE: {
        "product": None, "unit": None, "taxes": [], "taxes_date": None, "origin": None, "description": None,
        "defer_from": None, "defer_to": None, "quantity": None, "unit_price": None,
    },
}  # fmt: skip
REQUIRED = {
    "party.party": ("name",),
    INVOICE: ("type", "company", "party", "invoice_address", "currency", "account"),
    LINE: ("account", "unit_price", "currency", "company"),
    MOVE: ("company", "journal", "period", "date"),
}


class Books:
    """One database with one company, the chart, periods around `today`, taxes, products, terms and a bank."""

    def __init__(self, today: date) -> None:
        self.today = today
        self.tables: dict[str, dict[int, Record]] = defaultdict(dict)
        self.ledger: list[Record] = []
        """Append-only: every document and payment in the order in which it became money."""
        self.acknowledged: set[str] = set()
        self._index: dict[tuple[str, str, Any], list[int]] = defaultdict(list)
        self._next_id: dict[str, int] = defaultdict(lambda: 1)
        self._numbers: dict[str, int] = defaultdict(int)
        self._newest: dict[tuple[int, str], date] = {}
        self._last_write = datetime.now(UTC)
        seed(self)

    # records ---------------------------------------------------------------------------------------------

    def get(self, model: str, record: int) -> Record:
        """One record; raises Missing."""
        try:
            return self.tables[model][record]
        except KeyError:
            raise Missing(f"{model},{record}") from None

    def insert(self, model: str, values: Mapping[str, Any]) -> Record:
        """Store a record with nested creates, without any rule."""
        number = self._next_id[model]
        self._next_id[model] += 1
        record: Record = {**DEFAULTS.get(model, {}), "id": number}
        self.tables[model][number] = record
        self._assign(model, record, values)
        record["create_date"] = record["write_date"]
        for indexed_model, field in INDEXED:
            if indexed_model == model:
                self._index[(model, field, record.get(field))].append(number)
        return record

    def create(self, model: str, values: Mapping[str, Any]) -> Record:
        """Create under Tryton's rules; raises UserError and leaves nothing behind."""
        _require(model, values)
        if model == "party.party":
            self._check_code(values.get("code"))
            values = {**values, "code": values.get("code") or str(self._next_id[model])}
        if model == INVOICE:
            for line in _nested(values.get("lines", []), "create"):
                _require(LINE, line)
                if line["currency"] != values["currency"]:
                    raise UserError('The value for field "Lines" is not valid according to its domain.')
        if model == MOVE:
            fake_ledger.check_period(self, values)
        record = self.insert(model, values)
        if model == INVOICE:
            self._compute(record)
        if model == MOVE:
            fake_ledger.belongs(self, record)
        return record

    def write(self, model: str, record: Record, values: Mapping[str, Any]) -> None:
        """Change under Tryton's rules."""
        if model == INVOICE and record["state"] != "draft" and values.keys() - {"reference", "comment"}:
            raise UserError(f'You cannot modify invoice "{_name(record)}" because it is posted, paid or cancelled.')
        if model == "party.party" and values.get("code", record["code"]) != record["code"]:
            self._check_code(values["code"])
        if model == MOVE:
            fake_ledger.check_draft(record)
            fake_ledger.check_period(self, {**record, **values})
        self._assign(model, record, values)
        if model == INVOICE and record["state"] == "draft":
            self._total(record)

    def delete(self, model: str, record: Record) -> None:
        """Delete under Tryton's rules."""
        if model == INVOICE and record["state"] != "draft":
            raise UserError(f'You cannot modify invoice "{_name(record)}" because it is posted, paid or cancelled.')
        if model == MOVE:
            fake_ledger.check_draft(record)
            fake_ledger.leaves(self, record)
        del self.tables[model][record["id"]]
        for indexed_model, field in INDEXED:
            if indexed_model == model:
                self._index[(model, field, record.get(field))].remove(record["id"])

    def search(self, model: str, domain: list[Any]) -> list[Record]:
        """Records that match a Tryton domain, oldest first."""
        table = self.tables[model]
        for clause in domain:
            if isinstance(clause, list) and len(clause) == 3 and clause[1] == "=" and (model, clause[0]) in INDEXED:
                candidates: Iterable[Record] = [table[i] for i in self._index.get((model, clause[0], clause[2]), [])]
                break
        else:
            candidates = table.values()
        return [record for record in candidates if self._matches(model, record, domain)]

    def _assign(self, model: str, record: Record, values: Mapping[str, Any]) -> None:
        for field, value in values.items():
            if isinstance(value, list) and value and isinstance(value[0], list):
                record[field] = self._related(model, field, list(record.get(field) or []), value, record)
            else:
                record[field] = value
        now = max(datetime.now(UTC), self._last_write + timedelta(microseconds=1))
        record["write_date"] = self._last_write = now

    def _related(self, model: str, field: str, ids: list[int], commands: list[Any], owner: Record) -> list[int]:
        target = RELATIONS[(model, field)]
        for name, *arguments in commands:
            if name == "create":
                back = {"invoice": owner["id"]} if model == INVOICE else {}
                ids += [self.insert(target, {**values, **back})["id"] for values in arguments[0]]
            elif name == "add":
                ids += arguments[0]
            elif name == "write":
                for number in arguments[0]:
                    self._assign(target, self.get(target, number), arguments[1])
        return ids

    def _matches(self, model: str, record: Record, domain: list[Any]) -> bool:
        clauses = domain[1:] if domain and domain[0] in ("OR", "AND") else domain
        how = any if domain and domain[0] == "OR" else all
        return how(
            self._holds(model, record, clause) if isinstance(clause[0], str) and clause[0] not in ("OR", "AND")
            else self._matches(model, record, clause)
            for clause in clauses
        )  # fmt: skip

    def _holds(self, model: str, record: Record, clause: list[Any]) -> bool:
        path, operator, wanted = clause
        return any(OPERATORS[operator](value, wanted) for value in self._values(model, record, path))

    def _values(self, model: str, record: Record, path: str) -> Iterable[Any]:
        """What a path leads to, which is several values where it goes through a list of records."""
        field, _, rest = path.partition(".")
        value, target = record[field], RELATIONS.get((model, field), "")
        if not rest:
            return (value,)
        numbers = value if isinstance(value, list) else [] if value is None else [value]
        return (found for number in numbers for found in self._values(target, self.get(target, number), rest))

    def _check_code(self, code: str | None) -> None:
        if code and self._index.get(("party.party", "code", code)):
            raise UserError("The code on party must be unique.")

    # documents -------------------------------------------------------------------------------------------

    def _compute(self, invoice: Record) -> None:
        """Lines, taxes per rate and sign rounded once per document, and totals, as Tryton has them for a draft."""
        currency = self.code(invoice)
        bases: dict[tuple[int, int], Decimal] = defaultdict(Decimal)
        for line in self.lines(invoice):
            price = line["unit_price"] * Decimal(str(line["quantity"] or 0))
            line["amount"] = round_money(price, currency)
            for tax in line["taxes"]:
                bases[(tax, 1 if line["amount"] >= 0 else -1)] += line["amount"]
            if (origin := line["origin"]) and (source := self.tables[LINE].get(int(origin.split(",")[1]))):
                invoice["origin_invoices"] = sorted({*invoice["origin_invoices"], source["invoice"]})
        invoice["taxes"] = []
        for (tax, _), base in bases.items():
            amount = round_money(base * self.get("account.tax", tax)["rate"], currency)
            row = {"invoice": invoice["id"], "tax": tax, "base": base, "amount": amount, "manual": False}
            invoice["taxes"].append(self.insert(TAX_LINE, row)["id"])
        self._total(invoice)

    def _total(self, invoice: Record) -> None:
        unit = Decimal(1).scaleb(-exponent(self.code(invoice)))
        invoice["untaxed_amount"] = sum((line["amount"] for line in self.lines(invoice)), Decimal(0)).quantize(unit)
        taxes = (self.get(TAX_LINE, number)["amount"] for number in invoice["taxes"])
        invoice["tax_amount"] = sum(taxes, Decimal(0)).quantize(unit)
        invoice["total_amount"] = invoice["untaxed_amount"] + invoice["tax_amount"]
        invoice["amount_to_pay"] = Decimal(0).quantize(unit)

    def post(self, invoice: Record) -> None:
        """Number and post a draft: refuses over state, warnings, periods and the order of dates, like the original."""
        if invoice["state"] != "draft":
            raise UserError(f'You can not call "post" on "{_name(invoice)}" of "Account Invoice".')
        self._warn(invoice, "invoice_date_future", (invoice["invoice_date"] or self.today) > self.today)
        self._warn(invoice, "invoice_taxes", any(self._has_other_taxes(line) for line in self.lines(invoice)))
        on = invoice["invoice_date"] = invoice["invoice_date"] or self.today
        period = self.open_period(invoice["accounting_date"] or on)
        lines = self.lines(invoice)
        is_credit = all(line["amount"] <= 0 for line in lines) and invoice["total_amount"] < 0
        kind = "credit_note" if is_credit else "invoice"
        year = period["fiscalyear"]
        if on < self._newest.get((year, kind), on):
            after = self._newest[(year, kind)].strftime("%m/%d/%Y")
            raise UserError(f'To number the invoice "{_name(invoice)}", you must set an invoice date after "{after}".')
        self._warn(invoice, "invoice_payment_term", self._due_on(invoice) < self.today)
        self._newest[(year, kind)] = on
        number = self.number(f"{'CN' if is_credit else 'INV'}{period['name'][:4]}/")
        self._assign(INVOICE, invoice, {
            "state": "posted", "number": number, "sequence_type_cache": kind, "total_amount_cache": invoice["total_amount"],
        })  # fmt: skip
        if total := invoice["total_amount"]:
            receivable = {"party": invoice["party"], "amount": total, "move_origin": _origin(invoice), "date": on}
            invoice["lines_to_pay"] = [self.insert(MOVE_LINE, receivable)["id"]]
            invoice["amount_to_pay"] = total
        for line in lines:
            if line["defer_from"] and line["defer_to"] and line["product"]:
                rate = self.get("currency.currency", invoice["currency"])["rate"]
                self.insert(DEFERRED, {
                    "invoice_line": line["id"], "state": "draft", "amount": round_money(line["amount"] / rate, "USD"),
                    "start_date": line["defer_from"], "end_date": line["defer_to"], "company": invoice["company"],
                })  # fmt: skip
        self.ledger.append({"kind": "document", "id": invoice["id"]})

    def pay(self, invoice: Record, amount: Decimal, on: date, description: str | None) -> None:
        """Book a payment; paid in full the invoice becomes "paid" at once (the original's worker does that later)."""
        if amount > invoice["amount_to_pay"]:
            raise UserError(f'You cannot add a partial payment on invoice "{_name(invoice)}" greater than what is due.')
        period = self.open_period(on)
        in_dollars = round_money(amount / self.get("currency.currency", invoice["currency"])["rate"], "USD")
        foreign = invoice["currency"] != self.get("company.company", invoice["company"])["currency"]
        line = {
            "account": invoice["account"], "party": invoice["party"], "debit": Decimal(0), "credit": in_dollars,
            "amount_second_currency": -amount if foreign else None,
            "second_currency": invoice["currency"] if foreign else None, "amount": -amount, "date": on,
            "move_origin": _origin(invoice),
        }  # fmt: skip
        bank = {**line, "account": None, "party": None, "debit": in_dollars, "credit": Decimal(0)}
        move = self.insert(MOVE, {
            "number": self.number(f"M{period['name'][:4]}/"), "state": "posted", "date": on,
            "company": invoice["company"], "description": description, "origin": _origin(invoice), "journal": CASH,
            "lines": [["create", [line, bank]]],
        })  # fmt: skip
        left = invoice["amount_to_pay"] - amount
        paid_by = [*invoice["payment_lines"], move["lines"][0]]
        self._assign(INVOICE, invoice, {"amount_to_pay": left, "payment_lines": paid_by})
        if not left:
            self.reconcile([self.get(MOVE_LINE, number) for number in (*invoice["lines_to_pay"], *paid_by)])
        self.ledger.append({"kind": "payment", "id": move["id"], "invoice": invoice["id"], "amount": amount})

    def reconcile(self, lines: list[Record]) -> None:
        """Let lines that come to nothing settle each other, which makes their invoices "paid" at once, as `pay` does."""
        for line in lines:
            if line["reconciliation"]:
                raise UserError(f'You cannot reconcile already reconciled line "{line["amount"]}".')
        together = self.insert("account.move.reconciliation", {"date": max(line["date"] for line in lines)})
        ids = [line["id"] for line in lines]
        for line in lines:
            line["reconciliation"] = together["id"]
        for number in {int(line["move_origin"].split(",")[1]) for line in lines}:
            invoice = self.get(INVOICE, number)
            if set(invoice["lines_to_pay"]) & set(ids):
                self._assign(INVOICE, invoice, {
                    "state": "paid", "amount_to_pay": Decimal(0), "reconciled": together["date"],
                    "reconciliation_lines": [other for other in ids if other not in invoice["lines_to_pay"]],
                    # A payment that was not needed in the end is the customer's, and no longer the invoice's.
                    "payment_lines": [payment for payment in invoice["payment_lines"] if payment in ids],
                })  # fmt: skip

    def lines(self, invoice: Record) -> list[Record]:
        """The lines of a document."""
        return [self.get(LINE, number) for number in invoice["lines"]]

    def code(self, invoice: Record) -> str:
        """The currency code of a document."""
        return str(self.get("currency.currency", invoice["currency"])["code"])

    def open_period(self, on: date) -> Record:
        """The open period of a day; raises UserError."""
        for period in self.tables["account.period"].values():
            if period["start_date"] <= on <= period["end_date"]:
                if period["state"] != "open":
                    raise UserError(f'To continue, you must reopen the period "{period["name"]}" for the date "{on}".')
                return period
        raise UserError(f'To continue, you must create a period for the date "{on}".')

    def number(self, prefix: str) -> str:
        """The next gapless number of a sequence."""
        self._numbers[prefix] += 1
        return f"{prefix}{self._numbers[prefix]:06}"

    def _due_on(self, invoice: Record) -> date:
        base: date = invoice["payment_term_date"] or invoice["invoice_date"]
        if invoice["payment_term"] is None:
            return base
        return base + timedelta(days=self.get("account.invoice.payment_term", invoice["payment_term"])["days"])

    def _has_other_taxes(self, line: Record) -> Any:
        return line["product"] and set(line["taxes"]) != set(self.get("product.product", line["product"])["taxes"])

    def _warn(self, invoice: Record, kind: str, applies: bool) -> None:
        digest = hashlib.md5(f"{INVOICE},{invoice['id']}".encode(), usedforsecurity=False).hexdigest()
        name = f"{digest}.{kind}"
        if applies and name not in self.acknowledged:
            raise UserWarning(name, f'The invoice "{_name(invoice)}" needs a look: {kind.replace("_", " ")}.')


OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "=": lambda value, wanted: value == wanted,
    "!=": lambda value, wanted: value != wanted,
    "in": lambda value, wanted: value in wanted,
    ">": lambda value, wanted: value is not None and value > wanted,
    ">=": lambda value, wanted: value is not None and value >= wanted,
    "<": lambda value, wanted: value is not None and value < wanted,
    "<=": lambda value, wanted: value is not None and value <= wanted,
}


def _require(model: str, values: Mapping[str, Any]) -> None:
    for field in REQUIRED.get(model, ()):
        if values.get(field) in (None, ""):
            raise UserError(f'A value is required for field "{field}" in "{model}".')


def _nested(commands: list[Any], name: str) -> Iterable[Record]:
    return (values for command, *arguments in commands if command == name for values in arguments[0])


def _origin(invoice: Record) -> str:
    return f"{INVOICE},{invoice['id']}"


def _name(invoice: Record) -> str:
    return " ".join(filter(None, [invoice["number"], f"[{invoice['reference']}]"]))
