"""What happens to the demo company: each story acts on the billing or the support side, and says where it must end.

A story is an act and an end. All acts happen first, then the stories are watched until each is where it should be or
time is up: the work they cause runs beside each other, in the hub's own processes. The ends are read from the systems.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import requests
from django.db import close_old_connections

from connectors.sdk.errors import VendorError

Found = TypeVar("Found")
PATIENCE = 420.0
"""Seconds until a story that has not ended counts as failed; the longest waits for a lease and a quiet period."""


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
    """Tells the stories against a running hub. `log` takes the progress and the summary."""

    def __init__(self, stories: Sequence[Story], log: Callable[[str], None]) -> None:
        self.stories, self.log = stories, log

    def tell(self) -> int:
        """Act, watch, print the table; returns 0 when every story is where it should be."""
        began = time.monotonic()
        for story in self.stories:
            self.log(f"story: {story.title}")
            try:
                story.told = story.act()
            except (requests.RequestException, VendorError, StopIteration, TimeoutError) as error:
                story.seen = Seen("could not be told", repr(error)[:80])
        while time.monotonic() - began < PATIENCE:
            close_old_connections()
            for story in self.stories:
                if story.told is not None and story.ended_after is None:
                    self._look(story, began)
            if all(story.ended_after is not None for story in self.stories if story.told is not None):
                break
            time.sleep(1)
        self._print()
        return 0 if all(story.ended_after is not None for story in self.stories) else 1

    def _look(self, story: Story, began: float) -> None:
        try:
            story.seen = story.look(story.told)
        except VendorError as error:
            story.seen = Seen(story.seen.state, f"could not be read: {error.message}")
        if story.seen.is_right:
            story.ended_after = time.monotonic() - began

    def _print(self) -> None:
        width = max(len(story.title) for story in self.stories)
        self.log("")
        self.log(f"{'story':<{width}}  {'should be':<10}  {'is':<10}  {'after':>6}  in the systems' own books")
        for story in self.stories:
            after = f"{story.ended_after:.0f} s" if story.ended_after is not None else "-"
            verdict = "" if story.ended_after is not None else "   ← NOT WHERE IT SHOULD BE"
            state = story.seen.state or "-"
            self.log(f"{story.title:<{width}}  {story.end:<10}  {state:<10}  {after:>6}  {story.seen.words}{verdict}")


def wait_for(look: Callable[[], Found | None], seconds: float) -> Found:
    """Look until something is found. Raises TimeoutError."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        close_old_connections()
        found = look()
        if found:
            return found
        time.sleep(0.05)
    raise TimeoutError(f"nothing after {seconds:.0f} s")
