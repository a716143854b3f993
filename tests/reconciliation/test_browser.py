"""Reconciliation in a real Chromium: a break worked by two people, a month prepared by one and signed by another."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import User

from connectors.models import Connection
from hub import roles
from reconciliation.models import PeriodClose
from tests.backoffice import factories as make
from tests.backoffice.conftest import Login, billing, erp, login, people, vendors  # noqa: F401  (fixtures)
from tests.backoffice.support import page_url
from tests.backoffice.test_browser import Visitor, browse
from tests.reconciliation import pages as data

pytestmark = [pytest.mark.browser, pytest.mark.django_db]


def click(visitor: Visitor, what: str) -> None:
    """Click what leads to another page, and wait for it."""
    with visitor.page.expect_navigation(wait_until="load"):
        visitor.page.click(what)


def test_a_break_is_taken_explained_and_accepted_by_two_people(login: Login, people: dict[str, User]) -> None:  # noqa: F811
    scan = data.scan()
    data.broken(scan, "A-0001: of little money", "1")
    made = data.broken(scan, cause="", evidence=[])

    def triage(visitor: Visitor) -> None:
        page = visitor.page
        visitor.open("/admin/")
        click(visitor, ".tie-groups >> text=Another amount")
        click(visitor, "#result_list tbody tr:first-child a")
        assert made.title in page.title()
        assert page.locator(".recon-differs th:has-text('Total')").count() == 1
        click(visitor, "text=Take it")
        page.click("text=Explain it")
        page.fill("#cause", "changed in the ERP by hand")
        page.fill("#explain-note", "the bookkeeper typed the amount")
        click(visitor, "#explain button")
        assert page.inner_text("#break-state") == "explained"
        page.click("#plan-accept summary")
        page.fill("#reason-accept", "below what mending it would cost")
        click(visitor, "#plan-accept button")
        assert "another person approves it" in page.inner_text("#waiting")
        assert page.locator("text=Approve and carry out").count() == 0

    browse(login(roles.FINANCE), triage)

    def approve(visitor: Visitor) -> None:
        visitor.open(page_url(made))
        assert "below what mending it would cost" in visitor.page.inner_text("#waiting")
        click(visitor, "text=Approve and carry out")
        assert visitor.page.inner_text("#break-state") == "closed"

    browse(login(roles.CONTROLLER), approve)
    now = data.fresh(made)
    assert (now.owner, now.state, now.closed_how) == (people[roles.FINANCE], "closed", "accepted")


def test_a_month_is_prepared_by_one_and_signed_by_another(login: Login, billing: Connection) -> None:  # noqa: F811
    scan = data.scan()
    data.certificate(scan, billing)
    data.reading(scan, billing, 1)
    data.broken(scan)

    def prepare(visitor: Visitor) -> None:
        page = visitor.page
        visitor.open("/admin/reconciliation/close/")
        click(visitor, "a[href='/admin/reconciliation/close/de/2026-10/']")
        assert page.locator("#gates .recon-red").count() >= 1
        for reason in page.locator("#act textarea").all():
            reason.fill("agreed with the controller")
        click(visitor, "text=Prepare for signing")
        assert page.inner_text("#close-state") == "prepared"
        assert "another person has to sign it" in page.inner_text("#why-not")

    browse(login(roles.FINANCE), prepare)

    def sign(visitor: Visitor) -> None:
        visitor.open(data.CLOSE)
        click(visitor, "text=Sign the month")
        assert visitor.page.inner_text("#close-state") == "signed"
        visitor.open(f"{data.CLOSE}print/")
        assert "agreed with the controller" in visitor.page.inner_text("body")

    browse(login(roles.CONTROLLER), sign)
    close = PeriodClose.objects.get()
    assert (close.state, close.prepared_by.username, close.signed_by.username) == ("signed", "finance", "controller")  # type: ignore[union-attr]


@pytest.fixture
def paths(login: Login, billing: Connection) -> Callable[[], list[str]]:  # noqa: F811
    """Every page of reconciliation, with something on it."""

    def make_them() -> list[str]:
        scan = data.scan()
        data.certificate(scan, billing, read=40)
        data.reading(scan, billing, 1)
        wide = data.broken(
            scan, "a title without blanks " + "x" * 200, left={"items": [data.said("billing", f"{n}") for n in range(6)]}
        )
        wanted: list[Any] = [scan, wide, data.broken(scan)]
        make.entity("fr")
        lists = ["/admin/", "/admin/reconciliation/break/", "/admin/reconciliation/scan/", "/admin/reconciliation/close/"]
        return [*lists, data.CLOSE, "/admin/reconciliation/dashboard/", *map(page_url, wanted)]

    return make_them


def test_the_pages_open_without_a_complaint_also_on_a_telephone(login: Login, paths: Callable[[], list[str]]) -> None:  # noqa: F811
    found = paths()

    def look(visitor: Visitor) -> None:
        for width in (1440, 390):
            visitor.page.set_viewport_size({"width": width, "height": 844})
            for path in found:
                visitor.open(path)
                spill = visitor.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
                assert spill <= 0, (path, width, spill)

    browse(login(roles.CONTROLLER), look)
