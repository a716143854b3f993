"""The pages of the back office, enumerated from the site itself, so that a new page is tested when it is added."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import Model
from django.urls import reverse

from hub.admin_ui import Admin

APPS = ("canonical", "connectors", "credits", "hub", "reconciliation", "auth", "django_celery_beat")


def admins() -> list[Admin]:
    """Every admin of ours."""
    return [site for model, site in admin.site._registry.items() if model._meta.app_label in APPS]  # type: ignore[misc]


def name(model: type[Model]) -> str:
    return f"{model._meta.app_label}_{model._meta.model_name}"


def list_url(model: type[Model]) -> str:
    return reverse(f"admin:{name(model)}_changelist")


def page_url(obj: Any, what: str = "change") -> str:
    return reverse(f"admin:{name(type(obj))}_{what}", args=[obj.pk])


def buttons() -> list[tuple[type[Model], str, str]]:
    """(model, button, permission) of every button there is."""
    return [(site.model, button, permission) for site in admins() for button, permission in site.buttons()]
