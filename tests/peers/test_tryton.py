"""What the Tryton connector promises, asked of the twin and of a real Tryton: so each test also proves the twin."""

from __future__ import annotations

import base64
import itertools
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from canonical.types import Address, Invoice, Party
from connectors.sdk.contract import SourceEvent
from connectors.sdk.errors import Misconfigured, Refused, VendorError
from connectors.sdk.http import Call
from connectors.vendors.tryton import CONNECTOR, reading
from hub.demo.peers import tryton_books as books
from tests.peers.erp import TODAY, Erp, Lossy, at_once, customer, invoice, line, paid, reversal, until_not_busy

# the connection --------------------------------------------------------------------------------------------


def test_the_check_names_the_company_and_the_version(erp: Erp) -> None:
    health = CONNECTOR.check(erp.client, erp.call)
    assert (health.identity, health.detail) == ("Tieout Demo Inc (USD)", "Tryton 8.0")


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        ({"rest_key": "not-the-key"}, Misconfigured),
        ({"password": "no"}, Misconfigured),
        ({"database": "nowhere"}, Refused),
        ({"company": 99}, Refused),
    ],
)
def test_a_wrong_entry_fails_the_check(erp: Erp, wrong: dict[str, Any], error: type[VendorError]) -> None:
    with pytest.raises(error):
        CONNECTOR.check(erp.open(**wrong), Call())


def test_secrets_never_reach_the_timeline(erp: Erp) -> None:
    call = Call()
    client = erp.open()
    posted = CONNECTOR.commands["post_invoice"].run(client, invoice(erp), call)
    CONNECTOR.commands["register_payment"].run(client, paid(erp, posted, "1.00"), call)
    shown = repr(call.exchanges) + repr(client.settings)
    assert len(call.exchanges) > 5
    assert not any(erp.entry[name] in shown for name in ("rest_key", "password"))


def test_a_session_that_ended_is_opened_again(erp: Erp) -> None:
    erp.client._session = base64.b64encode(b"admin:1:ended").decode()
    assert erp.run("post_invoice", invoice(erp)).number


def test_the_books_have_the_codes_they_publish(erp: Erp) -> None:
    published = [
        ("account.account", "code", books.ACCOUNTS.values()),
        ("account.tax", "name", books.TAXES),
        ("product.product", "code", books.PRODUCTS),
        ("account.invoice.payment_term", "name", books.PAYMENT_TERMS),
        ("account.invoice.payment.method", "name", [books.PAYMENT_METHOD]),
        ("currency.currency", "code", books.CURRENCIES),
        ("country.country", "code", books.COUNTRIES),
    ]
    for model, name, codes in published:
        assert all(erp.client.id_of(erp.call, model, name, code) for code in codes)


# customers -------------------------------------------------------------------------------------------------


def test_one_code_makes_one_customer(erp: Erp) -> None:
    request = customer()
    ids = {erp.run("ensure_party", request).external_id for _ in range(2)}
    found = erp.find("ensure_party", request)
    assert found is not None
    assert ids == {found.external_id}


def test_the_erp_itself_refuses_a_second_customer_with_a_code(erp: Erp) -> None:
    request = customer()
    erp.run("ensure_party", request)
    with pytest.raises(Refused):
        erp.client.create(erp.call, "party.party", {"name": "Other", "code": request.code})


def test_simultaneous_creates_of_one_code_make_one_customer(erp: Erp) -> None:
    request = customer()
    results = at_once(lambda: erp.run("ensure_party", request, erp.open()))
    assert len({written.external_id for written in results}) == 1


def test_a_customer_is_brought_up_to_date(erp: Erp) -> None:
    request = customer(tax_id="DE136695976")
    moved = request.model_copy(
        update={
            "name": "Acme SE",
            "email": "billing@acme.example",
            "address": Address(street="Side Street 2", country="FR"),
        }
    )
    erp.run("ensure_party", request)
    party: Party = erp.fetch("party", erp.run("ensure_party", moved).external_id)
    assert (party.name, party.email, party.tax_id) == ("Acme SE", "billing@acme.example", "DE136695976")
    assert (party.address.street, party.address.country, party.address.city) == ("Side Street 2", "FR", "Berlin")


# documents -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("currency", "net", "tax"),
    [("USD", "100.00", "20.00"), ("EUR", "99.99", "20.00"), ("JPY", "1001", "200"), ("KWD", "1.005", "0.201")],
)
def test_the_posted_invoice_is_what_was_asked_for(erp: Erp, currency: str, net: str, tax: str) -> None:
    request = invoice(erp, line(net, tax, "VAT20"), currency=currency, due_on=TODAY + timedelta(days=14))
    written = erp.run("post_invoice", request)
    facts = written.facts
    assert (facts.net, facts.tax, facts.total) == (Decimal(net), Decimal(tax), request.total)
    assert (facts.party, facts.currency, facts.state) == (erp.party, currency, "posted")
    assert facts.due_on == TODAY + timedelta(days=14)
    assert written.number
    assert erp.find("post_invoice", request) == written


def test_two_posts_of_one_key_make_one_invoice(erp: Erp) -> None:
    request = invoice(erp)
    assert erp.run("post_invoice", request) == erp.run("post_invoice", request)
    assert len(erp.documents(request.key)) == 1


def test_a_repeated_command_only_reads(erp: Erp) -> None:
    party, document = customer(), invoice(erp)
    erp.run("ensure_party", party)
    payment = paid(erp, erp.run("post_invoice", document), "1.00")
    erp.run("register_payment", payment)
    erp.call.exchanges.clear()
    for name, request in (("ensure_party", party), ("post_invoice", document), ("register_payment", payment)):
        erp.run(name, request)
    assert {exchange.method for exchange in erp.call.exchanges} == {"GET"}


def test_simultaneous_posts_of_one_key_make_one_invoice(erp: Erp) -> None:
    request = invoice(erp)
    results = at_once(lambda: until_not_busy(lambda: erp.run("post_invoice", request, erp.open())))
    assert len({written.external_id for written in results}) == 1
    assert [document["state"] for document in erp.documents(request.key) if document["number"]] == ["posted"]


def test_a_reply_lost_anywhere_ends_with_one_invoice(erp: Erp) -> None:
    erp.run("post_invoice", invoice(erp))
    for lose in itertools.count(1):
        request, http = invoice(erp), Lossy(lose)
        with suppress(VendorError):
            erp.run("post_invoice", request, erp.open(http))
        posted = erp.run("post_invoice", request)
        assert erp.find("post_invoice", request) == posted
        assert [document["state"] for document in erp.documents(request.key)] == ["posted"]
        if http.sent < lose:
            break
    assert lose > 5


def test_an_invoice_of_several_lines_keeps_quantities_and_signs(erp: Erp) -> None:
    lines = (
        line("300.00", "60.00", "VAT20", product_code="PLAN", quantity=Decimal(3)),
        line("100.00", "20.00", "VAT20", quantity=Decimal(3)),
        line("-10.03", "-0.70", "VAT7", revenue_account="4.1.2"),
        line("5.00", "0", "VAT0", quantity=Decimal("2.5")),
    )
    document: Invoice = erp.fetch("invoice", erp.run("post_invoice", invoice(erp, *lines)).external_id)
    assert [(each.net, each.tax) for each in document.lines] == [(each.net, each.tax) for each in lines]
    assert [each.quantity for each in document.lines] == [3, 1, 1, 1]


def test_billings_rounding_of_tax_is_carried_over(erp: Erp) -> None:
    facts = erp.run("post_invoice", invoice(erp, line("33.33", "6.66", "VAT20"), line("33.33", "6.66", "VAT20"))).facts
    assert (facts.net, facts.tax, facts.total) == (Decimal("66.66"), Decimal("13.32"), Decimal("79.98"))


def test_a_tax_that_rounding_does_not_explain_is_refused_and_leaves_nothing(erp: Erp) -> None:
    request = invoice(erp, line("100.00", "19.00", "VAT20"))
    with pytest.raises(Refused) as refusal:
        erp.run("post_invoice", request)
    assert refusal.value.code == "tax_differs"
    assert erp.documents(request.key) == []


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"revenue_account": "9.9.9"}, "unknown_account"),
        ({"product_code": "NONE"}, "unknown_product"),
        ({"tax_codes": ("VAT99",)}, "unknown_tax"),
    ],
)
def test_a_code_the_books_lack_is_refused_by_name(erp: Erp, changed: dict[str, Any], code: str) -> None:
    request = invoice(erp, line("1.00").model_copy(update=changed))
    with pytest.raises(Refused) as refusal:
        erp.run("post_invoice", request)
    assert refusal.value.code == code


def test_an_invoice_older_than_the_last_number_gets_the_last_numbers_day(erp: Erp) -> None:
    june = date(TODAY.year - 1, 6, 15)
    erp.run("post_invoice", invoice(erp, document_on=june))
    late = erp.run("post_invoice", invoice(erp, document_on=june - timedelta(days=5)))
    assert late.facts.document_on == june


def test_a_document_of_a_closed_period_goes_to_the_next_open_one(erp: Erp) -> None:
    december = date(TODAY.year - 1, 12, 10)
    erp.period(f"{december:%Y-%m}", "close")
    try:
        posted = erp.run("post_invoice", invoice(erp, document_on=december))
    finally:
        erp.period(f"{december:%Y-%m}", "reopen")
    assert posted.facts.document_on is not None
    assert posted.facts.document_on >= date(TODAY.year, 1, 1)


def test_a_document_after_the_last_period_is_refused(erp: Erp) -> None:
    with pytest.raises(Refused) as refusal:
        erp.run("post_invoice", invoice(erp, document_on=date(TODAY.year + 5, 1, 1)))
    assert refusal.value.code == "no_open_period"


def test_a_service_period_becomes_a_schedule(erp: Erp) -> None:
    until = TODAY + timedelta(days=364)
    service = line(
        "1200.00",
        "240.00",
        "VAT20",
        product_code="PLAN",
        deferred_account="2.2.2",
        service_from=TODAY,
        service_to=until,
    )
    request = invoice(erp, service)
    posted = erp.run("post_invoice", request)
    domain = [["invoice_line.invoice", "=", int(posted.external_id)]]
    (schedule,) = erp.client.search(erp.call, "account.invoice.deferred", domain, ["state", "amount"])
    assert schedule["amount"] == Decimal("1200.00")
    assert schedule["state"] != "draft"
    assert erp.find("post_invoice", request) == posted


# payments --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("currency", ["USD", "EUR"])
def test_part_payments_add_up_to_a_paid_invoice(erp: Erp, currency: str) -> None:
    posted = erp.run("post_invoice", invoice(erp, currency=currency))
    first, rest = paid(erp, posted, "50.00"), paid(erp, posted, "70.00")
    written = erp.run("register_payment", first)
    facts = written.facts
    assert (facts.total, facts.currency, facts.party) == (Decimal("50.00"), currency, erp.party)
    assert erp.fetch("invoice", posted.external_id).paid == Decimal("50.00")
    erp.run("register_payment", rest)
    assert erp.fetch("invoice", posted.external_id).paid == Decimal("120.00")
    assert erp.find("register_payment", first) == written


def test_more_than_is_due_is_refused(erp: Erp) -> None:
    posted = erp.run("post_invoice", invoice(erp))
    with pytest.raises(Refused) as refusal:
        erp.run("register_payment", paid(erp, posted, "120.01"))
    assert refusal.value.code == "overpayment"


def test_a_reply_lost_anywhere_ends_with_one_payment(erp: Erp) -> None:
    posted = erp.run("post_invoice", invoice(erp))
    for lose in itertools.count(1):
        request, http = paid(erp, posted, "1.00"), Lossy(lose)
        with suppress(VendorError):
            erp.run("register_payment", request, erp.open(http))
        erp.run("register_payment", request)
        assert erp.fetch("invoice", posted.external_id).paid == lose
        if http.sent < lose:
            break
    assert lose > 5


# reading ---------------------------------------------------------------------------------------------------


def test_three_years_of_months_are_open(erp: Erp) -> None:
    assert CONNECTOR.periods is not None
    periods = CONNECTOR.periods(erp.client, erp.call)
    years = [day.year for period in periods for day in (period.start,)]
    assert years == [year for year in (TODAY.year - 1, TODAY.year, TODAY.year + 1) for _ in range(12)]
    assert all(period.is_open for period in periods)


def test_a_sweep_meets_everything_once_however_small_the_pages(erp: Erp, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "PAGE", 2)
    since = datetime.now(UTC)
    posted = [erp.run("post_invoice", invoice(erp)) for _ in range(3)]
    reversed_ = erp.run("reverse_invoice", reversal(erp, posted[0]))
    seen: list[SourceEvent] = []
    cursor: str | None = None
    while True:
        page = CONNECTOR.pages["documents"](erp.client, since, cursor, erp.call)
        seen += page.items
        cursor = page.cursor
        if cursor is None:
            break
    subjects = [(item.envelope.subject_kind, item.envelope.subject_id) for item in seen]
    wanted = [*(("invoice", written.external_id) for written in posted), ("credit_memo", reversed_.external_id)]
    assert len({item.envelope.external_id for item in seen}) == len(seen)
    assert sorted(set(subjects) & set(wanted)) == sorted(wanted)
    assert CONNECTOR.envelope is not None
    assert all(CONNECTOR.envelope(item.body) == item.envelope for item in seen)
    assert {item.envelope.kind for item in seen} <= CONNECTOR.events.keys()


def test_a_change_after_a_sweep_is_a_new_event(erp: Erp) -> None:
    since = datetime.now(UTC)
    request = customer()
    erp.run("ensure_party", request)
    before = {item.envelope.external_id for item in CONNECTOR.pages["parties"](erp.client, since, None, erp.call).items}
    changed = erp.run("ensure_party", request.model_copy(update={"name": "Acme SE"}))
    after = CONNECTOR.pages["parties"](erp.client, since, None, erp.call).items
    new = [item.envelope.subject_id for item in after if item.envelope.external_id not in before]
    assert new == [changed.external_id]


def test_an_object_that_is_not_there_is_not_found(erp: Erp) -> None:
    for kind in CONNECTOR.fetch:
        with pytest.raises(Refused) as refusal:
            erp.fetch(kind, "99999999")
        assert refusal.value.code == "not_found"
