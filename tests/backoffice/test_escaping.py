"""What other systems say is text: it is shown, and never becomes markup, script, or an attribute Alpine evaluates."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.urls import reverse
from django.utils.html import escape

from canonical.models import Invoice, Party
from connectors.models import Connection
from hub import roles
from hub.models import ReviewItem, Step
from tests.backoffice import factories as make
from tests.backoffice.conftest import Login
from tests.backoffice.support import admins, list_url, page_url

pytestmark = pytest.mark.django_db
MARK = "alert("


class Markup(HTMLParser):
    """Collects what of a page a browser would run: script text, event handlers and Alpine's attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.run: list[str] = []
        self.inside = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.inside = tag
        live = ("x-", "@", ":", "on", "hx-on", "srcdoc")
        self.run += [f"{tag} {name}={value}" for name, value in attrs if name.startswith(live) and MARK in (value or "")]
        self.run += [f"{tag} {name}" for name, value in attrs if (value or "").strip().lower().startswith("javascript:")]
        if tag == "script" and not any(name == "src" for name, _ in attrs):
            self.run.append("inline script")

    def handle_data(self, data: str) -> None:
        if self.inside == "script" and MARK in data:
            self.run.append(data)


def running(page: str) -> list[str]:
    markup = Markup()
    markup.feed(page)
    return markup.run


@pytest.fixture
def evil(people: dict[str, User], billing: Connection, erp: Connection) -> list[Any]:
    """A hub full of what an attacker would write into tickets, names and errors."""
    Connection.objects.filter(pk=erp.pk).update(last_failure=make.EVIL, title=make.EVIL, pause_reason=make.EVIL)
    run = make.story(billing, erp, 1, ending="unknown", customer=make.EVIL)
    post = Step.objects.get(name="post")
    make.attempt(post, 2, "refused", error=make.EVIL, response=make.EVIL)
    item = make.question("refused", post, title=make.EVIL, message=make.EVIL, wanted_and_held={make.EVIL: [make.EVIL, make.EVIL]})
    event = make.event(billing, make.EVIL[:80], make.EVIL[:80], {"evil": make.EVIL}, kind=make.EVIL[:90])
    party = Party.objects.get()
    ref = make.ref(erp, "party", party.pk, make.EVIL[:90], url="javascript:alert(1)", number=make.EVIL[:90])
    invoice = Invoice.objects.get()
    invoice.lines.update(
        description=make.EVIL, posting={"revenue_account": make.EVIL, "tax_codes": [make.EVIL], "rules": [make.EVIL]}
    )
    rule, mapping = (
        make.rule(people[roles.FINANCE], region=make.EVIL[:50]),
        make.mapping(billing, erp, people[roles.FINANCE], make.EVIL),
    )
    return [run, item, event, party, ref, invoice, rule, mapping, make.observation(billing, evil=make.EVIL), billing, erp]


@pytest.mark.parametrize("role", [roles.FINANCE, roles.ENGINEER])
def test_no_page_runs_what_others_wrote(role: str, login: Login, evil: list[Any]) -> None:
    client = login(role)
    urls = [reverse("admin:index"), *(page_url(obj) for obj in evil), *(page_url(obj, "history") for obj in evil)]
    urls += [list_url(site.model) for site in admins()]
    urls += [reverse("admin:find") + "?q=" + escape('"><s'), reverse("admin:search") + "?extended=1&s=%22%3E%3Cs"]
    for url in urls:
        page = client.get(url, follow=True).content.decode()
        assert "<script>alert" not in page, url
        assert running(page) == [], url


def test_it_is_shown_as_it_was_written(login: Login, evil: list[Any]) -> None:
    client = login(roles.FINANCE)
    run, item, _, party, *_ = evil
    for obj in (run, item, party):
        assert "&lt;script&gt;alert(1)&lt;/script&gt;" in client.get(page_url(obj)).content.decode()


def test_an_answer_of_an_attacker_is_not_run_when_it_is_shown_again(login: Login, evil: list[Any]) -> None:
    item = ReviewItem.objects.get()
    url = reverse("admin:hub_reviewitem_answer", args=[item.pk])
    page = login(roles.FINANCE).post(url, {"choice": make.EVIL, "reason": "</textarea>" + make.EVIL}).content.decode()
    assert running(page) == []


def test_pages_send_a_policy_that_runs_nothing_inline(login: Login, evil: list[Any]) -> None:
    policy = login(roles.FINANCE).get(page_url(evil[0])).headers["Content-Security-Policy"]
    script = next(part for part in policy.split(";") if "script-src" in part)
    assert "'unsafe-inline'" not in script
