"""Between Tryton's records and our language: pure functions on rows as `TrytonClient` reads them.

Tryton has one kind of customer document: a credit note is an invoice with negative quantities. Its amounts are
negative there and positive here. Tax is kept per document and rate there, per line here; see `_with_taxes`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

from canonical.commands import DocumentFacts, EnsureParty, PostingLine, Written
from canonical.money import quantum, round_money
from canonical.types import Address, CreditMemo, Invoice, InvoiceLine, InvoiceStatus, Party, TaxAmount
from connectors.sdk.contract import Envelope, Period
from connectors.sdk.errors import BadPayload

Row = Mapping[str, Any]

DOCUMENT = (
    "number", "state", "reference", "party", "currency.code", "untaxed_amount", "tax_amount", "total_amount",
    "invoice_date", "payment_term", "payment_term_date", "taxes.amount", "taxes.manual",
)  # fmt: skip
"""What is read of a document to see what it is."""
FULL_DOCUMENT = (
    *DOCUMENT, "amount_to_pay", "write_date", "origin_invoices", "reconciliation_lines.amount",
    "reconciliation_lines.move_origin", "lines.type", "lines.description", "lines.quantity",
    "lines.amount", "lines.product.code", "lines.taxes.name", "lines.taxes.rate", "lines.defer_from", "lines.defer_to",
)  # fmt: skip
PARTY = (
    "name", "code", "active", "write_date", "identifiers.type", "identifiers.code",
    "contact_mechanisms.type", "contact_mechanisms.value", "addresses.street", "addresses.city",
    "addresses.postal_code", "addresses.country.code",
)  # fmt: skip
PRICE_DIGITS = Decimal("0.0001")
"""Tryton keeps unit prices to four places (`price_decimal` of its product module)."""
EU_COUNTRIES = (
    "AT", "BE", "BG", "CY", "CZ", "DE", "DK", "EE", "ES", "FI", "FR", "GR", "HR", "HU", "IE", "IT", "LT", "LU", "LV",
    "MT", "NL", "PL", "PT", "RO", "SE", "SI", "SK",
)  # fmt: skip
VAT_TYPES = {"GB": "gb_vat", "CH": "ch_vat", "NO": "no_mva"} | dict.fromkeys(EU_COUNTRIES, "eu_vat")


# requests → values ---------------------------------------------------------------------------------------


def address_values(address: Address, country: int | None) -> dict[str, Any]:
    """The values of a `party.address`; `country` is the ERP's id, None when it does not know the country."""
    return {"street": address.street, "city": address.city, "postal_code": address.postal_code, "country": country}


def new_party_values(request: EnsureParty, country: int | None) -> dict[str, Any]:
    """The values that create the customer, its address and contacts in one go."""
    values: dict[str, Any] = {
        "code": request.code,
        "name": request.name,
        "addresses": [["create", [address_values(request.address, country)]]],
    }
    if request.email:
        values["contact_mechanisms"] = [["create", [{"type": "email", "value": request.email}]]]
    if request.tax_id:
        values["identifiers"] = [["create", [identifier_values(request)]]]
    return values


def changed_party_values(request: EnsureParty, row: Row, country: int | None) -> dict[str, Any]:
    """What has to be written so that the customer is as requested; {} when nothing has. Blanks change nothing."""
    values: dict[str, Any] = {}
    if row["name"] != request.name:
        values["name"] = request.name
    wanted = {field: value for field, value in address_values(request.address, country).items() if value}
    if not row["addresses"]:
        values["addresses"] = [["create", [wanted]]]
    elif {field: _address_field(row["addresses"][0], field) for field in wanted} != wanted:
        values["addresses"] = [["write", [row["addresses"][0]["id"]], wanted]]
    email = _first(row["contact_mechanisms"], "email")
    if request.email and (not email or email["value"] != request.email):
        change = {"type": "email", "value": request.email}
        values["contact_mechanisms"] = [["write", [email["id"]], change] if email else ["create", [change]]]
    if request.tax_id and request.tax_id not in {identifier["code"] for identifier in row["identifiers"]}:
        values["identifiers"] = [["create", [identifier_values(request)]]]
    return values


def identifier_values(request: EnsureParty) -> dict[str, Any]:
    """A tax id of the kind its country uses, which Tryton then validates; of no kind where we know none."""
    return {"type": VAT_TYPES.get(request.address.country), "code": request.tax_id}


def quantity_and_price(line: PostingLine, sign: int) -> tuple[int, Decimal]:
    """A whole quantity and the price that multiply to exactly `net`: the line's own where they do, else 1 × net.

    Tryton's quantities are binary floats and its units mostly whole, so nothing else is sent.
    """
    quantity = line.quantity
    if quantity > 0 and quantity == quantity.to_integral_value():
        price = line.net / quantity
        if price == price.quantize(PRICE_DIGITS) and price * quantity == line.net:
            return sign * int(quantity), price.quantize(PRICE_DIGITS).normalize() + Decimal("0.00")
    return sign, line.net


# rows → what was written ---------------------------------------------------------------------------------


def is_credit(row: Row) -> bool:
    """A credit note is an invoice below zero."""
    return bool(row["total_amount"] < 0)


def document_facts(row: Row) -> DocumentFacts:
    """What Tryton says the document is; amounts positive for credit notes too."""
    return DocumentFacts(
        party=str(row["party"]),
        net=abs(row["untaxed_amount"]),
        tax=abs(row["tax_amount"]),
        total=abs(row["total_amount"]),
        currency=row["currency"]["code"],
        document_on=row["invoice_date"],
        due_on=None if row["payment_term"] else row["payment_term_date"],
        # "paid" is set by Tryton's worker when it comes to it, and says nothing about what was written.
        state="posted" if row["state"] == "paid" else row["state"],
    )


def document_written(row: Row, url: str) -> Written:
    """A numbered document as the answer to the write that made it."""
    return Written(external_id=str(row["id"]), number=row["number"] or "", facts=document_facts(row), url=url)


def periods(rows: Sequence[Row]) -> list[Period]:
    """Accounting periods, oldest first."""
    return [Period(row["name"], row["start_date"], row["end_date"], row["state"] == "open") for row in rows]


# rows → canonical objects --------------------------------------------------------------------------------


def party(row: Row) -> Party:
    """A customer of the ERP."""
    address = row["addresses"][0] if row["addresses"] else {}
    email = _first(row["contact_mechanisms"], "email")
    return Party(
        external_id=str(row["id"]),
        updated_at=row["write_date"],
        name=row["name"] or "",
        email=email["value"] if email else "",
        tax_id=row["identifiers"][0]["code"] if row["identifiers"] else "",
        address=Address(
            street=address.get("street") or "",
            city=address.get("city") or "",
            postal_code=address.get("postal_code") or "",
            country=(address.get("country") or {}).get("code", ""),
        ),
        deleted=not row["active"],
    )


def document(row: Row) -> Invoice | CreditMemo:
    """An invoice or a credit memo, whichever the row is."""
    credit = is_credit(row)
    sign = -1 if credit else 1
    currency = row["currency"]["code"]
    shared = {
        "external_id": str(row["id"]),
        "updated_at": row["write_date"],
        "number": row["number"] or "",
        "party": str(row["party"]),
        "currency": currency,
        "issued_on": row["invoice_date"] or row["write_date"].date(),
        "lines": tuple(_lines(row, sign, currency)),
        "net": sign * row["untaxed_amount"],
        "tax": sign * row["tax_amount"],
        "total": sign * row["total_amount"],
    }
    if credit:
        origins = row["origin_invoices"]
        status = "void" if row["state"] == "cancelled" else "issued"
        return CreditMemo(**shared, status=status, invoice=str(origins[0]) if origins else None)
    credited = _credited(row)
    open_amount = row["amount_to_pay"] if row["state"] in ("posted", "paid") else row["total_amount"]
    states = {"posted": InvoiceStatus.OPEN, "paid": InvoiceStatus.PAID, "cancelled": InvoiceStatus.VOID}
    taken_back = 0 < row["total_amount"] <= credited
    return Invoice(
        **shared,
        status=InvoiceStatus.VOID if taken_back else states.get(row["state"], InvoiceStatus.DRAFT),
        due_on=None if row["payment_term"] else row["payment_term_date"],
        # Below zero is what was received before the invoice was taken back, until Tryton's worker lets go of it.
        paid=row["total_amount"] - credited - max(open_amount, Decimal(0)),
    )


def _credited(row: Row) -> Decimal:
    """How much of an invoice other documents took back, rather than payments: Tryton calls both "paid"."""
    own = f"account.invoice,{row['id']}"
    origins = [(line["move_origin"] or "", -line["amount"]) for line in row["reconciliation_lines"]]
    credits = [amount for origin, amount in origins if origin.startswith("account.invoice,") and origin != own and amount > 0]
    total: Decimal = row["total_amount"]
    return min(sum(credits, Decimal(0)), total)


def _lines(row: Row, sign: int, currency: str) -> list[InvoiceLine]:
    lines = [line for line in row["lines"] if line["type"] == "line"]
    taxes = _with_taxes(lines, sign * row["tax_amount"], sign, currency)
    return [
        InvoiceLine(
            external_id=str(line["id"]),
            description=line["description"] or "",
            product=(line["product"] or {}).get("code") or None,
            quantity=sign * _whole(Decimal(line["quantity"] or 0)),
            net=sign * line["amount"],
            taxes=(TaxAmount(code=_tax_code(line), amount=tax),) if tax or line["taxes"] else (),
            service_from=line["defer_from"],
            service_to=line["defer_to"],
        )
        for line, tax in zip(lines, taxes, strict=True)
    ]


def _with_taxes(lines: Sequence[Row], total: Decimal, sign: int, currency: str) -> list[Decimal]:
    """Tax per line by the rates; what rounding leaves over goes to the taxed line with the largest amount."""
    rates = [sum((tax["rate"] or Decimal(0) for tax in line["taxes"]), Decimal(0)) for line in lines]
    taxes = [round_money(sign * line["amount"] * rate, currency) for line, rate in zip(lines, rates, strict=True)]
    if lines:
        largest = max(range(len(lines)), key=lambda i: (bool(lines[i]["taxes"]), abs(lines[i]["amount"])))
        taxes[largest] += total - sum(taxes, Decimal(0))
    return taxes


def _whole(quantity: Decimal) -> Decimal:
    """3.0 as 3; fractions stay."""
    whole = quantity.to_integral_value()
    return whole if whole == quantity else quantity


def _tax_code(line: Row) -> str:
    return "+".join(tax["name"] for tax in line["taxes"]) or "manual"


# sweeps --------------------------------------------------------------------------------------------------


def change_body(model: str, row: Row) -> bytes:
    """One changed record as a body that `envelope` reads: Tryton sends no webhooks, so we write what one would say."""
    credit = model == "account.invoice" and is_credit(row)
    subject = "party" if model == "party.party" else "credit_memo" if credit else "invoice"
    at = row["write_date"].isoformat()
    return json.dumps({"model": model, "id": row["id"], "subject": subject, "write_date": at}, sort_keys=True).encode()


def envelope(body: bytes) -> Envelope:
    """Read a body of `change_body`. Raises BadPayload for anything else."""
    try:
        change = json.loads(body)
        model, record, subject, at = (change[name] for name in ("model", "id", "subject", "write_date"))
        when = datetime.fromisoformat(at).astimezone(UTC)
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise BadPayload(f"not a change of a Tryton record: {type(error).__name__}") from None
    return Envelope(f"{model},{record}@{at}", f"{subject}.written", subject, str(record), when)


def within(tax: Decimal, wanted: Decimal, lines: int, currency: str) -> bool:
    """True when two taxes of one document differ by no more than rounding can explain: a minor unit per line."""
    return abs(tax - wanted) <= quantum(currency) * max(lines, 1)


def last_day_of_year(rows: Sequence[Row], day: date) -> date:
    """The last day of the fiscal year that `day` is in, from the periods."""
    year = next(row["fiscalyear"] for row in rows if row["start_date"] <= day <= row["end_date"])
    last: date = max(row["end_date"] for row in rows if row["fiscalyear"] == year)
    return last


def _address_field(address: Row, field: str) -> Any:
    value = address.get(field)
    return value["id"] if isinstance(value, Mapping) else value


def _first(rows: Sequence[Row], kind: str) -> Row | None:
    return next((row for row in rows if row["type"] == kind), None)
