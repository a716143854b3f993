"""One Tryton, real or twin, and what tests ask of it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from uuid import uuid4

import pytest
import requests

from canonical.commands import (
    EnsureParty,
    PostCreditMemo,
    PostingLine,
    PostInvoice,
    RegisterPayment,
    ReverseDocument,
    Written,
)
from canonical.types import Address
from connectors.sdk.errors import Busy, Unknown
from connectors.sdk.http import Call, Http
from connectors.vendors.tryton import CONNECTOR
from connectors.vendors.tryton.client import TrytonClient
from connectors.vendors.tryton.fake import TrytonTwin

TODAY = datetime.now(UTC).date()


@dataclass
class Erp:
    """One Tryton, real or twin, with a customer of its own for the test."""

    entry: dict[str, Any]
    client: TrytonClient
    party: str = ""
    call: Call = field(default_factory=Call)

    def open(self, http: Http | None = None, **changed: Any) -> TrytonClient:
        entry = self.entry | changed
        settings = CONNECTOR.settings(**{name: entry[name] for name in ("base_url", "database", "company")})
        secrets = CONNECTOR.credentials(**{name: entry[name] for name in ("rest_key", "login", "password")})
        client: TrytonClient = CONNECTOR.open(settings, secrets, http or Http())
        return client

    def run(self, name: str, request: Any, client: TrytonClient | None = None) -> Written:
        return CONNECTOR.commands[name].run(client or self.client, request, self.call)

    def find(self, name: str, request: Any) -> Written | None:
        find = CONNECTOR.commands[name].find
        assert find is not None
        return find(self.client, request, self.call)

    def documents(self, key: str) -> list[dict[str, Any]]:
        """Everything the books hold under a key, drafts too."""
        fields = ["number", "state", "total_amount", "untaxed_amount", "amount_to_pay"]
        return self.client.search(self.call, "account.invoice", [["reference", "=", key]], fields)

    def fetch(self, kind: str, external_id: str) -> Any:
        return CONNECTOR.fetch[kind](self.client, external_id, self.call)[0]

    def is_settled(self, document: Written) -> bool:
        """True when the books say that the document is paid: its lines, as its state waits for Tryton's worker."""
        row = self.client.read(self.call, "account.invoice", int(document.external_id), ["reconciled"])
        return row["reconciled"] is not None

    def open_items(self) -> list[Decimal]:
        """What the customer owes (or, below zero, is owed), line by line."""
        domain = [["party", "=", int(self.party)], ["reconciliation", "=", None]]
        return [line["amount"] for line in self.client.search(self.call, "account.move.line", domain, ["amount"])]

    @contextmanager
    def over(self, http: Http) -> Iterator[None]:
        """Talk over another line for a while, knowing all that was known."""
        usual, self.client._http = self.client._http, http
        try:
            yield
        finally:
            self.client._http = usual

    def period(self, name: str, verb: str) -> None:
        (row,) = self.client.search(self.call, "account.period", [["name", "=", name]], ["name"])
        self.client.rpc(self.call, f"model.account.period.{verb}", [row["id"]])


@pytest.fixture(scope="module")
def twin() -> Iterator[TrytonTwin]:
    with TrytonTwin() as twin:
        yield twin


@pytest.fixture(params=["twin", pytest.param("tryton", marks=pytest.mark.peer)])
def erp(request: pytest.FixtureRequest) -> Erp:
    if request.param == "twin":
        twin: TrytonTwin = request.getfixturevalue("twin")
        entry = {"base_url": twin.url, **twin.entry}
    else:
        info = request.getfixturevalue("tryton_peer")
        entry = {name: getattr(info, name) for name in info.__slots__}
    erp = Erp(entry, client=None)  # type: ignore[arg-type]
    erp.client = erp.open()
    erp.party = erp.run("ensure_party", customer()).external_id
    return erp


def key() -> str:
    return f"test:{uuid4()}"


def customer(**changed: Any) -> EnsureParty:
    address = Address(street="Main Street 1", city="Berlin", postal_code="10115", country="DE")
    given = {"code": f"cus_{uuid4().hex}", "name": "Acme", "email": "ap@acme.example", "address": address}
    return EnsureParty(key=key(), **{**given, **changed})


def line(net: str, tax: str = "0", *codes: str, **more: Any) -> PostingLine:
    return PostingLine(
        description="Annual plan",
        revenue_account=more.pop("revenue_account", "4.2.2"),
        tax_codes=codes,
        net=Decimal(net),
        tax=Decimal(tax),
        **more,
    )


def invoice(erp: Erp, *lines: PostingLine, **changed: Any) -> PostInvoice:
    lines = lines or (line("100.00", "20.00", "VAT20"),)
    total = sum((each.net + each.tax for each in lines), Decimal(0))
    given = {"party": erp.party, "currency": "USD", "document_on": TODAY, "key": key()}
    return PostInvoice(lines=lines, total=total, **{**given, **changed})


def served(net: str, first: date, last: date) -> PostingLine:
    """A line that is deferred over those days."""
    return line(net, product_code="PLAN", deferred_account="2.2.2", service_from=first, service_to=last)


def credit_memo(erp: Erp, *lines: PostingLine, **changed: Any) -> PostCreditMemo:
    total = sum((each.net + each.tax for each in lines), Decimal(0))
    given = {"party": erp.party, "currency": "USD", "document_on": TODAY, "key": key()}
    return PostCreditMemo(lines=lines, total=total, **{**given, **changed})


def paid(erp: Erp, posted: Written, amount: str, **changed: Any) -> RegisterPayment:
    currency = posted.facts.currency or ""
    given = {"invoice": posted.external_id, "party": erp.party, "currency": currency, "paid_on": TODAY, "key": key()}
    return RegisterPayment(amount=Decimal(amount), **{**given, **changed})


def reversal(erp: Erp, posted: Written) -> ReverseDocument:
    facts = posted.facts
    return ReverseDocument(
        key=key(),
        document=posted.external_id,
        document_on=TODAY,
        party=erp.party,
        total=facts.total or Decimal(0),
        currency=facts.currency or "",
    )


class Lossy(Http):
    """Performs every request and loses the answer of one of them, as a dying network does."""

    def __init__(self, lose: int) -> None:
        super().__init__()
        self.lose = lose
        self.sent = 0

    def send(self, call: Call, method: str, *args: Any, **options: Any) -> requests.Response:
        self.sent += 1
        here = self.sent
        response = super().send(call, method, *args, **options)
        if here == self.lose:
            raise Unknown("no answer", code="no_answer")
        return response


def at_once(work: Any, callers: int = 3) -> list[Any]:
    """The results of several simultaneous calls; the first failure is raised."""
    results: list[Any] = []
    failures: list[BaseException] = []

    def one() -> None:
        try:
            results.append(work())
        except BaseException as failure:
            failures.append(failure)

    threads = [threading.Thread(target=one) for _ in range(callers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for failure in failures:
        raise failure
    return results


def until_not_busy(work: Any) -> Any:
    """What the engine does with Busy, without its waits: Tryton itself waited before it said so."""
    while True:
        try:
            return work()
        except Busy:
            continue
