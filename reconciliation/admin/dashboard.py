"""The dashboard: the figures of one entity as charts, each with its numbers and the SQL it comes from."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.urls import path

from canonical.models import LegalEntity
from reconciliation.admin.charts import Bars, Lines, bars, lines
from reconciliation.admin.closes import seen_by, show
from reconciliation.admin.words import pair_title, sums
from reconciliation.figures import Figure, Rows, figures
from reconciliation.models import Break, Mend, Scan

LOOK = "reconciliation.view_break"
SPANS = (30, 90, 365)
SERIES = 8
"""Lines in one chart, at most: as many as there are colours."""
FLOORS = (Decimal(95), Decimal(80), Decimal(50))
"""Where the axis of a share may begin, so that what differs can be seen."""


@dataclass(frozen=True, slots=True)
class Shown:
    """A figure on the page: a number, or a chart with the numbers it draws."""

    figure: Figure
    number: str = ""
    lines: Lines | None = None
    bars: Bars | None = None
    columns: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = field(default_factory=list)


def _liveliest(entities: list[LegalEntity]) -> LegalEntity | None:
    last = Scan.objects.filter(state="done").order_by("-as_of").values_list("legal_entity_id", flat=True).first()
    return next((one for one in entities if one.pk == last), entities[0] if entities else None)


def page(request: HttpRequest) -> HttpResponse:
    """The figures of the entity that was chosen, else of the one that was scanned last, else of the first."""
    entities = list(LegalEntity.objects.order_by("code"))
    entity = next((one for one in entities if one.code == request.GET.get("entity")), _liveliest(entities))
    asked = request.GET.get("days", "")
    days = int(asked) if asked in map(str, SPANS) else SPANS[1]
    shown = [drawn(figure) for figure in figures(entity, days=days)] if entity else []
    context = {
        "title": "Dashboard", "entities": entities, "entity": entity, "days": days, "spans": SPANS,
        "numbers": [one for one in shown if one.number], "charts": [one for one in shown if not one.number],
    }  # fmt: skip
    return show(request, "admin/reconciliation/dashboard.html", context)


def drawn(figure: Figure) -> Shown:
    """A figure as it is drawn."""
    value = figure.value
    if not isinstance(value, list):
        unit = " %" if figure.unit == "percent" else f" {figure.unit}"
        return Shown(figure, number="nothing to say yet" if value is None else f"{value:,}{unit}")
    columns = tuple(value[0]) if value else ()
    rows = [tuple(cell(row[name]) for name in columns) for row in value]
    draw = CHARTS.get(figure.name)
    if not value or draw is None:
        return Shown(figure, columns=columns, rows=rows)
    chart = draw(value)
    if isinstance(chart, Lines):
        return Shown(figure, lines=chart, columns=columns, rows=rows)
    return Shown(figure, bars=chart, columns=columns, rows=rows)


def cell(value: Any) -> str:
    """A value of the table below a chart."""
    if value is None:
        return ""
    if isinstance(value, Decimal):
        return f"{value.normalize():,f}"
    return value.isoformat() if isinstance(value, date | datetime) else str(value)


def agreement(rows: Rows) -> Lines:
    """A line per pair, and per currency where there is one, over the days."""
    days = sorted({row["day"] for row in rows})
    by_name: dict[str, dict[date, Decimal]] = defaultdict(dict)
    for row in rows:
        by_name[" ".join(filter(None, (pair_title(row["pair"]), row.get("currency", ""))))][row["day"]] = row["share"]
    series = [(name, [said.get(day) for day in days]) for name, said in sorted(by_name.items())[:SERIES]]
    least = min(row["share"] for row in rows)
    floor = next((one for one in FLOORS if least >= one), Decimal(0))
    return lines([f"{day:%m-%d}" for day in days], series, unit=" %", bottom=floor, top=100)


def grouped(key: str, name: Callable[[str], str]) -> Callable[[Rows], Bars]:
    """A bar per value of a column: how many breaks, by currency, with the money behind it."""

    def draw(rows: Rows) -> Bars:
        return bars(
            [
                (
                    name(value),
                    [(row["currency"] or "no currency", row["breaks"]) for row in of],
                    told((row["breaks"], row["currency"], row["exposed"]) for row in of),
                )
                for value, of in by(rows, key)
            ]
        )

    return draw


def by(rows: Rows, key: str) -> list[tuple[str, Rows]]:
    """Rows by the value of a column, in the order they came."""
    found: dict[str, Rows] = defaultdict(list)
    for row in rows:
        found[row[key]].append(row)
    return list(found.items())


def told(rows: Iterable[tuple[int, str, Decimal]]) -> str:
    """'3 · 120.00 EUR': how many in all, and the money of each currency."""
    held = list(rows)
    amounts = sums((currency, amount) for _, currency, amount in held if currency and amount)
    return " · ".join(filter(None, (f"{sum(count for count, _, _ in held):,}", amounts)))


STAGES = (("requested", "asked for"), ("approved", "approved"), ("posted", "in the ERP"), ("mirrored", "in billing"))


def credits(rows: Rows) -> Bars:
    """A bar per stage: how many credits came so far, by currency."""
    return bars(
        [
            (
                title,
                [(row["currency"], row[stage]) for row in rows],
                told((row[stage], row["currency"], row[f"{stage}_amount"]) for row in rows),
            )
            for stage, title in STAGES
        ]
    )


def variance(rows: Rows) -> Lines:
    """A line per currency of the net, month by month, and one of the gross where it differs."""
    months = sorted({row["month"] for row in rows})
    series = []
    for currency, of in by(rows, "currency"):
        said = {row["month"]: row for row in of}
        series += [
            (f"{currency} {what}", [said[month][what] if month in said else Decimal(0) for month in months])
            for what in ("net", "gross")
        ]
    least = min(row["net"] for row in rows)
    return lines([f"{month:%Y-%m}" for month in months], series[:SERIES], bottom=min(least, Decimal(0)))


def mended(rows: Rows) -> Bars:
    """A bar per plan: how many a rule let happen, and how many two people agreed on."""
    found = []
    for plan, of in by(rows, "plan"):
        by_rule, by_people = (sum(row[who] for row in of) for who in ("by_rule", "by_people"))
        found.append((str(Mend.Plan(plan).label), [("by rule", by_rule), ("by people", by_people)], f"{by_rule + by_people:,}"))
    return bars(found)


def closing_days(rows: Rows) -> Bars:
    """A bar per month."""
    return bars([(f"{row['period']:%Y-%m}", [("", max(row["days"], Decimal(0)))], f"{row['days']} days") for row in rows])


TYPES = dict(Break.Type.choices)
CHARTS: dict[str, Callable[[Rows], Lines | Bars]] = {
    "agreement_by_count": agreement, "agreement_by_money": agreement, "credits": credits, "time_to_close": closing_days,
    "variance": variance, "mended_by_itself": mended,
    "breaks_by_type": grouped("type", lambda kind: str(TYPES.get(kind, kind))),
    "breaks_by_age": grouped("age", lambda age: age.partition(": ")[2] or age),
}  # fmt: skip


def urls() -> list[Any]:
    """Its address."""
    return [path("reconciliation/dashboard/", seen_by(LOOK, page), name="reconciliation_dashboard")]
