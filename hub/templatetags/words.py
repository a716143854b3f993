"""Machine words as people read them."""

from __future__ import annotations

from django import template

register = template.Library()


@register.filter
def spoken(value: object) -> str:
    """`new_customer` → `new customer`, `2026-11-23T06:09` → `2026-11-23 06:09`."""
    return str(value).replace("_", " ").replace("T", " ", 1) if str(value)[:1].isdigit() else str(value).replace("_", " ")
