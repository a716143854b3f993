"""While nobody decides: reminded, escalated, expired, by business hours; nothing is ever approved by waiting."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from smtplib import SMTPRecipientsRefused, SMTPServerDisconnected
from typing import Any
from unittest import mock

import pytest
from django.conf import LazySettings
from django.contrib.auth.models import User
from django.core import mail
from django.utils import timezone

from hub.audit.models import AuditEntry
from hub.credits import deciding, notices, waiting
from hub.credits.models import Approval, BusinessCalendar, Credit, Notice
from hub.roles import AGENT, CONTROLLER, FINANCE, OPERATOR, SENIOR
from tests.credits import factories as make
from tests.support.world import approved

pytestmark = pytest.mark.django_db

FRIDAY = datetime(2026, 11, 20, 15, 0, tzinfo=UTC)
NOTHING = {"expired": 0, "escalated": 0, "reminded": 0}


@pytest.fixture
def fiona(db: None) -> User:
    hours = {day: [["09:00", "17:00"]] for day in ("mon", "tue", "wed", "thu", "fri")}
    approved(BusinessCalendar, name="office", timezone="UTC", hours=hours)
    make.rule(FINANCE, calendar="office", decide_hours=8, expire_days=20, escalate_to=SENIOR)
    make.limit(FINANCE)
    make.limit(SENIOR)
    return make.person("fiona", FINANCE)


@pytest.fixture
def sam(db: None) -> User:
    return make.person("sam", SENIOR)


def told(what: str) -> list[str]:
    return sorted(Notice.objects.filter(what__startswith=what).values_list("to__username", flat=True))


def test_it_reminds_at_half_the_business_hours_and_escalates_when_they_are_over(fiona: User, sam: User) -> None:
    credit = make.credit(at=FRIDAY)  # 15:00: two hours on Friday, six on Monday
    steps = [
        (FRIDAY + timedelta(minutes=119), NOTHING),
        (FRIDAY + timedelta(days=1), NOTHING),  # Saturday
        (datetime(2026, 11, 23, 10, 59, tzinfo=UTC), NOTHING),
        (datetime(2026, 11, 23, 11, 0, tzinfo=UTC), NOTHING | {"reminded": 1}),
        (datetime(2026, 11, 23, 14, 59, tzinfo=UTC), NOTHING),
        (datetime(2026, 11, 23, 15, 0, tzinfo=UTC), NOTHING | {"escalated": 1}),
        (datetime(2026, 11, 23, 15, 1, tzinfo=UTC), NOTHING),
    ]
    for at, wanted in steps:
        assert waiting.tend(at) == wanted, at
    assert told("reminder") == ["fiona"] and told("escalated") == ["fiona", "sam"]
    credit = Credit.objects.get()
    assert (credit.state, credit.waiting_role, credit.escalations) == ("pending", SENIOR, 1)
    assert AuditEntry.objects.filter(action="credit.escalated").count() == 1
    assert deciding.why_not(credit, fiona, at=timezone.now()) == ""  # who it waited for may still decide
    assert deciding.why_not(credit, sam, at=timezone.now()) == ""


def test_expiry_never_approves_and_tells_the_requester(fiona: User, sam: User) -> None:
    maker = make.person("maker", AGENT)
    pending, asked, held = (make.credit(at=FRIDAY, made_by=maker) for _ in range(3))
    deciding.ask(asked, fiona, text="since when?")
    deciding.approve(held, fiona, revision=1, confirmed_at=None)
    late = FRIDAY + timedelta(days=20)
    assert waiting.tend(late - timedelta(seconds=1))["expired"] == 0
    assert waiting.tend(late)["expired"] == 2
    states = dict(Credit.objects.values_list("pk", "state"))
    assert states == {pending.pk: "expired", asked.pk: "expired", held.pk: "approved"}
    assert Approval.objects.count() == 1
    assert told("expired").count("maker") == 2
    assert waiting.tend(late + timedelta(days=300)) == NOTHING


def test_a_question_to_the_agent_stops_reminders_and_escalation(fiona: User) -> None:
    deciding.ask(make.credit(at=FRIDAY), fiona, text="since when?")
    assert waiting.tend(FRIDAY + timedelta(days=10)) == NOTHING


def test_the_next_stage_and_the_next_revision_have_their_own_time_and_reminder(fiona: User, sam: User) -> None:
    make.rule(FINANCE, SENIOR, at_least="1000", decide_hours=8)
    credit = deciding.approve(make.credit("5000", at=FRIDAY), fiona, revision=1, confirmed_at=None)
    assert credit.due_at is not None and credit.due_at - timezone.now() > timedelta(hours=7, minutes=59)
    assert waiting.tend(timezone.now() + timedelta(hours=5))["reminded"] == 1
    assert told("reminder") == ["sam"]
    deciding.edit(
        credit, make.person("carla", CONTROLLER), revision=credit.revision, net=credit.net - 1, reason_note="a little less"
    )
    assert waiting.tend(timezone.now() + timedelta(hours=5))["reminded"] == 1
    assert told("reminder") == ["fiona", "sam"]


def test_escalation_never_goes_to_a_lower_role_nor_to_one_that_decides_nothing(fiona: User) -> None:
    make.rule(CONTROLLER, reason="uptime", escalate_to=FINANCE)
    make.rule(FINANCE, reason="goodwill", escalate_to=OPERATOR)
    make.credit(at=FRIDAY, reason="uptime")
    make.credit(at=FRIDAY, reason="goodwill")
    assert waiting.tend(FRIDAY + timedelta(days=1))["escalated"] == 2
    assert set(Credit.objects.values_list("waiting_role", flat=True)) == {CONTROLLER}


def test_a_calendar_that_is_gone_stops_reminders_of_those_credits_only(fiona: User) -> None:
    make.rule(FINANCE, reason="uptime", decide_hours=8)
    make.credit(at=FRIDAY)
    make.credit(at=FRIDAY, reason="uptime")
    BusinessCalendar.objects.update(valid_to=FRIDAY.date())
    assert waiting.tend(FRIDAY + timedelta(hours=4)) == NOTHING | {"reminded": 1}


# mails -----------------------------------------------------------------------------------------------------------


def queued(to: User, **told: Any) -> Notice:
    notices.queue(to, "test", "a subject", "a body")
    notice = Notice.objects.order_by("-pk")[0]
    Notice.objects.filter(pk=notice.pk).update(**told)
    return notice


def test_what_is_due_is_sent_once(fiona: User) -> None:
    queued(fiona)
    queued(fiona, due_at=timezone.now() + timedelta(hours=1))
    assert notices.send_due() == 1 and notices.send_due() == 0
    assert [(each.subject, each.to) for each in mail.outbox] == [("a subject", ["fiona@example.com"])]


def test_a_refused_mail_waits_longer_each_time_and_is_given_up(fiona: User) -> None:
    notice, now = queued(fiona), timezone.now()
    with mock.patch.object(mail.EmailMessage, "send", side_effect=SMTPRecipientsRefused({})):
        for attempt, minutes in enumerate((1, 2, 4, 8), 1):
            assert notices.send_due() == 0
            notice.refresh_from_db()
            assert notice.attempts == attempt and notice.sent_at is None and "Refused" in notice.error
            assert notice.due_at - now > timedelta(minutes=minutes, seconds=-1)
            Notice.objects.update(due_at=now)
        Notice.objects.update(attempts=notices.GIVE_UP)
    assert notices.send_due() == 0 and not mail.outbox


@pytest.mark.parametrize("error", [ConnectionRefusedError("nobody there"), SMTPServerDisconnected("gone")])
def test_one_refused_mail_keeps_no_other_back_and_a_server_that_is_away_loses_none(fiona: User, error: OSError) -> None:
    for _ in range(2):
        queued(fiona)
    with mock.patch.object(mail.EmailMessage, "send", side_effect=error):
        assert notices.send_due() == 0
    Notice.objects.update(due_at=timezone.now())
    assert notices.send_due() == 2


def test_accounts_without_an_address_are_not_tried_again(fiona: User) -> None:
    User.objects.update(email="")
    notice = queued(fiona)
    assert notices.send_due() == 0
    notice.refresh_from_db()
    assert notice.attempts == notices.GIVE_UP and "no mail address" in notice.error


def test_the_digest_comes_once_a_day_with_the_overdue_first(fiona: User, sam: User) -> None:
    early = make.credit("10", at=FRIDAY - timedelta(days=3))
    rich = make.credit("90000", at=FRIDAY)
    at = timezone.now()
    Credit.objects.filter(pk=rich.pk).update(due_at=at + timedelta(hours=1))
    assert notices.daily_digest(at) == 1 and notices.daily_digest(at) == 0
    digest = Notice.objects.get()
    assert digest.to == fiona and "2 credits" in digest.subject and "1 overdue" in digest.subject
    assert digest.body.index(early.number) < digest.body.index(rich.number)
    assert "2 over 90,010.00 USD" in digest.body


def test_what_others_wrote_cannot_add_headers(fiona: User) -> None:
    notices.queue(fiona, "test", "a customer\r\nBcc: all@example.com", "body")
    assert notices.send_due() == 1
    assert mail.outbox[0].subject == "a customer Bcc: all@example.com"


def test_the_link_is_a_page_of_the_back_office(fiona: User, settings: LazySettings) -> None:
    settings.PUBLIC_URL = "https://hub.example"
    credit = make.credit()
    link = notices.link_to(credit)
    assert link.startswith("https://hub.example/admin/") and f"/{credit.pk}/" in link
