"""Journal entries in Tryton, asked of the twin and of a real Tryton: what corrects a schedule of revenue shows in the ledger."""

from __future__ import annotations

import itertools
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from canonical.commands import JournalLine, PostJournal, Written
from canonical.readings import Reading, Window
from connectors.sdk.errors import Refused, VendorError
from connectors.vendors.tryton import CONNECTOR
from tests.peers.erp import TODAY, Erp, Lossy, at_once, invoice, key, served, until_not_busy

TWO_CENTS = Decimal("0.02")
FIRST = date(TODAY.year, 2, 1) if TODAY.month == 1 else TODAY.replace(day=1)
LAST = date(FIRST.year + 1, FIRST.month, 1) - timedelta(days=1)


def a_year(erp: Erp) -> Written:
    """1200.00 served over twelve months, of which Tryton's own module recognises 1200.02."""
    return erp.run("post_invoice", invoice(erp, served("1200.00", FIRST, LAST)))


def recognised(erp: Erp, document: Written) -> Reading:
    """What the ledger will have recognised of the only line of a document when its service is over."""
    asked = Window(until=datetime.now(UTC) + timedelta(days=800))
    found: dict[str, Reading] = {}
    cursor: str | None = None
    while True:
        page = CONNECTOR.extracts["recognition"](erp.client, asked, cursor, erp.call)
        found |= {reading.about: reading for reading in page.readings}
        cursor = page.cursor
        if cursor is None:
            return found[document.external_id]


def correction(about: Reading, **changed: Any) -> PostJournal:
    """The two cents from revenue back to what is deferred."""
    lines = (JournalLine(account="4.2.2", debit=TWO_CENTS), JournalLine(account="2.2.2", credit=TWO_CENTS))
    given = {"key": key(), "currency": "USD", "document_on": LAST, "lines": lines, "total": TWO_CENTS}
    return PostJournal(about_kind="recognition", about=about.external_id, **{**given, **changed})


def entries(erp: Erp, request: PostJournal) -> list[dict[str, Any]]:
    """Everything the books hold under the key, drafts too."""
    return erp.client.search(erp.call, "account.move", [["description", "=", request.key]], ["state", "number"])


def test_the_two_cents_are_corrected_in_the_ledger_and_taken_back_by_the_opposite_entry(erp: Erp) -> None:
    posted = a_year(erp)
    wrong = recognised(erp, posted)
    assert (wrong.net, wrong.total) == (Decimal("1200.00"), Decimal("1200.02"))
    request = correction(wrong)
    written = erp.run("post_journal", request)
    facts = written.facts
    assert (facts.total, facts.currency, facts.document_on, facts.state) == (TWO_CENTS, "USD", LAST, "posted")
    assert written.number and erp.find("post_journal", request) == written == erp.run("post_journal", request)
    right = recognised(erp, posted)
    assert (right.total, right.extra["scheduled"]) == (Decimal("1200.00"), "1200.00")
    back = (JournalLine(account="4.2.2", credit=TWO_CENTS), JournalLine(account="2.2.2", debit=TWO_CENTS))
    erp.run("post_journal", correction(wrong, lines=back))
    assert recognised(erp, posted).total == Decimal("1200.02")


def test_an_entry_of_a_closed_period_goes_to_the_next_open_one(erp: Erp) -> None:
    about = recognised(erp, a_year(erp))
    december = date(TODAY.year - 1, 12, 10)
    erp.period(f"{december:%Y-%m}", "close")
    try:
        written = erp.run("post_journal", correction(about, document_on=december))
    finally:
        erp.period(f"{december:%Y-%m}", "reopen")
    assert written.facts.document_on == date(TODAY.year, 1, 1)


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"currency": "EUR"}, "currency_differs"),
        ({"journal": "NONE"}, "unknown_journal"),
        ({"about_kind": "recognition", "about": "1:99999999"}, "unknown_origin"),
        ({"about_kind": "subscription", "about": "1"}, "unknown_origin"),
    ],
)
def test_an_entry_that_the_books_have_no_place_for_leaves_nothing(erp: Erp, changed: dict[str, Any], code: str) -> None:
    lines = (JournalLine(account="4.2.2", debit=TWO_CENTS), JournalLine(account="2.2.2", credit=TWO_CENTS))
    given = {"key": key(), "currency": "USD", "document_on": TODAY, "lines": lines, "total": TWO_CENTS}
    request = PostJournal.model_validate({**given, **changed})
    with pytest.raises(Refused) as refusal:
        erp.run("post_journal", request)
    assert refusal.value.code == code and entries(erp, request) == []


def test_a_schedule_with_moves_still_to_come_is_not_corrected(erp: Erp) -> None:
    """Tryton would leave the correction's period out when it posts the rest."""
    beyond = date(TODAY.year + 3, 1, 31)
    posted = erp.run("post_invoice", invoice(erp, served("100.00", TODAY, beyond)))
    about = recognised(erp, posted)
    assert about.extra["state"] == "running"
    with pytest.raises(Refused) as refusal:
        erp.run("post_journal", correction(about, document_on=TODAY))
    assert refusal.value.code == "schedule_running"


def test_simultaneous_entries_of_one_key_are_one(erp: Erp) -> None:
    request = correction(recognised(erp, a_year(erp)))
    done = at_once(lambda: until_not_busy(lambda: erp.run("post_journal", request, erp.open())))
    assert len({written.external_id for written in done}) == 1
    assert [entry["state"] for entry in entries(erp, request)] == ["posted"]


def test_a_reply_lost_anywhere_ends_with_one_entry(erp: Erp) -> None:
    about = recognised(erp, a_year(erp))
    for lose in itertools.count(1):
        request, http = correction(about), Lossy(lose)
        with suppress(VendorError), erp.over(http):
            erp.run("post_journal", request)
        found = erp.find("post_journal", request)
        written = erp.run("post_journal", request)
        assert found in (None, written)
        assert [entry["state"] for entry in entries(erp, request)] == ["posted"]
        if http.sent < lose:
            break
    assert lose > 5
