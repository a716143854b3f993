"""A support platform in memory: cases and organisations that tests write, blocks and notes that the hub writes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel

from canonical import types
from canonical.commands import PostNote, WriteCase, Written
from connectors.sdk.contract import Command, Connector, Envelope, Health, WriteSafety
from connectors.sdk.errors import Refused
from connectors.sdk.http import Call


class Nothing(BaseModel):
    """No settings, no secrets."""


@dataclass
class Desk:
    """What the platform holds."""

    cases: dict[str, types.SupportCase] = field(default_factory=dict)
    parties: dict[str, types.Party] = field(default_factory=dict)
    blocks: dict[str, str] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)

    def case(self, client: Any, external_id: str, call: Call) -> Sequence[types.CanonicalObject]:
        """A case with its organisation. Refused('not_found') once it is deleted."""
        if external_id not in self.cases:
            raise Refused("no such case", code="not_found")
        told = self.cases[external_id]
        return [told, *([self.parties[told.party]] if told.party in self.parties else [])]

    def party(self, client: Any, external_id: str, call: Call) -> Sequence[types.CanonicalObject]:
        """An organisation."""
        return [self.parties[external_id]]

    def write_case(self, client: Any, request: WriteCase, call: Call) -> Written:
        """Keep the block."""
        self.blocks[request.case] = request.block
        return Written(external_id=request.case)

    def find_case(self, client: Any, request: WriteCase, call: Call) -> Written | None:
        """Whether the case shows the block."""
        return Written(external_id=request.case) if self.blocks.get(request.case) == request.block else None

    def post_note(self, client: Any, request: PostNote, call: Call) -> Written:
        """Keep the note."""
        self.notes[request.key] = request.text
        return Written(external_id=request.key)

    def find_note(self, client: Any, request: PostNote, call: Call) -> Written | None:
        """The note of a key."""
        return Written(external_id=request.key) if request.key in self.notes else None

    def connector(self) -> Connector:
        """The platform as the hub sees it."""
        return Connector(
            slug="desk", title="Desk", role="support", settings=Nothing, credentials=Nothing, open=lambda s, c, h: self,
            check=lambda client, call: Health(identity="desk"), envelope=envelope,
            fetch={"support_case": self.case, "party": self.party},
            events={f"case.{past}": f"support.case.{past}" for past in ("opened", "updated", "resolved", "deleted", "observed")}
            | {"party.updated": "support.party.updated"},
            commands={
                "write_case": Command("write_case", WriteCase, self.write_case, self.find_case, WriteSafety.UPSERT),
                "post_note": Command("post_note", PostNote, self.post_note, self.find_note, WriteSafety.LOOKUP),
            },
        )  # fmt: skip


def event(external_id: str, kind: str, subject: str = "t1") -> bytes:
    """A delivery."""
    return json.dumps({"id": external_id, "kind": kind, "subject": subject}).encode()


def envelope(body: bytes) -> Envelope:
    """What a delivery is about."""
    told = json.loads(body)
    subject_kind = "party" if told["kind"].startswith("party") else "support_case"
    return Envelope(told["id"], told["kind"], subject_kind, told["subject"])
