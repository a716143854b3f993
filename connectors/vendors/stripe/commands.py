"""Writing to Stripe. Each write carries our key twice: as Idempotency-Key, which Stripe forgets after a day or more,
and in metadata, where `find` looks for it for ever.
"""

from __future__ import annotations

from typing import Any

from canonical.commands import AdjustBalance, IssueCreditNote, VoidCreditNote, WriteReference, Written
from connectors.sdk.contract import Command, WriteSafety
from connectors.sdk.errors import Refused
from connectors.sdk.http import Call
from connectors.vendors.stripe.client import Stripe, path_of
from connectors.vendors.stripe.crediting import (
    adjust_balance,
    find_balance_entry,
    find_credit_note,
    find_void,
    issue_credit_note,
    void_credit_note,
)
from connectors.vendors.stripe.fields import words
from connectors.vendors.stripe.reads import OURS

_COLLECTIONS = {
    "party": "customers",
    "product": "products",
    "price": "prices",
    "subscription": "subscriptions",
    "invoice": "invoices",
    "credit_memo": "credit_notes",
}


def write_reference(client: Stripe, request: WriteReference, call: Call) -> Written:
    """Store our facts as metadata; keys get our prefix. Stripe keeps 50 keys of 40 characters, values of 500.

    Refused also when the answer does not show them: an object that forgets metadata has been seen (localstripe).
    """
    obj = client.post(call, _reference_path(request), {"metadata": _ours(request)}, request.key)
    if not _kept(obj, request):
        raise Refused(f"the {request.kind} does not keep what was written to it", code="not_kept")
    return Written(external_id=obj["id"], number=words(obj, "number"))


def find_reference(client: Stripe, request: WriteReference, call: Call) -> Written | None:
    """The object, when its metadata says all we wanted to write."""
    obj = client.get(call, _reference_path(request))
    return Written(external_id=obj["id"], number=words(obj, "number")) if _kept(obj, request) else None


def _kept(obj: dict[str, Any], request: WriteReference) -> bool:
    kept = obj.get("metadata") or {}
    return all(kept.get(key) == value for key, value in _ours(request).items())


def _reference_path(request: WriteReference) -> str:
    collection = _COLLECTIONS.get(request.kind)
    if collection is None:
        raise Refused(f"a {request.kind} takes no references here", code="kind")
    return path_of(collection, request.external_id)


def _ours(request: WriteReference) -> dict[str, str]:
    return {name if name.startswith(OURS) else OURS + name: value for name, value in request.values.items()}


COMMANDS = {
    command.name: command
    for command in (
        Command("write_reference", WriteReference, write_reference, find_reference, WriteSafety.UPSERT),
        Command("issue_credit_note", IssueCreditNote, issue_credit_note, find_credit_note, WriteSafety.KEY, money=True),
        Command("void_credit_note", VoidCreditNote, void_credit_note, find_void, WriteSafety.KEY, money=True),
        Command("adjust_balance", AdjustBalance, adjust_balance, find_balance_entry, WriteSafety.KEY, money=True),
    )
}
