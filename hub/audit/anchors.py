"""Heads of the chain, written down where the database cannot reach them: who rewrites the whole trail is found out too.

One line of JSON per anchor in `TIEOUT_AUDIT_ANCHORS` (a file on another host's share, an append-only volume), and the same
in the log, from where a log collector carries it away.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

import structlog
from django.conf import settings

from hub.audit.models import AuditEntry

log = structlog.get_logger("hub.audit")


@dataclass(frozen=True, slots=True)
class Anchor:
    """The head at an instant: its number, and the hash that covers everything before it."""

    seq: int
    hash: str
    at: str


def write() -> Anchor | None:
    """Write the head down unless it is the last anchor already; None when there is nothing new."""
    head = AuditEntry.objects.order_by("-seq").first()
    known = read()
    if head is None or (known and known[-1].seq >= head.seq):
        return None
    anchor = Anchor(head.seq, head.hash, datetime.now(UTC).isoformat(timespec="seconds"))
    settings.AUDIT_ANCHORS.parent.mkdir(parents=True, exist_ok=True)
    with settings.AUDIT_ANCHORS.open("a") as file:
        file.write(json.dumps(asdict(anchor)) + "\n")
    log.info("audit_anchored", seq=anchor.seq, hash=anchor.hash)
    return anchor


def read() -> Sequence[Anchor]:
    """Every anchor there is, oldest first."""
    if not settings.AUDIT_ANCHORS.exists():
        return []
    return [Anchor(**json.loads(line)) for line in settings.AUDIT_ANCHORS.read_text().splitlines() if line]
