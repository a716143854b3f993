"""What a vendor package gives to the conformance checks, and what the checks share. See `connectors.sdk.conformance`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from canonical.types import CanonicalObject
from connectors.sdk.contract import Client, Connector
from connectors.sdk.http import Call, Http
from connectors.sdk.twin import Twin


class NonConformance(Exception):
    """A promise that is not kept; the message says which and what to do."""


class Omitted(Exception):
    """The vendor package says why it does not offer this."""


@dataclass(frozen=True, slots=True)
class Probe:
    """How to try one command against the twin."""

    request: Callable[[Any, str], BaseModel]
    """(twin, key) → a valid request; what it refers to is created in the twin first."""
    count: Callable[[Any, Any], int]
    """(twin, request) → how many effects of that request the twin holds."""
    commit: str
    """`match` of the HTTP request that commits the effect (see `connectors.sdk.twin`)."""


@dataclass(frozen=True, slots=True)
class Kit:
    """What a vendor package offers the suite."""

    connector: Connector
    folder: Path
    """Of the vendor package."""
    twin: Callable[[], Twin]
    settings: Callable[[Any], BaseModel]
    """twin → settings."""
    credentials: BaseModel
    parse: Callable[[bytes], Sequence[CanonicalObject]] | None = None
    unknown_event: bytes | None = None
    sign: Callable[[bytes, str, int], dict[str, str]] | None = None
    """(body, secret, Unix time) → headers, their names in lower case."""
    probes: Mapping[str, Probe] = field(default_factory=dict)
    fill: Mapping[str, Callable[[Any], set[str]]] = field(default_factory=dict)
    """Stream of `pages` or kind of `extracts` → put more than a page into the twin; the ids of what must then be brought."""
    disturb: Callable[[Any], object] | None = None
    """Create something more in the twin while a sweep is under way."""
    known: Mapping[str, Callable[[Any], str]] = field(default_factory=dict)
    """Canonical kind → the id of such an object, created in the twin."""
    omissions: Mapping[str, str] = field(default_factory=dict)
    """Name of a check → why it does not apply to this vendor."""

    @property
    def samples(self) -> list[Path]:
        """The samples, without their expected results."""
        found = sorted((self.folder / self.connector.sample_folder).glob("*.json"))
        return [path for path in found if not path.name.endswith(".expected.json")]

    @contextmanager
    def running(self) -> Iterator[tuple[Any, Client]]:
        """A fresh twin on loopback and a client opened for it."""
        http = Http(connect_timeout=2)
        with self.twin() as twin:
            try:
                yield twin, self.connector.open(self.settings(twin), self.credentials, http)
            finally:
                http.close()

    def offered(self, check: str, capability: object) -> None:
        """Raise Omitted or NonConformance when the capability is not there."""
        if capability:
            return
        reason = self.omissions.get(check, "").strip()
        if reason:
            raise Omitted(reason)
        raise NonConformance(
            f"{self.connector.slug} offers nothing to check {check!r} with: fill it in, or say why not in KIT.omissions[{check!r}]"
        )


def require(holds: object, promise: str) -> None:
    """Raise NonConformance unless the promise holds."""
    if not holds:
        raise NonConformance(promise)


def kit_of(vendor: str) -> Kit:
    """The KIT of `connectors.vendors.<vendor>.conformance`."""
    kit = import_module(f"connectors.vendors.{vendor}.conformance").KIT
    require(isinstance(kit, Kit), f"connectors.vendors.{vendor}.conformance.KIT is not a Kit")
    return kit  # type: ignore[no-any-return]


def call() -> Call:
    """A call that gives up soon: twins answer at once."""
    return Call(correlation_id="conformance", timeout=5)


def secrets_of(model: BaseModel) -> list[str]:
    """The values of credentials that are worth hiding."""
    return [value for value in _strings(model.model_dump(mode="json")) if len(value) >= 6]


def _strings(value: Any) -> Iterable[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from _strings(item)
    elif isinstance(value, list):
        for item in value:
            yield from _strings(item)
