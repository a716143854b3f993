"""How a credit is booked: exact shares, and what of each is for days already served."""

from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from canonical.models import Invoice, InvoiceLine
from canonical.money import from_minor, is_exact
from hub.credits import posting
from hub.credits.posting import NotBookable, Share
from hub.engine.flow import Blocked
from hub.models import AccountingRule
from tests.credits import company as scene
from tests.credits.company import NOW, Company

MAY = date(2026, 5, 1)
BOOKED: dict[str, Any] = {
    "revenue_account": "4000", "deferred_account": "2200", "journal": "REV", "dimensions": {"team": "a"}, "product_code": "PLAN",
    "tax_codes": ["VAT20"], "rules": ["accountingrule:1/v1"],
}  # fmt: skip
currencies = st.sampled_from(["EUR", "JPY", "KWD"])


def line(net: Decimal, tax: Decimal = Decimal(0), days: int = 0, **told: Any) -> InvoiceLine:
    """An invoice line from the first of May on, of so many days."""
    until = MAY + timedelta(days=days - 1) if days else None
    posting_ = {**BOOKED, **told}
    return InvoiceLine(
        external_id="il_1",
        description="Plan",
        net=net,
        tax=tax,
        posting=posting_,
        service_from=MAY if days else None,
        service_to=until,
    )


@given(
    currencies, st.lists(st.tuples(st.integers(-500, 10**7), st.integers(0, 30)), min_size=1, max_size=12), st.integers(1, 10**7)
)
def test_shares_add_up_and_none_bears_more_than_its_line(currency: str, billed: list[tuple[int, int]], units: int) -> None:
    nets = [from_minor(net, currency) for net, _ in billed]
    lines = [line(net, from_minor(abs(n) * percent // 100, currency)) for net, (n, percent) in zip(nets, billed, strict=True)]
    whole = sum((net for net in nets if net > 0), Decimal(0))
    asked = min(from_minor(units, currency), whole)
    if not asked:
        return
    shares = posting.spread(lines, asked, currency)
    assert sum(share.net for share in shares) == asked
    for share in shares:
        assert 0 < share.net <= share.line.net and 0 <= share.tax <= share.line.tax
        assert is_exact(share.tax, currency)


@given(currencies, st.integers(1, 10**7), st.integers(0, 10**6), st.integers(2, 400), st.integers(-30, 430))
def test_the_parts_of_a_line_add_up_and_what_is_later_is_still_to_come(
    currency: str, net: int, tax: int, days: int, day: int
) -> None:
    amounts = from_minor(net, currency), from_minor(tax, currency)
    on = MAY + timedelta(days=day)
    parts, _ = posting.parts_of(Share(line(*amounts, days=days), *amounts), on, currency, "resolution too late")
    assert (sum(part.net for part in parts), sum(part.tax for part in parts)) == amounts
    for part in parts:
        assert is_exact(part.net, currency) and part.net >= 0 and part.tax >= 0
        assert (part.revenue_account, part.tax_codes, part.dimensions, part.credits) == ("4000", ("VAT20",), {"team": "a"}, "il_1")
        if part.deferred_account:
            assert part.service_from == max(on, MAY) and part.service_to and part.service_from < part.service_to
    if day >= days:
        assert [part.deferred_account for part in parts] == [""], "all of it was served"
    if day <= 0:
        assert [part.deferred_account for part in parts] == ["2200"], "none of it was served"


@pytest.mark.parametrize(
    ("on", "now", "later"), [(10, "3.00", "6.00"), (15, "4.50", "4.50"), (29, "9.00", None), (40, "9.00", None), (0, None, "9.00")]
)
def test_a_line_is_split_by_the_days_served(on: int, now: str | None, later: str | None) -> None:
    share = Share(line(Decimal(90), days=30), Decimal("9.00"), Decimal(0))
    parts, explained = posting.parts_of(share, MAY + timedelta(days=on), "EUR", "resolution too late")
    assert [part.net for part in parts] == [Decimal(each) for each in (now, later) if each]
    assert "Plan" in explained


def test_a_line_that_is_not_deferred_is_credited_at_once() -> None:
    for bare in ({"deferred_account": ""}, {"product_code": ""}):
        share = Share(line(Decimal(90), days=30, **bare), Decimal(9), Decimal(0))
        ((part,), _) = posting.parts_of(share, MAY, "EUR", "goodwill")
        assert (part.net, part.deferred_account) == (9, "")


# which invoice ---------------------------------------------------------------------------------------------------


@pytest.fixture
def company(transactional_db: None) -> Company:
    return scene.found()


def booked(company: Company, net: str, invoice: Invoice | None = None, **told: Any) -> posting.Preview:
    given_ = {
        "party": company.acme, "legal_entity": company.entity, "billing": company.billing, "subscription": company.subscription,
        "currency": "EUR", "reason": "resolution", "on": NOW.date(), **told,
    }  # fmt: skip
    return posting.preview(net=Decimal(net), invoice=invoice, **given_)


def test_the_newest_invoice_with_enough_left_is_taken(company: Company) -> None:
    older = company.invoice()
    newer = company.invoice(net="50", tax="10")
    assert booked(company, "40").invoice == newer
    preview = booked(company, "60")
    assert (preview.invoice, preview.tax, preview.total) == (older, Decimal(12), Decimal(72))
    assert preview.lines[0]["revenue_account"] == "4000" and "IN-1" in preview.explanation[0]


def test_an_invoice_the_erp_has_not_is_not_credited(company: Company) -> None:
    company.invoice(state="recorded")
    preview = booked(company, "40")
    assert (preview.invoice, preview.tax, preview.lines[0]["revenue_account"]) == (None, 0, "4.2.2")
    with pytest.raises(NotBookable, match="not in the ERP"):
        booked(company, "40", Invoice.objects.get())


def test_more_than_is_left_on_the_named_invoice_is_refused(company: Company) -> None:
    with pytest.raises(NotBookable, match="1000 EUR left"):
        booked(company, "1000.01", company.invoice())


@pytest.mark.parametrize("net", ["0", "-1", "1.001"])
def test_what_is_no_amount_is_refused(company: Company, net: str) -> None:
    with pytest.raises(NotBookable):
        booked(company, net)


def test_a_credit_on_account_without_a_rule_waits_for_one(company: Company) -> None:
    AccountingRule.objects.update(state="retired")
    with pytest.raises(Blocked, match="No accounting rule"):
        booked(company, "40")
