"""What Stripe's JSON means, for amounts and shapes that nobody thought of writing down as a sample."""

from __future__ import annotations

import json
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from canonical.types import Invoice, Subscription
from connectors.sdk.errors import BadPayload
from connectors.vendors import stripe as package
from connectors.vendors.stripe.events import EVENTS, envelope
from connectors.vendors.stripe.fields import from_stripe, to_stripe
from connectors.vendors.stripe.mapping import canonical

SAMPLES = Path(package.__file__).parent / "samples"


def sample(name: str) -> dict[str, Any]:
    """The object inside a sample."""
    read: dict[str, Any] = json.loads((SAMPLES / f"{name}.json").read_text())
    return read["data"]["object"] if read["object"] == "event" else read


def invoice(obj: dict[str, Any], zone: str = "UTC") -> Invoice:
    found = canonical(obj, ZoneInfo(zone))
    assert isinstance(found, Invoice)
    return found


@pytest.mark.parametrize(
    ("units", "currency", "amount"),
    [
        (1999, "usd", "19.99"),
        (500, "jpy", "500"),
        (5120, "kwd", "5.120"),
        (500, "isk", "5"),
        (500, "ugx", "5"),
        (5, "mga", "5"),
    ],
)
def test_minor_units_are_stripes_own(units: int, currency: str, amount: str) -> None:
    assert from_stripe(units, currency) == Decimal(amount)


@given(st.integers(-(10**15), 10**15), st.sampled_from(["eur", "jpy", "kwd", "isk", "mga"]))
def test_amounts_go_there_and_back(units: int, currency: str) -> None:
    assert to_stripe(from_stripe(units, currency), currency) == units


def test_a_fraction_of_a_minor_unit_is_not_sent() -> None:
    with pytest.raises(ValueError, match="whole number"):
        to_stripe(Decimal("10.001"), "eur")


def test_a_fraction_of_a_krona_is_not_believed() -> None:
    obj = sample("invoice_isk_basil")
    obj["lines"]["data"][0]["amount"] = obj["total"] = 50_050
    with pytest.raises(BadPayload, match="minor units of ISK"):
        canonical(obj)


@given(st.lists(st.tuples(st.integers(-10_000, 100_000), st.integers(0, 25)), min_size=1, max_size=8), st.booleans())
def test_an_invoice_that_adds_up_there_adds_up_here(rows: list[tuple[int, int]], inclusive: bool) -> None:
    obj = sample("invoice_finalized_basil")
    template = obj["lines"]["data"][0]
    lines, tax = [], 0
    for number, (amount, rate) in enumerate(rows):
        due = amount * rate // (100 + rate if inclusive else 100)
        behavior = "inclusive" if inclusive else "exclusive"
        taxes = [{"amount": due, "tax_behavior": behavior, "tax_rate_details": {"tax_rate": f"txr_{rate}"}}]
        lines.append({**template, "id": f"il_{number}", "amount": amount, "taxes": taxes})
        tax += due
    gross = sum(amount for amount, _ in rows) + (0 if inclusive else tax)
    obj["lines"]["data"], obj["total"] = lines, gross
    found = invoice(obj)
    assert (found.tax, found.total) == (Decimal(tax) / 100, Decimal(gross) / 100)
    assert sum(line.net for line in found.lines) == found.net == found.total - found.tax


@given(st.integers(0, 10_000), st.lists(st.integers(0, 100_000), min_size=1, max_size=6))
def test_tax_told_only_by_the_invoice_is_spread_to_the_cent(tax: int, amounts: list[int]) -> None:
    obj = sample("invoice_2017_tax_on_the_invoice")
    template = obj["lines"]["data"][0]
    obj["lines"]["data"] = [{**template, "id": f"il_{n}", "amount": amount} for n, amount in enumerate(amounts)]
    obj["total_tax_amounts"][0]["amount"] = tax
    obj["total"] = sum(amounts) + tax
    found = invoice(obj)
    assert found.tax == Decimal(tax) / 100
    assert all(line.tax == line.tax.quantize(Decimal("0.01")) for line in found.lines)


NEEDED = ["id", "customer", "currency", "status", "total", "lines", "amount_paid"]


@pytest.mark.parametrize("key", NEEDED)
@pytest.mark.parametrize("name", ["invoice_finalized_basil", "invoice_finalized_2022", "invoice_2017_tax_percent"])
def test_an_invoice_without_a_field_that_decides_is_refused(name: str, key: str) -> None:
    obj = sample(name)
    del obj[key]
    with pytest.raises(BadPayload):
        canonical(obj)


@pytest.mark.parametrize("key", ["id", "amount", "period", "pricing"])
def test_a_line_without_a_field_that_decides_is_refused(key: str) -> None:
    obj = sample("invoice_finalized_basil")
    del obj["lines"]["data"][0][key]
    with pytest.raises(BadPayload):
        canonical(obj)


@pytest.mark.parametrize("wrong", [None, "100", 100.0, True, {}, []])
def test_an_amount_is_a_whole_number_or_nothing(wrong: object) -> None:
    obj = sample("invoice_finalized_basil")
    obj["lines"]["data"][0]["amount"] = wrong
    with pytest.raises(BadPayload):
        canonical(obj)


def test_a_subscription_whose_period_has_moved_is_refused() -> None:
    obj = sample("subscription_created_basil")
    del obj["items"]["data"][0]["current_period_end"]
    with pytest.raises(BadPayload, match="current_period_end"):
        canonical(obj)


def test_both_shapes_mean_the_same() -> None:
    assert invoice(sample("invoice_finalized_basil")) == invoice(sample("invoice_finalized_2022"))


def test_days_are_those_of_the_legal_entity() -> None:
    obj = sample("invoice_finalized_basil")
    obj["effective_at"] = 1767223800  # 2025-12-31 23:30 UTC
    assert invoice(obj).issued_on == date(2025, 12, 31)
    assert invoice(obj, "Europe/Berlin").issued_on == date(2026, 1, 1)


def test_metadata_names_the_legal_entity() -> None:
    obj = sample("invoice_finalized_basil")
    obj["metadata"] = {"legal_entity": "DE01"}
    assert invoice(obj).legal_entity == "DE01"


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [("trialing", "active"), ("unpaid", "past_due"), ("incomplete", "pending"), ("canceled", "cancelled")],
)
def test_every_state_of_a_subscription_has_one_here(theirs: str, ours: str) -> None:
    found = canonical({**sample("subscription_created_basil"), "status": theirs})
    assert isinstance(found, Subscription)
    assert found.status == ours


def test_a_state_we_do_not_know_is_refused() -> None:
    with pytest.raises(BadPayload, match="hibernating"):
        canonical({**sample("subscription_created_basil"), "status": "hibernating"})


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(
    st.sampled_from(["invoice_finalized_basil", "credit_note_created_2022", "subscription_created_basil", "price_created"]),
    st.data(),
)
def test_a_field_of_another_type_is_understood_or_refused_and_nothing_else(name: str, data: st.DataObject) -> None:
    obj = sample(name)
    key = data.draw(st.sampled_from(sorted(obj)))
    obj[key] = data.draw(json_values)
    try:
        canonical(obj)
    except BadPayload:
        return


@given(st.binary())
def test_any_body_is_an_envelope_or_bad_payload(body: bytes) -> None:
    try:
        envelope(body)
    except BadPayload:
        return


def test_the_envelope_names_the_invoice() -> None:
    found = envelope((SAMPLES / "invoice_finalized_basil.json").read_bytes())
    assert (found.subject_kind, found.subject_id) == ("invoice", "in_0001sample")
    assert EVENTS[found.kind] == "billing.invoice.finalized"
