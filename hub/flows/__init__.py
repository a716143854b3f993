"""The workflows, one file each; this is their register. A run ends on the version it began with."""

from __future__ import annotations

from functools import cache

from hub.engine.flow import Effect, Flow, Keep, Undo

_flows: dict[tuple[str, int], Flow] = {}


def register(*flows: Flow) -> None:
    """Add flows. The newest version of a name starts new runs. Raises ValueError for one that could not be undone."""
    for flow in flows:
        for spec in flow.steps:
            if isinstance(spec, Effect) and not (isinstance(spec.undo, Undo) or (isinstance(spec.undo, Keep) and spec.undo.reason)):
                raise ValueError(f"{flow.name}/{spec.name} does not say how it is undone, or why it is kept")
        _flows[flow.name, flow.version] = flow
    listening.cache_clear()


def forget(*flows: Flow) -> None:
    """Take flows out again (tests)."""
    for flow in flows:
        _flows.pop((flow.name, flow.version), None)
    listening.cache_clear()


def get(name: str, version: int) -> Flow:
    """The flow a run began with. Raises LookupError when this release no longer carries it."""
    try:
        return _flows[name, version]
    except KeyError:
        raise LookupError(f"this release has no flow {name} version {version}") from None


def current(name: str) -> Flow:
    """The newest version of a flow. Raises LookupError."""
    versions = [version for known, version in _flows if known == name]
    if not versions:
        raise LookupError(f"no flow {name}")
    return _flows[name, max(versions)]


def names() -> list[str]:
    """Every flow there is."""
    return sorted({name for name, _ in _flows})


@cache
def listening(event: str) -> tuple[Flow, ...]:
    """The newest flows an event starts."""
    return tuple(flow for flow in (current(name) for name in names()) if event in flow.triggers)
