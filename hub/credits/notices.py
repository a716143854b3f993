"""Mails about credits: written in the transaction of their cause, sent afterwards, tried again when the server is away.

A mail names a page and never decides anything by being clicked. Sending is at least once: a crash between the server's
yes and our commit sends it again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from decimal import Decimal
from smtplib import SMTPException

from django.conf import settings
from django.contrib.auth.models import User
from django.core.mail import EmailMessage, get_connection
from django.core.mail.backends.base import BaseEmailBackend
from django.db import transaction
from django.db.models import Count, Q, QuerySet, Sum
from django.urls import NoReverseMatch, reverse
from django.utils import timezone

from canonical.money import Money
from hub.credits.models import Approval, Credit, CreditComment, Delegation, Notice
from hub.roles import LADDER

GIVE_UP = 12
"""Attempts after which a mail stays unsent, with its error; with the back-off that is about two days."""
LONGEST_WAIT = timedelta(hours=8)
IN_A_DIGEST = 25
"""Credits a digest names; the others are in its sums."""


def queue(to: User, what: str, subject: str, body: str, credit: Credit | None = None) -> None:
    """Write a mail to be sent. In the transaction of its cause; line breaks in the subject become blanks."""
    Notice.objects.create(to=to, what=what, subject=" ".join(subject.split())[:200], body=body, credit=credit)


def link_to(credit: Credit) -> str:
    """Address of the page on which people decide about it."""
    for name in ("admin:desk_credit", "admin:credits_credit_change"):
        try:
            return settings.PUBLIC_URL + reverse(name, args=[credit.pk])
        except NoReverseMatch:
            continue
    return f"{settings.PUBLIC_URL}/admin/credits/credit/{credit.pk}/change/"


def of(credit: Credit, text: str) -> str:
    """The body of a mail about a credit."""
    return "\n".join(
        [
            text, "",
            f"Credit:       {credit.number}, {_money(credit.total, credit.currency)} for {credit.party}",
            f"Reason:       {credit.get_reason_display()}",
            f"Requested by: {credit.requested_by}",
            "", link_to(credit),
        ]
    )  # fmt: skip


def tell(people: Iterable[User], what: str, text: str, credit: Credit) -> None:
    """Write the same mail about a credit to each of these people."""
    for person in people:
        queue(person, what, f"{credit.number}: {text}", of(credit, text), credit)


def tell_turn(credit: Credit, text: str = "waits for your decision.", *, what: str = "turn") -> None:
    """Write to those whose turn it is."""
    tell(turn(credit, credit.waiting_role), what, text, credit)


def tell_requester(credit: Credit, what: str, text: str) -> None:
    """Write to who asked for it, when that is a user here."""
    tell(requester(credit), what, text, credit)


def turn(credit: Credit, role: str) -> list[User]:
    """Those of a role who may still decide about a credit, and who decides in their place now."""
    names = Q(username__iexact=credit.requested_by) | Q(email__iexact=credit.requested_by)
    decided = Approval.objects.filter(credit=credit, revision=credit.revision).values("by")
    recused = CreditComment.objects.filter(credit=credit, what="recusal").values("user")
    able = User.objects.filter(is_active=True).exclude(names)
    able = able.exclude(pk__in=credit.makers).exclude(pk__in=decided).exclude(pk__in=recused)
    now = timezone.now()
    held = Delegation.objects.filter(starts_at__lte=now, ends_at__gt=now, revoked_at=None)
    held = held.filter(Q(legal_entity=None) | Q(legal_entity=credit.legal_entity_id), grantor__in=able.filter(groups__name=role))
    return list(able.filter(Q(groups__name=role) | Q(pk__in=held.values("delegate"))).distinct().order_by("pk"))


def requester(credit: Credit) -> list[User]:
    """Who asked for it, as users here: at most one, none for people of other systems."""
    if credit.made_by is not None:
        return [credit.made_by]
    names = Q(username__iexact=credit.requested_by) | Q(email__iexact=credit.requested_by)
    return list(User.objects.filter(names, is_active=True).order_by("pk")[:1])


def send_due(limit: int = 100) -> int:
    """Send what is due, oldest first, and return how many went out. Several may run at once.

    A refused mail waits 1, 2, 4 … minutes. When the server itself is away, the rest is left for the next time.
    """
    mailer, sent = get_connection(), 0
    try:
        for _ in range(limit):
            answer = _send_one(mailer)
            if answer is None:
                break
            sent += answer
    finally:
        mailer.close()
    return sent


def daily_digest(at: datetime) -> int:
    """Write to everybody whose role credits wait for: which, by money and age, the overdue first. Once a day (UTC).

    Returns how many mails were written.
    """
    written = 0
    for role in LADDER:
        waiting = Credit.objects.filter(state="pending", waiting_role=role)
        overdue = waiting.filter(due_at__lte=at).count()
        sums = list(waiting.order_by("currency").values_list("currency").annotate(Sum("total"), Count("id")))
        if not sums:
            continue
        subject = f"Tieout: {sum(count for *_, count in sums)} credits wait for a {role}, {overdue} overdue"
        body = "\n".join([subject.removeprefix("Tieout: "), "", *_digest(waiting, sums, at)])
        with transaction.atomic():
            members = User.objects.select_for_update(no_key=True, of=("self",)).filter(groups__name=role, is_active=True)
            what, day = f"digest: {role}", at.replace(hour=0, minute=0, second=0, microsecond=0)
            for person in members.order_by("pk"):
                if not Notice.objects.filter(to=person, what=what, created_at__gte=day).exists():
                    queue(person, what, subject, body)
                    written += 1
    return written


def _digest(waiting: QuerySet[Credit], sums: Iterable[tuple[str, Decimal, int]], at: datetime) -> Iterator[str]:
    for currency, amount, count in sums:
        yield f"  {count} over {_money(amount, currency)}"
    first = waiting.select_related("party").order_by("-priority", "id")
    late = list(first.filter(due_at__lte=at)[:IN_A_DIGEST])
    for credit in [*late, *first.exclude(due_at__lte=at)[: IN_A_DIGEST - len(late)]]:
        age = f"{'overdue, ' if credit in late else ''}{(at - credit.submitted_at).days} days old"
        yield f"\n{credit.number}  {_money(credit.total, credit.currency)}  {credit.party}  ({age})\n  {link_to(credit)}"


def _send_one(mailer: BaseEmailBackend) -> bool | None:
    """True when one was sent, False when it was refused; None when there is nothing to send, or no server."""
    now = timezone.now()
    with transaction.atomic():
        due = Notice.objects.filter(sent_at=None, due_at__lte=now, attempts__lt=GIVE_UP).select_related("to")
        notice = due.select_for_update(of=("self",), skip_locked=True).order_by("due_at", "id").first()
        if notice is None:
            return None
        notice.attempts += 1
        if not notice.to.email or not notice.to.is_active:
            notice.attempts, notice.error = GIVE_UP, "the account has no mail address, or is not active"
            notice.save(update_fields=["attempts", "error"])
            return False
        try:
            EmailMessage(notice.subject, notice.body, None, [notice.to.email], connection=mailer).send()
        except (SMTPException, OSError) as error:
            notice.error = f"{type(error).__name__}: {error}"[:1000]
            notice.due_at = now + min(timedelta(minutes=2 ** (notice.attempts - 1)), LONGEST_WAIT)
            notice.save(update_fields=["attempts", "error", "due_at"])
            return False if isinstance(error, SMTPException) else None
        notice.sent_at, notice.error = now, ""
        notice.save(update_fields=["attempts", "error", "sent_at"])
        return True


def _money(amount: Decimal, currency: str) -> str:
    return str(Money(amount, currency))
