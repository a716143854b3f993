"""The desk costs as many statements with many credits as with few, as its bench measures it."""

from __future__ import annotations

from tests.bench.test_bench import COLUMNS, measured


def test_the_bench_of_the_desk_counts_the_same_statements_with_few_and_many_credits() -> None:
    rows = measured("desk", "--credits", "400")
    for row in rows:
        assert row.keys() == COLUMNS.keys()
        assert all(isinstance(row[name], kind) for name, kind in COLUMNS.items())
    counts = [row for row in rows if "SQL statements" in row["name"]]
    assert [row["name"].split(",")[0] for row in counts] == ["desk: queue", "desk: page of a credit"]
    assert all(row["value"] == row["reference"] > 0 and row["met"] for row in counts)
    assert [row["name"] for row in rows if row["unit"] == "ms"] == [
        "desk: queue, p95 with 400 credits", "desk: page of a credit, p95 with 400 credits",
    ]  # fmt: skip
