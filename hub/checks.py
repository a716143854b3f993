"""Start-up checks: a workflow that could not be undone or repeated safely does not start."""

from __future__ import annotations

from typing import Any

from django.core.checks import CheckMessage, Error, register

from connectors.registry import CONNECTORS
from connectors.sdk.contract import WriteSafety
from hub import flows
from hub.engine.flow import Effect, Keep, Undo


@register()
def every_effect_says_how_it_is_undone(**_: Any) -> list[CheckMessage]:
    """Each Effect carries an Undo, or a Keep with a reason."""
    problems: list[CheckMessage] = []
    for name in flows.names():
        for spec in flows.current(name).steps:
            if isinstance(spec, Effect) and not (isinstance(spec.undo, Undo) or (isinstance(spec.undo, Keep) and spec.undo.reason)):
                problems.append(Error(f"{name}/{spec.name} does not say how it is undone", id="tieout.E001"))
    return problems


@register()
def no_money_document_without_write_safety(**_: Any) -> list[CheckMessage]:
    """A command that moves money can be repeated safely at its vendor."""
    return [
        Error(f"{slug}: {command.name} moves money and cannot be repeated safely", id="tieout.E002")
        for slug, connector in CONNECTORS.items()
        for command in connector.commands.values()
        if command.money and command.safety is WriteSafety.NONE
    ]
