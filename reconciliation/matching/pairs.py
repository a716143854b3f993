"""What is compared with what. A further pair of two-sided documents is a row of `PAIRS`; the stages do not change.

A side says which readings belong to it, by which key they are known, and which of them need no counterpart, and why.
`r` is the reading, `c` its connection; further tables are joined where a side says so (`joins`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

A_CREDIT = "r.id IN (SELECT id FROM recon_special)"
"""Readings that belong to the three-way pair of service credits."""


@dataclass(frozen=True, slots=True)
class Side:
    """One system of a pair, in SQL."""

    role: str
    kind: str
    key: str
    """The key it is known by: on the side that owns it its own id, on the other the key of ours it carries."""
    owns_key: bool
    excuse: str = "NULL"
    """Why it needs no counterpart; NULL when it needs one."""
    where: str = "true"
    joins: str = ""
    refs: tuple[str, ...] = ()
    """Kinds of cross-references under which our object is found there."""


@dataclass(frozen=True, slots=True)
class Pair:
    """Two sides that have to agree, document by document."""

    name: str
    title: str
    left: Side
    right: Side
    in_parts: bool = False
    """Several readings of one key are parts of one (payments), not duplicates of it."""

    def swapped(self) -> Pair:
        """The same pair seen from the other side."""
        return replace(self, left=self.right, right=self.left)


TAKEN_BACK = "LEFT JOIN recon_reversed v ON v.connection_id = r.connection_id AND v.external_id = r.external_id"
BILLING_INVOICE = Side(
    "billing", "invoice", "c.slug || '/' || r.external_id", owns_key=True, refs=("invoice",),
    excuse="CASE WHEN r.status IN ('draft', 'void') THEN r.status WHEN r.total = 0 THEN 'nothing to post' END",
)  # fmt: skip
ERP_INVOICE = Side(
    # What was taken back and posted anew has the key of the first with its number behind "#".
    "erp", "invoice", "nullif(split_part(r.reference, '#', 1), '')", owns_key=False, refs=("invoice",),
    where=f"NOT {A_CREDIT}", joins=TAKEN_BACK,
    # Tryton calls an invoice void as well that credit memos, which stand for themselves, have used up.
    excuse="""CASE WHEN r.status = 'draft' THEN 'draft' WHEN r.reference LIKE 'variance/%%' THEN 'written off' WHEN v.by_key
        THEN 'reversed'
                   WHEN r.status = 'void' AND coalesce(v.credited, 0) < r.total THEN 'void'
                   WHEN r.total = 0 THEN 'nothing to post' END""",
)  # fmt: skip
BILLING_MEMO = Side(
    "billing", "credit_memo", "c.slug || '/' || r.external_id", owns_key=True, refs=("credit_memo",), where=f"NOT {A_CREDIT}",
    excuse="CASE WHEN r.status = 'void' THEN 'void' WHEN r.total = 0 THEN 'nothing to post' END",
)  # fmt: skip
ERP_MEMO = Side(
    "erp", "credit_memo", "nullif(r.reference, '')", owns_key=False, refs=("credit_memo",), where=f"NOT {A_CREDIT}",
    joins="LEFT JOIN recon_takes_back v ON v.memo = r.id",
    excuse="""CASE WHEN v.used THEN 'takes an invoice back' WHEN r.reference LIKE 'variance/%%' THEN 'written off'
                   WHEN r.status IN ('draft', 'void') THEN r.status
                   WHEN r.total = 0 THEN 'nothing to post' END""",
)  # fmt: skip
MONEY = """CASE WHEN r.status IN ('pending', 'failed') THEN r.status WHEN r.status = 'refunded' THEN 'given back'
                WHEN r.total = 0 THEN 'nothing to post' END"""
BILLING_PAYMENT = Side(
    "billing", "payment", "c.slug || '/' || coalesce(nullif(r.about, ''), r.external_id) || '/payment'", owns_key=True,
    excuse=MONEY,
)  # fmt: skip
ERP_PAYMENT = Side(
    "erp", "payment",
    "coalesce(CASE WHEN r.reference LIKE '%%/payment' THEN r.reference END, i.key || '/payment', nullif(r.reference, ''))",
    owns_key=False, joins="LEFT JOIN recon_invoice i ON i.external_id = r.about AND i.connection_id = r.connection_id",
        excuse=MONEY,
)  # fmt: skip

PAIRS: tuple[Pair, ...] = (
    Pair("invoices", "Invoices", BILLING_INVOICE, ERP_INVOICE),
    Pair("credit_memos", "Credit memos", BILLING_MEMO, ERP_MEMO),
    Pair("payments", "Payments", BILLING_PAYMENT, ERP_PAYMENT, in_parts=True),
)
"""Two-way pairs, in the order they are compared: what takes a document back comes after it. Revenue schedules join here."""
