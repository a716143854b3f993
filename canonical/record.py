"""Record what a system said: an observation, and the business objects it describes, newest version wins.

Objects of one answer are recorded in dependency order. An answer older than what we hold is kept as an observation
and changes nothing else. Customers are billing's to describe: what a support platform says about one is observed, and
leads to the customer we have (`canonical.matching`), but neither makes nor changes one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from django.db import connection

from canonical import matching, models, types, xref

FIRST_SIGHT_LOCK = 0x71E1

ORDER = [
    "party", "product", "price", "contract", "subscription", "invoice", "credit_memo", "payment", "entitlement", "support_case",
]  # fmt: skip
REFERRING = ("invoice", "payment")
"""Kinds that may name what we are told about only later: they are looked at again when they say the same again."""


class NotRecorded(Exception):
    """The answer refers to something we were not told about. `kind` and `external_id` say what."""

    def __init__(self, kind: str, external_id: str) -> None:
        super().__init__(f"{kind} {external_id} is referred to, but was not described")
        self.kind, self.external_id = kind, external_id


def digest(said: types.CanonicalObject) -> str:
    """SHA-256 of what was said, instants of modification aside."""
    return hashlib.sha256(said.model_dump_json(exclude={"updated_at"}).encode()).hexdigest()


def observe(connection_id: int, said: types.CanonicalObject) -> bool:
    """Keep what a system said when it differs from the last time; returns whether it did."""
    mark = digest(said)
    last = (
        models.Observation.objects.filter(connection_id=connection_id, kind=said.kind, external_id=said.external_id)
        .order_by("-id").values_list("digest", flat=True).first()
    )  # fmt: skip
    if last == mark:
        return False
    models.Observation.objects.create(
        connection_id=connection_id, kind=said.kind, external_id=said.external_id, digest=mark, said=said.model_dump(mode="json"),
        source_at=said.updated_at,
    )  # fmt: skip
    return True


class Recorder:
    """Records answers of one connection; `entity` is the legal entity of documents that name none.

    `identify` makes it one whose customers another system describes: it answers our id of a customer, or raises.
    """

    def __init__(
        self, connection_id: int, entity: models.LegalEntity | None, provenance: str,
        identify: Callable[[types.Party], int] | None = None,
    ) -> None:  # fmt: skip
        self.connection_id, self.entity, self.provenance, self.identify = connection_id, entity, provenance, identify

    def record(self, objects: Sequence[types.CanonicalObject]) -> dict[tuple[str, str], int]:
        """Record an answer; returns (kind, external id) → our id. Raises NotRecorded, and what `identify` raises."""
        ids: dict[tuple[str, str], int] = {}
        known = [said for said in objects if said.kind in ORDER]
        # By id within a kind, so that two answers that share objects lock them in the same order.
        for said in sorted(known, key=lambda said: (ORDER.index(said.kind), said.external_id)):
            if isinstance(said, types.Party) and self.identify is not None:
                ids[said.kind, said.external_id] = self._customer(said, self.identify)
                observe(self.connection_id, said)
            else:
                ids[said.kind, said.external_id] = self._one(said)
        return ids

    def renew(self, said: types.Invoice) -> None:
        """Take an invoice's lines as they are said now, seen before or not: it is to be posted anew. Inside a transaction."""
        pk = xref.find(self.connection_id, said.kind, said.external_id)
        if pk is None:
            raise NotRecorded(said.kind, said.external_id)
        self._lines(said, models.Invoice.objects.select_for_update().get(pk=pk))

    def _customer(self, said: types.Party, identify: Callable[[types.Party], int]) -> int:
        """Our id of a customer whom another system describes, linked from now on."""
        pk = xref.find(self.connection_id, said.kind, said.external_id)
        if pk is None:
            self._first_sight()
            pk = xref.find(self.connection_id, said.kind, said.external_id)
        if pk is None:
            pk = identify(said)
            matching.link(self.connection_id, said.external_id, pk, provenance=self.provenance)
        return pk

    def _one(self, said: types.CanonicalObject) -> int:
        model: type[models.base.BusinessObject] = getattr(models, type(said).__name__)
        pk = xref.find(self.connection_id, said.kind, said.external_id)
        if pk is None:
            self._first_sight()
            pk = xref.find(self.connection_id, said.kind, said.external_id)
        is_news = observe(self.connection_id, said)
        if pk is not None and not is_news and said.kind not in REFERRING:
            return pk
        current = model._base_manager.select_for_update().filter(pk=pk).first() if pk else None
        if current is not None and current.seen_at and said.updated_at and said.updated_at < current.seen_at:
            return int(current.pk)
        fields = getattr(self, f"_{said.kind}")(said)
        if current is None:
            current = model._base_manager.create(**fields, seen_at=said.updated_at)
            xref.link(self.connection_id, said.kind, said.external_id, said.kind, current.pk, provenance=self.provenance)
        elif is_news or any(getattr(current, name) != value for name, value in fields.items()):
            for name, value in {**fields, "seen_at": said.updated_at or current.seen_at}.items():
                setattr(current, name, value)
            current.save(update_fields=[*fields, "seen_at"])
        if is_news:
            self._parts(said, current)
        return int(current.pk)

    def _first_sight(self) -> None:
        """Let one transaction at a time record new objects of a connection: two must not both be the first."""
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s, %s)", [FIRST_SIGHT_LOCK, self.connection_id])

    # what each kind becomes ----------------------------------------------------------------------------------

    def _party(self, said: types.Party) -> dict[str, Any]:
        if said.deleted:
            return {"deleted_at_source": True}  # the system has forgotten who it was; our books have not
        return {
            "name": said.name, "email": said.email, "tax_id": said.tax_id, "address": said.address.model_dump(),
            "region": said.address.country, "deleted_at_source": said.deleted,
        }  # fmt: skip

    def _product(self, said: types.Product) -> dict[str, Any]:
        return {"name": said.name, "family": said.family, "active": said.active}

    def _price(self, said: types.Price) -> dict[str, Any]:
        return {
            "product_id": self._id("product", said.product), "currency": said.currency, "unit_amount": said.unit_amount,
            "interval": said.interval, "interval_count": said.interval_count, "usage_based": said.usage_based,
        }  # fmt: skip

    def _contract(self, said: types.Contract) -> dict[str, Any]:
        return {
            "party_id": self._id("party", said.party), "legal_entity": self._entity(""), "starts_on": said.starts_on,
            "ends_on": said.ends_on, "renews": said.renews,
        }  # fmt: skip

    def _subscription(self, said: types.Subscription) -> dict[str, Any]:
        return {
            "party_id": self._id("party", said.party), "legal_entity": self._entity(""), "status": said.status.value,
            "currency": said.currency, "started_at": said.started_at, "cancel_at": said.cancel_at, "ended_at": said.ended_at,
        }  # fmt: skip

    def _document(self, said: types.Document) -> dict[str, Any]:
        return {
            "number": said.number, "party_id": self._id("party", said.party), "legal_entity": self._entity(said.legal_entity),
            "currency": said.currency, "issued_on": said.issued_on, "net": said.net, "tax": said.tax, "total": said.total,
        }  # fmt: skip

    def _invoice(self, said: types.Invoice) -> dict[str, Any]:
        entity = self._entity(said.legal_entity)
        return {
            **self._document(said), "status": said.status.value, "due_on": said.due_on, "paid": said.paid,
            "paid_on": _day(said.paid_at, entity), "voided_on": _day(said.voided_at, entity),
            "subscription_id": xref.find(self.connection_id, "subscription", said.subscription) if said.subscription else None,
        }  # fmt: skip

    def _credit_memo(self, said: types.CreditMemo) -> dict[str, Any]:
        return {
            **self._document(said), "status": said.status, "reason": said.reason,
            "invoice_id": self._id("invoice", said.invoice) if said.invoice else None,
        }  # fmt: skip

    def _payment(self, said: types.Payment) -> dict[str, Any]:
        return {
            "party_id": xref.find(self.connection_id, "party", said.party) if said.party else None,
            "invoice_id": xref.find(self.connection_id, "invoice", said.invoice) if said.invoice else None,
            "refund_of_id": xref.find(self.connection_id, "payment", said.refund_of) if said.refund_of else None,
            "currency": said.currency, "amount": said.amount, "status": said.status, "received_at": said.received_at,
        }  # fmt: skip

    def _entitlement(self, said: types.Entitlement) -> dict[str, Any]:
        return {
            "party_id": self._party_id(said.party), "feature": said.feature, "plan": said.plan, "source": said.source,
            "active": said.active, "valid_from": said.valid_from, "valid_to": said.valid_to,
        }  # fmt: skip

    def _support_case(self, said: types.SupportCase) -> dict[str, Any]:
        if said.deleted and xref.find(self.connection_id, said.kind, said.external_id):
            return {"deleted_at_source": True}  # what was decided about it stands, and so does what it was about
        return {
            "party_id": self._party_id(said.party) if said.party else None, "subject": said.subject,
            "description": said.description, "severity": said.severity[:40], "status": said.status, "opened_at": said.opened_at,
            "first_reply_at": said.first_reply_at, "resolved_at": said.resolved_at, "incident": said.incident[:200],
            "plan": said.plan[:200], "subscription": said.subscription[:255], "tags": list(said.tags), "url": said.url,
            "credit": said.credit.model_dump(mode="json") if said.credit else None, "deleted_at_source": said.deleted,
            "platform_sla": [event.model_dump(mode="json") for event in said.platform_sla],
        }  # fmt: skip

    # parts ---------------------------------------------------------------------------------------------------

    def _parts(self, said: types.CanonicalObject, current: Any) -> None:
        if isinstance(said, types.Invoice):
            self._lines(said, current)
            if said.payment and (payment := xref.find(self.connection_id, "payment", said.payment)):
                models.Payment.objects.filter(pk=payment, invoice=None).update(invoice=current)
        elif isinstance(said, types.Subscription):
            self._items(said, current)
        elif isinstance(said, types.SupportCase) and not said.deleted:
            self._clock(said, current)

    def _clock(self, said: types.SupportCase, case: models.SupportCase) -> None:
        case.clock.all().delete()
        models.CaseClock.objects.bulk_create(
            models.CaseClock(case=case, what=entry.what, at=entry.at, value=entry.value[:200], external_id=entry.external_id[:255])
            for entry in said.clock
        )

    def _lines(self, said: types.Invoice, invoice: models.Invoice) -> None:
        if invoice.state not in ("recorded", "mapped"):
            return  # the ERP holds these lines; what billing says now is an observation, and reconciliation's to judge
        invoice.lines.exclude(external_id__in=[line.external_id for line in said.lines]).delete()
        for position, line in enumerate(said.lines):
            models.InvoiceLine.objects.update_or_create(
                invoice=invoice, external_id=line.external_id,
                defaults={
                    "position": position, "description": line.description, "quantity": line.quantity, "net": line.net,
                    "tax": line.tax,
                    "product_id": self._id("product", line.product) if line.product else None,
                    "taxes": [tax.model_dump(mode="json") for tax in line.taxes], "service_from": line.service_from,
                    "service_to": line.service_to, "proration": line.proration,
                },
            )  # fmt: skip

    def _items(self, said: types.Subscription, subscription: models.Subscription) -> None:
        subscription.items.exclude(external_id__in=[item.external_id for item in said.items]).update(ended=True)
        for item in said.items:
            models.SubscriptionItem.objects.update_or_create(
                subscription=subscription, external_id=item.external_id,
                defaults={
                    "product_id": self._id("product", item.product), "price_id": xref.find(self.connection_id, "price", item.price),
                    "quantity": item.quantity, "period_start": item.period_start, "period_end": item.period_end, "ended": False,
                },
            )  # fmt: skip

    def _id(self, kind: str, external_id: str) -> int:
        pk = xref.find(self.connection_id, kind, external_id)
        if pk is None:
            raise NotRecorded(kind, external_id)
        return pk

    def _party_id(self, external_id: str) -> int:
        """Like `_id`; a customer that this system names without describing may be known by the name alone."""
        known = xref.find(self.connection_id, "party", external_id)
        if known is None and self.identify is not None:
            return self._customer(types.Party(external_id=external_id, name=""), self.identify)
        return self._id("party", external_id) if known is None else known

    def _entity(self, code: str) -> models.LegalEntity:
        if code and (not self.entity or self.entity.code != code):
            found = models.LegalEntity.objects.filter(code=code).first()
            if found is None:
                raise NotRecorded("legal entity", code)
            return found
        if self.entity is None:
            raise NotRecorded("legal entity", "(the connection has none)")
        return self.entity


def _day(at: datetime | None, entity: models.LegalEntity) -> Any:
    """The calendar day of an instant where the legal entity keeps its books."""
    return at.astimezone(ZoneInfo(entity.timezone)).date() if at else None
