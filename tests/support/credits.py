"""A world with a support platform, credits asked for in it, and people who approve them: for tests of what follows."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any

from django.contrib.auth.models import User
from django.db import transaction
from django.test import override_settings
from django.utils import timezone

from canonical import xref
from canonical.models import Invoice, Party, SupportCase, move
from connectors.models import Connection
from connectors.vendors.zendesk.fake import FIELDS, ZendeskTwin
from hub.credits import deciding, matrix, payload, posting
from hub.credits.models import Credit
from hub.engine import store
from hub.flows import issue_to_credit
from hub.models import Run
from hub.roles import FINANCE
from tests.credits.factories import ground, person, rate
from tests.support.time import work
from tests.support.world import World

EMAIL, TOKEN = "hub@acme.example", "not-a-real-api-token"


def zendesk_connection(twin: ZendeskTwin) -> Connection:
    """An active connection to a Zendesk with all of its fields in use."""
    connection = Connection(
        slug="zendesk", connector="zendesk", state="active", settings={"base_url": twin.url, "email": EMAIL, **FIELDS}
    )
    connection.set_credentials({"api_token": TOKEN})
    connection.save()
    return connection


@dataclass
class Crediting:
    """What a credit is asked for in: a world, its support desk, and the twin of that."""

    world: World
    support: Connection
    desk: ZendeskTwin

    def __post_init__(self) -> None:
        ground()
        for currency, worth in (("EUR", "1.10"), ("JPY", "0.0067"), ("KWD", "3.20")):
            rate(currency, worth)

    def invoiced(self, currency: str = "eur", **how: Any) -> Invoice:
        """A new customer's first invoice, which the ERP has."""
        external = self.world.subscribe(currency, **how)["latest_invoice"]
        for _ in range(3):
            if self.world.deliver():
                work()
        found = Invoice.objects.get(pk=xref.find(self.world.source.pk, "invoice", external))
        assert found.state in ("confirmed", "settled")
        return found

    def case(self, party: Party) -> SupportCase:
        """A new case of the customer."""
        with self.desk.lock:
            asker = self.desk.store.user("Rosa", "rosa@acme.example")["id"]
            ticket = str(self.desk.store.open("Exports fail", "Every export fails since noon.", asker)["id"])
        case = SupportCase.objects.create(party=party, subject="Exports fail", status="open", opened_at=timezone.now())
        xref.link(self.support.pk, "support_case", ticket, "support_case", case.pk, provenance="test")
        return case

    def ask(self, invoice: Invoice, net: str, *, case: SupportCase | None = None, on: date | None = None, **told: Any) -> Credit:
        """A credit, asked for and waiting for one approval; on a new case unless `case` is False."""
        maker = User.objects.get_or_create(username="asker")[0]
        case = self.case(invoice.party) if case is None else case
        shared = {"party": invoice.party, "legal_entity": invoice.legal_entity, "billing": self.world.source}
        about = {"subscription": invoice.subscription, "currency": invoice.currency, "reason": told.pop("reason", "resolution")}
        booked = posting.preview(
            **shared, **about, invoice=told.pop("taken_from", invoice), net=Decimal(net), on=on or timezone.now().date()
        )  # type: ignore[arg-type]
        columns = {
            **shared, **about, "case": case or None, "support": self.support if case else None, "origin": "reviewer",
            "net": Decimal(net), "tax": booked.tax, "total": booked.total, "lines": booked.lines, "invoice": booked.invoice,
            "settlement": "credit_note", "requested_by": "asker", "made_by": maker,
            "submitted_at": timezone.now(), **told,
        }  # fmt: skip
        return self.submit(Credit(**columns))

    def take_back(self, credit: Credit) -> Credit:
        """The reversal of a credit, waiting for one approval."""
        credit.refresh_from_db()
        kept = (
            "party", "legal_entity", "billing", "subscription", "currency", "reason", "case", "support", "net", "tax", "total",
            "lines", "invoice", "settlement", "made_by",
        )  # fmt: skip
        columns = {name: getattr(credit, name) for name in kept} | {"reverses": credit, "submitted_at": timezone.now()}
        return self.submit(Credit(**columns, origin="reviewer", requested_by="asker"))

    def submit(self, credit: Credit) -> Credit:
        """Save it sealed, with the approvals it needs, and start its run."""
        with transaction.atomic():
            matrix.assign(credit, at=timezone.now())
            payload.seal(credit)
            credit.save()
            issue_to_credit.start(credit, by="test")
        return credit

    def approve(self, credit: Credit, *, minutes: float = 0) -> None:
        """Another person approves; the undo window is `minutes` long."""
        credit.refresh_from_db()
        with override_settings(UNDO_MINUTES=minutes):
            deciding.approve(credit, self.decider, revision=credit.revision, confirmed_at=timezone.now())

    @property
    def decider(self) -> User:
        """A finance reviewer who asked for nothing."""
        return person("decider", FINANCE)

    def moved(self, credit: Credit, name: str, **how: Any) -> None:
        """A transition by a person, with what every such change does."""
        with transaction.atomic():
            credit.refresh_from_db(fields=["state"])
            move(credit, name, by="decider", **how)
            store.wake("credit", credit.number)

    def run_of(self, credit: Credit) -> Run:
        """Its run."""
        return Run.objects.filter(flow="issue_to_credit", subject_id=credit.number).latest("id")

    def ticket(self, credit: Credit) -> dict[str, Any]:
        """What the case shows in the support platform's own books."""
        assert credit.case_id is not None
        number = xref.id_of("support_case", credit.case_id, self.support.pk)
        row = self.desk.store.tickets[int(number)]
        fields = {str(each["id"]): each["value"] for each in row["custom_fields"]}
        shown = {name.removeprefix("field_"): fields.get(field) for name, field in FIELDS.items()}
        return {**shown, "tags": row["tags"], "comments": self.comments(number)}

    def comments(self, ticket: str) -> list[tuple[bool, str]]:
        """(public, text) of every comment after the first."""
        events = [event for audit in self.desk.store.audits[int(ticket)] for event in audit["events"]]
        return [(event["public"], event["body"]) for event in events if event["type"] == "Comment"][1:]
