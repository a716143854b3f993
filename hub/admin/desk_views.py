"""Saved views: a filter of the queue under a name, for oneself or for all."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.db.models import Q
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.shortcuts import redirect
from django.urls import reverse

from hub.admin.desk_queue import Wanted
from hub.credits.models import SavedView


def of(user: Any) -> list[SavedView]:
    """A person's own views, and those others share."""
    rows = SavedView.objects.filter(Q(owner=user.pk) | Q(is_shared=True))
    return list(rows.select_related("owner").order_by("name", "id")[:100])


def save(request: HttpRequest) -> HttpResponse:
    """Keep the filter under a name; the same name again changes it."""
    if request.method != "POST":
        return HttpResponseNotAllowed(["POST"])
    name, query = request.POST.get("name", "").strip()[:60], Wanted.parse(request.POST.get("queue", "")).query()
    if not name or len(query) > 500:
        messages.error(request, "A view needs a name, and a filter that fits into an address.")
    else:
        kept = {"query": query, "is_shared": request.POST.get("is_shared") == "on"}
        SavedView.objects.update_or_create(owner_id=request.user.pk, name=name, defaults=kept)
        messages.success(request, f"The view “{name}” is kept.")
    return redirect(f"{reverse('admin:desk')}?{query}")


def forget(request: HttpRequest, pk: int) -> HttpResponse:
    """Delete an own view."""
    if request.method != "POST":
        return HttpResponseNotAllowed(["POST"])
    gone, _ = SavedView.objects.filter(pk=pk, owner=request.user.pk).delete()
    if gone:
        messages.success(request, "The view is gone.")
    else:
        messages.error(request, "Only its owner deletes a view.")
    return redirect("admin:desk")
