"""What happens to the demo company: each story acts on the billing or the support side, and says where it must end.

A story is an act and an end. All acts happen first, then the stories are watched until each is where it should be or
time is up: the work they cause runs beside each other, in the hub's own processes. The ends are read from the systems.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from django.db import close_old_connections

from connectors.sdk.errors import VendorError

Found = TypeVar("Found")
PATIENCE = 420.0
"""Seconds until a story that has not ended counts as failed; the longest waits for a lease and a quiet period."""
ACT_PATIENCE = 180.0
"""Seconds an act waits for what comes before it. On a busy machine each step may take ten times as long as on a quiet one."""


@dataclass(frozen=True)
class Seen:
    """Where a story stands: the state at the hub, what the systems themselves say, and whether both are as they should."""

    state: str
    words: str = ""
    is_right: bool = False


@dataclass
class Story:
    """One thing that happens, and the state its object must end in. `look` is given what `act` returned."""

    title: str
    end: str
    act: Callable[[], Any]
    look: Callable[[Any], Seen]
    told: Any = None
    seen: Seen = field(default_factory=lambda: Seen("not begun"))
    ended_after: float | None = None


class Storyteller:
    """Tells stories against a running hub, one telling after another. `log` takes the progress and the tables."""

    def __init__(self, log: Callable[[str], None]) -> None:
        self.log = log
        self.told: list[Story] = []

    def tell(self, stories: Sequence[Story]) -> None:
        """Act, watch until each is where it should be or time is up, print the table."""
        began = time.monotonic()
        for story in stories:
            self._act(story)
        while going := [story for story in stories if story.told is not None and story.ended_after is None]:
            if time.monotonic() - began > PATIENCE:
                break
            close_old_connections()
            for story in going:
                self._look(story, began)
            time.sleep(1)
        self._print(stories)
        self.told += stories

    def sum_up(self) -> int:
        """Say how all tellings ended, naming what failed; returns 0 when every story is where it should be."""
        failed = [story for story in self.told if story.ended_after is None]
        self.log("")
        self.log(f"{len(self.told) - len(failed)} of {len(self.told)} stories are where they should be")
        for story in failed:
            self.log(f"NOT WHERE IT SHOULD BE: {story.title}: should be {story.end}, is {story.seen.state}: {story.seen.words}")
        return 1 if failed else 0

    def _act(self, story: Story) -> None:
        self.log(f"story: {story.title}")
        try:
            story.told = story.act()
        except (VendorError, StopIteration, OSError) as error:  # an OSError is also what requests raises, and giving up
            story.seen = Seen("could not be told", repr(error))

    def _look(self, story: Story, began: float) -> None:
        try:
            story.seen = story.look(story.told)
        except VendorError as error:
            story.seen = Seen(story.seen.state, f"could not be read: {error.message}")
        if story.seen.is_right:
            story.ended_after = time.monotonic() - began

    def _print(self, stories: Sequence[Story]) -> None:
        width = max(len(story.title) for story in stories)
        self.log("")
        self.log(f"{'story':<{width}}  {'should be':<10}  {'is':<10}  {'after':>6}  in the systems' own books")
        for story in stories:
            after = f"{story.ended_after:.0f} s" if story.ended_after is not None else "-"
            verdict = "" if story.ended_after is not None else "   ← NOT WHERE IT SHOULD BE"
            state = story.seen.state or "-"
            self.log(f"{story.title:<{width}}  {story.end:<10}  {state:<10}  {after:>6}  {story.seen.words}{verdict}")


def wait_for(look: Callable[[], Found | None], seconds: float = ACT_PATIENCE) -> Found:
    """Look until something is found. Raises TimeoutError, which says where the looking was done."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        close_old_connections()
        found = look()
        if found:
            return found
        time.sleep(0.05)
    raise TimeoutError(f"nothing after {seconds:.0f} s from {getattr(look, '__qualname__', look)}")
