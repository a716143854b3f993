"""From a breach on a case to a closed credit, on systems nobody here wrote: a real support platform and a real Tryton.

Billing is the Stripe twin. The amounts are those in each system's own books, to the cent.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from decimal import Decimal
from typing import Any, Protocol
from unittest import mock

import pytest
import requests
from django.db import transaction
from django.utils import timezone

from canonical.models import Entitlement, Invoice, LegalEntity
from connectors.clients import client_for, forget_clients
from connectors.models import Connection
from connectors.sdk.errors import Unknown
from connectors.sdk.http import Call, Http
from connectors.vendors.stripe.fake import StripeTwin
from hub import rulebook
from hub.credits.models import Credit, CreditPolicy, CreditRule, SlaTerms
from hub.demo.peers.request_tracker import RequestTrackerInfo, RequestTrackerPeer
from hub.demo.peers.roundup import RoundupPeer
from hub.demo.peers.roundup_people import Person
from hub.demo.peers.tryton import TrytonInfo
from hub.engine import crash, store
from hub.flows import sweep
from hub.models import Attempt, ReviewItem, Step
from tests.credits import company
from tests.credits.factories import ground, rate
from tests.support.crashes import THOROUGH
from tests.support.time import until, work
from tests.support.tryton import STATE
from tests.support.world import (
    API_KEY,
    Billing,
    World,
    approved,
    billing_connection,
    drafted,
    erp_connection,
    people,
    rule_for,
)

pytestmark = pytest.mark.peer
FLOWS = ("issue_to_credit", "case_block")
WRITES = ("post", "credit_note", "write", "tell")
"""The steps of these flows that write to a system."""


class Desk(Protocol):
    """A support platform as its people use it."""

    connection: Connection
    stream: str

    def opens(self, customer: str) -> str:
        """A customer of billing opens a case."""

    def resolves(self, case: str) -> None:
        """An agent answers and resolves it."""

    def shown(self, case: str) -> tuple[str, str, str, str]:
        """(state, number, amount with its currency, block) as the case shows them."""

    def answers(self, case: str) -> list[str]:
        """What the customer can read besides the first message and the agent's answer."""


@dataclass
class RoundupDesk:
    """A real Roundup."""

    peer: RoundupPeer
    connection: Connection
    stream: str = "cases"

    def person(self, name: str) -> Person:
        return Person(self.peer.info.base_url, name, self.peer.info.passwords[name])

    def opens(self, customer: str) -> str:
        case = self.person("customer").open("Exports fail", "Every export fails since noon.")
        self.person("agent").set(case, billing_customer=customer)
        return case

    def resolves(self, case: str) -> None:
        agent = self.person("agent")
        agent.say(case, "It works again.")
        agent.set(case, status="resolved")

    def shown(self, case: str) -> tuple[str, str, str, str]:
        row = self.person("admin").read("issue", case)
        return row["credit_state"], row["credit_number"], f"{row['credit_amount']} {row['credit_currency']}", row["tieout_block"]

    def answers(self, case: str) -> list[str]:
        customer = self.person("customer")
        return [customer.read("msg", message)["content"] for message in customer.messages(case)][2:]


@dataclass
class RtDesk:
    """A real Request Tracker."""

    info: RequestTrackerInfo
    connection: Connection
    stream: str = "events"

    def rest(self, method: str, path: str, body: Any = None) -> Any:
        headers = {"Authorization": f"token {self.info.agent_token}"}
        answer = requests.request(method, f"{self.info.base_url}/REST/2.0/{path}", json=body, headers=headers, timeout=30)
        answer.raise_for_status()
        return answer.json()

    def opens(self, customer: str) -> str:
        self.info.write_in("ap@acme.example", f"Exports fail {customer}", "Every export fails since noon.")
        case = str(self.rest("GET", f"tickets?query=Subject='Exports fail {customer}'")["items"][0]["id"])
        self.rest("PUT", f"ticket/{case}", {"CustomFields": {"Billing Customer": customer}})
        return case

    def resolves(self, case: str) -> None:
        self.rest("POST", f"ticket/{case}/correspond", {"Content": "It works again.", "ContentType": "text/plain"})
        self.rest("PUT", f"ticket/{case}", {"Status": "resolved"})

    def shown(self, case: str) -> tuple[str, str, str, str]:
        fields = {row["name"]: "\n".join(row["values"]) for row in self.rest("GET", f"ticket/{case}")["CustomFields"]}
        return fields["Credit State"], fields["Credit Number"], fields["Credit Amount"], fields["Tieout Block"]

    def answers(self, case: str) -> list[str]:
        told = self.rest("GET", f"ticket/{case}/history?fields=Type,Creator&per_page=100")["items"]
        mine = [row["id"] for row in told if row["Type"] == "Correspond" and row["Creator"]["id"] == self.info.login]
        found = [self.rest("GET", f"transaction/{number}/attachments?fields=Content") for number in mine]
        return [str(answer["items"]) for answer in found]


@pytest.fixture
def world(transactional_db: None, tryton_peer: TrytonInfo) -> Iterator[World]:
    """Billing sells a plan over 19,999.00 EUR a month, whose revenue the ERP defers; it names a gold customer's promise."""
    forget_clients()
    with StripeTwin(API_KEY) as twin:
        entity = LegalEntity.objects.create(code="main", name="Main", currency="USD")
        source = billing_connection(twin.url, entity=entity)
        erp = erp_connection(asdict(tryton_peer), entity)
        rule_for(entity, deferred_account="2.2.2")
        made = World(Billing(twin.url), tryton_peer.base_url, source, erp, entity)
        made.taxes()
        made.sells("eur", 1_999_900)
        promises(entity)
        yield made
    forget_clients()


def promises(entity: LegalEntity) -> None:
    """A gold case is resolved at once, or 10 % of the monthly value is due; credits of this size need two people."""
    approved(SlaTerms, plan="gold", severity="", resolution_minutes=0)
    _, checker = people()
    with transaction.atomic():
        policy = drafted(CreditPolicy, legal_entity=entity, name="Credits", settlement="credit_note")
        CreditRule.objects.create(policy=policy, code="R-1", reason="resolution", tier="gold", percent=Decimal(10))
        rulebook.approve(policy, checker)
    ground()
    rate("EUR", "1.10")


@pytest.fixture
def own_roundup(roundup_peer: RoundupPeer) -> Iterator[RoundupPeer]:
    """A tracker without the issues of other tests, which a sweep would bring as well. Skips where the shared one does."""
    peer = RoundupPeer(STATE, log=print)
    peer.start()
    yield peer
    peer.stop()


@pytest.fixture
def own_request_tracker(rt_peer: RequestTrackerInfo) -> Iterator[RequestTrackerInfo]:
    """One without the tickets of other tests, whose customers this test's billing has never heard of."""
    peer = RequestTrackerPeer(STATE, log=print)
    yield peer.start()
    peer.stop()


@pytest.fixture(params=["roundup", pytest.param("rt", marks=pytest.mark.rt)])
def desk(request: pytest.FixtureRequest, world: World) -> Desk:
    if request.param == "roundup":
        peer: RoundupPeer = request.getfixturevalue("own_roundup")
        connection = Connection(slug="help", connector="roundup", state="active", settings={"base_url": peer.info.base_url})
        connection.set_credentials({"user": peer.info.user, "password": peer.info.password})
        connection.save()
        return RoundupDesk(peer, connection)
    info: RequestTrackerInfo = request.getfixturevalue("own_request_tracker")
    connection = Connection(slug="help", connector="request_tracker", state="active", settings={"base_url": info.base_url})
    connection.set_credentials({"token": info.token})
    connection.save()
    return RtDesk(info, connection)


def test_a_breach_on_a_case_ends_as_the_same_credit_in_all_three_systems(world: World, desk: Desk) -> None:
    tell(world, desk)


TURNS = [WRITES] if not THOROUGH else [WRITES, *((step,) for step in WRITES)]


@pytest.mark.parametrize("steps", TURNS, ids="+".join)
def test_each_step_fails_once_and_it_ends_the_same(world: World, desk: Desk, steps: tuple[str, ...]) -> None:
    with replies_lost(steps) as lost:
        tell(world, desk)
    assert sorted(lost) == sorted(steps)
    unknown = Attempt.objects.filter(run__flow__in=FLOWS, outcome="unknown").values_list("step__name", flat=True)
    assert sorted(unknown) == sorted(steps)


@contextmanager
def replies_lost(steps: tuple[str, ...]) -> Iterator[list[str]]:
    """Whatever system it writes to does what the first write of each of these steps asks, and nobody hears of it.

    Yields the steps that it has happened to so far.
    """
    running: dict[str, str] = {}
    lost: list[str] = []
    send = Http.send

    def claimed(point: str) -> None:
        if point == "after_claim":
            ours = Step.objects.filter(state="running", run__flow__in=FLOWS)
            running.update((str(run), name) for run, name in ours.values_list("run__correlation_id", "name"))

    def lossy(http: Http, call: Call, method: str, *where: Any, write: bool | None = None, **options: Any) -> requests.Response:
        answer = send(http, call, method, *where, write=write, **options)
        step = running.get(call.correlation_id, "")
        if step in steps and step not in lost and (write if write is not None else method != "GET"):
            lost.append(step)
            raise Unknown("no answer", code="no_answer")
        return answer

    with mock.patch.object(crash, "point", claimed), mock.patch.object(Http, "send", lossy):
        yield lost


def tell(world: World, desk: Desk) -> None:
    """From the breach to the closed credit: each document once, and the same to the cent."""
    bought = world.subscribe(paid=True)
    for _ in range(3):
        if world.deliver():
            work()
    invoice = Invoice.objects.get()
    assert invoice.state == "settled"
    Entitlement.objects.create(
        party=invoice.party, feature="support", plan="gold", source="contract 7", active=True, valid_from=invoice.created_at
    )
    credit, case = breach(world, desk, bought["customer"])
    assert (credit.net, credit.tax, credit.total, credit.currency) == (
        Decimal("1999.90"), Decimal("399.98"), Decimal("2399.88"), "EUR",
    )  # fmt: skip
    assert (credit.invoice, credit.approvals_needed, len(credit.lines)) == (invoice, 2, 1)
    assert desk.shown(case)[0] == "waiting" and in_erp(world, credit) is None
    company.approve(credit)
    Credit.objects.filter(pk=credit.pk).update(held_until=timezone.now())
    with transaction.atomic():
        store.wake("credit", credit.number)
    work()
    credit.refresh_from_db()
    told = list(ReviewItem.objects.filter(state="open").values_list("title", "detail"))
    assert (credit.state, told) == ("closed", [])
    memo = in_erp(world, credit)
    assert memo is not None
    assert [memo[name] for name in ("untaxed_amount", "tax_amount", "total_amount")] == [
        Decimal("-1999.90"), Decimal("-399.98"), Decimal("-2399.88"),
    ]  # fmt: skip
    (note,) = world.billing.ask("GET", "credit_notes", invoice=bought["latest_invoice"])["data"]
    assert (note["subtotal"], note["total"], note["status"]) == (199_990, 239_988, "issued")
    assert world.billing.ask("GET", f"customers/{bought['customer']}")["balance"] == -239_988
    state, number, amount, block = desk.shown(case)
    assert (state, number, amount) == ("credited", memo["number"], "2399.88 EUR")
    assert "2,399.88 EUR" in block and note["number"] in block
    (answer,) = desk.answers(case)
    assert "2,399.88 EUR" in answer and credit.number in answer


def breach(world: World, desk: Desk, customer: str) -> tuple[Credit, str]:
    """A case that is resolved too late, as the sweep of its platform finds it; the credit that follows, and the case."""
    opened = timezone.now()
    case = desk.opens(customer)
    # What is promised is kept within the second, and platforms tell time in whole ones.
    until(lambda: (timezone.now() - opened).total_seconds() > 2)
    desk.resolves(case)
    sweep.begin(desk.connection, desk.stream, by="test")
    work()
    told = list(ReviewItem.objects.filter(state="open").values_list("title", flat=True))
    credit = Credit.objects.filter(party__isnull=False).first()
    assert credit is not None, told
    return credit, case


def in_erp(world: World, credit: Credit) -> dict[str, Any] | None:
    """The memo in Tryton's own books."""
    fields = ["number", "untaxed_amount", "tax_amount", "total_amount", "state"]
    domain = [["reference", "=", f"credit/{credit.uid}"]]
    found = client_for(world.erp).search(Call(), "account.invoice", domain, fields)
    assert len(found) <= 1
    return found[0] if found else None
