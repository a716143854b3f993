#!/usr/bin/env python3
"""Check an exported audit trail: `python3 verify_audit.py FOLDER`. Needs Python 3.8 and nothing else.

The folder holds `audit.jsonl` (one entry a line: seq, at, prev_hash, hash, content) and `manifest.json` (how many, first and
last, SHA-256 of the file, hash of the head). Every entry's hash must be SHA-256("prev_hash|seq|at|content") in UTF-8, without
`at` at the beginning of an old trail; every entry must continue the one before it; file and head must be the manifest's.
Compare the head with an anchor that was kept elsewhere: a trail that was rewritten as a whole is consistent in itself.
Exit code 0: unbroken; 1: broken, and the first broken entry is named; 2: cannot be read.
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

GENESIS = "0" * 64


def check(folder: Path) -> tuple[str, int, str]:
    """Return (problem or '', number of entries, hash of the head)."""
    raw = (folder / "audit.jsonl").read_bytes()
    manifest = json.loads((folder / "manifest.json").read_text("utf-8"))
    count, before, expected = 0, manifest["before"], manifest["first"]
    for line in raw.decode("utf-8").splitlines():
        entry = json.loads(line)
        if entry["seq"] != expected:
            return f"entry {expected} is missing: entry {entry['seq']} comes in its place", count, before
        if entry["prev_hash"] != before:
            return f"entry {entry['seq']} does not continue the entry before it", count, before
        if entry["hash"] not in (_hash(entry, "at", "content"), _hash(entry, "content")):
            return f"entry {entry['seq']} has another content or time than was hashed", count, before
        count, before, expected = count + 1, entry["hash"], expected + 1
    if count != manifest["count"] or before != manifest["head"]:
        return f"the export ends after {count} of {manifest['count']} entries", count, before
    if manifest["first"] == 1 and manifest["before"] != GENESIS:
        return "the first entry has no right beginning", count, before
    if hashlib.sha256(raw).hexdigest() != manifest["sha256"]:
        return "audit.jsonl is not the file the manifest was made for", count, before
    return "", count, before


def _hash(entry: dict[str, Any], *said: str) -> str:
    text = "|".join(str(entry[name]) for name in ("prev_hash", "seq", *said))
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def main(arguments: list[str]) -> int:
    """Print the finding; returns the exit code."""
    if len(arguments) != 1:
        print(__doc__)
        return 2
    try:
        problem, count, head = check(Path(arguments[0]))
    except (OSError, ValueError, KeyError) as error:
        print(f"cannot be read: {type(error).__name__}: {error}")
        return 2
    print(f"BROKEN: {problem}" if problem else f"unbroken: {count} entries, head {head}")
    return 1 if problem else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
