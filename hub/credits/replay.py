"""What a draft policy would have given for the recorded cases, beside the policy in force and what was given. Reads only.

Both policies are applied to the same facts, case by case in the order of time, each against caps filled by its own
earlier credits; the year before the span counts with what was given. One incident gives a customer one credit for a
reason. Facts are those the credits were computed from; cases that got none are judged again from their own clocks.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from dateutil.relativedelta import relativedelta
from django.db import transaction
from django.utils import timezone

from canonical.models import LegalEntity
from canonical.money import Money
from hub.audit import chain as audit
from hub.credits import recorded
from hub.credits.models import CreditPolicy
from hub.credits.policy import Decision, Policy, decide
from hub.credits.recorded import Item
from hub.credits.rows import in_force, load

__all__ = ["Change", "Comparison", "Row", "in_force", "load", "note", "replay", "table"]

BIGGEST, SHOWN = 5, 3
"""How many of the biggest changes are kept for a row, and how many of them a terminal shows."""
ZERO = Decimal(0)


@dataclass(frozen=True, slots=True)
class Change:
    """A claim that the draft decides differently. `why` is how the draft comes to its amount."""

    case: int | None
    credit: int | None
    title: str
    now: Decimal
    draft: Decimal
    why: str

    @property
    def difference(self) -> Decimal:
        return self.draft - self.now


@dataclass(slots=True)
class Row:
    """The claims of one legal entity in one currency. `given` is what was given, `now` what the policy in force gives."""

    entity: str
    currency: str
    cases: int = 0
    given_credits: int = 0
    given: Decimal = ZERO
    now_credits: int = 0
    now: Decimal = ZERO
    draft_credits: int = 0
    draft: Decimal = ZERO
    changed: int = 0
    changes: list[Change] = field(default_factory=list)

    @property
    def difference(self) -> Decimal:
        """What the draft gives more than the policy in force."""
        return self.draft - self.now

    def count(self, item: Item, now: Decision, draft: Decision) -> None:
        """Add one claim."""
        self.cases += 1
        self.given_credits += item.given > 0
        self.given += item.given
        self.now_credits += now.amount > 0
        self.now += now.amount
        self.draft_credits += draft.amount > 0
        self.draft += draft.amount
        if now.amount != draft.amount:
            self.changed += 1
            why = "; ".join(draft.explanation)
            self.changes.append(Change(item.case, item.credit, item.title[:80], now.amount, draft.amount, why))
            self.changes.sort(key=lambda change: -abs(change.difference))
            del self.changes[BIGGEST:]


@dataclass(frozen=True, slots=True)
class Comparison:
    """The draft against the policies in force, per legal entity and currency; sums of one currency only."""

    draft: str
    start: date
    end: date
    rows: tuple[Row, ...]

    def as_json(self) -> dict[str, Any]:
        """Plain values, amounts as text with the currency's digits."""
        return {
            "draft": self.draft, "start": self.start.isoformat(), "end": self.end.isoformat(),
            "rows": [_row_json(row) for row in self.rows],
        }  # fmt: skip


def replay(
    draft: CreditPolicy, *, months: int, entity: LegalEntity | None = None, at: datetime | None = None
) -> Comparison:  # fmt: skip
    """Compare a policy with those in force over the last `months` months before `at` (now), from the first of a month.

    Of a policy for one legal entity, its cases; of a policy for all, those of entities without one of their own.
    """
    end = at or timezone.now()
    start = (end - relativedelta(months=months)).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    wanted = entity or draft.legal_entity
    entities = {one.pk: one for one in ([wanted] if wanted else LegalEntity.objects.all())}
    zones = {pk: ZoneInfo(one.timezone) for pk, one in entities.items()}
    current = _Current()
    now, drafted = _Book(), _Book()
    for key, net in recorded.given_before(start, list(entities)).items():
        now.years[*key, start.year] = drafted.years[*key, start.year] = net
    policy = load(draft)
    found: dict[tuple[str, str], Row] = {}
    claims = sorted(recorded.items(start, end, list(entities)), key=lambda item: (item.at, item.case or 0, item.credit or 0))
    for item in claims:
        zone = zones[item.entity]
        row_now, is_own = current.policy(item.entity, item.since.astimezone(zone).date())
        if is_own and draft.legal_entity_id is None:
            continue
        code = entities[item.entity].code
        row = found.setdefault((code, item.facts.currency), Row(code, item.facts.currency))
        on = item.at.astimezone(zone).date()
        row.count(item, now.decide(row_now, item, on), drafted.decide(policy, item, on))
    return Comparison(draft.label, start.date(), end.date(), tuple(found[key] for key in sorted(found)))


def note(draft: CreditPolicy, comparison: Comparison, *, actor: str, source: str) -> None:
    """Tell the audit trail that somebody compared, and what they saw."""
    saw = [{name: value for name, value in row.items() if name != "changes"} for row in comparison.as_json()["rows"]]
    span = {"start": comparison.start.isoformat(), "end": comparison.end.isoformat()}
    with transaction.atomic():
        audit.append(
            "creditpolicy.replayed", actor=actor, obj=draft, policy=draft.label, source=source, after={**span, "rows": saw}
        )  # fmt: skip


class _Current:
    """The policy in force for an entity on a day, as `in_force`, for many of both."""

    def __init__(self) -> None:
        rows = CreditPolicy.objects.filter(state="active").prefetch_related("rules").order_by("version", "pk")
        self._rows = [(row, load(row)) for row in rows]
        self._known: dict[tuple[int, date], tuple[Policy | None, bool]] = {}

    def policy(self, entity: int, on: date) -> tuple[Policy | None, bool]:
        """The policy, and whether it is the entity's own."""
        if (entity, on) not in self._known:
            live = [
                (row.legal_entity_id is not None, policy)
                for row, policy in self._rows
                if row.legal_entity_id in (None, entity) and row.valid_from <= on and (row.valid_to is None or on <= row.valid_to)
            ]
            # The latest version comes last.
            own, policy = max(reversed(live), key=lambda one: one[0], default=(False, None))
            self._known[entity, on] = policy, own
        return self._known[entity, on]


class _Book:
    """What one policy has given so far in a replay."""

    def __init__(self) -> None:
        self.cases: dict[int, Decimal] = defaultdict(Decimal)
        self.months: dict[tuple[int, str, int, int], Decimal] = defaultdict(Decimal)
        self.years: dict[tuple[int, str, int], Decimal] = defaultdict(Decimal)
        self.incidents: set[tuple[int, str, str]] = set()

    def decide(self, policy: Policy | None, item: Item, on: date) -> Decision:
        """Apply a policy to a claim after all those before it."""
        currency = item.facts.currency
        if policy is None:
            return Decision(ZERO, currency, "", refused="no policy was in force")
        month, year = (item.party, currency, on.year, on.month), (item.party, currency, on.year)
        facts = replace(
            item.facts, given_month=self.months[month], given_year=self.years[year],
            given_case=self.cases[item.case] if item.case else ZERO,
        )  # fmt: skip
        found = decide(policy, facts)
        incident = (item.party, item.incident, found.reason)
        if item.incident and incident in self.incidents:
            return replace(found, amount=ZERO, refused="the incident was credited already")
        if found.amount:
            self.months[month] += found.amount
            self.years[year] += found.amount
            if item.case:
                self.cases[item.case] += found.amount
            if item.incident:
                self.incidents.add(incident)
        return found


# showing it ------------------------------------------------------------------------------------------------------

HEAD = ("entity", "currency", "claims", "given", "", "in force", "", "draft", "", "difference", "changed")


def table(comparison: Comparison) -> str:
    """The comparison for a terminal: a line per legal entity and currency, then the biggest changes of each."""
    lines = [HEAD, *(_cells(row) for row in comparison.rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEAD))]
    text = [f"{comparison.draft} over {comparison.start} – {comparison.end}, against the policies in force and what was given", ""]
    text += [
        "  ".join(_pad(cell, width, column < 2) for column, (cell, width) in enumerate(zip(line, widths, strict=True)))
        for line in lines
    ]
    for row in comparison.rows:
        if row.changes:
            text += ["", f"biggest changes, {row.entity} {row.currency}:"]
            text += [
                f"  {_named(change):<24} {_money(change.now, row.currency)} → {_money(change.draft, row.currency)}  {change.why}"
                for change in row.changes[:SHOWN]
            ]
    return "\n".join(line.rstrip() for line in text)


def _cells(row: Row) -> tuple[str, ...]:
    return (
        row.entity, row.currency, str(row.cases), str(row.given_credits), _money(row.given, row.currency),
        str(row.now_credits), _money(row.now, row.currency), str(row.draft_credits), _money(row.draft, row.currency),
        f"{'+' if row.difference > 0 else ''}{_money(row.difference, row.currency)}", str(row.changed),
    )  # fmt: skip


def _pad(cell: str, width: int, left: bool) -> str:
    return cell.ljust(width) if left else cell.rjust(width)


def _named(change: Change) -> str:
    return " ".join(
        filter(None, [f"case {change.case}" if change.case else "", f"CR-{change.credit:06d}" if change.credit else ""])
    )


def _money(amount: Decimal, currency: str) -> str:
    return str(Money(amount, currency)).removesuffix(f" {currency}")


def _row_json(row: Row) -> dict[str, Any]:
    def text(amount: Decimal) -> str:
        return str(Money(amount, row.currency).amount)

    return {
        "entity": row.entity, "currency": row.currency, "claims": row.cases, "given_credits": row.given_credits,
        "given": text(row.given), "in_force_credits": row.now_credits, "in_force": text(row.now),
        "draft_credits": row.draft_credits, "draft": text(row.draft), "difference": text(row.difference),
        "changed": row.changed,
        "changes": [
            {"case": one.case, "credit": one.credit, "title": one.title, "in_force": text(one.now), "draft": text(one.draft),
             "difference": text(one.difference), "why": one.why}
            for one in row.changes
        ],
    }  # fmt: skip
