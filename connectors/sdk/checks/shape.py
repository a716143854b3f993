"""What a connector says about itself, and what it makes of its samples."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from canonical.events import EVENTS
from canonical.types import OBJECTS
from connectors.sdk.contract import WriteSafety
from connectors.sdk.errors import BadPayload
from connectors.sdk.kit import Kit, NonConformance, require

BAD = "bad payload"
"""Stands for the objects of a sample that we must refuse to understand."""
NAME = re.compile(r"[a-z][a-z_]*")


def declaration(kit: Kit) -> None:
    """Names are ours, every money command can be repeated safely, and every omission has a reason."""
    it = kit.connector
    require(NAME.fullmatch(it.slug), f"slug {it.slug!r} is not a lower-case word")
    require(it.title and it.quiet.total_seconds() > 0, "title and quiet period are there")
    require(it.limits.max_in_flight > 0, "limits allow at least one call")
    for kind, name in it.events.items():
        ours = name in EVENTS and name.startswith(f"{it.role}.")
        require(ours, f"{kind!r} is called {name!r}, which is no {it.role} event of canonical.events")
    for kind in it.fetch:
        require(kind in OBJECTS, f"fetch[{kind!r}] is not a canonical kind")
    for name, command in it.commands.items():
        require(name == command.name, f"command {name!r} calls itself {command.name!r}")
        safe = command.safety is not WriteSafety.NONE
        require(safe or not command.money, f"{name} moves money and can't be repeated safely")
        require(command.find or not safe, f"{name} is safe to repeat only with a find")
    for name, reason in kit.omissions.items():
        require(len(reason.split()) >= 3, f"omission {name!r} has no reason worth reading")


def samples(kit: Kit) -> None:
    """Every sample parses to the result stored beside it."""
    require(kit.samples, f"there are no samples in {kit.connector.sample_folder}/")
    kit.offered("samples", kit.parse)
    for path in kit.samples:
        stored = _expected_path(path)
        require(stored.exists(), f"{path.name} has no {stored.name} beside it")
        expected, found = json.loads(stored.read_text()), understood(kit, path.read_bytes())
        require(found == expected, f"{path.name} is understood as {json.dumps(found)}")


def extra_fields(kit: Kit) -> None:
    """Fields that a vendor adds change nothing."""
    kit.offered("extra_fields", kit.parse)
    for path in kit.samples:
        stored = _expected_path(path)
        require(stored.exists(), f"{path.name} has no {stored.name} beside it")
        expected = json.loads(stored.read_text())
        body = json.dumps(_with_more(json.loads(path.read_bytes()))).encode()
        require(understood(kit, body) == expected, f"{path.name} is understood differently with fields added")


def malformed(kit: Kit) -> None:
    """What is not the vendor's JSON is BadPayload, never another exception."""
    readers = [read for read in (kit.connector.envelope, kit.parse) if read]
    kit.offered("malformed", readers)
    whole = kit.samples[0].read_bytes() if kit.samples else b"{}"
    bodies = [b"", b"null", b"[]", b"{}", b'"x"', b"12", b"\xff\xfe", b"[" * 5000, whole[:-2], whole[: len(whole) // 2]]
    for body in bodies:
        for read in readers:
            try:
                read(body)
            except BadPayload:
                continue
            except Exception as error:
                raise NonConformance(f"{body[:20]!r} raises {type(error).__name__}, not BadPayload") from error
            raise NonConformance(f"{body[:20]!r} is accepted")


def unknown_event(kit: Kit) -> None:
    """A type that is not known is reported with its id and no subject."""
    kit.offered("unknown_event", kit.connector.envelope and kit.unknown_event)
    read, body = kit.connector.envelope, kit.unknown_event
    if read is None or body is None:
        return
    envelope = read(body)
    require(envelope.kind and envelope.kind not in kit.connector.events, "the unknown event's type is known")
    require(envelope.external_id, "an unknown event has an id")
    require(not envelope.subject_kind and not envelope.subject_id, "an unknown event has no subject")


def resent(kit: Kit) -> None:
    """A delivery that is only written differently says the same; one that is understood differently does not."""
    same = kit.connector.same
    kit.offered("resent", same)
    if same is None:
        return
    bodies = [body for path in kit.samples if _envelope(kit, body := path.read_bytes())]
    require(bodies, "there is a sample of a delivery")
    for body in bodies:
        delivery, told = json.loads(body), understood(kit, body)
        require(same(body, json.dumps(_backwards(delivery)).encode()), "keys in another order say something else")
        for changed in (json.dumps(other).encode() for other in _changed(delivery)):
            require(understood(kit, changed) == told or not same(body, changed), f"{changed!r} says the same")
        require(not same(body, b"[]"), "what is no delivery says the same")


def understood(kit: Kit, body: bytes) -> dict[str, Any]:
    """What we make of a sample, as it is stored beside it."""
    try:
        objects = kit.parse(body) if kit.parse else []
    except BadPayload:
        return {"envelope": _envelope(kit, body), "objects": BAD}
    read = [{"kind": o.kind, **o.model_dump(mode="json")} for o in objects]
    return {"envelope": _envelope(kit, body), "objects": read}


def _envelope(kit: Kit, body: bytes) -> dict[str, Any] | None:
    """The envelope of samples that are deliveries; a bare object has none."""
    if kit.connector.envelope is None:
        return None
    try:
        envelope = kit.connector.envelope(body)
    except BadPayload:
        return None
    return {
        "external_id": envelope.external_id,
        "kind": envelope.kind,
        "name": kit.connector.events.get(envelope.kind, ""),
        "subject_kind": envelope.subject_kind,
        "subject_id": envelope.subject_id,
        "occurred_at": envelope.occurred_at.isoformat() if envelope.occurred_at else None,
    }


def write_expected(kit: Kit) -> Iterator[Path]:
    """Store what the samples are understood as now."""
    for path in kit.samples:
        stored = _expected_path(path)
        stored.write_text(json.dumps(understood(kit, path.read_bytes()), indent=1, ensure_ascii=False) + "\n")
        yield stored


def _expected_path(sample: Path) -> Path:
    return sample.with_suffix(".expected.json")


def _with_more(value: Any) -> Any:
    if isinstance(value, list):
        return [_with_more(item) for item in value]
    if not isinstance(value, dict):
        return value
    return {**{key: _with_more(item) for key, item in value.items()}, "a_field_of_next_year": {"id": None}}


def _backwards(value: Any) -> Any:
    if isinstance(value, list):
        return [_backwards(item) for item in value]
    return {key: _backwards(value[key]) for key in reversed(value)} if isinstance(value, dict) else value


def _changed(value: Any) -> Iterator[Any]:
    """The value with one of its numbers or texts changed, for each of them."""
    if isinstance(value, dict | list):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            for other in _changed(item):
                copy = value.copy()
                copy[key] = other
                yield copy
    elif isinstance(value, str):
        yield value + "1"
    elif type(value) is int:
        yield value + 1


CHECKS = {
    "declaration": declaration,
    "samples": samples,
    "extra_fields": extra_fields,
    "malformed": malformed,
    "unknown_event": unknown_event,
    "resent": resent,
}
