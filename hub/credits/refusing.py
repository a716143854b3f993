"""Why no credit was opened: because none is due, or because something must be set up first."""

from __future__ import annotations

from collections.abc import Sequence


class NotOpened(Exception):
    """No credit is due: nothing promised or missed, excluded, no evidence, given before. The message is for people.

    `explanation` is how the policy came to it, line by line.
    """

    def __init__(self, message: str, explanation: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.explanation = list(explanation)


class NotReady(NotOpened):
    """One may be due, but it cannot be worked out before a person sets up what is missing: a policy, a rate, a rule."""
