"""The benches run, small, and say what they measured in the promised shape; absolute figures are nobody's promise here."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from hub.bench import report
from hub.config import ROOT

COLUMNS = {
    "name": str, "value": (int, float), "unit": str, "reference": (int, float, type(None)), "ratio": (int, float, type(None)),
    "target": (str, type(None)), "met": (bool, type(None)),
}  # fmt: skip
TARGETS = {
    "ingest": {"ingest: webhooks accepted", "ingest: p99 at 80 % of the peak"},
    "engine": {
        "engine: local steps, beside a loop by hand", "engine: steps with a call, beside a loop by hand",
        "engine: steps with a call, 2 processes, beside Celery",
    },
    "workflow": {"workflow: order_to_cash runs with 40 before"},
    "reconcile": {
        "reconcile: 1,000 documents on each side", "reconcile: 1,000 documents on each side, Python grew by at most",
        "reconcile: 5,000 documents on each side", "reconcile: 5,000 documents on each side, Python grew by at most",
        "reconcile: a document of 5,000, beside one of 1,000",
        "reconcile: a document of 100 that nothing links, beside one of 10",
    },
}  # fmt: skip


def measured(name: str, *options: str) -> list[dict[str, Any]]:
    done = subprocess.run(
        [sys.executable, "manage.py", "bench", name, "--json", "--fast", "--seconds", "0.2", *options],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    rows: list[dict[str, Any]] = json.loads(done.stdout)
    return rows


SIZES = [("ingest", ()), ("engine", ()), ("workflow", ("--history", "20", "40")), ("reconcile", ("--rows", "5000", "1000"))]


@pytest.mark.parametrize(("name", "options"), SIZES)
def test_a_bench_says_what_it_measured_as_json(name: str, options: tuple[str, ...]) -> None:
    rows = measured(name, *options)
    for row in rows:
        assert row.keys() == COLUMNS.keys(), row
        assert all(isinstance(row[column], kind) for column, kind in COLUMNS.items()), row
        assert row["name"].startswith(f"{name}: ") and row["value"] >= 0, row
        assert (row["target"] is None) == (row["met"] is None), row
        assert (row["reference"] is None) == (row["ratio"] is None), row
    assert {row["name"] for row in rows if row["target"]} == TARGETS[name]
    assert len({row["name"] for row in rows}) == len(rows)


def test_a_figure_meets_its_target_or_says_that_it_does_not() -> None:
    assert report.compared("a", 60, "1/s", 100, 0.6).met is True
    assert report.compared("a", 59, "1/s", 100, 0.6).met is False
    assert report.compared("a", 59, "1/s", 100).met is None
    assert report.compared("a", 59, "1/s", 0).ratio == 0
    assert report.bounded("a", 249, "ms", 250).met is True
    assert report.bounded("a", 250, "ms", 250).met is False


def test_the_table_shows_every_row_and_names_what_was_missed() -> None:
    shown = report.table([report.compared("quick", 9_000, "1/s", 10_000, 0.5), report.bounded("slow", 300, "ms", 250)])
    assert [line.split()[-1] for line in shown.splitlines()[1:]] == ["met", "MISSED"]
    assert "9,000" in shown
