"""Export of the trail for an auditor: JSONL, a manifest with control totals, and the script that verifies both."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hub.audit import verifier
from hub.audit.models import AuditEntry


def lines(first: int = 1, last: int | None = None) -> Iterator[str]:
    """The entries as JSONL, in their order."""
    entries = AuditEntry.objects.filter(seq__gte=first).order_by("seq")
    if last is not None:
        entries = entries.filter(seq__lte=last)
    for entry in entries.values("seq", "at", "prev_hash", "hash", "content").iterator(chunk_size=2000):
        yield json.dumps({**entry, "at": entry["at"].isoformat(timespec="microseconds")}, ensure_ascii=False) + "\n"


def export(folder: Path, *, first: int = 1, last: int | None = None) -> dict[str, Any]:
    """Write `audit.jsonl`, `manifest.json` and `verify_audit.py` into a new folder; returns the manifest.

    Raises FileExistsError rather than writing over an earlier export.
    """
    folder.mkdir(parents=True)
    hashed, count, entry = hashlib.sha256(), 0, {"seq": 0, "hash": ""}
    with (folder / "audit.jsonl").open("wb") as file:
        for line in lines(first, last):
            raw = line.encode()
            file.write(raw)
            hashed.update(raw)
            count, entry = count + 1, json.loads(line)
    before = AuditEntry.objects.filter(seq=first - 1).values_list("hash", flat=True).first()
    manifest = {
        "format": "tieout-audit/1", "exported_at": datetime.now(UTC).isoformat(timespec="seconds"), "count": count,
        "first": first, "last": entry["seq"] or first - 1, "before": before or verifier.GENESIS,
        "head": entry["hash"] or before or verifier.GENESIS, "sha256": hashed.hexdigest(),
    }  # fmt: skip
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n")
    shutil.copyfile(Path(verifier.__file__), folder / "verify_audit.py")
    return manifest
