"""What every page of the back office shares: lists that stay fast, pages that only show, and buttons that act.

The only module that knows the admin theme's classes by name; the rest of the back office builds on these.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, ClassVar

from django.contrib import messages
from django.contrib.admin import ShowFacets
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.core.paginator import Paginator
from django.db import connection as database
from django.db.models import Model, Q, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from simple_history.admin import SimpleHistoryAdmin

from canonical.money import exponent

if TYPE_CHECKING:
    from django.contrib.admin import ModelAdmin, SimpleListFilter, TabularInline
    from django.contrib.admin.views.main import ChangeList
else:
    from django.contrib.admin import SimpleListFilter
    from unfold.admin import ModelAdmin, TabularInline
    from unfold.views import ChangeList

__all__ = [
    "Admin",
    "Choices",
    "EditAdmin",
    "Problem",
    "ReadOnlyAdmin",
    "TabularInline",
    "badge",
    "button",
    "is_uuid",
    "link",
    "money",
    "named",
    "pretty",
    "when",
]

COUNTED = 10_000
"""Rows a filtered list counts at most; beyond, it says 'more'."""
PAGES = 200
"""How deep a list can be paged; what lies deeper is found by search and filters."""


class Problem(Exception):
    """What was asked for cannot be done; the message tells the person why."""


# lists -------------------------------------------------------------------------------------------------------------


class FastPaginator(Paginator[Any]):
    """Counts without reading millions of rows: an estimate for a whole table, and a capped count for a part of one."""

    @cached_property
    def count(self) -> int:
        rows = self.object_list
        if not isinstance(rows, QuerySet):
            return len(rows)
        if not rows.query.where:
            estimate = _estimate(rows.model._meta.db_table)
            if estimate > COUNTED:
                return estimate
        return rows.order_by().values("pk")[: COUNTED + 1].count()

    @cached_property
    def num_pages(self) -> int:
        return min(super().num_pages, PAGES)


def _estimate(table: str) -> int:
    with database.cursor() as cursor:
        cursor.execute("SELECT reltuples::bigint FROM pg_class WHERE oid = %s::regclass", [table])
        row = cursor.fetchone()
    return row[0] if row else -1


class DecoratedChangeList(ChangeList):
    """Lets the admin fetch, in one query a page, what its columns need beyond the row."""

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        if not self.query and not self.has_active_filters:
            self.full_result_count = self.result_count
        self.result_list = list(self.result_list)
        self.model_admin.decorate(self.result_list)  # type: ignore[attr-defined]


class Choices(SimpleListFilter):
    """A filter with fixed choices: it never asks a large table which values there are."""

    field = ""
    options: ClassVar[Sequence[tuple[str, str]]] = ()

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, str]]:
        return self.options

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        value = self.value()
        return queryset if value is None else self.narrow(queryset, value)

    def narrow(self, queryset: QuerySet[Any], value: str) -> QuerySet[Any]:
        """The rows of one choice; by default those whose `field` has that value."""
        return queryset.filter(**{self.field or str(self.parameter_name): value})

    @classmethod
    def of(cls, name: str, options: Sequence[tuple[str, str]], title: str = "") -> type[Choices]:
        """A filter on the column `name`."""
        return type(f"{name}_filter", (cls,), {"parameter_name": name, "title": title or name, "options": options})


def is_uuid(term: str) -> bool:
    """Whether a term can be a correlation id."""
    try:
        uuid.UUID(term)
    except ValueError:
        return False
    return True


def named(field: str, term: str, exact: bool) -> Q:
    """Rows whose `field` is the term, or begins with it. Both use a plain index where the database sorts by bytes."""
    return Q(**{field if exact else f"{field}__startswith": term})


# words and marks ---------------------------------------------------------------------------------------------------

TONES = {
    "good": {
        "active",
        "done",
        "found",
        "posted",
        "confirmed",
        "settled",
        "resolved",
        "fine",
        "paid",
        "succeeded",
        "healed",
    },
    "busy": {"open", "running", "ready", "recorded", "mapped", "draft", "reserved", "compensating"},
    "wait": {
        "waiting",
        "unknown",
        "parked",
        "paused",
        "blocked",
        "busy",
        "unknown_outcome",
        "conflict",
        "missing_mapping",
        "missed",
    },
    "bad": {
        "failed",
        "refused",
        "quarantined",
        "lost",
        "crashed",
        "revoked",
        "misconfigured",
        "mismatch",
        "not_understood",
    },
}


def tone(state: str) -> str:
    """How a state looks: good, busy, wait, bad, or plain."""
    return next((name for name, states in TONES.items() if state in states), "plain")


def badge(state: str, label: str = "") -> str:
    """A state as a coloured mark with its word in it."""
    return format_html('<span class="tie-badge tie-{}">{}</span>', tone(state), label or state.replace("_", " ")) if state else ""


def link(obj: Model | None, label: str = "") -> str:
    """A link to the page of an object, '' for none."""
    return format_html('<a class="tie-link" href="{}">{}</a>', url_of(obj), label or str(obj)) if obj is not None else ""


def url_of(obj: Model) -> str:
    """The page of an object."""
    return reverse(f"admin:{obj._meta.app_label}_{obj._meta.model_name}_change", args=[obj.pk])


def money(amount: Any, currency: str) -> str:
    """An amount with its currency, to the smallest unit of that, or as exact as it is."""
    if amount is None:
        return ""
    exact = amount.normalize()
    places = max(exponent(currency) if currency else 2, -exact.as_tuple().exponent)
    return f"{exact:,.{places}f} {currency}".strip()


def when(name: str) -> Callable[[Any], str]:
    """A list column with the instant or day `name`, in a form that sorts and reads the same everywhere."""

    def column(obj: Any) -> str:
        at = getattr(obj, name)
        if at is None:
            return ""
        return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S}" if isinstance(at, datetime) else str(at.isoformat())

    column.short_description = re.sub("_(at|on)$", "", name).replace("_", " ")  # type: ignore[attr-defined]
    return column


def pretty(content: Any) -> str:
    """Anything as readable text: JSON indented, bytes decoded. It is text: templates escape it."""
    if isinstance(content, bytes | memoryview):
        content = bytes(content).decode("utf-8", "replace")
    if isinstance(content, str):
        try:
            content = json.loads(content)
        except ValueError:
            return str(content)
    return json.dumps(content, indent=2, ensure_ascii=False, default=str)


# buttons -----------------------------------------------------------------------------------------------------------

Act = Callable[[Any, HttpRequest, Any], str]


def button(permission: str) -> Callable[[Act], Act]:
    """Mark a method as what a button does: POST only, for those who have `permission`, answered with a message.

    The method is given (request, object) and returns what to tell; it raises Problem when it cannot be done. `{app}` and
    `{model}` in the permission are those of the page.
    """

    def mark(act: Act) -> Act:
        act.permission = permission  # type: ignore[attr-defined]
        return act

    return mark


class Admin(ModelAdmin[Any]):
    """A list that stays fast, and buttons under `<object>/do/<name>/`."""

    paginator = FastPaginator
    show_full_result_count = False
    list_per_page = 50
    ordering: ClassVar[Any] = ("-pk",)
    sortable_by = ()
    show_facets = ShowFacets.NEVER  # they count the whole table once for every choice
    actions = None
    buttons_rerender = False

    def decorate(self, rows: list[Any]) -> None:
        """Fetch at once what the columns of these rows need."""

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return DecoratedChangeList

    def buttons(self) -> Iterator[tuple[str, str]]:
        """(name, permission) of every button of this page."""
        for name in dir(type(self)):
            if permission := getattr(getattr(type(self), name, None), "permission", None):
                yield name, permission.format(app=self.opts.app_label, model=self.opts.model_name)

    def get_urls(self) -> list[URLPattern]:
        info = f"{self.opts.app_label}_{self.opts.model_name}"
        own = [
            path(f"<int:pk>/do/{name}/", self.admin_site.admin_view(partial(self._press, name)), name=f"{info}_{name}")
            for name, _ in self.buttons()
        ]
        return own + super().get_urls()

    def _press(self, name: str, request: HttpRequest, pk: int) -> HttpResponse:
        act = getattr(self, name)
        obj = self.get_object(request, str(pk))
        if obj is None or not self.has_view_permission(request, obj) or not self._may(request)[name]:
            raise PermissionDenied
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        try:
            messages.success(request, act(request, obj))
        except Problem as problem:
            messages.error(request, str(problem))
            if self.buttons_rerender:
                return self.change_view(request, str(pk))
        return redirect(url_of(obj))

    def page(self, request: HttpRequest, obj: Any, template: str, context: dict[str, Any]) -> HttpResponse:
        """Render a page about one object inside the frame of the back office."""
        frame = self.admin_site.each_context(request)
        own = {"opts": self.opts, "original": obj, "object": obj, "title": str(obj), "may": self._may(request)}
        return TemplateResponse(request, template, {**frame, **own, **context})

    def _may(self, request: HttpRequest) -> dict[str, bool]:
        return {name: request.user.has_perm(permission) for name, permission in self.buttons()}


class ReadOnlyAdmin(Admin):
    """Something to look at. Its page is a template of ours; whatever changes it is a button."""

    template = "admin/tieout/object.html"
    buttons_rerender = True

    def has_add_permission(self, request: HttpRequest, *args: Any) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def describe(self, request: HttpRequest, obj: Any) -> dict[str, Any]:
        """The context of the page of `obj`."""
        return {}

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        obj = self.get_object(request, unquote(object_id))
        if obj is None:
            return self._get_obj_does_not_exist_redirect(request, self.opts, object_id)  # type: ignore[attr-defined, no-any-return]
        if not self.has_view_permission(request, obj):
            raise PermissionDenied
        return self.page(request, obj, self.template, self.describe(request, obj))


class EditAdmin(SimpleHistoryAdmin, Admin):  # type: ignore[misc]
    """Something people edit. Every change is kept with who made it and what differed; nothing is reverted."""

    def revert_disabled(self, request: HttpRequest, obj: Any = None) -> bool:
        """Reverting would bypass the rules that a change has to follow."""
        return True

    def history_form_view(
        self, request: HttpRequest, object_id: str, version_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        # The view saves whatever is posted to it, and asks only for the right to look.
        if request.method != "GET":
            return HttpResponseNotAllowed(["GET"])
        return super().history_form_view(request, object_id, version_id, extra_context)  # type: ignore[no-any-return]
