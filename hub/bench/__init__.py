"""What the hub costs, measured beside what it could cost: every figure has its reference from the same run.

`manage.py bench ingest engine workflow` measures and prints. Absolute figures belong to the machine and the hour; the
ratios are what to compare. Contestants take turns (hub, reference, hub, …), and the median turn counts.

`ingest`, `engine`, `workflow` and `desk` are the benches; `report` says what a figure is; `lab` runs contestants as child
processes; `contenders` holds what works inside those, the hand-written references included.
"""

from __future__ import annotations

BENCHES = {name: f"hub.bench.{name}" for name in ("ingest", "engine", "workflow", "desk")}
"""Name → module with `run(seconds, **options) -> list[Row]`. Layers above add theirs (`register`) when they are ready."""


def register(name: str, module: str) -> None:
    """Add a bench of another app."""
    BENCHES[name] = module
