"""The conformance kit: what every connector promises, checked the same way for all of them.

A vendor package has a module `conformance` with a `KIT`; there is no test file per vendor. The kit names

- `twin`, which makes a fresh twin (`connectors.sdk.twin.Twin`) that refuses wrong credentials, `settings` and
  `credentials` for it;
- `parse`, from a sample's bytes to canonical objects, and the samples: `samples/<name>.json` is what the vendor sends,
  `samples/<name>.expected.json` what we understand: `{"envelope": …, "objects": […] or "bad payload"}`;
- `unknown_event`, a delivery of a type the connector does not know, and `sign`, which gives a body its headers;
- for every command a `Probe`; for every stream of `pages` and kind of `extracts` a filler; for every kind of `fetch` an id
  that exists.

A capability that is left out fails its check unless `omissions` has a written reason under the check's name.
`python -m connectors.sdk.conformance <vendor>` runs the checks and `--write` renews the expected results, whose diff is
then to be read: they are the belief, not the output.
"""

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


def checks() -> Mapping[str, Callable[[Kit], None]]:
    """Every check by its name."""
    from connectors.sdk.checks import extracting, protocol, reading, shape, writing

    return {**shape.CHECKS, **protocol.CHECKS, **reading.CHECKS, **extracting.CHECKS, **writing.CHECKS}


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


def main(arguments: Sequence[str]) -> int:
    """Run the checks of one vendor, or renew its expected results."""
    from connectors.sdk.checks.shape import write_expected

    if not arguments or len(arguments) > 2 or (len(arguments) == 2 and arguments[1] != "--write"):
        print("usage: python -m connectors.sdk.conformance <vendor> [--write]")
        return 2
    kit = kit_of(arguments[0])
    if len(arguments) == 2:
        for path in write_expected(kit):
            print(f"wrote {path.name}")
        return 0
    failed = 0
    for name, check in checks().items():
        try:
            check(kit)
            print(f"ok       {name}")
        except Omitted as reason:
            print(f"omitted  {name}: {reason}")
        except NonConformance as broken:
            failed += 1
            print(f"FAILED   {name}: {broken}")
    return 1 if failed else 0


if __name__ == "__main__":
    import sys

    # Under its real name, so that the checks and this module mean the same exceptions.
    sys.exit(import_module("connectors.sdk.conformance").main(sys.argv[1:]))
