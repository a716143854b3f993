"""The books of the demo company, written into an empty Tryton over JSON-RPC as an administrator would.

One company in USD with five currencies, the standard English chart of accounts, fiscal years around today with strict
(gapless) sequences and monthly periods, taxes, products, payment terms and a bank. The codes below are the whole
interface: the hub's accounting rules and the tests name accounts, taxes and products by them.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from typing import Any

import requests

COMPANY = "Tieout Demo Inc"
CURRENCIES = {  # code: (symbol, digits, units per US dollar)
    "USD": ("$", 2, "1"),
    "EUR": ("€", 2, "0.90"),
    "GBP": ("£", 2, "0.80"),
    "JPY": ("¥", 0, "150"),
    "KWD": ("KD", 3, "0.310"),
}
COUNTRIES = {
    "US": "United States",
    "DE": "Germany",
    "FR": "France",
    "GB": "United Kingdom",
    "JP": "Japan",
    "KW": "Kuwait",
}
ACCOUNTS = {
    "bank": "1.1.1",
    "receivable": "1.2.1",
    "payable": "2.1.1",
    "deferred": "2.2.2",
    "one_off": "4.1.2",
    "revenue": "4.2.2",
    "expense": "2.2.1",
    "tax": "6.3.6",
}
TAXES = {"VAT20": "0.20", "VAT7": "0.07", "VAT0": "0"}
PRODUCTS = {"PLAN": "Subscription plan", "USAGE": "Metered usage", "SETUP": "Set-up fee"}
PAYMENT_TERMS = {"NET0": 0, "NET14": 14, "NET30": 30}
PAYMENT_METHOD = "Bank"


class Rpc:
    """A logged-in JSON-RPC session. Decimals and dates travel tagged; an error answer raises RuntimeError."""

    def __init__(self, base_url: str, database: str, login: str, password: str) -> None:
        self.url = f"{base_url}/{database}/rpc/"
        self.session = requests.Session()
        self.session.trust_env = False
        self.context: dict[str, Any] = {}
        self.user, token = self._send("common.db.login", [login, {"password": password}, "en"])[:2]
        ticket = base64.b64encode(f"{login}:{self.user}:{token}".encode()).decode()
        self.session.headers["Authorization"] = f"Session {ticket}"

    def __call__(self, method: str, *params: Any) -> Any:
        return self._send(method, [*params, self.context])

    def create(self, model: str, **values: Any) -> int:
        """Create one record and return its id."""
        return int(self(f"model.{model}.create", [values])[0])

    def search(self, model: str, *domain: list[Any]) -> list[int]:
        """Ids of the records that match every clause."""
        return list(self(f"model.{model}.search", list(domain), 0, None, None))

    def _send(self, method: str, params: list[Any]) -> Any:
        answer = self.session.post(self.url, json=_tagged({"id": 1, "method": method, "params": params}), timeout=120)
        answer.raise_for_status()
        body = answer.json()
        if "error" in body:
            raise RuntimeError(f"{method}: {str(body['error'])[:300]}")
        return body["result"]


def write_books(rpc: Rpc, today: date) -> dict[str, Any]:
    """Fill an empty database and return {"company", "rest_key"}."""
    company = _company(rpc)
    _countries(rpc)
    accounts = _chart(rpc, company)
    for year in (today.year - 1, today.year, today.year + 1):
        _fiscal_year(rpc, company, year)
    _configure(rpc, accounts)
    _products(rpc, accounts, _taxes(rpc, company, accounts))
    _payments(rpc, company, accounts)
    _close_setup_dialogs(rpc)
    return {"company": company, "rest_key": _rest_key(rpc)}


def _company(rpc: Rpc) -> int:
    rpc.context = rpc("model.res.user.get_preferences", True)
    currencies = {}
    for code, (symbol, digits, rate) in CURRENCIES.items():
        rounding = Decimal(1).scaleb(-digits)
        values = {"code": code, "symbol": symbol, "rounding": rounding, "digits": digits}
        currencies[code] = rpc.create("currency.currency", name=code, **values)
        rpc.create("currency.currency.rate", currency=currencies[code], date=date(2000, 1, 1), rate=Decimal(rate))
    company = rpc.create("company.company", party=rpc.create("party.party", name=COMPANY), currency=currencies["USD"])
    rpc("model.res.user.write", [rpc.user], {"companies": [["add", [company]]], "company": company})
    rpc.context = rpc("model.res.user.get_preferences", True)
    return company


def _countries(rpc: Rpc) -> None:
    for code, name in COUNTRIES.items():
        rpc.create("country.country", code=code, name=name)


def _chart(rpc: Rpc, company: int) -> dict[str, int]:
    """Create the chart through Tryton's own wizard; account ids by the names in ACCOUNTS."""
    wizard = "wizard.account.create_chart"
    template = rpc("model.ir.model.data.get_id", "account.account_template_root_en")
    session = rpc(f"{wizard}.create")[0]
    rpc(f"{wizard}.execute", session, {}, "account")
    rpc(f"{wizard}.execute", session, {"account": {"company": company, "account_template": template}}, "create_account")
    accounts = {name: rpc.search("account.account", ["code", "=", code])[0] for name, code in ACCOUNTS.items()}
    properties = {
        "company": company,
        "account_receivable": accounts["receivable"],
        "account_payable": accounts["payable"],
        "category_account_expense": accounts["expense"],
        "category_account_revenue": accounts["revenue"],
    }
    rpc(f"{wizard}.execute", session, {"properties": properties}, "create_properties")
    rpc(f"{wizard}.delete", session)
    return accounts


def _fiscal_year(rpc: Rpc, company: int, year: int) -> None:
    types = {name: rpc.search("ir.sequence.type", ["name", "=", name])[0] for name in ("Account Move", "Invoice")}

    def sequence(name: str, prefix: str, kind: str) -> int:
        values = {"sequence_type": types[kind], "company": company, "prefix": f"{prefix}{year}/", "padding": 6}
        return rpc.create("ir.sequence.strict", name=f"{name} {year}", **values)

    invoices, credits = sequence("Invoice", "INV", "Invoice"), sequence("Credit note", "CN", "Invoice")
    numbering = {
        "company": company,
        "out_invoice_sequence": invoices,
        "out_credit_note_sequence": credits,
        "in_invoice_sequence": invoices,
        "in_credit_note_sequence": credits,
    }
    fiscal_year = rpc.create(
        "account.fiscalyear",
        name=str(year),
        company=company,
        start_date=date(year, 1, 1),
        end_date=date(year, 12, 31),
        move_sequence=sequence("Move", "M", "Account Move"),
        invoice_sequences=[["create", [numbering]]],
    )
    rpc("model.account.fiscalyear.create_period", [fiscal_year])


def _configure(rpc: Rpc, accounts: Mapping[str, int]) -> None:
    exchange = rpc.search("account.account", ["code", "=", "6.2.1"])[0]
    values = {
        "deferred_account_revenue": accounts["deferred"],
        "currency_exchange_journal": rpc.search("account.journal", ["code", "=", "EXC"])[0],
        "currency_exchange_credit_account": exchange,
        "currency_exchange_debit_account": exchange,
    }
    rpc("model.account.configuration.write", [1], values)


def _taxes(rpc: Rpc, company: int, accounts: Mapping[str, int]) -> dict[str, int]:
    shared = {"company": company, "invoice_account": accounts["tax"], "credit_note_account": accounts["tax"]}
    return {
        name: rpc.create("account.tax", name=name, description=name, type="percentage", rate=Decimal(rate), **shared)
        for name, rate in TAXES.items()
    }


def _products(rpc: Rpc, accounts: Mapping[str, int], taxes: Mapping[str, int]) -> None:
    category = rpc.create(
        "product.category",
        name="Services",
        accounting=True,
        account_revenue=accounts["revenue"],
        account_expense=accounts["expense"],
        customer_taxes=[["add", [taxes["VAT20"]]]],
    )
    unit = rpc.search("product.uom", ["symbol", "=", "u"])[0]
    for code, name in PRODUCTS.items():
        variant = [["create", [{"suffix_code": code}]]]
        values = {"type": "service", "default_uom": unit, "list_price": Decimal("100.00"), "account_category": category}
        rpc.create("product.template", name=name, products=variant, **values)


def _payments(rpc: Rpc, company: int, accounts: Mapping[str, int]) -> None:
    for name, days in PAYMENT_TERMS.items():
        remainder = {"type": "remainder", "relativedeltas": [["create", [{"days": days}]]]}
        rpc.create("account.invoice.payment_term", name=name, lines=[["create", [remainder]]])
    rpc.create(
        "account.invoice.payment.method",
        name=PAYMENT_METHOD,
        company=company,
        journal=rpc.search("account.journal", ["code", "=", "CASH"])[0],
        debit_account=accounts["bank"],
        credit_account=accounts["bank"],
    )


def _close_setup_dialogs(rpc: Rpc) -> None:
    if dialogs := rpc.search("ir.module.config_wizard.item", ["state", "=", "open"]):
        rpc("model.ir.module.config_wizard.item.write", dialogs, {"state": "done"})


def _rest_key(rpc: Rpc) -> str:
    application = rpc.create("res.user.application", user=rpc.user, application="rest")
    (record,) = rpc("model.res.user.application.read", [application], ["key", "state"])
    if record["state"] != "validated":
        rpc("model.res.user.application.validate_", [application])
    return str(record["key"])


def _tagged(value: Any) -> Any:
    if isinstance(value, Decimal):
        return {"__class__": "Decimal", "decimal": str(value)}
    if isinstance(value, date):
        return {"__class__": "date", "year": value.year, "month": value.month, "day": value.day}
    if isinstance(value, dict):
        return {key: _tagged(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_tagged(item) for item in value]
    return value
