"""The queue behind the desk: what waits for whom, filters, counts, and pages by key. No page costs more with more rows.

"Waiting for me" is what I could decide: pending, at a role I have, stand above, or stand in for by delegation, made
neither by me nor decided by me yet, and not one I stepped back from. The service asks again, under the lock, with limits.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields, replace
from datetime import datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any, Self
from urllib.parse import urlencode

from django.db.models import Case, Count, Exists, OuterRef, Q, QuerySet, Sum, Value, When
from django.http import QueryDict
from django.utils import timezone

from canonical.models import ExternalRef, Party, SupportCase
from hub.credits.models import Approval, Credit, CreditComment, Delegation, Reason
from hub.credits.models.credit import OPEN
from hub.roles import LADDER, roles_of

PAGE = 25
CAPPED = 1_000
"""Finished credits are counted up to here; there will be millions."""

TABS = {
    "mine": "Waiting for me", "pending": "All pending", "held": "Held", "info": "Needs info", "posting": "Posting",
    "decided": "Decided",
}  # fmt: skip
STATES = {
    "mine": ("pending",), "pending": ("pending",), "held": ("approved",), "info": ("needs_info", "returned", "stopped"),
    "posting": ("posting", "posted", "mirrored", "told"),
    "decided": ("closed", "rejected", "expired", "withdrawn", "split", "reversed"),
}  # fmt: skip
MANY = 500
"""How many customers, cases or credits a term may name."""
HEAVY = ("payload", "calculation", "lines", "note", "evidence", "stages", "duplicate_allowed")
"""Columns no list shows."""
NUMBER = re.compile(r"(?:CR-)?0*(\d{1,18})", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a person asked the queue for. Nonsense in an address is no filter."""

    tab: str = "mine"
    entity: str = ""
    currency: str = ""
    reason: str = ""
    least: str = ""
    most: str = ""
    older: str = ""
    younger: str = ""
    customer: str = ""
    flag: str = ""
    q: str = ""

    @classmethod
    def of(cls, said: QueryDict | dict[str, str], tab: str = "mine") -> Self:
        """Read from a query string; `tab` where it names none."""
        given = {field.name: str(said.get(field.name, "")).strip()[:200] for field in fields(cls)}
        sensible = {
            "tab": given["tab"] if given["tab"] in TABS else tab,
            "reason": given["reason"] if given["reason"] in Reason.values else "",
            "entity": given["entity"] if re.fullmatch(r"\d{1,18}", given["entity"]) else "",
            **{name: given[name] if re.fullmatch(r"\d{1,4}", given[name]) else "" for name in ("older", "younger")},
            "least": given["least"] if amount(given["least"]) is not None else "",
            "most": given["most"] if amount(given["most"]) is not None else "",
            "currency": given["currency"].upper()[:3],
        }
        return cls(**{**given, **sensible})

    @classmethod
    def parse(cls, query: str, tab: str = "mine") -> Self:
        """Read from a stored or posted query string."""
        return cls.of(QueryDict(query[:1000]), tab)

    def query(self, **changes: str) -> str:
        """The query string that asks for this, with changes."""
        return urlencode({name: value for name, value in asdict(replace(self, **changes)).items() if value})

    @property
    def filtered(self) -> bool:
        """Whether anything but the tab narrows the list."""
        return self != Wanted(self.tab)


def amount(text: str) -> Decimal | None:
    """An amount as people type it; None when it is none."""
    try:
        value = Decimal(text.replace(",", ""))
    except InvalidOperation:
        return None
    return value if value.is_finite() and abs(value) < Decimal(10) ** 15 else None


def narrow(rows: QuerySet[Credit], wanted: Wanted) -> QuerySet[Credit]:
    """The rows a filter leaves, tab aside."""
    exact = {"legal_entity": wanted.entity, "currency": wanted.currency, "reason": wanted.reason}
    rows = rows.filter(**{name: value for name, value in exact.items() if value})
    if wanted.least:
        rows = rows.filter(reporting_amount__gte=amount(wanted.least))
    if wanted.most:
        rows = rows.filter(reporting_amount__lte=amount(wanted.most))
    if wanted.older:
        rows = rows.filter(submitted_at__lte=timezone.now() - timedelta(days=int(wanted.older)))
    if wanted.younger:
        rows = rows.filter(submitted_at__gt=timezone.now() - timedelta(days=int(wanted.younger)))
    if wanted.customer:
        rows = rows.filter(party__in=customers(wanted.customer))
    if wanted.flag:
        rows = rows.filter(flags__contains=[{"flag": wanted.flag}])
    return rows


def searched(term: str) -> QuerySet[Credit]:
    """Credits in any state by their number, the case's id in support, an incident, an ERP number, or the customer's name.

    Ids first, each by its own index: one condition over joined tables would read all credits.
    """
    number = NUMBER.fullmatch(term)
    refs = ExternalRef.objects.filter(
        Q(external_id=term) | Q(number=term), object_kind__in=("support_case", "credit", "party", "invoice")
    )
    known: dict[str, set[int]] = defaultdict(set)
    for kind, pk in refs.values_list("object_kind", "object_id"):
        known[kind].add(pk)
    cases = known["support_case"] | set(SupportCase.objects.filter(incident=term).values_list("pk", flat=True)[:MANY])
    found = Q(pk__in=known["credit"] | ({int(number[1])} if number else set())) | Q(case__in=cases)
    found |= Q(invoice__in=known["invoice"]) | Q(party__in=known["party"] | customers(term))
    return Credit.objects.filter(pk__in=list(Credit.objects.filter(found).order_by().values_list("pk", flat=True)[:MANY]))


def customers(name: str) -> set[int]:
    """Customers whose name begins like this, also when typed without capitals."""
    wanted = Q()
    for spelling in {name, name.capitalize(), name.title(), name.upper()}:
        wanted |= Q(name__startswith=spelling)
    return set(Party.objects.filter(wanted).values_list("pk", flat=True)[:MANY])


def waiting_for(user: Any, at: datetime, delegations: Iterable[Delegation] | None = None) -> Q:
    """Which pending credits this person could decide: by own roles, and by `delegations` (those in force at that time)."""
    mine = Q(waiting_role__in=standing_in(roles_of(user)))
    for given in active_delegations(user, at) if delegations is None else delegations:
        scope = Q(waiting_role__in=standing_in({group.name for group in given.grantor.groups.all()}))
        if given.legal_entity_id:
            scope &= Q(legal_entity=given.legal_entity_id)
        theirs = Q(made_by=given.grantor_id) | Q(edited_by=given.grantor_id)
        mine |= scope & ~theirs
    by = Q(by=user.pk) | Q(on_behalf_of=user.pk)
    decided = Approval.objects.filter(by, credit=OuterRef("pk"), revision=OuterRef("revision"))
    recused = CreditComment.objects.filter(what="recusal", user=user.pk).values("credit")
    own = (
        Q(made_by=user.pk)
        | Q(edited_by=user.pk)
        | Q(requested_by__iexact=user.get_username())
        | Q(pk__in=recused)
        | (Q(approvals_needed__gt=1) & Exists(decided))
    )
    return Q(Q(state="pending"), mine, ~own)


def standing_in(roles: Iterable[str]) -> list[str]:
    """The roles of the ladder that somebody with these may decide for: their own, and those below."""
    highest = max((LADDER.index(role) for role in roles if role in LADDER), default=-1)
    return list(LADDER[: highest + 1])


def active_delegations(user: Any, at: datetime) -> list[Delegation]:
    """Delegations this person holds now, with the roles of who gave them."""
    held = Delegation.objects.filter(delegate=user.pk, starts_at__lte=at, ends_at__gt=at, revoked_at=None, grantor__is_active=True)
    return list(held.select_related("grantor", "legal_entity").prefetch_related("grantor__groups"))


def rows_of(mine: Q, wanted: Wanted) -> QuerySet[Credit]:
    """The credits of a tab, narrowed, in the order of the queue; `mine` as `waiting_for` says."""
    if wanted.q:
        return narrow(searched(wanted.q), replace(wanted, tab="decided")).order_by("-id")
    rows = Credit.objects.filter(mine if wanted.tab == "mine" else Q(state__in=STATES[wanted.tab]))
    return narrow(rows, wanted).order_by(*(("-priority", "id") if by_priority(wanted) else ("-id",)))


def by_priority(wanted: Wanted) -> bool:
    """Whether the list is in the order of priority; what is decided is newest first."""
    return not wanted.q and wanted.tab in ("mine", "pending")


def key_of(credit: Credit, wanted: Wanted) -> str:
    """Where the next page begins: after this row."""
    return f"{credit.priority}_{credit.pk}" if by_priority(wanted) else str(credit.pk)


def after(rows: QuerySet[Credit], key: str, wanted: Wanted) -> QuerySet[Credit]:
    """What comes after a key in the order of the queue; all of it for a key that is none."""
    priority, _, pk = key.rpartition("_")
    if not pk.isdigit() or len(pk) > 18:
        return rows
    if not by_priority(wanted):
        return rows.filter(pk__lt=int(pk))
    level = amount(priority)
    # The first condition alone bounds the walk through the index.
    return rows if level is None else rows.filter(Q(priority__lte=level), Q(priority__lt=level) | Q(pk__gt=int(pk)))


def page(mine: Q, wanted: Wanted, key: str) -> tuple[list[Credit], str]:
    """One page, each row with whether it is `mine`, and the key of the next ('' after the last)."""
    rows = after(rows_of(mine, wanted), key, wanted).select_related("party", "legal_entity", "case")
    marked = rows.annotate(mine=Case(When(mine, then=Value(True)), default=Value(False)))
    shown: list[Any] = list(marked.defer(*HEAVY, "case__description")[: PAGE + 1])
    return shown[:PAGE], key_of(shown[PAGE - 1], wanted) if len(shown) > PAGE else ""


def next_after(credit: Credit, mine: Q, wanted: Wanted) -> int | None:
    """The credit that comes after this one in the list, else the first of it; None when there is no other."""
    rows = rows_of(mine, wanted).exclude(pk=credit.pk)
    following = after(rows, key_of(credit, wanted), wanted).values_list("pk", flat=True).first()
    begins = rows.values_list("pk", flat=True).first()
    return following if following is not None else begins


@dataclass(slots=True)
class Tab:
    """A tab with what is in it."""

    name: str
    title: str
    count: int
    money: dict[str, Decimal]
    more: bool = False


def tabs(mine: Q) -> list[Tab]:
    """Every tab with its count and money per currency; finished ones are only counted, up to a bound. Two statements."""
    found = {name: Tab(name, title, 0, defaultdict(Decimal)) for name, title in TABS.items()}
    marked = Case(When(mine, then=Value(True)), default=Value(False))
    rows = Credit.objects.filter(state__in=OPEN).annotate(mine=marked).values("state", "currency", "mine")
    of_state = {state: tab for tab, states in STATES.items() for state in states}
    for row in rows.annotate(count=Count("pk"), total=Sum("total")).order_by():
        for tab in (of_state[row["state"]], *(("mine",) if row["mine"] else ())):
            found[tab].count += row["count"]
            found[tab].money[row["currency"]] += row["total"]
    done = Credit.objects.filter(state__in=STATES["decided"]).order_by()[: CAPPED + 1].count()
    found["decided"].count, found["decided"].more = min(done, CAPPED), done > CAPPED
    return list(found.values())


def waiting_count(user: Any, at: datetime) -> int:
    """How many wait for a person, up to 1000 (the badge in the navigation)."""
    return Credit.objects.filter(waiting_for(user, at)).order_by()[:CAPPED].count()
