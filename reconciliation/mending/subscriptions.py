"""What can be done about subscriptions: an invoice of theirs that was not posted is worked again; the rest is a person's.

The hub posts what billing asks for, and never invents an invoice: a change or a period that billing has not invoiced is
decided where it is billed.
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

from canonical import xref
from canonical.models import ExternalRef, Invoice
from connectors.models import Connection
from hub.flows.order_to_cash import OWED
from reconciliation.mending.plan import Page, Plan, Work, hand_over, plain, readings, side, words
from reconciliation.models import Break, Mend, ReadingRow

NAME = "subscriptions"
MOST = 200
"""Invoices of a subscription that are looked at, the newest first."""
LISTED = 12
"""Schedules that are named; the others are in their sum."""


def replay(break_: Break) -> Plan | None:
    """Billing has an invoice of the subscription that the ERP has not: work that."""
    found = side(break_, "billing")
    if break_.pair != NAME or break_.type not in ("plan_change", "gap") or found is None:
        return None
    billing, said = found
    missing = next(_not_posted(break_, billing, said["id"]), None)
    if missing is None:
        return None
    amount = missing.total or Decimal(0)
    effects = (
        f"invoice {missing.number or missing.external_id} of {plain(amount)} {missing.currency} is not in the ERP",
        "would read it as it is now, and do by order to cash whatever the ERP lacks of it",
        "what is there already is found, and not done again",
    )
    act = Work(billing, "invoice", missing.external_id)
    return Plan(Mend.Plan.REPLAY, words("replay"), effects, amount=amount, currency=missing.currency, act=act)


def _not_posted(break_: Break, billing: Connection, subscription: str) -> Iterator[ReadingRow]:
    """Invoices that billing holds for the subscription as a claim, and that never reached the ERP."""
    held = ReadingRow.objects.filter(scan=break_.last_scan_id, connection=billing, kind="invoice", status__in=OWED)
    for row in held.filter(extra__subscription=subscription).exclude(total=0).order_by("-on", "-id")[:MOST]:
        pk = xref.find(billing.pk, "invoice", row.external_id)
        if pk is None or Invoice.objects.filter(pk=pk, state__in=["recorded", "mapped"]).exists():
            yield row


def by_hand(break_: Break) -> Plan | None:
    """Who does what, with the figures."""
    found = side(break_, "billing")
    if break_.pair != NAME or found is None:
        return None
    if break_.type == "obligation":
        return _obligation(break_, *found)
    if break_.type == "plan_change" and next(_not_posted(break_, *_id(found)), None) is None:
        return _plan_change(break_, *found)
    if break_.type == "gap" and next(_not_posted(break_, *_id(found)), None) is None:
        return _gap(break_, *found)
    return None


def _id(found: tuple[Connection, dict[str, Any]]) -> tuple[Connection, str]:
    return found[0], found[1]["id"]


def _plan_change(break_: Break, billing: Connection, said: dict[str, Any]) -> Plan:
    worth = Decimal(said.get("net") or 0)
    months = max(1, round((break_.left_amount or worth) / worth)) if worth else 1
    more = ((break_.left_amount or Decimal(0)) - (break_.right_amount or Decimal(0))) / months
    side_of = "less" if more > 0 else "more"
    return hand_over(
        f"a month is worth {plain(worth)} {break_.currency} in {billing}, and is posted with {plain(round(abs(more), 4))} "
        f"{break_.currency} {side_of}; over {months} months that is {plain(break_.exposed)} {break_.currency}",
        f"no invoice of {billing} asks for it, so there is nothing to post: whoever runs {billing} invoices the change now, or "
        f"leaves it to the next invoice" + (f" after {said['service_to']}" if said.get("service_to") else ""),
        "what billing then invoices is posted by itself, and the break closes with the scan after it",
        page=_in_billing(billing, said),
    )


def _gap(break_: Break, billing: Connection, said: dict[str, Any]) -> Plan:
    return hand_over(
        f"{billing} has no invoice that the ERP lacks: the days are not billed, or billed twice; the later period is "
        f"{plain(break_.exposed)} {break_.currency}",
        f"days that nobody billed: whoever runs {billing} invoices them there, and they are posted by itself; or they were free, "
        f"and the break is accepted with that reason",
        "days billed twice: whoever gave both invoices credits one of them in billing, or asks for a credit",
        page=_in_billing(billing, said),
    )


def _obligation(break_: Break, billing: Connection, said: dict[str, Any]) -> Plan | None:
    running = [each for each in readings(break_.right) if each["kind"] == "recognition"]
    if not running:
        return None
    left = [(each, Decimal(each["net"]) - Decimal(each["total"])) for each in running]
    listed = tuple(
        f"schedule {each['id']}: {plain(each['net'])} in all, {plain(each['total'])} recognised, {plain(rest)} to come"
        for each, rest in left[:LISTED]
    )
    return hand_over(
        f"{sum((rest for _, rest in left), Decimal(0)).normalize():f} {break_.currency} of {len(left)} schedules is still to be "
        f"recognised after the subscription has ended",
        *listed,
        "the customer gets the rest back: ask for a credit; approved, it lowers the schedule, and is given in billing",
        "the customer does not get it back: it was earned, and what is left runs out as planned; accept it with the agreement "
        "that says so. The hub does not recognise it at once, because the ERP has posted the coming months already",
        page=_ask(billing, said),
    )


def _ask(billing: Connection, said: dict[str, Any]) -> Page:
    return Page("Ask for a credit", "desk_new", {"customer": said.get("party", "")})


def _in_billing(billing: Connection, said: dict[str, Any]) -> Page | None:
    """Where billing shows it, if it told; else our own page of it."""
    ref = ExternalRef.objects.filter(connection=billing, kind="subscription", external_id=said["id"]).order_by("-id").first()
    if ref is None:
        return None
    if ref.url.startswith(("https://", "http://")):
        return Page(f"Open it in {billing}", ref.url)
    return Page("Open the subscription", "canonical_subscription_change", {"pk": str(ref.object_id)})
