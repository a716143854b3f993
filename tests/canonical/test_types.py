"""What cannot be said in our language cannot reach the books."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from pydantic import ValidationError

from canonical import types
from canonical.commands import PostingLine, PostInvoice
from canonical.events import EVENTS
from canonical.management.commands.publish_schemas import schemas, written
from connectors import registry
from connectors.registry import CONNECTORS
from hub import flows
from tests.canonical import said


@pytest.mark.parametrize(
    "wrong",
    [
        {"net": Decimal("99.99")},
        {"tax": Decimal("20.01")},
        {"total": Decimal(100)},
        {"currency": "JPY", "lines": (said.line(net="0.5"),)},
    ],
)
def test_a_document_that_does_not_add_up_does_not_exist(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        said.invoice(**wrong)


@pytest.mark.parametrize(("currency", "net", "tax"), [("JPY", "5000", "500"), ("EUR", "49.99", "9.50"), ("KWD", "12.345", "0.617")])
def test_documents_are_exact_in_every_exponent(currency: str, net: str, tax: str) -> None:
    assert said.invoice(said.line(net=net, tax=tax), currency=currency).total == Decimal(net) + Decimal(tax)


@pytest.mark.parametrize(("currency", "net"), [("JPY", "5000.5"), ("EUR", "49.999"), ("KWD", "12.3456")])
def test_a_fraction_of_a_minor_unit_is_refused(currency: str, net: str) -> None:
    with pytest.raises(ValidationError):
        said.invoice(said.line(net=net, tax="0"), currency=currency)


def test_objects_are_frozen_and_take_no_unknown_fields() -> None:
    customer = said.party()
    with pytest.raises(ValidationError):
        customer.name = "Other"  # type: ignore[misc]
    with pytest.raises(ValidationError):
        said.party(nickname="A")


@pytest.mark.parametrize("external_id", ["", "x" * 256])
def test_an_id_is_there_and_fits_our_columns(external_id: str) -> None:
    with pytest.raises(ValidationError):
        said.party(external_id=external_id)


def test_a_currency_is_kept_in_capitals() -> None:
    assert said.invoice(currency="eur").currency == "EUR"


def test_a_schedule_that_does_not_add_up_does_not_exist() -> None:
    entries = tuple(types.ScheduleEntry(on=f"2026-0{n}-01", amount=Decimal("33.33")) for n in (1, 2, 3))
    with pytest.raises(ValidationError):
        types.RevenueSchedule(external_id="1", invoice="1", invoice_line="1", currency="EUR", amount=Decimal(100), entries=entries)


def test_a_posting_whose_lines_do_not_add_up_is_never_sent() -> None:
    lines = (PostingLine(description="Plan", revenue_account="4", net=Decimal(100), tax=Decimal(20)),)
    told = {"key": "k", "party": "1", "currency": "EUR", "document_on": "2026-01-01", "lines": lines}
    assert PostInvoice(**told, total=Decimal(120)).total == 120
    with pytest.raises(ValidationError):
        PostInvoice(**told, total=Decimal("120.01"))


def test_every_object_survives_its_own_json() -> None:
    for obj in (said.party(), said.product(), said.invoice(), said.subscription(), said.payment()):
        assert type(obj).model_validate_json(obj.model_dump_json()) == obj


def test_the_published_schemas_are_those_of_the_code() -> None:
    folder = Path(settings.BASE_DIR) / "docs" / "schema"
    published = {path.name: path.read_text(encoding="utf-8") for path in folder.glob("*.json")}
    assert published == {file: written(schema) for file, schema in schemas().items()}, "run `manage.py publish_schemas`"
    assert {f"{kind}.v{types.SCHEMA_VERSION}.json" for kind in types.OBJECTS} < published.keys()
    assert json.loads(published["invoice.v1.json"])["additionalProperties"] is False


# names of events -------------------------------------------------------------------------------------------------

QUIET = {
    "billing.invoice.deleted": "only drafts can be deleted, and a draft was never owed",
    "erp.party.changed": "the ERP's side is compared by reconciliation",
    "erp.invoice.changed": "the ERP's side is compared by reconciliation",
    "erp.credit_memo.changed": "the ERP's side is compared by reconciliation",
}
"""Names no workflow listens for, and why."""


def declared() -> set[str]:
    return {name for slug in registry.VENDORS for name in CONNECTORS[slug].events.values()}


def test_connectors_and_workflows_speak_of_the_events_in_our_vocabulary() -> None:
    assert declared() == EVENTS.keys()


def test_every_trigger_is_an_event_that_some_connector_tells() -> None:
    for name in flows.names():
        assert flows.current(name).triggers <= declared(), name


def test_every_event_starts_a_workflow_or_has_a_reason_not_to() -> None:
    silent = {name for name in declared() if not flows.listening(name)}
    assert silent == QUIET.keys()


def test_nothing_that_moves_money_is_without_a_workflow() -> None:
    money = {
        name
        for name in declared()
        if name.split(".")[1] in ("invoice", "credit_memo", "payment", "subscription") and name.startswith("billing")
    }
    assert {name for name in money if not flows.listening(name)} == {"billing.invoice.deleted"}
    owed = ("finalized", "paid", "voided", "uncollectible", "observed")
    assert all("order_to_cash" in {flow.name for flow in flows.listening(f"billing.invoice.{past}")} for past in owed)
