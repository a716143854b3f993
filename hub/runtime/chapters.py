"""Further stories of the demo, told by the apps above the hub: what they register here, the demo loads when it runs."""

from __future__ import annotations

from importlib import import_module
from typing import Any

_MODULES: list[str] = []


def register(module: str) -> None:
    """Name a module with `chapter(demo)`, called in `AppConfig.ready`.

    It returns an object with `begin()`, called before the first story, and `stories()`, told after the hub's own.
    """
    if module not in _MODULES:
        _MODULES.append(module)


def chapters(demo: Any) -> list[Any]:
    """The chapters for a prepared `hub.demo.Demo`, in the order they were registered."""
    return [import_module(name).chapter(demo) for name in _MODULES]
