"""Credit memos and reversals in Tryton, asked of the twin and of a real Tryton alike."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from contextlib import suppress
from datetime import date, timedelta
from decimal import Decimal
from typing import Any
from unittest.mock import Mock

import pytest

from canonical.commands import (
    PostCreditMemo,
    Written,
)
from canonical.types import CreditMemo, Invoice, InvoiceStatus
from connectors.sdk.errors import Refused, VendorError
from connectors.vendors.tryton import settling
from hub.engine import crash
from tests.peers.erp import TODAY, Erp, Lossy, at_once, credit_memo, invoice, key, line, paid, reversal, served, until_not_busy


def test_a_credit_memo_names_the_invoice_it_credits(erp: Erp) -> None:
    posted = erp.run("post_invoice", invoice(erp, line("100.00", "20.00", "VAT20"), line("50.00", product_code="USAGE")))
    given: dict[str, Any] = {"party": erp.party, "currency": "USD", "document_on": TODAY, "total": Decimal("12.00")}
    request = PostCreditMemo(key=key(), lines=(line("10.00", "2.00", "VAT20"),), invoice=posted.external_id, **given)
    written = erp.run("post_credit_memo", request)
    memo: CreditMemo = erp.fetch("credit_memo", written.external_id)
    assert written.number.startswith("CN")
    assert (memo.invoice, memo.net, memo.tax, memo.total) == (
        posted.external_id,
        *map(Decimal, (10, 2, 12)),
    )
    assert erp.run("post_credit_memo", request) == written


def test_a_credit_on_account_names_no_invoice(erp: Erp) -> None:
    given: dict[str, Any] = {"party": erp.party, "currency": "EUR", "document_on": TODAY, "total": Decimal("10.00")}
    written = erp.run("post_credit_memo", PostCreditMemo(key=key(), lines=(line("10.00"),), **given))
    memo: CreditMemo = erp.fetch("credit_memo", written.external_id)
    assert memo.invoice is None
    assert (memo.total, memo.currency) == (Decimal(10), "EUR")


def recognised(erp: Erp, documents: Sequence[Written], until: date) -> dict[str, Decimal]:
    """Month → revenue in it by the schedules of the documents and their lines, in Tryton's own ledger."""
    ids = [int(document.external_id) for document in documents]
    found = erp.client.search(erp.call, "account.invoice.deferred", [["invoice_line.invoice", "in", ids]], ["state"])
    origins = [f"account.invoice,{n}" for n in ids] + [f"account.invoice.deferred,{row['id']}" for row in found]
    domain = [["move.origin", "in", origins], ["account.code", "=", "4.2.2"]]
    months: dict[str, Decimal] = {}
    for row in erp.client.search(erp.call, "account.move.line", domain, ["debit", "credit", "move.date"]):
        if (on := row["move"]["date"]) <= until:
            months[f"{on:%Y-%m}"] = months.get(f"{on:%Y-%m}", Decimal(0)) + row["credit"] - row["debit"]
    return months


@pytest.mark.parametrize("erp", [pytest.param("tryton", marks=pytest.mark.peer)], indirect=True)
def test_a_deferred_credit_lowers_what_is_recognised_over_the_days_that_are_left(erp: Erp) -> None:
    first = date(TODAY.year, TODAY.month, 1)
    last = first + timedelta(days=89)
    posted = erp.run("post_invoice", invoice(erp, served("90.00", first, last)))
    request = credit_memo(erp, line("3.00", product_code="PLAN"), served("6.00", TODAY, last), invoice=posted.external_id)
    written = erp.run("post_credit_memo", request)
    assert erp.find("post_credit_memo", request) == written
    # Of the invoice alone: Tryton's own closing cents may be off (its schedules of invoices end with the wrong sign).
    assert sum(recognised(erp, [written], last).values()) == Decimal("-9.00")
    before, after = recognised(erp, [posted], last), recognised(erp, [posted, written], last)
    assert before.keys() == after.keys() and all(after[month] < before[month] for month in before)


@pytest.mark.parametrize("erp", [pytest.param("tryton", marks=pytest.mark.peer)], indirect=True)
def test_a_reversal_of_a_deferred_credit_leaves_nothing_in_any_month(erp: Erp) -> None:
    last = TODAY + timedelta(days=70)
    posted = erp.run("post_invoice", invoice(erp, served("90.00", TODAY, last)))
    memo = erp.run("post_credit_memo", credit_memo(erp, served("7.00", TODAY, last), invoice=posted.external_id))
    taken_back = erp.run("reverse_invoice", reversal(erp, memo))
    months = recognised(erp, [memo, taken_back], last)
    # Rounding at the end of a schedule above zero is Tryton's: it doubles the cent instead of taking it off.
    assert all(abs(amount) <= Decimal("0.02") for amount in months.values())


def test_a_credit_memo_may_split_a_line_between_now_and_later(erp: Erp) -> None:
    last = TODAY + timedelta(days=30)
    posted = erp.run("post_invoice", invoice(erp, served("310.00", TODAY - timedelta(days=30), last)))
    request = credit_memo(erp, line("10.00", product_code="PLAN"), served("10.00", TODAY, last), invoice=posted.external_id)
    written = erp.run("post_credit_memo", request)
    domain = [["invoice_line.invoice", "=", int(written.external_id)]]
    (schedule,) = erp.client.search(erp.call, "account.invoice.deferred", domain, ["state", "amount"])
    assert schedule["amount"] == Decimal("-10.00")
    assert schedule["state"] != "draft"
    assert erp.find("post_credit_memo", request) == written


@pytest.mark.parametrize("invoiced", [True, False])
def test_a_reversal_takes_all_of_a_credit_memo_back_once(erp: Erp, invoiced: bool) -> None:
    posted = erp.run("post_invoice", invoice(erp, line("100.00", "20.00", "VAT20"))) if invoiced else None
    lines = (line("33.33", "6.67", "VAT20"), line("10.00"))
    memo = erp.run("post_credit_memo", credit_memo(erp, *lines, invoice=posted.external_id if posted else None))
    request = reversal(erp, memo)
    written = erp.run("reverse_invoice", request)
    assert (written.facts.net, written.facts.tax, written.facts.total) == (Decimal("43.33"), Decimal("6.67"), Decimal("50.00"))
    assert written.number.startswith("INV")
    taken_back: Invoice = erp.fetch("invoice", written.external_id)
    assert taken_back.total == Decimal("50.00")
    assert erp.is_settled(memo) and erp.is_settled(written)
    assert sum(erp.open_items()) == (posted.facts.total if posted and posted.facts.total else 0)
    assert erp.run("reverse_invoice", request) == erp.find("reverse_invoice", request) == written


def test_a_reversal_takes_all_of_an_invoice_back_once(erp: Erp) -> None:
    lines = (line("33.33", "6.66", "VAT20", product_code="PLAN"), line("33.33", "6.66", "VAT20"), line("-5.00"))
    posted = erp.run("post_invoice", invoice(erp, *lines, currency="EUR"))
    request = reversal(erp, posted)
    written = erp.run("reverse_invoice", request)
    (row,) = erp.documents(request.key)
    assert (row["untaxed_amount"], row["total_amount"]) == (-(posted.facts.net or 0), -(posted.facts.total or 0))
    assert erp.fetch("credit_memo", written.external_id).invoice == posted.external_id
    assert erp.run("reverse_invoice", request) == erp.find("reverse_invoice", request) == written


def test_a_reversal_of_something_else_than_expected_is_refused(erp: Erp) -> None:
    posted = erp.run("post_invoice", invoice(erp))
    for wrong in ({"total": Decimal("119.99")}, {"currency": "EUR"}, {"party": "1"}):
        with pytest.raises(Refused) as refusal:
            erp.run("reverse_invoice", reversal(erp, posted).model_copy(update=wrong))
        assert refusal.value.code == "document_differs"


@pytest.mark.parametrize("currency", ["USD", "EUR"])
def test_a_reversal_and_its_original_settle_each_other(erp: Erp, currency: str) -> None:
    posted = erp.run("post_invoice", invoice(erp, currency=currency))
    written = erp.run("reverse_invoice", reversal(erp, posted))
    assert erp.is_settled(posted) and erp.is_settled(written)
    assert erp.open_items() == []
    original: Invoice = erp.fetch("invoice", posted.external_id)
    assert (original.status, original.paid) == (InvoiceStatus.VOID, Decimal(0))


def test_a_part_payment_before_a_reversal_stays_on_the_customers_account(erp: Erp) -> None:
    posted = erp.run("post_invoice", invoice(erp))
    erp.run("register_payment", paid(erp, posted, "50.00"))
    request = reversal(erp, posted)
    written = erp.run("reverse_invoice", request)
    assert erp.is_settled(posted) and erp.is_settled(written)
    assert erp.open_items() == [Decimal("-50.00")]
    original: Invoice = erp.fetch("invoice", posted.external_id)
    assert (original.status, original.paid) == (InvoiceStatus.VOID, Decimal(0))
    assert erp.find("reverse_invoice", request) == written


def test_the_reversal_of_a_paid_invoice_stays_on_the_customers_account(erp: Erp) -> None:
    posted = erp.run("post_invoice", invoice(erp))
    erp.run("register_payment", paid(erp, posted, "120.00"))
    request = reversal(erp, posted)
    written = erp.run("reverse_invoice", request)
    assert erp.open_items() == [Decimal("-120.00")]
    assert not erp.is_settled(written)
    assert erp.fetch("invoice", posted.external_id).paid == Decimal("120.00")
    assert erp.run("reverse_invoice", request) == erp.find("reverse_invoice", request) == written


def test_documents_that_do_not_cancel_out_are_not_reconciled(erp: Erp) -> None:
    posted = erp.run("post_invoice", invoice(erp))
    given: dict[str, Any] = {"party": erp.party, "currency": "USD", "document_on": TODAY, "total": Decimal("10.00")}
    memo = erp.run("post_credit_memo", PostCreditMemo(key=key(), lines=(line("10.00"),), **given))
    settling.settle(erp.client, int(posted.external_id), int(memo.external_id), erp.call)
    assert sorted(erp.open_items()) == [Decimal("-10.00"), Decimal("120.00")]


def test_a_reversal_that_died_before_it_settled_is_completed(erp: Erp, monkeypatch: pytest.MonkeyPatch) -> None:
    posted = erp.run("post_invoice", invoice(erp))
    request = reversal(erp, posted)
    with monkeypatch.context() as dying:
        dying.setattr(settling, "settle", Mock(side_effect=crash.SimulatedCrash))
        with pytest.raises(crash.SimulatedCrash):
            erp.run("reverse_invoice", request)
    (half_done,) = erp.documents(request.key)
    assert (half_done["state"], erp.find("reverse_invoice", request)) == ("posted", None)
    written = erp.run("reverse_invoice", request)
    assert erp.is_settled(posted) and erp.is_settled(written)
    assert len(erp.documents(request.key)) == 1
    erp.call.exchanges.clear()
    assert erp.run("reverse_invoice", request) == erp.find("reverse_invoice", request) == written
    assert {exchange.method for exchange in erp.call.exchanges} == {"GET"}


def test_simultaneous_reversals_with_one_key_are_one(erp: Erp) -> None:
    posted = erp.run("post_invoice", invoice(erp))
    request = reversal(erp, posted)
    results = at_once(lambda: until_not_busy(lambda: erp.run("reverse_invoice", request, erp.open())))
    assert len({written.external_id for written in results}) == 1
    assert erp.is_settled(posted) and erp.open_items() == []


def test_a_reply_lost_anywhere_ends_with_one_reversal_that_is_settled(erp: Erp) -> None:
    for lose in itertools.count(1):
        posted, http = erp.run("post_invoice", invoice(erp)), Lossy(lose)
        request = reversal(erp, posted)
        with suppress(VendorError), erp.over(http):
            erp.run("reverse_invoice", request)
        found = erp.find("reverse_invoice", request)
        written = erp.run("reverse_invoice", request)
        assert found in (None, written)
        assert len(erp.documents(request.key)) == 1
        assert erp.is_settled(posted) and erp.is_settled(written)
        if http.sent < lose:
            break
    assert lose > 8
