"""Writing to the audit trail. Inside the transaction of the change: no entry without the change, no change without it."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from typing import Any

from django.db import models, transaction

from hub.audit.models import AuditEntry


def append(
    action: str, *, actor: str, obj: models.Model | None = None, role: str = "", on_behalf_of: str = "",
    before: Mapping[str, Any] | None = None, after: Mapping[str, Any] | None = None, reason_code: str = "", note: str = "",
    policy: str = "", correlation_id: uuid.UUID | None = None, source: str = "hub",
) -> None:  # fmt: skip
    """Write one entry.

    `action` is `<object>.<past participle>` (`credit.approved`); `actor` a user name or the part of the hub that acted;
    `before` and `after` hold what differs, as JSON values or what `str` makes of them; `policy` names the rule and
    version that applied; `source` is where it was asked for (`admin`, `api`, `task`, `command`, `support`, `hub`).
    Must be called inside a transaction, and late in it: entries of other transactions wait until it ends.
    """
    assert transaction.get_connection().in_atomic_block, "an audit entry belongs to the transaction of its change"
    kind, pk = (obj._meta.model_name or "", obj.pk) if obj is not None else ("", None)
    content = {
        "actor": actor, "action": action, "object_kind": kind, "object_id": pk, "object": str(obj) if obj is not None else "",
        "role": role, "on_behalf_of": on_behalf_of, "before": dict(before or {}), "after": dict(after or {}),
        "reason_code": reason_code, "note": note, "policy": policy, "source": source,
        "correlation_id": str(correlation_id) if correlation_id else "",
    }  # fmt: skip
    AuditEntry.objects.create(
        actor=actor, action=action, object_kind=kind, object_id=pk, correlation_id=correlation_id, content=canonical(content),
    )  # fmt: skip


def canonical(content: Mapping[str, Any]) -> str:
    """The one spelling of a content that is hashed: sorted keys, no blanks, no escapes beyond JSON's own."""
    return json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=str)
