"""The twin's journal entries: drafts that can be changed and deleted, and what posting asks of them."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from connectors.vendors.tryton.fake_errors import UserError

if TYPE_CHECKING:
    from connectors.vendors.tryton.fake_books import Books, Record

DEFERRED = "account.invoice.deferred"


def check_period(books: Books, values: Mapping[str, Any]) -> None:
    """The period of an entry holds its day, and is open."""
    period = books.get("account.period", values["period"])
    if period["state"] != "open" or not period["start_date"] <= values["date"] <= period["end_date"]:
        raise UserError('The value for field "Period" in "Account Move" is not valid according to its domain.')


def check_draft(move: Record) -> None:
    """What is posted stays as it is."""
    if move["state"] == "posted":
        raise UserError(f'You cannot modify posted move "{move["number"]}".')


def belongs(books: Books, move: Record) -> None:
    """An entry whose origin is a schedule is one of its moves."""
    model, _, number = (move["origin"] or "").partition(",")
    if model == DEFERRED:
        books.get(DEFERRED, int(number))["moves"] = [*books.get(DEFERRED, int(number))["moves"], move["id"]]


def leaves(books: Books, move: Record) -> None:
    """A draft that is deleted is no move of its schedule any more."""
    model, _, number = (move["origin"] or "").partition(",")
    if model == DEFERRED:
        schedule = books.get(DEFERRED, int(number))
        schedule["moves"] = [one for one in schedule["moves"] if one != move["id"]]


def post(books: Books, move: Record) -> None:
    """Number and post a draft that balances."""
    check_draft(move)
    check_period(books, move)
    lines = [books.get("account.move.line", number) for number in move["lines"]]
    if not lines:
        raise UserError("You cannot post move because it is empty.")
    if sum((line["debit"] - line["credit"] for line in lines), Decimal(0)):
        raise UserError("You cannot post move because it is unbalanced.")
    period = books.get("account.period", move["period"])
    number = books.number(f"M{period['name'][:4]}/")
    books._assign("account.move", move, {"state": "posted", "number": number})
    books.ledger.append({"kind": "journal", "id": move["id"]})
