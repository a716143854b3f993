"""What a reviewer can do with a credit. Each is one function of the service, called with what was posted.

Who may, and when, is decided there under the row lock; the table here says which buttons to offer.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from django.http import HttpRequest, QueryDict
from django.utils import timezone

from canonical.models import Invoice
from hub.admin.desk_queue import amount
from hub.admin.desk_words import clock
from hub.admin_ui import Problem, money
from hub.credits import deciding, settling
from hub.credits.models import Credit
from hub.credits.models.credit import IN_BOOKS, UNDECIDED
from hub.people import stepup

DECIDE, REQUEST = "credits.decide_credit", "credits.request_credit"
WAITING = ("pending", "needs_info")


@dataclass(frozen=True, slots=True)
class Asked:
    """What was posted, by whom."""

    request: HttpRequest
    credit: Credit

    @property
    def user(self) -> Any:
        return self.request.user

    @property
    def said(self) -> QueryDict:
        return self.request.POST

    def text(self, name: str = "note") -> str:
        """A text of the form."""
        return self.said.get(name, "").strip()[:4000]

    @property
    def revision(self) -> int:
        """The revision that was on the page."""
        seen = self.said.get("revision", "")
        if not seen.isdigit() or len(seen) > 9:
            raise Problem("The page did not say which revision was read. Open it again.")
        return int(seen)


def approve(asked: Asked) -> str:
    """Approve what was read."""
    now = deciding.approve(
        asked.credit, asked.user, revision=asked.revision, note=asked.text(), reason_code=asked.text("reason_code"),
        confirmed_at=stepup.confirmed_at(asked.request),
    )  # fmt: skip
    return approved(now, timezone.now())


def approved(credit: Credit, at: datetime) -> str:
    """What an approval led to, in words."""
    if credit.state == "approved" and credit.held_until:
        return f"{credit} is approved, and held until {clock(credit.held_until, at)}."
    return f"Your approval of {credit} is recorded. It now waits for {credit.waiting_role}."


def reject(asked: Asked) -> str:
    """Say no, with a reason."""
    deciding.reject(asked.credit, asked.user, revision=asked.revision, reason_code=asked.text("reason_code"), note=asked.text())
    return f"{asked.credit} is rejected."


def send_back(asked: Asked) -> str:
    """The requester must change something."""
    deciding.send_back(asked.credit, asked.user, revision=asked.revision, reason_code=asked.text("reason_code"), note=asked.text())
    return f"{asked.credit} went back to {asked.credit.requested_by}."


def ask(asked: Asked) -> str:
    """Ask the agent, on the case."""
    deciding.ask(asked.credit, asked.user, text=asked.text("text"))
    return f"The question about {asked.credit} is asked. The time to decide stands still until it is answered."


def answer(asked: Asked) -> str:
    """Write down an answer that came another way."""
    deciding.answer(asked.credit, by=asked.user.get_username(), text=asked.text("text"))
    return f"The answer is kept. {asked.credit} waits for a decision again."


def comment(asked: Asked) -> str:
    """Say something that stays with the credit."""
    deciding.comment(asked.credit, asked.user, text=asked.text("text"))
    return "The comment is kept."


def recuse(asked: Asked) -> str:
    """Step back from it."""
    deciding.recuse(asked.credit, asked.user, note=asked.text())
    return f"You stepped back from {asked.credit}. Somebody else decides."


def edit(asked: Asked) -> str:
    """Change the amount, how it is settled, or the invoice."""
    revision = asked.revision
    changes: dict[str, Any] = {}
    if typed := asked.text("net"):
        changes["net"] = _amount(typed)
    if (settlement := asked.text("settlement")) and settlement != asked.credit.settlement:
        changes["settlement"] = settlement
    if "invoice" in asked.said and asked.text("invoice") != str(asked.credit.invoice_id or ""):
        changes["invoice"] = _invoice(asked)
    if changes.get("net") == asked.credit.net:
        del changes["net"]
    if not changes:
        raise Problem("Nothing would change.")
    now = deciding.edit(asked.credit, asked.user, revision=revision, **changes, reason_note=asked.text())
    return f"{now.number} is now {money(now.total, now.currency)} (revision {now.revision}). Earlier approvals are void."


def split(asked: Asked) -> str:
    """Decide parts of it one by one."""
    parts = [_amount(part) for part in asked.text("parts").replace(";", " ").split()]
    made = deciding.split(asked.credit, asked.user, parts=parts, note=asked.text())
    return f"{asked.credit.number} is split into {', '.join(part.number for part in made)}."


def undo(asked: Asked) -> str:
    """Take back an approval inside its window."""
    deciding.undo(asked.credit, asked.user, note=asked.text() or "undone inside the window")
    return f"The approval of {asked.credit} is taken back. Nothing was posted."


def withdraw(asked: Asked) -> str:
    """Cancel it before anything is posted."""
    deciding.withdraw(asked.credit, asked.user, note=asked.text())
    return f"{asked.credit} is withdrawn."


def resubmit(asked: Asked) -> str:
    """Put it up for decision again."""
    deciding.resubmit(asked.credit, asked.user, note=asked.text())
    return f"{asked.credit} waits for a decision again."


def allow_duplicate(asked: Asked) -> str:
    """It looks like another one, and is none."""
    deciding.allow_duplicate(asked.credit, asked.user, note=asked.text())
    return f"{asked.credit} is no duplicate, and waits for a decision."


def settle(asked: Asked) -> str:
    """One of the buttons that a partial outcome allows."""
    if asked.text("choice") not in settling.ACTIONS:
        raise Problem("There is no such way to settle it.")
    settling.act(asked.credit, asked.text("choice"), asked.user, note=asked.text())
    return f"Done: {asked.credit} goes on."


def _amount(typed: str) -> Decimal:
    value = amount(typed)
    if value is None:
        raise Problem(f"“{typed[:40]}” is no amount.")
    return value


def _invoice(asked: Asked) -> Invoice | None:
    wanted = asked.text("invoice")
    if not wanted:
        return None
    found = Invoice.objects.filter(party=asked.credit.party_id, pk=int(wanted)).first() if wanted.isdigit() else None
    if found is None:
        raise Problem("That is no invoice of this customer.")
    return found


@dataclass(frozen=True, slots=True)
class Action:
    """A button: who may see it (any of these permissions), in which states, and whether the next item opens after it."""

    run: Callable[[Asked], str]
    permissions: tuple[str, ...]
    states: tuple[str, ...]
    decides: bool = False


ACTIONS: dict[str, Action] = {
    "approve": Action(approve, (DECIDE,), ("pending",), decides=True),
    "reject": Action(reject, (DECIDE,), ("pending", "needs_info", "stopped"), decides=True),
    "send_back": Action(send_back, (DECIDE,), WAITING, decides=True),
    "ask": Action(ask, (DECIDE,), ("pending",), decides=True),
    "answer": Action(answer, (DECIDE, REQUEST), ("needs_info",)),
    "comment": Action(comment, (DECIDE, REQUEST), ()),
    "recuse": Action(recuse, (DECIDE,), WAITING, decides=True),
    "edit": Action(edit, (DECIDE, REQUEST), UNDECIDED),
    "split": Action(split, (DECIDE, REQUEST), ("pending",)),
    "undo": Action(undo, (DECIDE,), ("approved",)),
    "withdraw": Action(withdraw, (DECIDE, REQUEST), (*UNDECIDED, "approved")),
    "resubmit": Action(resubmit, (DECIDE, REQUEST), ("needs_info", "returned")),
    "allow_duplicate": Action(allow_duplicate, (DECIDE,), ("stopped",)),
    "settle": Action(settle, (DECIDE,), ("posting", *IN_BOOKS)),
}
"""Name → what it does. No states: always."""


def may(action: Action, user: Any) -> bool:
    """Whether a person has one of the permissions."""
    return any(user.has_perm(permission) for permission in action.permissions)


def offered(credit: Credit, user: Any) -> set[str]:
    """The buttons to show for a credit in its state."""
    return {name for name, action in ACTIONS.items() if may(action, user) and (not action.states or credit.state in action.states)}
