"""A break keeps its identity across scans, closes when it is gone, and comes back as what it was."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from canonical.models import Transition
from reconciliation import breaking
from reconciliation.breaking import Stored
from reconciliation.matching import match
from reconciliation.models import Break, ReadingRow, Scan
from tests.reconciliation.books import TOLERANCES, corpus, scan_of
from tests.reconciliation.corpus import Case, Corpus

pytestmark = pytest.mark.django_db


@pytest.fixture
def books() -> Corpus:
    return corpus(1)


def scanned(books: Corpus, off: int | None) -> tuple[Scan, Stored]:
    """A scan of one invoice that differs by `off` in the ERP; None: it is not there at all."""
    scan = books.scan = scan_of(books.scan.legal_entity)
    books.rows = []
    one = Case(books)
    said: dict[str, Any] = {"currency": "EUR", "net": Decimal(100), "tax": Decimal(0), "total": Decimal(100)}
    one.add(books.billing, "invoice", "in_1", party=one.cus, on=one.on.replace(day=4), **said)
    if off is not None:
        said |= {"net": Decimal(100 + off), "total": Decimal(100 + off)}
        one.add(books.erp, "invoice", "1", party=one.erp_party, on=one.on.replace(day=4), reference=f"{one.slug}/in_1", **said)
    ReadingRow.objects.bulk_create(books.rows)
    match(scan, TOLERANCES)
    return scan, breaking.store(scan)


def test_a_break_found_again_is_the_same_break_with_the_amounts_of_now(books: Corpus) -> None:
    first, stored = scanned(books, 7)
    assert stored == Stored(new=1, known=0, reopened=0, closed=0)
    kept = Break.objects.get()
    again, stored = scanned(books, 9)
    assert stored == Stored(new=0, known=1, reopened=0, closed=0)
    now = Break.objects.get()
    assert (now.pk, now.first_scan, now.last_scan, now.exposed, now.state) == (kept.pk, first, again, Decimal(9), "open")
    assert list(now.history.order_by("history_id").values_list("history_type", "exposed")) == [("+", Decimal(7)), ("~", Decimal(9))]


def test_a_break_that_is_gone_is_closed_and_says_so(books: Corpus) -> None:
    scanned(books, 7)
    _, stored = scanned(books, 0)
    assert stored == Stored(new=0, known=0, reopened=0, closed=1)
    closed = Break.objects.get()
    assert (closed.state, closed.closed_how) == ("closed", breaking.GONE) and closed.closed_at is not None
    told = Transition.objects.get(object_kind="break", object_id=closed.pk)
    assert (told.source, told.target, told.by) == ("open", "closed", breaking.BY)
    assert closed.history.first().state == "closed"


def test_what_comes_back_is_reopened_and_remembers_when_it_was_first_seen(books: Corpus) -> None:
    first, _ = scanned(books, 7)
    scanned(books, 0)
    _, stored = scanned(books, 7)
    assert stored == Stored(new=0, known=0, reopened=1, closed=0)
    back = Break.objects.exclude(state="closed").get()
    assert (back.state, back.first_scan) == ("reopened", first)
    assert Break.objects.filter(fingerprint=back.fingerprint).count() == 2


@pytest.mark.parametrize(("off", "stands"), [(7, True), (8, False)])
def test_what_a_person_accepted_stays_closed_until_it_is_something_else(books: Corpus, off: int, stands: bool) -> None:
    scanned(books, 7)
    Break.objects.update(state="closed", closed_at="2026-06-16T00:00Z", closed_how="accepted")
    _, stored = scanned(books, off)
    assert stored.reopened == (0 if stands else 1)
    assert Break.objects.exclude(state="closed").count() == (0 if stands else 1)


def test_breaks_of_another_entity_are_left_alone(books: Corpus) -> None:
    scanned(books, 7)
    other = corpus(2, code="other")
    _, stored = scanned(other, 0)
    assert stored == Stored(new=0, known=0, reopened=0, closed=0)
    assert Break.objects.get().state == "open"


def test_storing_the_same_match_twice_changes_nothing(books: Corpus) -> None:
    scan, _ = scanned(books, None)
    before = list(Break.objects.values_list("pk", "state", "exposed"))
    assert breaking.store(scan) == Stored(new=0, known=1, reopened=0, closed=0)
    assert list(Break.objects.values_list("pk", "state", "exposed")) == before
