"""What the conformance suite needs to try this connector against its twin."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from canonical.commands import (
    EnsureParty,
    JournalLine,
    PostCreditMemo,
    PostDocument,
    PostingLine,
    PostInvoice,
    PostJournal,
    RegisterPayment,
    ReverseDocument,
)
from canonical.types import CanonicalObject
from connectors.sdk.errors import BadPayload
from connectors.sdk.kit import Kit, Probe
from connectors.vendors.tryton import CONNECTOR, fake_deferring, mapping
from connectors.vendors.tryton.client import Credentials, Settings, untag
from connectors.vendors.tryton.extracts import PAGE as BULK
from connectors.vendors.tryton.fake import TrytonTwin
from connectors.vendors.tryton.fake_books import DEFERRED, INVOICE
from connectors.vendors.tryton.reading import PAGE

PUSHED = "Tryton pushes nothing to anyone; its changes are swept"
LINE = PostingLine(description="Annual plan", revenue_account="4.2.2", tax_codes=("VAT20",), net=Decimal(100), tax=Decimal(20))
POST = r"POST /twin/rpc/model\.account\.invoice\.post"
SETTLE = r"POST /twin/rpc/wizard\.account\.move\.reconcile_lines\.execute/start"


def a_party(twin: TrytonTwin) -> str:
    """A new customer with an address."""
    with twin.lock:
        values = {"name": "Acme", "addresses": [["create", [{"street": "Main Street 1"}]]]}
        return str(twin.db.create("party.party", values)["id"])


def a_document(twin: TrytonTwin, quantity: int = 1, key: str = "", **more: Any) -> dict[str, Any]:
    """A new posted invoice over 120.00 USD, or with quantity -1 a credit note."""
    party = int(a_party(twin))
    with twin.lock:
        line = {
            "type": "line",
            "account": 6,
            "company": 1,
            "currency": 1,
            "quantity": quantity,
            "taxes": [["add", [1]]],
        }
        address = twin.db.get("party.party", party)["addresses"][0]
        values = {"type": "out", "company": 1, "party": party, "invoice_address": address, "currency": 1, "account": 2}
        dates = {"invoice_date": twin.db.today, "payment_term_date": twin.db.today, "journal": 1, "reference": key}
        lines = {"lines": [["create", [{**line, "unit_price": Decimal("100.00"), **more}]]]}
        invoice = twin.db.create(INVOICE, {**values, **dates, **lines})
        twin.db.post(invoice)
    return invoice


def a_payment(twin: TrytonTwin) -> int:
    """A new invoice, paid; the move."""
    invoice = a_document(twin)
    with twin.lock:
        twin.db.pay(invoice, invoice["amount_to_pay"], twin.db.today, "a payment")
        return int(twin.db.ledger[-1]["id"])


def a_schedule(twin: TrytonTwin) -> str:
    """A new invoice whose line is recognised over the days to come."""
    days: dict[str, Any] = {"product": 1, "defer_from": twin.db.today, "defer_to": twin.db.today + timedelta(days=90)}
    invoice = a_document(twin, **days)
    with twin.lock:
        (schedule,) = twin.db.search(DEFERRED, [["invoice_line", "=", invoice["lines"][0]]])
        fake_deferring.start(twin.db, schedule)
    return f"{invoice['id']}:{invoice['lines'][0]}"


def a_product(twin: TrytonTwin) -> str:
    """A new product."""
    with twin.lock:
        return str(twin.db.insert("product.product", {"code": "MORE", "name": "More", "taxes": [1], "default_uom": 1})["id"])


def document_of(request: type[PostDocument]) -> Callable[[TrytonTwin, str], PostDocument]:
    """A document of that kind over 120.00 EUR for a new customer."""

    def make(twin: TrytonTwin, key: str) -> PostDocument:
        shared = {"currency": "EUR", "document_on": twin.db.today, "total": Decimal(120), "lines": (LINE,)}
        return request.model_validate({"key": key, "party": a_party(twin), **shared})

    return make


def reversal(twin: TrytonTwin, key: str) -> ReverseDocument:
    """The reversal of a new invoice."""
    invoice = a_document(twin)
    about = {"document": str(invoice["id"]), "party": str(invoice["party"]), "document_on": twin.db.today}
    return ReverseDocument.model_validate({"key": key, "currency": "USD", "total": Decimal(120), **about})


def payment(twin: TrytonTwin, key: str) -> RegisterPayment:
    """All of a new invoice, paid."""
    invoice = a_document(twin)
    about = {"invoice": str(invoice["id"]), "party": str(invoice["party"]), "paid_on": twin.db.today}
    return RegisterPayment.model_validate({"key": key, "currency": "USD", "amount": Decimal(120), **about})


def journal(twin: TrytonTwin, key: str) -> PostJournal:
    """Two cents of a new schedule, out of revenue."""
    lines = (JournalLine(account="4.2.2", debit=Decimal("0.02")), JournalLine(account="2.2.2", credit=Decimal("0.02")))
    about = {"about_kind": "recognition", "about": a_schedule(twin), "document_on": twin.db.today}
    return PostJournal.model_validate({"key": key, "currency": "USD", "total": Decimal("0.02"), "lines": lines, **about})


def parties(twin: TrytonTwin, request: EnsureParty) -> int:
    """How many customers have the code."""
    return len(twin.db.search("party.party", [["code", "=", request.code]]))


def listed(table: str) -> Callable[[TrytonTwin, Any], int]:
    """How many documents or payments of the ledger carry the request's key."""
    return lambda twin, request: sum(entry["key"] == request.key for entry in twin.books()[table])


def parse(body: bytes) -> Sequence[CanonicalObject]:
    """A record as REST answers it."""
    try:
        row = json.loads(body, object_hook=untag, parse_float=Decimal)
        if row["__name__"] == "party.party":
            return [mapping.party(row)]
        if row["__name__"] == INVOICE:
            return [mapping.document(row)]
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise BadPayload("not a record of Tryton") from None
    raise BadPayload(f"a {row['__name__']} is not ours to read")


KIT = Kit(
    connector=CONNECTOR,
    folder=Path(__file__).parent,
    twin=TrytonTwin,
    settings=lambda twin: Settings(base_url=twin.url, database=twin.entry["database"]),
    credentials=Credentials.model_validate({k: TrytonTwin.entry[k] for k in ("rest_key", "login", "password")}),
    parse=parse,
    probes={
        "ensure_party": Probe(
            lambda twin, key: EnsureParty(key=key, code=key, name="Acme"),
            parties,
            r"POST /twin/rest/model/party\.party",
        ),
        "post_invoice": Probe(document_of(PostInvoice), listed("documents"), POST),
        "post_credit_memo": Probe(document_of(PostCreditMemo), listed("documents"), POST),
        "reverse_invoice": Probe(reversal, listed("documents"), SETTLE),
        "post_journal": Probe(journal, listed("journals"), r"POST /twin/rpc/model\.account\.move\.post"),
        "register_payment": Probe(payment, listed("payments"), r"POST /twin/rpc/wizard\.account\.invoice\.pay\.execute/choice"),
    },
    fill={
        "parties": lambda twin: {a_party(twin) for _ in range(PAGE + 20)},
        "documents": lambda twin: {str(a_document(twin, -1 if n % 5 == 0 else 1)["id"]) for n in range(PAGE + 20)},
        "invoice": lambda twin: {str(a_document(twin)["id"]) for _ in range(BULK + 20)},
        "credit_memo": lambda twin: {str(a_document(twin, -1)["id"]) for _ in range(BULK + 20)},
        "payment": lambda twin: {str(a_payment(twin)) for _ in range(BULK + 20)},
        "recognition": lambda twin: {a_schedule(twin) for _ in range(BULK + 20)},
        "party": lambda twin: {a_party(twin) for _ in range(BULK + 20)},
        "product": lambda twin: {a_product(twin) for _ in range(BULK + 20)},
    },
    disturb=a_document,
    known={
        "party": a_party,
        "invoice": lambda twin: str(a_document(twin)["id"]),
        "credit_memo": lambda twin: str(a_document(twin, -1)["id"]),
    },
    omissions={"signature": PUSHED, "timestamp": PUSHED, "unknown_event": PUSHED, "resent": PUSHED},
)
