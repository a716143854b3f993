"""The names of what happens, in our language: what connectors translate their events to, and workflows listen for. Pure.

A name is `<role>.<kind>.<what happened>`. What an event says is a hint: the object is read as it is now.
"""

from __future__ import annotations

EVENTS = {
    "billing.party.created": "A customer was created.",
    "billing.party.updated": "A customer changed.",
    "billing.party.deleted": "A customer was deleted; documents about it stand.",
    "billing.product.created": "A product was created.",
    "billing.product.updated": "A product changed.",
    "billing.product.deleted": "A product was deleted.",
    "billing.price.created": "A price was created.",
    "billing.price.updated": "A price changed.",
    "billing.price.deleted": "A price was deleted.",
    "billing.subscription.created": "A subscription was agreed.",
    "billing.subscription.updated": "A subscription changed: items, quantities, its end.",
    "billing.subscription.cancelled": "A subscription ended.",
    "billing.subscription.paused": "Billing of a subscription was paused.",
    "billing.subscription.resumed": "Billing of a subscription goes on.",
    "billing.subscription.observed": "A sweep saw a subscription in a state it had not seen before.",
    "billing.invoice.created": "A draft was made; nobody owes it yet.",
    "billing.invoice.updated": "An invoice changed.",
    "billing.invoice.finalized": "An invoice was issued: it is owed.",
    "billing.invoice.paid": "An invoice was settled in full.",
    "billing.invoice.payment_succeeded": "A payment of an invoice went through.",
    "billing.invoice.payment_failed": "A payment of an invoice failed.",
    "billing.invoice.overdue": "An invoice is past its due date.",
    "billing.invoice.voided": "An issued invoice was taken back.",
    "billing.invoice.uncollectible": "An invoice is still owed, and not expected to be paid.",
    "billing.invoice.deleted": "A draft was deleted.",
    "billing.invoice.observed": "A sweep saw an invoice in a state it had not seen before.",
    "billing.credit_memo.issued": "A credit memo was issued.",
    "billing.credit_memo.updated": "A credit memo changed.",
    "billing.credit_memo.voided": "A credit memo was taken back.",
    "billing.payment.succeeded": "Money was received.",
    "billing.payment.failed": "A payment failed.",
    "billing.payment.cancelled": "A payment was given up.",
    "billing.payment.allocated": "A payment was set against an invoice.",
    "billing.payment.refunded": "Money was given back.",
    "billing.payment.refund_updated": "A refund changed.",
    "billing.payment.refund_failed": "A refund failed: the money is still ours.",
    "erp.party.changed": "A customer in the ERP changed.",
    "erp.invoice.changed": "An invoice in the ERP changed.",
    "erp.credit_memo.changed": "A credit memo in the ERP changed.",
}
"""Name → what happened."""
