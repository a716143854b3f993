"""The close cockpit: months of every entity at a glance, and one page per month from its gates to the sign-off."""

from __future__ import annotations

import io
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import FileResponse, Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils.dateparse import parse_date
from django_fsm import ConcurrentTransition, TransitionNotAllowed

from canonical.models import LegalEntity
from hub.admin.panels import transitions
from hub.admin_ui import Problem, money, pretty
from reconciliation import closing, people
from reconciliation.admin.compare import number
from reconciliation.admin.words import carried_out, mark, pair_title, sums
from reconciliation.closing import gates, pack
from reconciliation.models import PeriodClose

LOOK = "reconciliation.view_periodclose"
MONTHS = 6
"""Months the overview shows, the current one first."""


def overview(request: HttpRequest) -> HttpResponse:
    """Entities down, months across: where each close stands."""
    entities = list(LegalEntity.objects.order_by("code"))
    months = list(back(max(map(people.today, entities)).replace(day=1), MONTHS)) if entities else []
    known = {
        (row.legal_entity_id, row.period): row for row in PeriodClose.objects.filter(period__in=months).select_related("signed_by")
    }
    rows = [
        (entity, [(cell_of(known.get((entity.pk, month))), address(entity, month)) for month in months]) for entity in entities
    ]  # fmt: skip
    return show(request, "admin/reconciliation/closes.html", {"title": "Close", "months": months, "rows": rows})


def back(month: date, count: int) -> Iterable[date]:
    """`count` months, this one first, then the ones before."""
    for _ in range(count):
        yield month
        month = (month - timedelta(days=1)).replace(day=1)


def cell_of(close: PeriodClose | None) -> dict[str, Any]:
    """A month in the overview."""
    state = close.state if close else "open"
    who = f"{close.signed_by}, {close.signed_at:%Y-%m-%d}" if close and close.state == "signed" and close.signed_at else ""
    return {"mark": mark(state, "not closed" if state == "open" else state), "who": who}


def page(request: HttpRequest, code: str, month: str) -> HttpResponse:
    """One month of one entity."""
    entity, period = found(code, month)
    return show(request, "admin/reconciliation/close.html", describe(request, entity, period))


def printed(request: HttpRequest, code: str, month: str) -> HttpResponse:
    """The same, for paper: everything unfolded, no buttons."""
    entity, period = found(code, month)
    return TemplateResponse(request, "admin/reconciliation/close_print.html", describe(request, entity, period))


def download(request: HttpRequest, code: str, month: str) -> FileResponse:
    """The pack of a month as a zip: JSON as it is hashed, workbook, and CSV tables."""
    entity, period = found(code, month)
    close = PeriodClose.objects.filter(legal_entity=entity, period=period).first() or PeriodClose(
        legal_entity=entity, period=period
    )
    name, packed = f"close-{entity.code}-{period:%Y-%m}", io.BytesIO()
    with tempfile.TemporaryDirectory() as place, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in pack.write(close, Path(place) / name):
            archive.write(file, f"{name}/{file.name}")
    packed.seek(0)
    return FileResponse(packed, as_attachment=True, filename=f"{name}.zip")


def describe(request: HttpRequest, entity: LegalEntity, period: date) -> dict[str, Any]:
    """What the page of a month shows. The picture is that of the close once it is prepared, and of now before."""
    close = PeriodClose.objects.filter(legal_entity=entity, period=period).select_related(
        "prepared_by", "signed_by", "reopening_asked_by", "reopened_by", "scan__legal_entity"
    ).first() or PeriodClose(legal_entity=entity, period=period)  # fmt: skip
    is_frozen = close.state in ("prepared", "signed")
    content = close.content if is_frozen else closing.content(entity, period)
    now = gates.judge(entity, period)
    reasons = content.get("reasons", {})
    may = {name: request.user.has_perm(action.permission) for name, action in ACTIONS.items()}
    user = request.user
    return {
        "title": f"{entity.name}, {period:%B %Y}",
        "entity": entity,
        "period": period,
        "close": close,
        "state": mark(close.state),
        "is_frozen": is_frozen,
        "gates": [gate(each.json(), reasons) for each in now],
        "red": sum(not each.is_green for each in now),
        "signed_gates": [gate(each, reasons) for each in content.get("gates", [])],
        "totals": totals(content.get("totals", [])),
        "breaks": [left(each) for each in content.get("breaks", [])],
        "scan": scan_of(content),
        "parameters": pretty(content.get("parameters", {})),
        "certificates": content.get("certificates", []),
        "changes": [change(each) for each in closing.difference(close)] if is_frozen else [],
        "may": may,
        "is_mine": close.prepared_by_id == user.pk,
        "asked_by_me": close.reopening_asked_by_id == user.pk,
        "panels": [transitions("periodclose", close.pk)] if close.pk else [],
        "urls": {name: reverse("admin:reconciliation_close_act", args=[entity.code, f"{period:%Y-%m}", name]) for name in ACTIONS},
        "print": reverse("admin:reconciliation_close_print", args=[entity.code, f"{period:%Y-%m}"]),
        "pack": reverse("admin:reconciliation_close_pack", args=[entity.code, f"{period:%Y-%m}"]),
        "earlier": address(entity, list(back(period, 2))[1]),
        "later": address(entity, gates.following(period)),
    }


def scan_of(content: Mapping[str, Any]) -> tuple[int, str] | None:
    """The scan of a picture and its time, as they are read."""
    said = content.get("scan")
    return (said["id"], said["as_of"][:16].replace("T", " ")) if said else None


def gate(said: Mapping[str, Any], reasons: Mapping[str, str]) -> dict[str, Any]:
    """A gate as it is read."""
    amounts = ((code, amount) for code, value in said.get("money", {}).items() if (amount := number(value)) is not None)
    return {**said, "shown_money": sums(amounts), "reason": reasons.get(said.get("name", ""), "")}


def totals(rows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Control totals as they are read; a source is named once."""
    shown, last = [], None
    for row in rows:
        amounts = {name: money(number(row[name]), row["currency"]) if row["currency"] else "" for name in ("net", "tax", "total")}
        of = (row["source"], row["kind"])
        shown.append({**row, **amounts, "first": of != last})
        last = of
    return shown


def left(row: Mapping[str, Any]) -> dict[str, Any]:
    """A break that is left, as it is read."""
    pk = str(row["name"]).removeprefix("break ")
    url = reverse("admin:reconciliation_break_change", args=[pk]) if pk.isdigit() else ""
    return {**row, "pair": pair_title(row["pair"]), "exposed": money(number(row["exposed"]), row["currency"]), "url": url}


def change(each: closing.Difference) -> dict[str, str]:
    """One difference since it was prepared, in words."""
    return {"name": f"control total {each.name}" if each.part == "totals" else each.name,
            "before": entry(each.before), "now": entry(each.now)}  # fmt: skip


def entry(said: Mapping[str, Any] | None) -> str:
    """An entry of the picture in one line."""
    if said is None:
        return "not there"
    code = str(said.get("currency", ""))
    if "count" in said:
        return f"{said['count']}: {money(number(said['total']), code)}"
    return f"{said.get('state')}: {said.get('title')}, {money(number(said.get('exposed')), code)}"


# buttons ---------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Action:
    """A button: who may press it, what it does, and what is told then."""

    permission: str
    run: Callable[[PeriodClose, Any, Mapping[str, str]], Any]
    done: str


def prepare(close: PeriodClose, user: Any, said: Mapping[str, str]) -> None:
    """Take the picture, with a reason for every gate that is red."""
    closing.prepare(
        close, user, {name.removeprefix("reason-"): words for name, words in said.items() if name.startswith("reason-")}
    )


ACTIONS = {
    "prepare": Action(people.PREPARE, prepare, "Prepared. Another person signs it."),
    "sign": Action(
        people.SIGN, lambda close, user, said: closing.sign(close, user), "Signed. From here on a change shows as a difference."
    ),
    "send-back": Action(
        people.SIGN, lambda close, user, said: closing.send_back(close, user, said.get("reason", "")), "It went back."
    ),
    "ask-reopening": Action(
        people.PREPARE,
        lambda close, user, said: closing.ask_reopening(close, user, said.get("reason", "")),
        "Asked for. Another person agrees to it.",
    ),
    "reopen": Action(
        people.SIGN, lambda close, user, said: closing.reopen(close, user), "Reopened. What was signed stays in the history."
    ),
}


def act(request: HttpRequest, code: str, month: str, name: str) -> HttpResponse:
    """A button: carried out by the service, answered with a message."""
    action = ACTIONS.get(name)
    if action is None or not request.user.has_perm(action.permission):
        raise PermissionDenied
    if request.method != "POST":
        return HttpResponseNotAllowed(["POST"])
    entity, period = found(code, month)
    said = {key: value[:2000] for key, value in request.POST.items() if isinstance(value, str)}
    if name == "prepare":
        close, _ = PeriodClose.objects.get_or_create(legal_entity=entity, period=period)
    else:
        close = PeriodClose.objects.filter(legal_entity=entity, period=period).first() or missing()
    if name == "sign" and said.get("hash") != close.hash:
        messages.error(request, "It was prepared again after you opened it: look at it again.")
        return redirect(address(entity, period))
    try:
        messages.success(request, carried_out(lambda: action.run(close, request.user, said), action.done))
    except (Problem, TransitionNotAllowed, ConcurrentTransition) as error:
        messages.error(request, str(error) or "That is not possible.")
    return redirect(address(entity, period))


def missing() -> PeriodClose:
    """Nobody has prepared this month."""
    raise Http404


def found(code: str, month: str) -> tuple[LegalEntity, date]:
    """The entity and the first day of the month that an address names."""
    entity = LegalEntity.objects.filter(code=code).first()
    try:
        period = parse_date(f"{month}-01")
    except ValueError:
        period = None
    if entity is None or period is None:
        raise Http404
    return entity, period


def address(entity: LegalEntity, period: date) -> str:
    """The page of a month."""
    return reverse("admin:reconciliation_close", args=[entity.code, f"{period:%Y-%m}"])


def show(request: HttpRequest, template: str, context: dict[str, Any]) -> HttpResponse:
    """A page in the frame of the back office."""
    return TemplateResponse(request, template, {**admin.site.each_context(request), **context})


def seen_by(permission: str, view: Any) -> Any:
    """A view for people on the staff who have a permission."""

    def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        if not request.user.has_perm(permission):
            raise PermissionDenied
        answer: HttpResponse = view(request, *args, **kwargs)
        return answer

    return admin.site.admin_view(guarded)


def urls() -> list[Any]:
    """The pages of the cockpit."""
    at = "reconciliation/close/<str:code>/<slug:month>/"
    return [
        path("reconciliation/close/", seen_by(LOOK, overview), name="reconciliation_closes"),
        path(at, seen_by(LOOK, page), name="reconciliation_close"),
        path(f"{at}print/", seen_by(LOOK, printed), name="reconciliation_close_print"),
        path(f"{at}pack/", seen_by(LOOK, download), name="reconciliation_close_pack"),
        path(f"{at}do/<slug:name>/", seen_by(LOOK, act), name="reconciliation_close_act"),
    ]
