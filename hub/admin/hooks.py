"""What apps above the hub add to the back office: pages of their own, links of the navigation, cards of the home page.

The hub imports none of them; they add themselves when Django discovers their `admin` package.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.http import HttpRequest

PAGES: list[Callable[[], list[Any]]] = []
"""Functions that return the URL patterns of further pages, below the address of the admin."""

CARDS: list[tuple[str, str, Callable[[HttpRequest], dict[str, Any]]]] = []
"""(permission to see it, template, its context) of each further card of the home page."""


def cards(request: HttpRequest) -> list[dict[str, Any]]:
    """The cards of the home page that the user may see."""
    return [
        {"template": template, **context(request)} for permission, template, context in CARDS if request.user.has_perm(permission)
    ]
