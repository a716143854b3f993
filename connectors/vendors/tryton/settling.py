"""The second half of a reversal: in Tryton's own books the two documents settle each other, so that neither stays open.

Tryton reconciles journal lines, and only whole ones that come to nothing together. Money that was received for the
original before is left on the customer's account: a part payment is let go by Tryton when the two documents are
reconciled, and an original that was paid in full (or one instalment of which was) leaves the reversal open as a credit.
"""

from __future__ import annotations

from connectors.sdk.errors import Refused
from connectors.sdk.http import Call
from connectors.vendors.tryton.client import TrytonClient

WIZARD = "wizard.account.move.reconcile_lines"
RECEIVABLES = ("lines_to_pay.amount", "lines_to_pay.reconciliation")


def settle(client: TrytonClient, original: int, reversal: int, call: Call) -> None:
    """Reconcile what fits; does nothing when that was done before. Refused when Tryton does not let us."""
    lines = fitting(client, original, reversal, call)
    if not lines:
        return
    refusal = Refused("the ERP asks for a write-off to reconcile the reversal", code="not_settled")
    try:
        _reconcile(client, lines, call)
    except Refused as said:
        refusal = said
    # Another call may have been first, which Tryton refuses in words only: the books tell.
    if fitting(client, original, reversal, call):
        raise refusal


def fitting(client: TrytonClient, original: int, reversal: int, call: Call) -> list[int]:
    """The open receivable lines of both documents when they cancel out; [] when they do not, or none is left."""
    rows = client.search(call, "account.invoice", [["id", "in", [original, reversal]]], RECEIVABLES)
    sides = [[line for line in row["lines_to_pay"] if line["reconciliation"] is None] for row in rows]
    lines = [line for side in sides for line in side]
    return [line["id"] for line in lines] if all(sides) and not sum(line["amount"] for line in lines) else []


def _reconcile(client: TrytonClient, lines: list[int], call: Call) -> None:
    about = {"active_model": "account.move.line", "active_id": lines[0], "active_ids": lines}
    session = client.rpc(call, f"{WIZARD}.create", context=about, write=False)[0]
    client.rpc(call, f"{WIZARD}.execute", session, {}, "start", context=about)
    client.rpc(call, f"{WIZARD}.delete", session, context=about, write=False)
