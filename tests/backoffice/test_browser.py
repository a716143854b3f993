"""The back office in a real Chromium: nothing is blocked by our own policy, nothing of what others wrote runs, buttons work.

The browser lives in a thread of its own; its requests are answered here, by Django's test client inside the test's
transaction, so that there is no server to start and nothing to clean up.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from queue import Empty, Queue
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.test import Client
from django.urls import reverse

from connectors.models import Connection
from hub import roles
from hub.management.commands.screenshots import chromium
from hub.models import ReviewItem
from tests.backoffice import factories as make
from tests.backoffice.conftest import Login
from tests.backoffice.support import page_url
from tests.backoffice.test_escaping import evil  # noqa: F401  (a fixture)

pytestmark = [pytest.mark.browser, pytest.mark.django_db]
ORIGIN = "http://localhost"
Asked = tuple[Any, "Future[tuple[int, dict[str, str], bytes]]"]


class Visitor:
    """A page in a browser; collects what the browser complains about."""

    def __init__(self, page: Any, questions: Queue[Asked]) -> None:
        self.page, self.questions, self.complaints = page, questions, list[str]()
        page.on("console", lambda said: self.complaints.append(said.text) if said.type == "error" else None)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("dialog", lambda dialog: (self.complaints.append(f"dialog {dialog.message}"), dialog.dismiss()))
        page.route("**/*", self._pass_on)

    def _pass_on(self, route: Any) -> None:
        if urlsplit(route.request.url).scheme in ("data", "blob"):
            route.continue_()
            return
        answer: Future[tuple[int, dict[str, str], bytes]] = Future()
        request = route.request
        data = request.post_data_buffer if request.method == "POST" else None
        self.questions.put(((request.url, data, request.headers.get("content-type", "")), answer))
        status, headers, body = answer.result(60)
        route.fulfill(status=status, headers=headers, body=body)

    def open(self, path: str) -> None:
        self.page.goto(ORIGIN + path)
        self.page.wait_for_load_state("networkidle")


def browse(client: Client, script: Callable[[Visitor], None]) -> None:
    """Run `script` with a browser whose requests `client` answers; nothing may be complained about."""
    sync_api = pytest.importorskip("playwright.sync_api")
    questions: Queue[Asked] = Queue()

    def session() -> list[str]:
        with sync_api.sync_playwright() as play:
            browser = play.chromium.launch(executable_path=chromium(), args=["--no-sandbox"])
            visitor = Visitor(browser.new_page(viewport={"width": 1440, "height": 900}), questions)
            try:
                script(visitor)
            finally:
                browser.close()
            return visitor.complaints

    with ThreadPoolExecutor(1) as pool:
        complaints = pool.submit(session)
        while not complaints.done():
            try:
                asked, answer = questions.get(timeout=0.05)
            except Empty:
                continue
            try:
                answer.set_result(respond(client, *asked))
            except Exception as error:
                answer.set_exception(error)
    assert complaints.result() == []


def respond(client: Client, url: str, data: bytes | None, kind: str) -> tuple[int, dict[str, str], bytes]:
    """What the hub says to a request of the browser."""
    parts = urlsplit(url)
    path = parts.path + (f"?{parts.query}" if parts.query else "")
    got = client.get(path, follow=True) if data is None else client.post(path, data, content_type=kind, follow=True)
    body = b"".join(got.streaming_content) if got.streaming else got.content
    return got.status_code, {name: value for name, value in got.headers.items() if name.lower() != "content-length"}, body


def test_every_kind_of_page_opens_without_a_complaint(login: Login, evil: list[Any]) -> None:  # noqa: F811
    paths = [reverse("admin:index"), *map(page_url, evil), reverse("admin:hub_run_changelist")]
    browse(login(roles.FINANCE), lambda visitor: [visitor.open(path) for path in paths] and None)


def test_a_question_is_answered_by_hand(login: Login, billing: Connection, erp: Connection) -> None:
    make.story(billing, erp, 1, ending="refused")
    item = ReviewItem.objects.get()

    def answer(visitor: Visitor) -> None:
        page = visitor.page
        visitor.open(reverse("admin:index"))
        page.click("text=Refused by the other system")
        page.click(f"#result_list >> text={item.title}")
        page.fill("textarea[name=reason]", "the period is open again")
        page.click("button:has-text('Try again')")
        page.wait_for_selector("text=What waited for it goes on")

    browse(login(roles.FINANCE), answer)
    item.refresh_from_db()
    assert (item.state, item.resolved_by) == ("resolved", "finance")


def test_the_command_palette_finds_an_id(login: Login, billing: Connection) -> None:
    make.event(billing, "evt_CamelCase", subject_id="in_x")

    def ask(visitor: Visitor) -> None:
        visitor.open(reverse("admin:index"))
        visitor.page.keyboard.press("Control+k")
        visitor.page.wait_for_selector("#search-input-command:visible")
        visitor.page.type("#search-input-command", "evt_CamelCase")
        visitor.page.wait_for_selector("#command-results-list a:has-text('evt_CamelCase')")

    browse(login(roles.AUDITOR), ask)
