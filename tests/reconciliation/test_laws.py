"""What matching promises of any readings whatever: total, symmetric, deterministic, and no money appears or disappears."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterator
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection, transaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from connectors.models import Connection
from reconciliation.matching import PAIRS, Tolerances, match
from reconciliation.models import Fate, KeyMatch, Outcome, ReadingRow, Scan
from tests.reconciliation.books import company, scan_of
from tests.reconciliation.corpus import AS_OF

pytestmark = pytest.mark.django_db
INVOICES = PAIRS[:1]
Books = tuple[Any, Connection, Connection]
CHECKED = settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])

document = st.fixed_dictionaries(
    {
        "key": st.integers(0, 6),
        "total": st.integers(0, 6),
        "tax": st.sampled_from([0, 1]),
        "currency": st.sampled_from(["EUR", "JPY"]),
        "day": st.integers(0, 40),
        "party": st.integers(0, 2),
        "status": st.sampled_from(["open", "open", "open", "paid", "void", "draft"]),
        "number": st.sampled_from(["", "", "N1", "N2"]),
        "fresh": st.booleans(),
    }
)
sides = st.tuples(st.lists(document, max_size=9), st.lists(document, max_size=9))
tolerances = st.builds(
    Tolerances, amount=st.sampled_from([{}, {"EUR": Decimal(1)}]), days=st.sampled_from([0, 5]),
    closed_until=st.sampled_from([None, date(2026, 4, 30)]),
)  # fmt: skip


@pytest.fixture
def books() -> Books:
    entity, billing, erp, _ = company()
    return entity, billing, erp


def fill(scan: Scan, books: Books, left: list[dict[str, Any]], right: list[dict[str, Any]], order: random.Random) -> None:
    """Store the documents of both sides, in an order of their own."""
    _, billing, erp = books
    rows = [
        ReadingRow(scan=scan, connection=side, kind="party", external_id=f"c{n}", status="active",
                   reference="" if side == billing else f"{billing.slug}/c{n}")
        for side in (billing, erp) for n in range(3)
    ]  # fmt: skip
    for side, documents in ((billing, left), (erp, right)):
        for n, said in enumerate(documents):
            total = Decimal(said["total"])
            tax = min(Decimal(said["tax"]), total)
            key = "" if said["key"] == 0 else f"{billing.slug}/in{said['key']}"
            name = f"in{n}" if side == billing else f"e{n}"
            rows.append(ReadingRow(
                scan=scan, connection=side, kind="invoice", external_id=name, reference="" if side == billing else key,
                number=said["number"], party=f"c{said['party']}", currency=said["currency"], net=total - tax, tax=tax, total=total,
                on=date(2026, 4, 10) + timedelta(days=said["day"]), status=said["status"],
                updated_at=AS_OF if said["fresh"] else AS_OF - timedelta(days=9),
            ))  # fmt: skip
    order.shuffle(rows)
    ReadingRow.objects.bulk_create(rows)


@pytest.fixture(autouse=True)
def _one_scan_at_a_time() -> Iterator[None]:
    with transaction.atomic():
        yield


def forget_outcomes() -> None:
    Fate.objects.all().delete()
    KeyMatch.objects.all().delete()


def fresh_scan(books: Books) -> Scan:
    forget_outcomes()
    ReadingRow.objects.all().delete()
    return scan_of(books[0])


@CHECKED
@given(documents=sides, given_tolerances=tolerances)
def test_every_reading_has_exactly_one_fate_and_sums_add_up(books: Books, documents: Any, given_tolerances: Tolerances) -> None:
    scan = fresh_scan(books)
    fill(scan, books, *documents, random.Random(1))
    outcome = match(scan, given_tolerances)
    rows = {row.pk: row for row in ReadingRow.objects.filter(scan=scan).select_related("connection")}
    outcomes = list(Outcome.objects.filter(scan=scan))
    assert sorted(told.reading_id for told in outcomes) == sorted(rows)
    together = defaultdict(list)
    for told in outcomes:
        assert (told.token == "") == (told.fate == "excused")
        if told.pair == "invoices" and told.fate == "matched":
            together[told.token].append((rows[told.reading_id], told.rule))
    for held in together.values():  # what is matched is on both sides, by one rule, and agrees in money but for the tolerance
        sides = [sum(row.total for row, _ in held if row.connection == system) for system in books[1:]]
        assert {row.connection for row, _ in held} == set(books[1:]) and len({rule for _, rule in held}) == 1
        assert sides[0] == sides[1] or held[0][1].startswith("tolerance")
    for side, system in (("left", books[1]), ("right", books[2])):
        expected: dict[str, list[Any]] = {}
        for row in ReadingRow.objects.filter(scan=scan, kind="invoice", connection=system):
            sums = expected.setdefault(row.currency, [0, Decimal(0)])
            sums[0], sums[1] = sums[0] + 1, sums[1] + row.total
        tallied: dict[str, list[Any]] = {}
        for whys in outcome.counts.get("invoices", {}).get(side, {}).values():
            for by_currency in whys.values():
                for currency, said in by_currency.items():
                    sums = tallied.setdefault(currency, [0, Decimal(0)])
                    sums[0], sums[1] = sums[0] + said["count"], sums[1] + Decimal(said["amount"])
        assert tallied == expected


MIRRORED = {"missing_left": "missing_right", "missing_right": "missing_left"}


def seen() -> set[tuple[str, frozenset[str]]]:
    """Type and ids of every candidate."""
    with connection.cursor() as cursor:
        cursor.execute("""SELECT type, array(SELECT jsonb_path_query("left", 'strict $.**.id')->>0
                          UNION ALL SELECT jsonb_path_query("right", 'strict $.**.id')->>0) FROM recon_candidate WHERE pair
                              = 'invoices'""")
        return {(type_, frozenset(ids)) for type_, ids in cursor.fetchall()}


@CHECKED
@given(documents=sides, given_tolerances=tolerances)
def test_seen_from_the_other_side_only_what_is_missing_swaps(books: Books, documents: Any, given_tolerances: Tolerances) -> None:
    scan = fresh_scan(books)
    fill(scan, books, *documents, random.Random(2))
    match(scan, given_tolerances, INVOICES)
    there = seen()
    forget_outcomes()
    match(scan, given_tolerances, [pair.swapped() for pair in INVOICES])
    assert {(MIRRORED.get(type_, type_), ids) for type_, ids in seen()} == there


@CHECKED
@given(documents=sides, given_tolerances=tolerances, seeds=st.tuples(st.integers(), st.integers()))
def test_order_and_ids_of_the_rows_decide_nothing(
    books: Books, documents: Any, given_tolerances: Tolerances, seeds: tuple[int, int]
) -> None:
    hashes = set()
    for seed in seeds:
        scan = fresh_scan(books)
        fill(scan, books, *documents, random.Random(seed))
        hashes.add(match(scan, given_tolerances).result_hash)
    assert len(hashes) == 1


def test_another_amount_gives_another_hash(books: Books) -> None:
    one = {"key": 1, "total": 5, "tax": 0, "currency": "EUR", "day": 1, "party": 1, "status": "open", "number": "", "fresh": False}
    hashes = set()
    for total in (5, 4):
        scan = fresh_scan(books)
        fill(scan, books, [one, one], [{**one, "total": total}], random.Random(3))
        hashes.add(match(scan).result_hash)
    assert len(hashes) == 2
