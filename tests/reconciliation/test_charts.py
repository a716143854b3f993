"""What pages compute before they are drawn: charts that stay inside their frame, and readings side by side."""

from __future__ import annotations

from decimal import Decimal
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciliation.admin import charts
from reconciliation.admin.compare import compare

amounts = st.decimals(0, 10**9, allow_nan=False, places=2)


@given(st.lists(st.lists(st.none() | amounts, min_size=3, max_size=3), max_size=5))
def test_every_point_is_inside_the_frame(series: list[list[Decimal | None]]) -> None:
    chart = charts.lines(["a", "b", "c"], [(str(number), values) for number, values in enumerate(series)])
    for line, values in zip(chart.lines, series, strict=True):
        assert len(line.dots) == sum(value is not None for value in values)
        for x, y, _ in line.dots:
            assert charts.LEFT <= x <= charts.WIDTH - charts.RIGHT and charts.TOP <= y <= charts.HEIGHT - charts.BOTTOM


@given(st.lists(amounts, min_size=1, max_size=8))
def test_more_is_never_drawn_shorter(values: list[Decimal]) -> None:
    chart = charts.bars([(str(number), [("", value)], str(value)) for number, value in enumerate(values)])
    widths = [sum(width for _, width, _, _ in bar.parts) for bar in chart.bars]
    order = sorted(range(len(values)), key=lambda number: values[number])
    assert all(widths[a] <= widths[b] for a, b in pairwise(order))
    assert all(bar.end <= charts.WIDTH for bar in chart.bars)


def test_a_series_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match="each time"):
        charts.lines(["a"], [("x", [1, 2])])


def test_an_axis_may_begin_where_the_values_are() -> None:
    low, high = charts.lines(["a", "b"], [("x", [90, 100])], bottom=90, top=100).lines[0].dots
    assert (low[1], high[1]) == (charts.HEIGHT - charts.BOTTOM, charts.TOP)


@pytest.mark.parametrize(
    ("value", "said"), [(0, "0"), (5.5, "5.5"), (1234, "1,234"), (34000, "34 k"), (1_250_000, "1.2 M"), (Decimal("99.86"), "99.86")]
)
def test_numbers_are_short_and_true(value: float, said: str) -> None:
    assert charts.short(value) == said


def differing(left: object, right: object, **more: bool) -> set[str]:
    return {line.label for line in compare(left, right, **more).lines if line.differs}


def test_ids_are_not_compared_and_everything_else_is() -> None:
    one = {"system": "a", "id": "1", "party": "cus_1", "total": "10.00", "status": "open"}
    other = {"system": "b", "id": "2", "party": "7", "total": "10.0", "status": "paid"}
    assert differing(one, other) == {"Status"}
    assert differing(one, other, names_matter=True) == {"Status", "Customer there"}


def test_parts_are_compared_by_their_sum() -> None:
    parts = {"items": [{"system": "a", "total": "4"}, {"system": "a", "total": "6"}]}
    assert differing(parts, {"system": "b", "total": "10.00"}) == set()
    assert differing(parts, {"system": "b", "total": "9.99"}) == {"Total"}


def test_of_three_systems_each_is_compared_with_the_others() -> None:
    left = {"support": {"system": "s", "total": "10"}, "billing": {"system": "b", "total": "12"}}
    assert differing(left, {"system": "e", "total": "10"}) == {"Total"}
    assert differing({**left, "billing": {"system": "b", "total": "10"}}, {"system": "e", "total": "10"}) == set()


def test_a_side_that_says_nothing_is_an_empty_column() -> None:
    seen = compare({"system": "a", "total": "10"}, {})
    assert [(column.system, column.side) for column in seen.columns] == [("a", "left"), ("", "right")]
    assert seen.lines[0].values == ("10.00", "") and not seen.lines[0].differs


def test_what_is_no_amount_is_shown_as_it_is() -> None:
    assert compare({"system": "a", "total": "NaN"}, {"system": "b", "total": "ten"}).lines[0].values == ("NaN", "ten")
