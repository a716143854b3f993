"""Breaks that are open for too long: who has them is told once a day, and those that nobody has are the controllers'."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

from django.conf import settings
from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import Q, QuerySet
from django.urls import reverse
from django.utils import timezone

from canonical.money import Money
from hub.credits import notices
from hub.credits.models import Notice
from hub.roles import CONTROLLER
from reconciliation.models import Break
from reconciliation.models.breaks import WORKABLE

WORKED_WITHIN = timedelta(days=3)
"""How long a break may stay open before it is overdue."""
WHAT = "overdue breaks"
IN_A_DIGEST = 25
"""Breaks that one mail names, by money; the others are counted."""


def due(at: datetime | None = None) -> datetime:
    """What was found before this instant is overdue."""
    return (at or timezone.now()) - WORKED_WITHIN


def digest(at: datetime) -> int:
    """Write to everybody who has overdue breaks, and to controllers about those of nobody. Once a day (UTC) and person.

    Returns how many mails were written.
    """
    late = Break.objects.filter(state__in=WORKABLE, opened_at__lt=due(at))
    owners = set(late.values_list("owner", flat=True).distinct())
    if not owners:
        return 0
    belongs = Q(pk__in=[owner for owner in owners if owner])
    people = User.objects.filter(belongs | Q(groups__name=CONTROLLER) if None in owners else belongs, is_active=True).distinct()
    day = at.replace(hour=0, minute=0, second=0, microsecond=0)
    told = set(Notice.objects.filter(what=WHAT, created_at__gte=day).values_list("to", flat=True))
    written = 0
    for person in people.exclude(pk__in=told).order_by("pk"):
        written += _tell(person, late, day)
    return written


def _tell(person: User, late: QuerySet[Break], day: datetime) -> bool:
    with transaction.atomic():
        User.objects.select_for_update(no_key=True).get(pk=person.pk)
        if Notice.objects.filter(to=person, what=WHAT, created_at__gte=day).exists():
            return False
        is_controller = person.groups.filter(name=CONTROLLER).exists()
        own = late.filter(Q(owner=person) | Q(owner=None) if is_controller else Q(owner=person))
        count = own.count()
        if not count:
            return False
        subject = f"Tieout: {count} break{'s are' if count > 1 else ' is'} open for more than {WORKED_WITHIN.days} days"
        notices.queue(person, WHAT, subject, "\n".join([subject.removeprefix("Tieout: "), "", *_lines(own, count)]))
    return True


def _lines(own: QuerySet[Break], count: int) -> Iterator[str]:
    for each in own.order_by("-exposed", "pk")[:IN_A_DIGEST]:
        exposed = f"{Money(each.exposed, each.currency)}  " if each.currency else ""
        whose = "" if each.owner_id else ", nobody's"
        yield f"{exposed}{each.title}  ({(timezone.now() - each.opened_at).days} days{whose})"
        yield f"  {settings.PUBLIC_URL}{reverse('admin:reconciliation_break_change', args=[each.pk])}"
    if count > IN_A_DIGEST:
        yield f"… and {count - IN_A_DIGEST} more"
