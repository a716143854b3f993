"""One box for any id: events, runs, references, objects and questions, on one page of links. Exact, else prefix."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from django.contrib import admin
from django.db.models import Model, Q
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import path, reverse

from canonical.models import ExternalRef, Party
from hub.admin.events import wanted_events
from hub.admin.references import object_link, wanted_refs
from hub.admin.runs import wanted_runs
from hub.admin_ui import badge, money, named, url_of
from hub.credits.models import Credit
from hub.models import InboxEvent, ReviewItem, Run, Step

SHOWN = 20
SHORTEST = 3


@dataclass(frozen=True, slots=True)
class Hit:
    """One thing found."""

    title: str
    what: str
    url: str
    about: Any = ""
    state: str = ""


@dataclass(frozen=True, slots=True)
class Group:
    """Things of one kind that were found."""

    title: str
    hits: list[Hit]
    more: bool


def _events(term: str, exact: bool) -> Iterable[Hit]:
    rows = InboxEvent.objects.filter(wanted_events(term, exact)).select_related("connection").defer("body")
    for e in rows.order_by("-id")[: SHOWN + 1]:
        yield Hit(
            e.external_id,
            f"{e.kind} from {e.connection}",
            url_of(e),
            f"{e.subject_kind} {e.subject_id}",
            badge(e.disposition),
        )


def _runs(term: str, exact: bool) -> Iterable[Hit]:
    for run in Run.objects.filter(wanted_runs(term, exact)).defer("context").order_by("-id")[: SHOWN + 1]:
        what = f"{run.flow.replace('_', ' ')} · {run.subject_kind} {run.subject_id}"
        yield Hit(f"Run #{run.pk}", what, url_of(run), money(run.amount, run.currency), badge(run.state))


def _refs(term: str, exact: bool) -> Iterable[Hit]:
    rows = ExternalRef.objects.filter(wanted_refs(term, exact)).select_related("connection")
    for ref in rows.order_by("-id")[: SHOWN + 1]:
        title = " · ".join(filter(None, (ref.external_id, ref.number))) or ref.key or ""
        yield Hit(title, f"{ref.kind.replace('_', ' ')} in {ref.connection}", url_of(ref), object_link(ref), badge(ref.state))


def _questions(term: str, exact: bool) -> Iterable[Hit]:
    events = list(InboxEvent.objects.filter(wanted_events(term, exact)).values_list("pk", flat=True)[:200])
    runs = list(Run.objects.filter(wanted_runs(term, exact)).values_list("pk", flat=True)[:200])
    asked = Step.objects.filter(state="waiting", run__in=runs).values_list("waiting_on", flat=True)
    wanted = Q(event__in=events) | Q(pk__in=list(asked)) | (Q() if exact else Q(state="open", title__icontains=term))
    for item in ReviewItem.objects.filter(wanted).order_by("-id")[: SHOWN + 1]:
        yield Hit(item.title, item.get_cause_display(), url_of(item), f"for {item.group}", badge(item.state))


def _parties(term: str, exact: bool) -> Iterable[Hit]:
    for party in Party.objects.filter(named("name", term, exact)).order_by("name")[: SHOWN + 1]:
        yield Hit(party.name, "customer", url_of(party), party.email)


def _credits(term: str, exact: bool) -> Iterable[Hit]:
    found = re.fullmatch(r"CR-0*(\d{1,18})", term, re.IGNORECASE)
    for credit in Credit.objects.filter(pk=int(found[1])).select_related("party") if found else ():
        about = money(credit.total, credit.currency)
        yield Hit(
            credit.number, f"credit for {credit.party}", reverse("admin:desk_credit", args=[credit.pk]), about, badge(credit.state)
        )


SOURCES: tuple[tuple[str, type[Model], Callable[[str, bool], Iterable[Hit]]], ...] = (
    ("Credits", Credit, _credits),
    ("Runs", Run, _runs),
    ("References", ExternalRef, _refs),
    ("Events", InboxEvent, _events),
    ("Questions", ReviewItem, _questions),
    ("Customers", Party, _parties),
)


def find(request: HttpRequest, term: str, *, exact: bool) -> list[Group]:
    """What this user may see of what the term names, or begins the name of. Nothing for fewer than three characters."""
    if len(term) < SHORTEST:
        return []
    groups = []
    for title, model, source in SOURCES:
        if request.user.has_perm(f"{model._meta.app_label}.view_{model._meta.model_name}"):
            hits = list(source(term, exact))
            if hits:
                groups.append(Group(title, hits[:SHOWN], len(hits) > SHOWN))
    return groups


def exact_or_prefix(request: HttpRequest, term: str) -> tuple[list[Group], bool]:
    """What the term names exactly, else what begins with it; and whether it was exact."""
    groups = find(request, term, exact=True)
    return (groups, True) if groups else (find(request, term, exact=False), False)


def found(request: HttpRequest) -> HttpResponse:
    """The page of results; a single result opens at once."""
    term = request.GET.get("q", "").strip()[:255]
    groups, exact = (find(request, term, exact=False), False) if "prefix" in request.GET else exact_or_prefix(request, term)
    hits = [hit for group in groups for hit in group.hits]
    if len(hits) == 1:
        return redirect(hits[0].url)
    own = {"title": "Search", "term": term, "groups": groups, "exact": exact, "shortest": SHORTEST}
    return TemplateResponse(request, "admin/tieout/found.html", {**admin.site.each_context(request), **own})


def palette(request: HttpRequest, _lowered: str) -> list[Any]:
    """Results for the theme's command palette, by the term as it was typed (ids tell cases apart)."""
    from unfold.dataclasses import SearchResult

    return [
        SearchResult(title=hit.title, description=f"{group.title}: {hit.what}", link=hit.url, icon="tag")
        for group in exact_or_prefix(request, request.GET.get("s", "").strip()[:255])[0]
        for hit in group.hits[:5]
    ]


def urls() -> list[Any]:
    """The search page inside the admin."""
    return [path("find/", admin.site.admin_view(found), name="find")]
