"""A Zendesk account of one's own, and the client that is tested against it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from canonical.commands import WriteCase
from canonical.types import SupportCase
from connectors.sdk.contract import SourceEvent
from connectors.sdk.http import Call, Http
from connectors.vendors.zendesk.client import Credentials, Settings, Zendesk
from connectors.vendors.zendesk.fake import FIELDS, ZendeskTwin
from connectors.vendors.zendesk.reads import fetch_case, page_cases

EMAIL, TOKEN = "hub@acme.example", "not-a-real-api-token"
CARD = "4242 4242 4242 4242"


@dataclass
class Desk:
    """A twin with a customer and an agent, and a client of it."""

    twin: ZendeskTwin
    client: Zendesk
    organization: int
    customer: int
    agent: int

    def open(self, **given: Any) -> str:
        with self.twin.lock:
            given = {"subject": "Exports fail", "body": "Every export fails.", "requester_id": self.customer, **given}
            return str(self.twin.store.open(**given)["id"])

    def says(self, case: str, by: int, body: str = "Words.", **given: Any) -> None:
        with self.twin.lock:
            self.twin.store.reply(int(case), by, body, **given)

    def sets(self, case: str, by: int | None = None, **given: Any) -> None:
        with self.twin.lock:
            self.twin.store.update(int(case), given, by or self.agent)

    def wait(self, minutes: float) -> None:
        self.twin.advance(60 * minutes)

    def case(self, external_id: str) -> SupportCase:
        found = fetch_case(self.client, external_id, Call())[0]
        assert isinstance(found, SupportCase)
        return found

    def field(self, case: str, name: str) -> Any:
        slots = self.twin.store.tickets[int(case)]["custom_fields"]
        return next(slot["value"] for slot in slots if str(slot["id"]) == FIELDS[name])

    def audits(self, case: str) -> list[dict[str, Any]]:
        return self.twin.store.audits[int(case)]

    def comments(self, case: str) -> list[dict[str, Any]]:
        return [event for audit in self.audits(case) for event in audit["events"] if event["type"] == "Comment"]

    def sweep(self, since: timedelta = timedelta(hours=1)) -> list[SourceEvent]:
        items: list[SourceEvent] = []
        page = page_cases(self.client, datetime.now(UTC) - since, None, Call())
        items += page.items
        while page.cursor:
            page = page_cases(self.client, datetime.now(UTC) - since, page.cursor, Call())
            items += page.items
        return items


@pytest.fixture
def desk() -> Iterator[Desk]:
    http = Http()
    with ZendeskTwin(EMAIL, TOKEN) as twin:
        with twin.lock:
            organization = twin.store.organization("Acme GmbH", "cus_0001", {"plan": "gold"})["id"]
            customer = twin.store.user("Rosa", "rosa@acme.example", organization_id=organization)["id"]
            agent = twin.store.user("Ada", "ada@desk.example", "agent")["id"]
        told = Settings(base_url=twin.url, email=EMAIL, organization_plan="plan", **FIELDS)
        yield Desk(twin, Zendesk(told, Credentials(api_token=TOKEN), http), organization, customer, agent)
    http.close()


def credit(case: str, key: str = "k1", **given: Any) -> WriteCase:
    wanted = {"block": "Credit requested", "values": {"credit_state": "requested"}, "tags": ("tieout_requested",), **given}
    return WriteCase(key=key, case=case, **wanted)
