"""One Roundup, real or twin, the people in it, and what tests ask of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import uuid4

import pytest
import requests

from canonical.commands import WriteCase, Written
from canonical.types import Party, SupportCase
from connectors.sdk.contract import SourceEvent
from connectors.sdk.errors import Unknown
from connectors.sdk.http import Call, Http
from connectors.vendors.roundup import CONNECTOR
from connectors.vendors.roundup.client import Credentials, Roundup, Settings
from connectors.vendors.roundup.fake import PASSWORD, RoundupTwin
from hub.demo.peers.roundup import RoundupPeer
from hub.demo.peers.roundup_people import Person

SECRET = "whsec_not_a_real_secret"


@dataclass
class Desk:
    """One tracker, real or twin, the people in it, and the hub's client."""

    base_url: str
    passwords: dict[str, str]
    deliver_to: Callable[[str, str], None]
    call: Call = field(default_factory=Call)

    def __post_init__(self) -> None:
        self.customer, self.agent, self.admin = (self.person(name) for name in ("customer", "agent", "admin"))
        self.client = self.open()

    def person(self, name: str) -> Person:
        return Person(self.base_url, name, self.passwords[name])

    def open(self, http: Http | None = None, password: str = "") -> Roundup:
        credentials = Credentials(user="hub", password=password or self.passwords["hub"])
        client: Roundup = CONNECTOR.open(Settings(base_url=self.base_url), credentials, http or Http())
        return client

    def run(self, name: str, request: Any, http: Http | None = None) -> Written:
        return CONNECTOR.commands[name].run(self.open(http) if http else self.client, request, self.call)

    def find(self, name: str, request: Any) -> Written | None:
        find = CONNECTOR.commands[name].find
        assert find is not None
        return find(self.client, request, self.call)

    def case(self, issue: str) -> SupportCase:
        case, party = CONNECTOR.fetch["support_case"](self.client, issue, self.call)
        assert isinstance(case, SupportCase) and isinstance(party, Party) and case.party == party.external_id
        return case

    def texts(self, issue: str) -> list[str]:
        """What the customer reads on the issue."""
        return [self.customer.read("msg", message)["content"] for message in self.customer.messages(issue)]

    def entries(self, issue: str) -> int:
        """How often the issue was changed, its creation included."""
        return len(self.client.get(self.call, f"tieout/journal/{issue}")["entries"])

    def sweep(self, since: datetime, between: Callable[[], object] = lambda: None) -> list[SourceEvent]:
        items: list[SourceEvent] = []
        cursor: str | None = None
        while True:
            page = CONNECTOR.pages["cases"](self.client, since, cursor, self.call)
            items += page.items
            cursor = page.cursor
            if cursor is None:
                return items
            between()


class Interposed(Http):
    """A line on which something happens just before each PATCH."""

    def __init__(self, happens: Callable[[], object]) -> None:
        super().__init__()
        self.happens = happens

    def send(self, call: Call, method: str, *args: Any, **options: Any) -> requests.Response:
        if method == "PATCH":
            self.happens()
        return super().send(call, method, *args, **options)


class Lossy(Http):
    """A line that loses the answer to the n-th write."""

    def __init__(self, lose: int) -> None:
        super().__init__()
        self.lose, self.sent = lose, 0

    def send(self, call: Call, method: str, *args: Any, **options: Any) -> requests.Response:
        response = super().send(call, method, *args, **options)
        self.sent += method != "GET"
        if method != "GET" and self.sent == self.lose:
            raise Unknown("the answer was lost")
        return response


@pytest.fixture(params=["twin", "roundup"])
def desk(request: pytest.FixtureRequest) -> Iterator[Desk]:
    """One of the two, which tells nobody anything yet."""
    if request.param == "twin":
        with RoundupTwin() as twin:
            yield Desk(twin.url, dict.fromkeys(("hub", "agent", "customer", "admin"), PASSWORD), twin.deliver_to)
        return
    peer: RoundupPeer = request.getfixturevalue("roundup_peer")
    yield Desk(peer.base_url, peer.info.passwords, peer.deliver_to)
    peer.deliver_nothing()


def key() -> str:
    return f"hub:{uuid4().hex}"


def block(issue: str, text: str = "Credit approved", state: str = "approved", tag: str = "tieout_approved") -> WriteCase:
    return WriteCase(key=key(), case=issue, block=text, values={"credit_state": state}, tags=(tag,))
