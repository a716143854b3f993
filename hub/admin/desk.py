"""The reviewer's desk: the queue, one credit on one page, and the buttons. Pages of our own inside the admin."""

from __future__ import annotations

from datetime import datetime
from typing import Any, cast
from urllib.parse import urlencode

from django.conf import settings
from django.contrib import admin, messages
from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils import timezone
from django_fsm import ConcurrentTransition, TransitionNotAllowed

from canonical.models import LegalEntity
from hub.admin import desk_ask, desk_bulk, desk_views, desk_workload
from hub.admin.desk_actions import ACTIONS, DECIDE, REQUEST, Asked, may, offered
from hub.admin.desk_chart import length
from hub.admin.desk_item import RELATED, changes_since, evidence, rule_in_words
from hub.admin.desk_queue import PAGE, Wanted, active_delegations, next_after, page, searched, tabs, waiting_count, waiting_for
from hub.admin.desk_words import Elsewhere, elsewhere, standing, sums
from hub.admin_ui import Problem, money
from hub.credits import deciding, flagging, matrix, settling
from hub.credits.models import Credit, CreditPolicy, Reason
from hub.engine.flow import Blocked
from hub.people import stepup

LOOK = "credits.view_credit"
NOTE = 500
"""How much of a note survives the way over the page that asks for the password."""
COUNTED = "waiting_for_me"
"""Attribute of a request whose page has counted already what the badge shows."""


def queue(request: HttpRequest) -> HttpResponse:
    """The list. Who decides lands on what waits for them, everybody else on all that is pending."""
    at, wanted = timezone.now(), Wanted.of(request.GET, landing(request))
    if wanted.q and (found := only_one(wanted)):
        return redirect("admin:desk_credit", found)
    delegations = active_delegations(request.user, at)
    mine = waiting_for(request.user, at, delegations)
    rows, following = page(mine, wanted, request.GET.get("after", ""))
    known = elsewhere(rows)
    found_tabs = tabs(mine)
    setattr(request, COUNTED, next(tab.count for tab in found_tabs if tab.name == "mine"))
    context = {
        "title": "Credits to decide",
        "wanted": wanted,
        "query": wanted.query(),
        "tabs": [(tab, sums(tab.money), wanted.query(tab=tab.name, q="")) for tab in found_tabs],
        "rows": [row(credit, at, known.get(credit.pk)) for credit in rows],
        "next": urlencode({"after": following}) if following else "",
        "paged": "after" in request.GET,
        "bulk": request.user.has_perm(DECIDE) and wanted.tab in ("mine", "pending") and not wanted.q,
        "may_ask": request.user.has_perm(REQUEST),
        "choices": choices(),
        "views": desk_views.of(request.user),
        "standing_in": delegations,
        "formula": (matrix.priority.__doc__ or "").strip(),
        "most": desk_bulk.MOST,
        "page": PAGE,
        "reporting": settings.REPORTING_CURRENCY,
    }
    return show(request, "admin/desk/queue.html", context)


def row(credit: Credit, at: datetime, known: Elsewhere | None) -> dict[str, Any]:
    """A row of the list."""
    return {
        "credit": credit,
        "standing": standing(credit, mine=credit.mine, at=at, known=known),  # type: ignore[attr-defined]
        "late": overdue(credit, at),
        "total": money(credit.total, credit.currency),
        "reporting": money(credit.reporting_amount, settings.REPORTING_CURRENCY),
        "age": length(at - credit.submitted_at),
    }


def landing(request: HttpRequest) -> str:
    """The tab somebody sees first."""
    return "mine" if request.user.has_perm(DECIDE) else "pending"


def only_one(wanted: Wanted) -> int | None:
    """The credit a search names, when it names a single one."""
    found = list(searched(wanted.q).values_list("pk", flat=True)[:2])
    return found[0] if len(found) == 1 else None


def overdue(credit: Credit, at: datetime) -> bool:
    """Whether a decision is late."""
    return credit.state == "pending" and credit.due_at is not None and credit.due_at < at


def choices() -> dict[str, Any]:
    """What the filters offer."""
    entities = list(LegalEntity.objects.order_by("code"))
    return {
        "entities": entities,
        "currencies": sorted({entity.currency for entity in entities} | {settings.REPORTING_CURRENCY}),
        "reasons": Reason.choices,
        "ages": (("1", "older than a day"), ("3", "older than 3 days"), ("7", "older than a week"), ("30", "older than a month")),
        "flags": [(flag, flag.replace("_", " ")) for flag in (*flagging.CHECKS, "changed")],
    }


def item(request: HttpRequest, pk: int) -> HttpResponse:
    """One credit with everything a decision needs."""
    credit = find(pk)
    at, wanted = timezone.now(), Wanted.of(request.GET, landing(request))
    confirmed = stepup.confirmed_at(request)
    why_not = deciding.why_not(credit, cast(User, request.user), at=at)
    buttons = offered(credit, request.user)
    seen, done = request.GET.get("seen", ""), request.GET.get("done", "")
    context = {
        **evidence(credit, mine=not why_not and credit.state == "pending", at=at),
        "title": credit.number,
        "credit": credit,
        "may": buttons,
        "why_not": why_not,
        "step_up": needs_confirmation(credit, confirmed, at),
        "rule": rule_in_words(credit),
        "question": deciding.asked(credit) if credit.state == "needs_info" else None,
        "reason_codes": deciding.REASON_CODES,
        "settlements": CreditPolicy.Settlement.choices,
        "settling": settling.allowed_actions(credit) if "settle" in buttons else [],
        "changes": changes_since(credit, int(seen)) if seen.isdigit() and len(seen) < 9 else [],
        "undoable": undoable(request, done),
        "following": next_after(credit, waiting_for(request.user, at), wanted),
        "wanted": wanted,
        "query": wanted.query(),
        "note": request.GET.get("note", "")[:NOTE],
        "overdue": overdue(credit, at),
        "reporting": settings.REPORTING_CURRENCY,
    }
    return show(request, "admin/desk/item.html", context)


def find(pk: int) -> Credit:
    """The credit with what its page names. Raises Http404."""
    try:
        return Credit.objects.select_related(*RELATED).get(pk=pk)
    except Credit.DoesNotExist:
        raise Http404(f"There is no credit {pk}.") from None


def needs_confirmation(credit: Credit, confirmed: datetime | None, at: datetime) -> bool:
    """Whether approving it would first ask for the password."""
    if credit.approval_rule is None or not credit.approval_rule.step_up:
        return False
    return confirmed is None or (at - confirmed).total_seconds() > deciding.STEP_UP_SECONDS


def undoable(request: HttpRequest, pk: str) -> Credit | None:
    """The credit this person has just approved, while it can be undone."""
    if not pk.isdigit() or len(pk) > 18:
        return None
    held = Credit.objects.filter(pk=int(pk), state="approved", held_until__gt=timezone.now())
    return held.filter(approvals__by=request.user.pk).distinct().first()


def act(request: HttpRequest, pk: int, name: str) -> HttpResponse:
    """A button: carried out by the service, answered with a message. After a decision the next item opens."""
    if name not in ACTIONS or not may(ACTIONS[name], request.user):
        raise PermissionDenied
    if request.method != "POST":
        return HttpResponseNotAllowed(["POST"])
    credit = find(pk)
    wanted = Wanted.parse(request.POST.get("queue", ""), landing(request))
    action = ACTIONS[name]
    # Asked for before, while this one still has its place in the list.
    following = next_after(credit, waiting_for(request.user, timezone.now()), wanted) if action.decides else None
    try:
        messages.success(request, action.run(Asked(request, credit)))
    except deciding.NotAllowed as error:
        if getattr(error, "needs_confirmation", False):
            note = request.POST.get("note", "")[:NOTE]
            return stepup.redirect_to_confirm(request, address(pk, wanted, **({"note": note} if note else {})))
        messages.error(request, sentence(error))
        return redirect(address(pk, wanted, seen=request.POST.get("revision", "")))
    except (Problem, Blocked, TransitionNotAllowed, ConcurrentTransition, *desk_ask.REFUSALS) as error:
        messages.error(request, sentence(error))
        return redirect(address(pk, wanted, seen=request.POST.get("revision", "")))
    if not action.decides:
        return redirect(address(pk, wanted))
    done = {"done": str(pk)} if name == "approve" else {}
    if following is None:
        messages.info(request, "Nothing else is in this list.")
        return redirect(f"{reverse('admin:desk')}?{wanted.query()}")
    return redirect(address(following, wanted, **done))


def sentence(error: Exception) -> str:
    """A message of the service as a sentence."""
    text = str(error).strip() or "That is not possible."
    return f"{text[:1].upper()}{text[1:]}{'' if text.endswith(('.', '!', '?')) else '.'}"


def address(pk: int, wanted: Wanted, **more: str) -> str:
    """The page of a credit, inside the list it was opened from."""
    return f"{reverse('admin:desk_credit', args=[pk])}?{wanted.query()}{'&' if more else ''}{urlencode(more)}"


def show(request: HttpRequest, template: str, context: dict[str, Any]) -> HttpResponse:
    """A page in the frame of the back office, for who may see credits."""
    return TemplateResponse(request, template, {**admin.site.each_context(request), **context})


def badge(request: HttpRequest) -> str:
    """How many credits wait for me (the badge in the navigation)."""
    known = getattr(request, COUNTED, None)
    count = waiting_count(request.user, timezone.now()) if known is None else known
    return f"{count}" if count < 1000 else "999+"


def seen_by(view: Any) -> Any:
    """A view of the desk: logged in, on the staff, and allowed to look at credits."""

    def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        if not request.user.has_perm(LOOK):
            raise PermissionDenied
        answer: HttpResponse = view(request, *args, **kwargs)
        return answer

    return admin.site.admin_view(guarded)


def urls() -> list[Any]:
    """The pages of the desk inside the admin."""
    return [
        path("desk/", seen_by(queue), name="desk"),
        path("desk/<int:pk>/", seen_by(item), name="desk_credit"),
        path("desk/<int:pk>/do/<slug:name>/", seen_by(act), name="desk_act"),
        path("desk/approve/", seen_by(desk_bulk.approve), name="desk_approve"),
        path("desk/export/", seen_by(desk_bulk.export), name="desk_export"),
        path("desk/workload/", seen_by(desk_workload.page), name="desk_workload"),
        path("desk/views/", seen_by(desk_views.save), name="desk_view_save"),
        path("desk/views/<int:pk>/forget/", seen_by(desk_views.forget), name="desk_view_forget"),
        path("desk/new/", seen_by(desk_ask.page), name="desk_new"),
    ]
