"""Questions for people: the list by cause, and one question with its evidence, what it blocks, and the answers."""

from __future__ import annotations

from collections import defaultdict
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from django.contrib import admin
from django.db.models import Count, F, Min, QuerySet, Sum
from django.http import HttpRequest
from django.utils import timezone
from django.utils.html import format_html
from django_fsm import ConcurrentTransition, TransitionNotAllowed

from connectors.sdk.errors import BadPayload
from hub import answers, review
from hub.admin.panels import MOST, facts_of, runs
from hub.admin.timeline import duration
from hub.admin_ui import Choices, EditAdmin, Problem, ReadOnlyAdmin, badge, button, money, pretty
from hub.models import ReviewItem, Run, Step
from hub.roles import ENGINEER, FINANCE, OPERATOR, may_answer

QUESTIONS = {
    "missing_mapping": "A code or rule is missing, so these documents cannot be booked. Approve one under Rules and "
    "they go on by themselves; or try again, or end them without posting.",
    "refused": "The other system understood the request and said no. Nothing changed there.",
    "unknown_outcome": "The call was sent, and nobody knows whether it took effect. Look in the other system: is the "
    "document there?",
    "mismatch": "The document was posted, but the system holds something else than was asked. Compare the two.",
    "quarantined": "This failed again and again. It is set aside so that others can go on.",
    "not_understood": "A delivery arrived that cannot be read. It is kept as it came.",
    "conflict": "The same id came twice with different content. The first was worked, the second was not.",
    "misconfigured": "The connection is paused: its credentials, settings or rights are not accepted.",
}
"""What each cause asks, in plain words."""

WORDS = {
    "run": "Run",
    "step": "Step",
    "code": "Code",
    "message": "What the system said",
    "what": "What is missing",
    "entity": "Legal entity",
    "product": "Product",
    "region": "Region",
    "on": "Needed on",
    "source": "From",
    "source_code": "Code there",
    "target": "For",
    "reason": "Why",
    "first": "First delivery",
    "second": "Second delivery",
    "first_sha256": "Content of the first",
    "second_sha256": "Content of the second",
    "invoice": "Invoice",
    "kind": "Kind",
    "id": "Id",
}


class AgeFilter(Choices):
    """How long it has waited."""

    title, parameter_name = "age", "age"
    options = (("1", "older than a day"), ("7", "older than a week"), ("30", "older than a month"))

    def narrow(self, queryset: QuerySet[Any], value: str) -> QuerySet[Any]:
        return queryset.filter(opened_at__lt=timezone.now() - timedelta(days=int(value)))


class MineFilter(Choices):
    """Assigned to whom."""

    title, parameter_name = "assigned", "assigned"
    options = (("me", "to me"), ("nobody", "to nobody"))
    _user: Any = None

    def __init__(self, request: HttpRequest, *args: Any, **kwargs: Any) -> None:
        self._user = request.user
        super().__init__(request, *args, **kwargs)

    def narrow(self, queryset: QuerySet[Any], value: str) -> QuerySet[Any]:
        return queryset.filter(assignee=self._user) if value == "me" else queryset.filter(assignee=None)


def blocked_money(items: QuerySet[ReviewItem] | list[ReviewItem], by: str) -> dict[Any, dict[str, Decimal]]:
    """What waits for open items: `by` ('waiting_on' or 'waiting_on__cause') → currency → sum. One query."""
    waiting = Step.objects.filter(state="waiting", waiting_on__in=items).exclude(run__currency="")
    sums: dict[Any, dict[str, Decimal]] = defaultdict(dict)
    for row in waiting.values(by, currency=F("run__currency")).annotate(total=Sum("run__amount")).order_by("currency"):
        if row["total"] is not None:
            sums[row[by]][row["currency"]] = row["total"]
    return sums


def show_money(sums: dict[str, Decimal]) -> str:
    """Sums per currency in one line."""
    return " · ".join(money(total, currency) for currency, total in sums.items())


def groups() -> list[dict[str, Any]]:
    """Open items by cause: how many, the oldest, the money they hold up. Three queries."""
    open_items = ReviewItem.objects.filter(state="open")
    found = list(open_items.values("cause").annotate(count=Count("id"), oldest=Min("opened_at")).order_by("-count"))
    sums = blocked_money(open_items, "waiting_on__cause") if found else {}
    names = dict(ReviewItem.Cause.choices)
    return [
        {
            "cause": row["cause"],
            "name": names[row["cause"]],
            "count": row["count"],
            "oldest": row["oldest"],
            "age": age(row["oldest"]),
            "money": show_money(sums.get(row["cause"], {})),
        }
        for row in found
    ]


def age(since: datetime) -> str:
    """How long ago."""
    return duration(max(0.0, (timezone.now() - since).total_seconds()))


@admin.register(ReviewItem)
class ReviewItemAdmin(EditAdmin, ReadOnlyAdmin):
    """A question, and the answers allowed. Answering needs the role that owns it."""

    template = "admin/tieout/review.html"
    change_list_template = "admin/tieout/review_list.html"
    list_display = ("title_", "cause_", "money_", "age_", "for_", "assignee", "state_")
    list_display_links = ("title_",)
    list_select_related = ("assignee",)
    list_filter = (
        Choices.of("state", [("open", "open"), ("resolved", "answered")]),
        Choices.of("cause", ReviewItem.Cause.choices),
        Choices.of("group", [(role, role) for role in (FINANCE, OPERATOR, ENGINEER)], "for"),
        AgeFilter,
        MineFilter,
    )
    ordering = ("state", "-opened_at")
    search_fields = ("title",)
    search_help_text = "Words of the question"

    def get_search_results(self, request: HttpRequest, queryset: QuerySet[Any], search_term: str) -> tuple[QuerySet[Any], bool]:
        term = search_term.strip()
        return (queryset.filter(title__icontains=term), False) if term else (queryset, False)

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        return super().changelist_view(request, {**(extra_context or {}), "groups": groups()})

    def decorate(self, rows: list[ReviewItem]) -> None:
        sums = blocked_money([row for row in rows if row.state == "open"], "waiting_on")
        for row in rows:
            row.blocked_money = show_money(sums.get(row.pk, {}))  # type: ignore[attr-defined]

    @admin.display(description="question")
    def title_(self, obj: ReviewItem) -> str:
        return obj.title

    @admin.display(description="cause")
    def cause_(self, obj: ReviewItem) -> str:
        return badge(obj.cause, obj.get_cause_display())

    @admin.display(description="money held up")
    def money_(self, obj: ReviewItem) -> str:
        return obj.blocked_money  # type: ignore[attr-defined, no-any-return]

    @admin.display(description="for")
    def for_(self, obj: ReviewItem) -> str:
        return obj.group

    @admin.display(description="waiting")
    def age_(self, obj: ReviewItem) -> str:
        return age(obj.opened_at) if obj.state == "open" else ""

    @admin.display(description="state")
    def state_(self, obj: ReviewItem) -> str:
        return badge(obj.state, "answered" if obj.state == "resolved" else obj.state)

    def describe(self, request: HttpRequest, obj: ReviewItem) -> dict[str, Any]:
        blocked = review.blocked_runs(obj).select_related(None)
        shown = list(blocked[: MOST + 1])
        facts = [("For", obj.group), ("Assigned to", str(obj.assignee or "nobody")), ("Asked", obj.opened_at)]
        if obj.occurrences > 1:
            facts += [("Happened", f"{obj.occurrences} times, last"), ("Last seen", obj.last_seen_at)]
        facts += facts_of(obj, "connection", "event")
        evidence, compared = _evidence(obj)
        return {
            "facts": facts,
            "question": QUESTIONS[obj.cause],
            "cause": badge(obj.cause, obj.get_cause_display()),
            "evidence": evidence,
            "compared": compared,
            "answers": list(answers.answers_of(obj).items()),
            "asks_for_id": "found" in answers.answers_of(obj),
            "may_answer": may_answer(request.user, obj.group),
            "held_up": show_money(review.money_blocked(obj)),
            "panels": [runs(shown[:MOST], "What waits for the answer" + _more(shown, blocked), "No run waits for it.")],
            "typed": request.POST,
        }

    @button("hub.answer_reviewitem")
    def answer(self, request: HttpRequest, item: ReviewItem) -> str:
        """Carry out the chosen answer, in the name of the person."""
        self._owned(request, item)
        said = {name: request.POST.get(name, "").strip() for name in ("reason", "external_id", "number")}
        try:
            answers.answer(item, request.POST.get("choice", ""), by=request.user.get_username(), **said)
        except answers.NotAllowed as error:
            raise Problem(f"{str(error)[:1].upper()}{str(error)[1:]}.") from None
        except BadPayload as error:
            raise Problem(f"It is still not understood: {error}") from None
        except (TransitionNotAllowed, ConcurrentTransition) as error:
            raise Problem(f"The run has moved on: {error}") from None
        return "Answered. What waited for it goes on."

    @button("hub.answer_reviewitem")
    def take(self, request: HttpRequest, item: ReviewItem) -> str:
        """Assign it to oneself."""
        self._owned(request, item)
        if item.state != "open":
            raise Problem("It is answered already.")
        item.assignee = request.user  # type: ignore[assignment]
        item.save(update_fields=["assignee"])
        return "It is yours."

    @staticmethod
    def _owned(request: HttpRequest, item: ReviewItem) -> None:
        if not may_answer(request.user, item.group):
            raise Problem(f"This question belongs to the role “{item.group}”.")


def _evidence(item: ReviewItem) -> tuple[list[tuple[str, Any]], list[tuple[str, Any, Any]]]:
    """The item's detail as (word, value) rows, and what was wanted beside what is held."""
    rows: list[tuple[str, Any]] = []
    compared: list[tuple[str, Any, Any]] = []
    for name, value in item.detail.items():
        if name == "wanted_and_held" and isinstance(value, dict):
            compared = [(field.replace("_", " "), *_pair(both)) for field, both in value.items()]
        elif value not in (None, "", [], {}):
            rows.append((WORDS.get(name, name.replace("_", " ").capitalize()), _show(name, value)))
    return rows, compared


def _pair(both: Any) -> tuple[Any, Any]:
    return (both[0], both[1]) if isinstance(both, list) and len(both) == 2 else (both, "")


def _show(name: str, value: Any) -> Any:
    from django.urls import reverse

    pages = {
        "run": "hub_run",
        "first": "hub_inboxevent",
        "second": "hub_inboxevent",
        "invoice": "canonical_invoice",
        "product": "canonical_product",
    }
    if name in pages and isinstance(value, int):
        return format_html('<a class="tie-link" href="{}">#{}</a>', reverse(f"admin:{pages[name]}_change", args=[value]), value)
    return pretty(value) if isinstance(value, dict | list) else str(value)


def _more(shown: list[Run], blocked: QuerySet[Run]) -> str:
    return f" (the first {MOST} of {blocked.count()})" if len(shown) > MOST else ""
