"""A figure and what it is held against, as a row of a table and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Row:
    """One figure. `ratio` is value ÷ reference; `met` is None when nothing is demanded."""

    name: str
    value: float
    unit: str
    reference: float | None = None
    ratio: float | None = None
    target: str | None = None
    met: bool | None = None

    def json(self) -> dict[str, Any]:
        """The row as plain data, rounded to what was measured."""
        return {key: _rounded(value) if isinstance(value, float) else value for key, value in asdict(self).items()}


def compared(name: str, value: float, unit: str, reference: float, at_least: float | None = None, of: str = "") -> Row:
    """A figure beside its reference; more is better."""
    ratio = value / reference if reference else 0.0
    target = None if at_least is None else f"≥ {at_least:g} × {of or 'reference'}"
    return Row(name, value, unit, reference, ratio, target, None if at_least is None else ratio >= at_least)


def bounded(name: str, value: float, unit: str, below: float, reference: float | None = None) -> Row:
    """A figure that has to stay below a bound."""
    return Row(name, value, unit, reference, value / reference if reference else None, f"< {below:g} {unit}", value < below)


def table(rows: Sequence[Row]) -> str:
    """The rows for people."""
    head = ("what", "value", "unit", "reference", "ratio", "target", "")
    cells = [head, *([_cell(row) for row in rows])]
    widths = [max(len(line[column]) for line in cells) for column in range(len(head))]
    right = (1, 3, 4)
    return "\n".join(
        "  ".join(
            text.rjust(width) if n in right else text.ljust(width) for n, (text, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in cells
    )


def _cell(row: Row) -> tuple[str, ...]:
    verdict = {None: "", True: "met", False: "MISSED"}[row.met]
    ratio = "" if row.ratio is None else f"{row.ratio:.2f}"
    return row.name, _shown(row.value), row.unit, _shown(row.reference), ratio, row.target or "", verdict


def _shown(value: float | None) -> str:
    return "" if value is None else f"{_rounded(value):,}"


def _rounded(value: float) -> float:
    return round(value) if abs(value) >= 100 else round(value, 2)
