"""How a credit is booked: which invoice it takes from, with which accounts and taxes, and how much of it is for later.

A service credit is a change of the transaction price. It follows what the price was allocated to: the part of a service
that has been rendered lowers revenue now, the part still to come lowers what is deferred, over the days that are left
(ASC 606-10-32-42 to 32-45; IFRS 15.87 to 90).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

from django.db.models import Sum

from canonical import xref
from canonical.commands import PostingLine
from canonical.models import CreditMemo, ExternalRef, Invoice, InvoiceLine, LegalEntity, Party, Product, Subscription
from canonical.money import is_exact, round_money
from connectors.models import Connection
from hub import booking
from hub.credits.models import Credit, Reason
from hub.credits.models.credit import OVER
from hub.models import AccountingRule

IN_THE_ERP = ("posted", "confirmed", "settled")
LOOKED_AT = 24
"""Newest invoices of a subscription among which one with enough left is looked for."""


class NotBookable(Exception):
    """The credit cannot be posted as asked for; the message says why, for people."""


@dataclass(frozen=True, slots=True)
class Preview:
    """What will be posted. `lines` are `PostingLine`s as JSON; the total is the net asked for and its tax, to the cent."""

    lines: list[dict[str, Any]]
    tax: Decimal
    total: Decimal
    invoice: Invoice | None
    explanation: list[str]


@dataclass(frozen=True, slots=True)
class Share:
    """What one invoice line bears of a credit."""

    line: InvoiceLine
    net: Decimal
    tax: Decimal


def preview(
    *, party: Party, legal_entity: LegalEntity, billing: Connection, invoice: Invoice | None, subscription: Subscription | None,
    currency: str, net: Decimal, reason: str, on: date, besides: Credit | None = None,
) -> Preview:  # fmt: skip
    """How `net` (above zero, without tax) would be booked on the day `on`.

    It takes from `invoice`; from the newest invoice of the subscription with enough left when none is given; and when
    there is none, it is a credit on account, without tax. `besides` is a credit that is being changed: it does not count
    as given. Raises NotBookable, and `Blocked` where a mapping or a rule is missing.
    """
    if net <= 0 or not is_exact(net, currency):
        raise NotBookable(f"{net} {currency} is no amount that can be credited.")
    erp = booking.erp_of(legal_entity)
    if invoice is not None:
        _require(invoice, party, legal_entity, currency, billing, erp)
        shares = shares_of(invoice, net)
        if not _fits(invoice, shares, besides):
            left = left_on(invoice, besides)[0]
            raise NotBookable(f"{invoice.number} has {left.normalize():f} {currency} left to credit, not {net:f}.")
    else:
        invoice, shares = _newest_with_room(party, legal_entity, subscription, currency, net, billing, erp, besides)
    why = str(Reason(reason).label)
    if invoice is None:
        lines = [_on_account(legal_entity, party, subscription, net, why, on)]
        notes = ["On account: no posted invoice of the subscription has enough left to credit, so it bears no tax."]
    else:
        left = left_on(invoice, besides)[0]
        lines, notes = [], [f"Taken from invoice {invoice.number} of {invoice.issued_on}: {left:f} {currency} net was left on it."]
        for share in shares:
            parts, note = parts_of(share, on, currency, why)
            lines += parts
            notes.append(note)
    tax = sum((line.tax for line in lines), Decimal(0))
    return Preview([line.model_dump(mode="json") for line in lines], tax, net + tax, invoice, notes)


# the invoice -----------------------------------------------------------------------------------------------------


def left_on(invoice: Invoice, besides: Credit | None = None) -> tuple[Decimal, Decimal]:
    """(net, total) of an invoice that no credit of ours, given or asked for, and no other credit memo has taken yet."""
    ours = Credit.objects.filter(invoice=invoice, reverses=None).exclude(state__in=[*OVER, "stopped", "split"])
    if besides is not None:
        ours = ours.exclude(pk=besides.pk)
    mirrored = ExternalRef.objects.filter(object_kind="credit", kind="credit_note").values("external_id")
    known = ExternalRef.objects.filter(object_kind="credit_memo", kind="credit_memo", external_id__in=mirrored)
    others = CreditMemo.objects.filter(invoice=invoice, status="issued").exclude(pk__in=known.values("object_id"))
    net, total = invoice.net, invoice.total
    for taken in (ours, others):
        sums = taken.aggregate(net=Sum("net"), total=Sum("total"))
        net, total = net - (sums["net"] or 0), total - (sums["total"] or 0)
    return net, total


def shares_of(invoice: Invoice, net: Decimal) -> list[Share]:
    """What each posted line of the invoice bears of `net`."""
    return spread([line for line in invoice.lines.select_related("product") if line.posting], net, invoice.currency)


def spread(lines: Sequence[InvoiceLine], net: Decimal, currency: str) -> list[Share]:
    """`net` over the lines above zero, in proportion and exactly; each bears its tax in proportion, rounded half to even."""
    lines = [line for line in lines if line.net > 0]
    shares, before, weight, whole = [], Decimal(0), Decimal(0), sum((line.net for line in lines), Decimal(0))
    for line in lines:
        weight += line.net
        until = round_money(net * weight / whole, currency)
        if bears := until - before:
            shares.append(Share(line, bears, round_money(line.tax * bears / line.net, currency)))
        before = until
    return shares


def _fits(invoice: Invoice, shares: Sequence[Share], besides: Credit | None) -> bool:
    net, total = left_on(invoice, besides)
    asked, tax = (sum((getattr(share, name) for share in shares), Decimal(0)) for name in ("net", "tax"))
    return bool(shares) and asked <= net and asked + tax <= total


def _require(
    invoice: Invoice, party: Party, entity: LegalEntity, currency: str, billing: Connection, erp: Connection
) -> None:  # fmt: skip
    if (invoice.party_id, invoice.legal_entity_id, invoice.currency) != (party.pk, entity.pk, currency):
        raise NotBookable(f"{invoice.number} has another customer, legal entity or currency.")
    if invoice.state not in IN_THE_ERP or not _is_known(invoice, billing, erp):
        raise NotBookable(f"{invoice.number} is not in the ERP: {invoice.state}.")


def _is_known(invoice: Invoice, billing: Connection, erp: Connection) -> bool:
    return all(xref.external("invoice", invoice.pk, system.pk) for system in (billing, erp))


def _newest_with_room(
    party: Party, entity: LegalEntity, subscription: Subscription | None, currency: str, net: Decimal, billing: Connection,
    erp: Connection, besides: Credit | None,
) -> tuple[Invoice | None, list[Share]]:  # fmt: skip
    if subscription is None:
        return None, []
    newest = Invoice.objects.filter(
        party=party, legal_entity=entity, subscription=subscription, currency=currency, state__in=IN_THE_ERP
    ).order_by("-issued_on", "-pk")
    for invoice in newest[:LOOKED_AT]:
        shares = shares_of(invoice, net)
        if _fits(invoice, shares, besides) and _is_known(invoice, billing, erp):
            return invoice, shares
    return None, []


# the lines -------------------------------------------------------------------------------------------------------


def parts_of(share: Share, on: date, currency: str, why: str) -> tuple[list[PostingLine], str]:
    """The lines for one invoice line, booked as that was: what is served by `on`, and what is left of its service."""
    line, posting = share.line, share.line.posting
    assert posting is not None
    name = line.description or (line.product.name if line.product else "service")
    told = {
        "description": f"Credit ({why}): {name}"[:2000], "product_code": posting["product_code"],
        "revenue_account": posting["revenue_account"], "tax_codes": tuple(posting["tax_codes"]),
        "dimensions": posting["dimensions"], "rule": " ".join(posting["rules"])[:2000], "credits": line.external_id,
    }  # fmt: skip
    later_net, later_tax, first = _later(share, on, currency)
    now = PostingLine(net=share.net - later_net, tax=share.tax - later_tax, **told)
    if not later_net:
        return [now], f"{name}: {share.net:f} {currency} lowers revenue now."
    later = PostingLine(
        net=later_net, tax=later_tax, deferred_account=posting["deferred_account"], service_from=first, service_to=line.service_to,
        **told,
    )  # fmt: skip
    note = (
        f"{name}: served from {line.service_from} to {line.service_to}; {now.net:f} {currency} of {share.net:f} is for the days"
        f" before {on} and lowers revenue now, {later_net:f} lowers what is deferred until {line.service_to}."
    )
    return [line for line in (now, later) if line.net or line.tax], note


def _later(share: Share, on: date, currency: str) -> tuple[Decimal, Decimal, date | None]:
    """(net, tax) for the days from `on` to the end of the service, and the first of them; nothing when none is deferred.

    A schedule needs a product and more than one day, here as in the ERP.
    """
    line, posting = share.line, share.line.posting
    assert posting is not None
    nothing = Decimal(0), Decimal(0), None
    if not (posting["deferred_account"] and posting["product_code"] and line.service_from and line.service_to):
        return nothing
    first = max(on, line.service_from)
    left, days = (line.service_to - first).days + 1, (line.service_to - line.service_from + timedelta(days=1)).days
    if left < 2:
        return nothing
    net, tax = (round_money(amount * left / days, currency) for amount in (share.net, share.tax))
    return (net, share.tax if net == share.net else tax, first) if net else nothing


def _on_account(
    entity: LegalEntity, party: Party, subscription: Subscription | None, net: Decimal, why: str, on: date
) -> PostingLine:  # fmt: skip
    rule = rule_on_account(entity, party, subscription, on)
    return PostingLine(
        description=f"Credit ({why})", revenue_account=rule.revenue_account, tax_codes=(rule.tax_code,) if rule.tax_code else (),
        net=net, dimensions=rule.dimensions, rule=rule.label,
    )  # fmt: skip


def rule_on_account(entity: LegalEntity, party: Party, subscription: Subscription | None, on: date) -> AccountingRule:
    """The accounting rule in force for what the customer buys; raises `Blocked` when there is none."""
    rules = list(AccountingRule.objects.filter(booking.in_force(on), legal_entity=entity))
    return booking.accounting_rule(booking.Scope(entity, _product(subscription), party.region, on), rules)


def _product(subscription: Subscription | None) -> Product | None:
    item = subscription.items.filter(ended=False).select_related("product").first() if subscription else None
    return item.product if item else None
