"""What happens while nobody decides: a reminder at half the time, escalation when it is over, expiry at last.

Nothing here approves. Credits that wait for an answer of the agent are neither reminded of nor escalated.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from decimal import Decimal

import structlog
from django.db import transaction
from django.db.models import CharField, Exists, F, OuterRef, QuerySet, Value
from django.db.models.functions import Cast, Concat

from canonical.models import move
from hub.credits import matrix, notices
from hub.credits.calendars import NotACalendar
from hub.credits.changing import changed, said
from hub.credits.models import Credit, Notice
from hub.roles import CONTROLLER, LADDER

log = structlog.get_logger("hub.credits.waiting")

AT_ONCE = 200
"""Credits of each kind that one call looks at."""
REMINDED_WITHIN = timedelta(days=14)
"""Longest time, closed hours included, that half of a deadline may be."""
BY = "waiting"


def tend(at: datetime) -> dict[str, int]:
    """Remind, escalate and expire what is due at `at`; how many of each. Several may run at once."""
    return {"expired": _expire(at), "escalated": _escalate(at), "reminded": _remind(at)}


def _expire(at: datetime) -> int:
    def expire(credit: Credit) -> bool:
        before = said(credit)
        credit.waiting_role, credit.due_at = "", None
        note = f"nobody decided until {credit.expires_at:%Y-%m-%d %H:%M} UTC"
        move(credit, "expire", by=BY, note=note, save=["waiting_role", "due_at"])
        people = {user.pk: user for user in [*notices.requester(credit), *notices.turn(credit, _escalation(credit))]}
        notices.tell(people.values(), "expired", "expired: nobody decided in time. It was not approved.", credit)
        changed(credit, "expired", actor=BY, before=before, note=note, source="task")
        return True

    return _each(Credit.objects.filter(state__in=["pending", "needs_info", "returned"], expires_at__lte=at), expire, "expires_at")


def _escalate(at: datetime) -> int:
    def escalate(credit: Credit) -> bool:
        before = said(credit)
        late = notices.turn(credit, credit.waiting_role)
        credit.waiting_role, credit.escalations = _escalation(credit), credit.escalations + 1
        credit.save(update_fields=["waiting_role", "escalations"])
        people = {user.pk: user for user in [*late, *notices.turn(credit, credit.waiting_role)]}
        notices.tell(people.values(), "escalated", f"is overdue, and waits for a {credit.waiting_role} now.", credit)
        changed(credit, "escalated", actor=BY, before=before, source="task", more={"due_at": credit.due_at})
        return True

    return _each(Credit.objects.filter(state="pending", due_at__lte=at, escalations=0), escalate, "due_at")


def _remind(at: datetime) -> int:
    """One reminder per revision and turn, once half of the business hours to decide in have passed."""
    told = Notice.objects.filter(credit=OuterRef("pk"), what=OuterRef("reminder"))
    reminder = Concat(Value("reminder "), Cast(F("revision"), CharField()), Value(" "), F("waiting_role"), output_field=CharField())
    due = Credit.objects.filter(state="pending", escalations=0, due_at__gt=at, due_at__lte=at + REMINDED_WITHIN)

    def remind(credit: Credit) -> bool:
        rule = credit.approval_rule
        if rule is None or credit.due_at is None:
            return False
        left = matrix.calendar_of(rule, at.date()).minutes(at, credit.due_at)
        if left > Decimal(rule.decide_hours) * 30:
            return False
        what = f"reminder {credit.revision} {credit.waiting_role}"
        notices.tell_turn(credit, f"waits for your decision until {credit.due_at:%Y-%m-%d %H:%M} UTC.", what=what)
        return True

    return _each(due.alias(reminder=reminder).filter(~Exists(told)), remind, "due_at")


def _escalation(credit: Credit) -> str:
    """The role it goes to: that of its rule, never a lower one than whose turn it is."""
    rule = credit.approval_rule
    wanted = rule.escalate_to if rule is not None and rule.escalate_to in LADDER else CONTROLLER
    turns = [credit.waiting_role] if credit.waiting_role in LADDER else []
    return max([wanted, *turns], key=LADDER.index)


def _each(due: QuerySet[Credit], do: Callable[[Credit], bool], order: str) -> int:
    """Do it to each credit in a transaction of its own; skip those somebody is deciding about at this moment."""
    done = 0
    for pk in list(due.order_by(order, "pk").values_list("pk", flat=True)[:AT_ONCE]):
        try:
            with transaction.atomic():
                row = due.select_for_update(of=("self",), skip_locked=True).select_related("approval_rule", "party").filter(pk=pk)
                credit = row.first()
                done += credit is not None and do(credit)
        except (matrix.NoRule, NotACalendar) as problem:
            log.warning("credit_not_tended", credit=pk, problem=str(problem))
    return done
