"""The gates of a close: what has to be true of a month before somebody signs it. Each says why it is red, in words."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from django.db.models import Q, QuerySet
from django.utils import timezone

from canonical.models import Invoice, LegalEntity
from hub.booking import in_force
from hub.credits.models import Credit
from hub.credits.models.credit import UNDECIDED
from hub.flows.order_to_cash import OWED
from hub.models import ReviewItem, Step
from reconciliation import scanning
from reconciliation.models import Break, Certificate, CloseTolerance, Mend, Scan
from reconciliation.models.breaks import OPEN_BREAK
from reconciliation.people import today
from reconciliation.scanning import scan_flow

FRESH = timedelta(hours=26)
"""How old the last scan may be: one missed night shows."""
EXAMPLES = 3

Money = dict[str, Decimal]


@dataclass(frozen=True, slots=True)
class Gate:
    """One condition. `count` and `money` (by currency) are of what keeps it red."""

    name: str
    words: str
    is_green: bool
    why: str = ""
    count: int = 0
    money: Money = field(default_factory=dict)

    def json(self) -> dict[str, Any]:
        """As kept in the content of a close."""
        return {
            "name": self.name, "words": self.words, "is_green": self.is_green, "why": self.why, "count": self.count,
            "money": {currency: plain(amount) for currency, amount in sorted(self.money.items())},
        }  # fmt: skip


def plain(amount: Decimal) -> str:
    """An amount without trailing zeros: one spelling, since contents are hashed."""
    return f"{amount.normalize() or Decimal(0):f}"


def judge(entity: LegalEntity, period: date) -> list[Gate]:
    """The six gates of a month (`period`: its first day), judged now."""
    scan = last_scan(entity, period)
    return [
        _swept(entity, period, scan), _fresh(entity, scan), _unknown(entity), _unposted(entity, period), _breaks(entity, period),
        _approvals(entity, period),
    ]  # fmt: skip


def ends_at(entity: LegalEntity, period: date) -> datetime:
    """The first instant after the month, where the entity is."""
    after = following(period)
    return datetime(after.year, after.month, after.day, tzinfo=ZoneInfo(entity.timezone))


def following(period: date) -> date:
    """The first day of the next month."""
    return (period.replace(day=1) + timedelta(days=32)).replace(day=1)


def last_scan(entity: LegalEntity, period: date) -> Scan | None:
    """The latest finished scan after the month's end; before that, the latest there is."""
    done = Scan.objects.filter(legal_entity=entity, state="done").order_by("-as_of", "-pk")
    return done.filter(as_of__gte=ends_at(entity, period)).first() or done.first()


def _swept(entity: LegalEntity, period: date, scan: Scan | None) -> Gate:
    name, words = "swept", "Every source was read to its end after the month, and nothing was lost"
    if scan is None or scan.as_of < ends_at(entity, period):
        return Gate(name, words, False, "no scan was finished after the month's end")
    complete = {
        scan_flow.name_of(each.connection, each.kind)
        for each in Certificate.objects.filter(scan=scan, is_complete=True).select_related("connection")
    }
    sources = {scan_flow.name_of(source, kind) for source in scanning.connections_of(entity) for kind in source.spec.extracts}
    missing = sorted(sources - complete)
    return Gate(name, words, not missing, f"without a complete certificate: {', '.join(missing)}" if missing else "", len(missing))


def _fresh(entity: LegalEntity, scan: Scan | None) -> Gate:
    name, words = "fresh", f"The last scan is not older than {FRESH.total_seconds() / 3600:.0f} hours, and none failed since"
    if scan is None:
        return Gate(name, words, False, "there is no finished scan")
    failed = Scan.objects.filter(legal_entity=entity, state="failed", as_of__gt=scan.as_of).count()
    age = timezone.now() - scan.as_of
    why = [f"{scan} is {age.total_seconds() / 3600:.0f} hours old"] if age > FRESH else []
    why += [f"{failed} failed since"] if failed else []
    return Gate(name, words, not why, ", ".join(why), failed)


def _unknown(entity: LegalEntity) -> Gate:
    lost = Step.objects.filter(Q(connection__legal_entity=entity) | Q(run__connection__legal_entity=entity)).filter(
        Q(state="unknown") | Q(state="waiting", waiting_on__cause=ReviewItem.Cause.UNKNOWN_OUTCOME)
    )
    rows = list(lost.values_list("run__subject_id", "run__currency", "run__amount"))
    return _of("unknown", "No call to a system has an unknown outcome", rows, "nobody knows what became of")


def _unposted(entity: LegalEntity, period: date) -> Gate:
    owed = Invoice.objects.filter(
        legal_entity=entity, issued_on__gte=period, issued_on__lt=following(period), status__in=OWED,
        state__in=["recorded", "mapped"],
    ).exclude(total=0)  # fmt: skip
    credits = _of_month(Credit.objects.filter(legal_entity=entity, state__in=["approved", "posting"]), entity, period)
    rows = [*owed.values_list("number", "currency", "total"), *_told(credits)]
    return _of("unposted", "Every invoice and every approved credit of the month is in the ERP", rows, "not posted")


def _breaks(entity: LegalEntity, period: date) -> Gate:
    rows = list(breaks_of(entity, period).filter(state__in=OPEN_BREAK).values_list("title", "currency", "exposed"))
    words = "Open breaks of the month, and those of no month, are within the tolerance"
    gate = _of("breaks", words, rows, "open")
    most = tolerated(entity)
    within = all(currency in most and amount <= most[currency] for currency, amount in gate.money.items())
    without = [title for title, currency, _ in rows if not currency]
    if gate.is_green or (within and not without):
        return Gate(gate.name, words, True, gate.why, gate.count, gate.money)
    return gate


def tolerated(entity: LegalEntity) -> Money:
    """What the breaks of a month may expose in all, by currency, under the rules in force today. Nothing in other currencies."""
    rules = CloseTolerance.objects.filter(in_force(today(entity)), Q(legal_entity=entity) | Q(legal_entity=None))
    ranked = sorted(rules, key=lambda rule: (bool(rule.legal_entity_id), rule.version, rule.pk))
    return {rule.currency: rule.amount for rule in ranked}


def breaks_of(entity: LegalEntity, period: date) -> QuerySet[Break]:
    """Breaks of a month, and those that are of none (customers, products)."""
    return Break.objects.filter(Q(period=period) | Q(period=None), legal_entity=entity)


def _approvals(entity: LegalEntity, period: date) -> Gate:
    pending = _of_month(Credit.objects.filter(legal_entity=entity, state__in=UNDECIDED), entity, period)
    mends = Mend.objects.filter(item__in=breaks_of(entity, period), state__in=["proposed", "applying"])
    rows = [*_told(pending), *mends.values_list("item__title", "currency", "amount")]
    return _of("approvals", "No credit or mend of the month waits for a decision, or is being carried out", rows, "undecided")


def _of_month(credits: QuerySet[Credit], entity: LegalEntity, period: date) -> QuerySet[Credit]:
    """What was asked for before the month was over: it may belong into it."""
    return credits.filter(created_at__lt=ends_at(entity, period))


def _told(credits: QuerySet[Credit]) -> list[tuple[str, str, Decimal]]:
    return [(credit.number, credit.currency, credit.total) for credit in credits.order_by("pk")]


def _of(name: str, words: str, rows: list[tuple[Any, ...]], what: str) -> Gate:
    money: Money = {}
    for _title, currency, amount in rows:
        if currency and amount is not None:
            money[currency] = money.get(currency, Decimal(0)) + abs(amount)
    some = ", ".join(str(title) for title, *_ in rows[:EXAMPLES]) + (", …" if len(rows) > EXAMPLES else "")
    return Gate(name, words, not rows, f"{what}: {some}" if rows else "", len(rows), money)
