"""What a corpus and a case are made of."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

from canonical.money import from_minor, quantum
from connectors.models import Connection
from reconciliation.models import ReadingRow, Scan

CURRENCIES = ("EUR", "USD", "GBP", "JPY", "KWD", "CHF")
AS_OF = datetime(2026, 6, 15, 12, tzinfo=UTC)
CLOSED_UNTIL = date(2026, 3, 31)
"""The books of the corpus are closed until this day."""


@dataclass(frozen=True, slots=True)
class Label:
    """A break that must be found: in this pair, of this type, and about just these ids."""

    pair: str
    type: str
    ids: frozenset[str]


def ids_in(*said: Any) -> frozenset[str]:
    """All ids that what a break shows of its sides names."""
    found: set[str] = set()
    for value in said:
        if isinstance(value, dict):
            found |= {str(value["id"])} if "id" in value else set()
            found |= set(value.get("ids") or ())
            found |= ids_in(*(inner for name, inner in value.items() if name not in ("id", "ids")))
        elif isinstance(value, list):
            found |= ids_in(*value)
    return frozenset(found)


@dataclass
class Corpus:
    """Readings of one scan and the labels of the breaks in them."""

    scan: Scan
    billing: Connection
    erp: Connection
    support: Connection
    seed: int
    rows: list[ReadingRow] = field(default_factory=list)
    labels: set[Label] = field(default_factory=set)
    cases: int = 0

    def __post_init__(self) -> None:
        self.rng = random.Random(self.seed)

    def fill(self, few: int = 7, many: int = 14) -> Corpus:
        """Make `few` to `many` cases of every kind, in random order, and store their readings."""
        kinds = [make for make in CASES for _ in range(self.rng.randint(few, many))]
        self.rng.shuffle(kinds)
        for make in kinds:
            self.cases += 1
            make(Case(self))
        self.rng.shuffle(self.rows)
        ReadingRow.objects.bulk_create(self.rows, batch_size=1000)
        return self


class Case:
    """One case: a customer of its own, a currency, an amount, a day; and the readings it adds."""

    def __init__(self, corpus: Corpus) -> None:
        self.corpus, self.rng, self.n = corpus, corpus.rng, corpus.cases
        self.currency = self.rng.choice(CURRENCIES)
        self.unit = quantum(self.currency)
        self.net, self.tax = self.amount(), Decimal(0)
        self.tax = (self.net * self.rng.choice([0, 7, 19, 20]) / 100).quantize(self.unit)
        self.on = date(2026, 4, 3) + timedelta(days=self.rng.randrange(20))
        self.cus, self.erp_party = f"cus_{corpus.seed}_{self.n}", f"{corpus.seed % 97}{self.n:05d}"
        self.add(corpus.billing, "party", self.cus, extra={"name": f"Customer {self.n}"})
        self.add(corpus.erp, "party", self.erp_party, number=f"{self.slug}/{self.cus}", reference=f"{self.slug}/{self.cus}")
        self.made = 0

    @property
    def slug(self) -> str:
        return self.corpus.billing.slug

    @property
    def total(self) -> Decimal:
        return self.net + self.tax

    def amount(self) -> Decimal:
        """From a few minor units to millions, seldom round."""
        return from_minor(self.rng.randrange(5_000, 10 ** self.rng.choice([5, 6, 8])), self.currency)

    def add(self, connection: Connection, kind: str, external_id: str, **said: Any) -> str:
        """A reading; returns its id."""
        said.setdefault("status", "active" if kind in ("party", "product") else "open")
        said.setdefault("updated_at", AS_OF - timedelta(days=20))
        if kind == "payment":
            said |= {"net": None, "tax": None}
        self.corpus.rows.append(
            ReadingRow(scan=self.corpus.scan, connection=connection, kind=kind, external_id=external_id, **said)
        )
        return external_id

    def fresh_id(self) -> str:
        self.made += 1
        return f"{self.corpus.seed}-{self.n}-{self.made}"

    def money(self, total: Decimal | None = None, **said: Any) -> dict[str, Any]:
        """Amounts, currency and day, unless `said` says otherwise."""
        net, tax = (self.net, self.tax) if total is None else (total, Decimal(0))
        return {"currency": self.currency, "net": net, "tax": tax, "total": net + tax, "on": self.on, **said}

    def billed(self, kind: str = "invoice", **said: Any) -> str:
        """A document in billing."""
        name = {"invoice": "in", "credit_memo": "cn", "payment": "pi"}[kind] + "_" + self.fresh_id()
        status = {"invoice": "open", "credit_memo": "issued", "payment": "succeeded"}[kind]
        number = {} if kind == "payment" else {"number": f"B-{name}"}
        return self.add(self.corpus.billing, kind, name, **{"party": self.cus, "status": status, **number, **self.money(**said)})

    def posted(self, key: str = "", kind: str = "invoice", **said: Any) -> str:
        """A document in the ERP; `key` is billing's id of its counterpart."""
        name, status = self.fresh_id(), {"invoice": "open", "credit_memo": "issued", "payment": "succeeded"}[kind]
        reference = f"{self.slug}/{key}" if key else ""
        of = {"party": self.erp_party, "status": status, "number": f"E-{name}", "reference": reference}
        return self.add(self.corpus.erp, kind, name, **{**of, **self.money(**said)})

    def breaks(self, pair: str, type_: str, *ids: str) -> None:
        """Label: this must be found."""
        self.corpus.labels.add(Label(pair, type_, frozenset(ids)))

    def paid(self) -> tuple[str, str]:
        """An invoice that both have, for payments to be about."""
        invoice = self.billed()
        return invoice, self.posted(invoice)


CASES: list[Callable[[Case], None]] = []


def case(make: Callable[[Case], None]) -> Callable[[Case], None]:
    """Add a kind of case."""
    CASES.append(make)
    return make


def found(candidates: Iterable[tuple[str, str, Any, Any]]) -> set[Label]:
    """What a match found, in the words of labels; `candidates` are (pair, type, left, right)."""
    return {Label(pair, type_, ids_in(left, right)) for pair, type_, left, right in candidates}
