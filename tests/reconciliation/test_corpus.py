"""Matching finds every break of the labelled corpus, and nothing else."""

from __future__ import annotations

from collections import Counter

import pytest

from reconciliation import breaking
from reconciliation.matching import match
from reconciliation.models import Break
from tests.reconciliation.books import TOLERANCES, candidates, corpus
from tests.reconciliation.corpus import CURRENCIES, found

pytestmark = pytest.mark.django_db

SEED, HELD_OUT = 20260615, 977


@pytest.mark.parametrize(("seed", "few", "many"), [(SEED, 9, 14), (HELD_OUT, 3, 26)], ids=["seed", "held out"])
def test_every_break_is_found_and_nothing_else(seed: int, few: int, many: int) -> None:
    made = corpus(seed).fill(few, many)
    match(made.scan, TOLERANCES)
    all_found = candidates()
    labelled, seen = made.labels, found(all_found)
    assert (sorted(map(str, labelled - seen)), sorted(map(str, seen - labelled))) == ([], [])
    assert len(all_found) == len(seen)
    assert len(labelled) >= 300


def test_the_corpus_has_every_type_and_currency() -> None:
    made = corpus(SEED).fill(9, 14)
    types = Counter(label.type for label in made.labels)
    # An orphan stands for a credit that the hub approved: it takes a credit's life, and is tested beside this corpus.
    assert set(Break.Type.values) - set(types) == {"orphan_credit"}
    assert {row.currency for row in made.rows} >= set(CURRENCIES)


def test_what_is_found_becomes_breaks() -> None:
    made = corpus(SEED).fill(2, 3)
    match(made.scan, TOLERANCES)
    stored = breaking.store(made.scan)
    assert stored.new == len(made.labels) == Break.objects.count()
    assert not Break.objects.filter(exposed__lt=0).exists()
