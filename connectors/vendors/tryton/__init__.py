"""Tryton 8 (open-source ERP) as the system of record for customers, invoices, credit notes and payments.

Tryton has no idempotency keys and no webhooks. Writes are found by natural keys (see `commands`), changes by sweeps.
"""

from datetime import timedelta

from canonical.commands import EnsureParty, PostCreditMemo, PostInvoice, PostJournal, RegisterPayment, ReverseDocument
from connectors.sdk.contract import Command, Connector, Limits, WriteSafety
from connectors.vendors.tryton import commands, extracts, journals, mapping, reading
from connectors.vendors.tryton.client import Credentials, Settings, TrytonClient

LOOKUP = WriteSafety.LOOKUP
COMMANDS = (
    Command("ensure_party", EnsureParty, commands.ensure_party, commands.find_party, LOOKUP),
    Command("post_invoice", PostInvoice, commands.post_invoice, commands.find_document, LOOKUP, money=True),
    Command("post_credit_memo", PostCreditMemo, commands.post_credit_memo, commands.find_document, LOOKUP, money=True),
    Command("reverse_invoice", ReverseDocument, commands.reverse_invoice, commands.find_document, LOOKUP, money=True),
    Command("post_journal", PostJournal, journals.post_journal, journals.find_journal, LOOKUP, money=True),
    Command("register_payment", RegisterPayment, commands.register_payment, commands.find_payment, LOOKUP, money=True),
)
CONNECTOR = Connector(
    slug="tryton",
    title="Tryton",
    role="erp",
    settings=Settings,
    credentials=Credentials,
    open=TrytonClient,
    check=reading.check,
    envelope=mapping.envelope,
    events={
        "party.written": "erp.party.changed",
        "invoice.written": "erp.invoice.changed",
        "credit_memo.written": "erp.credit_memo.changed",
    },
    fetch={
        "party": reading.fetch_party,
        "invoice": reading.fetch_document,
        "credit_memo": reading.fetch_document,
    },
    pages={"parties": reading.changed_parties, "documents": reading.changed_documents},
    extracts=extracts.EXTRACTS,
    totals=extracts.TOTALS,
    commands={command.name: command for command in COMMANDS},
    periods=reading.periods,
    # gunicorn's default worker timeout is 30 s, and a queued request may wait as long before it starts.
    quiet=timedelta(seconds=90),
    # Posting and paying lock number sequences, and a second caller is refused rather than made to wait: with four at
    # once, three of four were, again and again.
    limits=Limits(max_in_flight=1),
)
