"""Stories of credits: cases in the support system, decided at the desk, followed into the ERP, billing and the case itself."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from functools import partial

from django.utils import timezone

from canonical import types, xref
from canonical.models import SupportCase
from connectors.clients import client_for
from connectors.sdk.http import Call
from hub.credits import deciding, opening
from hub.credits.models import Credit
from hub.demo.company import Company
from hub.demo.desk import Desk
from hub.demo.stories import Seen, Story, wait_for
from hub.models import InboxEvent

PROMISED = 70.0
"""Seconds without an answer after which the plan's promise of one minute is broken, reading times apart."""
APPROVERS = ("felix", "sonja")
INCIDENT = "INC-2041"


@dataclass
class Case:
    """One issue at the support desk, and when it was opened."""

    issue: str
    opened: float


class CreditStories:
    """What goes wrong for customers, and what they get for it. `log` takes the progress."""

    def __init__(self, company: Company, desk: Desk, log: Callable[[str], None]) -> None:
        self.company, self.desk, self.log = company, desk, log
        self.cases: dict[str, Case] = {}

    def open_cases(self) -> None:
        """Customers write, and nobody answers yet: the clock of the promise runs while other stories are told."""
        for who, incident in (("Blue Yonder", ""), ("Lucerne", INCIDENT), ("Margie's Travel", "")):
            customer = self.desk.cashier.sell(who, self.desk.plan).customer
            wait_for(partial(xref.find, self.desk.billing.pk, "party", customer))
            self._open(f"{who}: nothing works", customer, incident)
        first = self.cases["Lucerne: nothing works"]
        customer = self.desk.customer.read("issue", first.issue)["billing_customer"]
        self._open("Lucerne: the same again", customer, INCIDENT)

    def stories(self) -> list[Story]:
        """Every story, in the order of their acts."""
        told: list[tuple[str, Callable[[], Case], str]] = [
            ("answered too late: computed, two approvals, in all three systems",
             partial(self.answer, "Blue Yonder: nothing works"), "closed"),
            ("a credit taken back by an approved reversal", partial(self.answer, "Lucerne: nothing works"), "reversed"),
            ("a second case of that incident is stopped as a duplicate", self.answer_again, "stopped"),
            ("a credit left for you: sign in as rosa and open the desk", self.ask_for_goodwill, "pending"),
        ]  # fmt: skip
        return [Story(title, end, act, partial(self._look, end=end)) for title, act, end in told]

    # acts ----------------------------------------------------------------------------------------------------

    def answer(self, title: str) -> Case:
        """The agent answers after the promised minute, and resolves the case."""
        case = self.cases[title]
        time.sleep(max(0.0, case.opened + PROMISED - time.monotonic()))
        self.desk.agent.say(case.issue, "Sorry for the wait: it works again.")
        self.desk.agent.set(case.issue, status="resolved")
        return case

    def answer_again(self) -> Case:
        """The second case of an incident is answered once the first one has its credit."""
        first = self.cases["Lucerne: nothing works"]
        wait_for(lambda: self._credit(first))
        return self.answer("Lucerne: the same again")

    def ask_for_goodwill(self) -> Case:
        """The agent asks for a credit on the case, in its fields."""
        case = self.cases["Margie's Travel: nothing works"]
        asked = {"reason": "goodwill", "amount": "90.00", "currency": "USD", "note": "They waited a whole weekend."}
        self.desk.agent.set(case.issue, **{f"credit_request_{name}": value for name, value in asked.items()})
        return case

    def _open(self, title: str, customer: str, incident: str) -> None:
        told = {"billing_customer": customer, "incident": incident} if incident else {"billing_customer": customer}
        issue = self.desk.customer.open(title, "Since this morning. Please help.", priority="urgent", **told)
        self.cases[title] = Case(issue, time.monotonic())

    # ends ----------------------------------------------------------------------------------------------------

    def _look(self, case: Case, *, end: str) -> Seen:
        """Where the credit of a case stands. felix and sonja approve what waits for them, unless it is left for the visitor."""
        credit = self._credit(case)
        if credit is None:
            return Seen("", f"{self._deliveries(case)} webhooks of the case came")
        if end == "reversed" and credit.state == "closed":
            self._take_back(credit)
        if end in ("closed", "reversed"):
            for one in (credit, credit.reversal):
                if one is not None and one.state == "pending":
                    self._approve(one)
        if credit.state != end:
            return Seen(credit.state)
        if end in ("pending", "stopped"):
            why = f"waits for {credit.waiting_role}" if end == "pending" else f"see {credit.duplicate_of.number}"  # type: ignore[union-attr]
            return Seen(credit.state, f"{credit}: {why}", True)
        words = self._in_the_books(credit, case)
        return Seen(credit.state, words, not words.startswith("WRONG"))

    def _credit(self, case: Case) -> Credit | None:
        pk = xref.find(self.desk.support.pk, "support_case", case.issue)
        found = SupportCase.objects.filter(pk=pk).first() if pk else None
        return found.credits.filter(reverses=None).select_related("duplicate_of").order_by("-id").first() if found else None

    def _deliveries(self, case: Case) -> int:
        return InboxEvent.objects.filter(connection=self.desk.support, subject_id=case.issue).count()

    def _approve(self, credit: Credit) -> None:
        for name in APPROVERS:
            credit.refresh_from_db()
            if credit.state == "pending":
                now = timezone.now()
                deciding.approve(
                    credit, self.company.people[name], revision=credit.revision, confirmed_at=now, note="as computed", source="demo"
                )
                self.log(f"       {name} approved {credit}")

    def _take_back(self, credit: Credit) -> None:
        if credit.reversal is None:
            by, note = self.company.people["rosa"], "The outage was the customer's own."
            taken = opening.open_reversal(credit, by=by, reason=credit.reason, note=note, at=timezone.now())
            self.log(f"       rosa asks to take {credit} back: {taken}")

    def _in_the_books(self, credit: Credit, case: Case) -> str:
        """What ERP, billing and the case say themselves; begins with WRONG when they do not agree to the cent."""
        erp, till = self.company.erp, self.desk.billing
        memo, note = xref.id_of("credit", credit.pk, erp.pk, "credit_memo"), xref.id_of("credit", credit.pk, till.pk, "credit_note")
        books = erp.spec.fetch["credit_memo"](client_for(erp), memo, Call())[0]
        mirror = till.spec.fetch["credit_memo"](client_for(till), note, Call())[0]
        assert isinstance(books, types.CreditMemo) and isinstance(mirror, types.CreditMemo)
        shown = self.desk.agent.read("issue", case.issue)
        words = f"{books.number} {books.total} {books.currency} · {mirror.number} {mirror.total} · case: {shown['credit_state']}"
        same = books.total == mirror.total == Decimal(credit.total)
        told = credit.number in (shown["tieout_block"] or "") and (credit.state == "reversed" or mirror.status == "issued")
        return words if same and told else f"WRONG: {words}"
