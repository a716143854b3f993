"""What a workflow is: a tuple of steps, declared and never replayed. Progress is which rows exist.

- `Local` changes our own tables, in one transaction.
- `Read` asks a system something; its answer is applied in the transaction that settles it.
- `Gate` waits until a condition of ours holds: an approval, the end of an undo window.
- `Effect` writes to a system by our key and says how it is undone, or why it is kept.

A step whose `request` returns None is not needed, and gets no row. Functions here do no I/O but the database, and may
raise `Blocked` to wait for a person or a mapping. A change of a flow's steps is a new version: runs end on theirs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from canonical.commands import Request, Written
from connectors.models import Connection
from connectors.sdk.contract import Command, Connector
from connectors.sdk.http import Call
from hub.models import ReviewItem, Run


class Blocked(Exception):
    """The step cannot go on until a person or a mapping comes. Failures of one `fingerprint` share a review item."""

    def __init__(self, cause: str, fingerprint: str, title: str, *, group: str = "operator", **detail: Any) -> None:
        super().__init__(title)
        self.cause = ReviewItem.Cause(cause)
        self.fingerprint, self.title, self.group, self.detail = fingerprint, title, group, detail


@dataclass(frozen=True, slots=True)
class Local:
    """A change of our own tables."""

    name: str
    apply: Callable[[Run], None]


@dataclass(frozen=True, slots=True)
class Read:
    """A question to a system. `ask` performs it from the request; a lost answer is just asked again.

    `apply` gets None for an answer that it found wrong before, and that a person has accepted.
    """

    name: str
    on: Callable[[Run], Connection]
    request: Callable[[Run], dict[str, Any] | None]
    ask: Callable[[Connector, Any, dict[str, Any], Call], Any]
    apply: Callable[[Run, Any], None]


@dataclass(frozen=True, slots=True)
class Keep:
    """Why an effect stays when the run is undone."""

    reason: str


@dataclass(frozen=True, slots=True)
class Undo:
    """The effect that takes another one back: a further document, never a deletion."""

    command: str
    request: Callable[[Run], Request | None]
    apply: Callable[[Run, Written], None]


@dataclass(frozen=True, slots=True)
class Effect:
    """A write to a system by our key. `creates` names the reference that is reserved before and bound after."""

    name: str
    command: str
    on: Callable[[Run], Connection]
    request: Callable[[Run], Request | None]
    apply: Callable[[Run, Written], None]
    undo: Undo | Keep
    creates: str = ""
    """Kind of the external reference this makes for the run's object ('' : none)."""
    owner: Callable[[Run], tuple[str, int]] | None = None
    """(kind, id) of the object the reference belongs to; the run's own object by default."""
    lane: Callable[[Run], str] | None = None
    """A lane of its own, for a thing several runs share (a customer); the run's by default."""


@dataclass(frozen=True, slots=True)
class Gate:
    """Waits. `opens` answers True (go on), False (until `store.wake` is called), or the seconds after which to ask again.

    `opens` locks the row it judges by, and whoever changes that row calls `wake` in the same transaction: so an
    opening cannot fall between the judgement and the wait.
    """

    name: str
    opens: Callable[[Run], bool | float]


StepSpec = Local | Read | Gate | Effect


@dataclass(frozen=True, slots=True)
class Flow:
    """A workflow. `triggers` are canonical event names; `on_refusal` says who answers a vendor's no."""

    name: str
    title: str
    steps: tuple[StepSpec, ...]
    triggers: frozenset[str] = frozenset()
    version: int = 1
    lane: Callable[[Run], str] = field(default=lambda run: f"{run.subject_kind}:{run.connection_id}:{run.subject_id}")
    on_refusal: Literal["person", "undo"] = "person"
    group: str = "operator"
    """The role that owns what goes wrong here."""
    start: Callable[[Run], None] | None = None

    def step(self, name: str) -> StepSpec:
        """The declaration of a step row, undo rows included. Raises LookupError."""
        plain = name.removeprefix(UNDO)
        for spec in self.steps:
            if spec.name == plain:
                return spec
        raise LookupError(f"{self.name} v{self.version} has no step {name}")

    def after(self, name: str | None) -> Sequence[StepSpec]:
        """The steps that come after `name`; all of them for None."""
        names = [spec.name for spec in self.steps]
        return self.steps[names.index(name) + 1 if name else 0 :]

    def before(self, name: str) -> Sequence[StepSpec]:
        """The steps before `name`, last first: the order of undoing."""
        names = [spec.name for spec in self.steps]
        return self.steps[: names.index(name.removeprefix(UNDO))][::-1]


UNDO = "undo:"


def command_of(connection: Connection, name: str) -> Command:
    """The connector's command. Raises LookupError, with what is missing, when it has none of that name."""
    try:
        return connection.spec.commands[name]
    except KeyError:
        raise LookupError(f"connector {connection.connector} has no command {name}") from None
