"""Take the pictures of the documentation from a hub that is running. Needs requirements/browser.txt and a Chromium."""

from __future__ import annotations

import os
import shutil
from argparse import ArgumentParser
from datetime import timedelta
from pathlib import Path
from typing import Any

from django.apps import apps
from django.core.management.base import BaseCommand, CommandError
from django.db.models import Count

from connectors.models import Connection
from hub.credits.models import Credit, CreditPolicy
from hub.models import ReviewItem, Run

CHROMIUMS = ("chromium-headless-shell", "chromium", "google-chrome")
DEBIAN = Path("/usr/lib/chromium/chromium-headless-shell")
WIDTH, HEIGHT, TALLEST = 1440, 900, 2000


def chromium() -> str:
    """The Chromium of this machine. Raises CommandError when there is none."""
    found = next(filter(None, map(shutil.which, CHROMIUMS)), None) or (str(DEBIAN) if DEBIAN.exists() else None)
    if found is None:
        raise CommandError("no Chromium: apt-get install -y --no-install-recommends chromium-headless-shell")
    return found


def pages() -> dict[str, str]:
    """Picture → address. The liveliest run, question, credit and connection there are."""
    recent = Run.objects.filter(flow="order_to_cash").order_by("-id")[:200]
    stories = Run.objects.filter(pk__in=[run.pk for run in recent]).annotate(length=Count("steps"))
    run = stories.order_by("-length", "-id").first()
    open_items = ReviewItem.objects.filter(state="open").order_by("-occurrences", "id")
    item = open_items.exclude(cause="misconfigured").first() or ReviewItem.objects.order_by("-id").first()
    connection = Connection.objects.filter(role="erp").exclude(state="revoked").first() or Connection.objects.first()
    found = {"home": "/admin/", "runs": "/admin/hub/run/", "review-list": "/admin/hub/reviewitem/?state=open"}
    found |= {"desk": "/admin/desk/?tab=pending", "workload": "/admin/desk/workload/", "policies": "/admin/credits/creditpolicy/"}
    telling = Credit.objects.exclude(calculation={}).exclude(case=None).order_by("-total")
    if credit := telling.filter(state="pending").first() or telling.first() or Credit.objects.order_by("-id").first():
        found["desk-credit"] = f"/admin/desk/{credit.pk}/?tab=pending"
    if policy := CreditPolicy.objects.order_by("-version").first():
        found["credit-policy"] = f"/admin/credits/creditpolicy/{policy.pk}/change/"
    found |= reconciled()
    if run:
        found["run-timeline"] = f"/admin/hub/run/{run.pk}/change/"
    if item:
        found["review-item"] = f"/admin/hub/reviewitem/{item.pk}/change/"
    if connection:
        found["connection"] = f"/admin/connectors/connection/{connection.pk}/change/"
    return found


def reconciled() -> dict[str, str]:
    """Of reconciliation: a credit nobody approved, else the break with the most money, the last scan, the last full month."""
    at, breaks = "/admin/reconciliation", apps.get_model("reconciliation", "Break").objects
    scan = (
        apps.get_model("reconciliation", "Scan").objects.filter(state="done").select_related("legal_entity").order_by("-id").first()
    )
    if scan is None:
        return {}
    month = scan.as_of.date().replace(day=1) - timedelta(days=1)
    found = {"breaks": f"{at}/break/", "scan": f"{at}/scan/{scan.pk}/change/", "dashboard": f"{at}/dashboard/"}
    found["close"] = f"{at}/close/{scan.legal_entity.code}/{month:%Y-%m}/"
    left = breaks.exclude(state="closed").order_by("-exposed")
    if one := left.filter(pair="credit_memos").first() or left.first():
        found["break"] = f"{at}/break/{one.pk}/change/"
    return found


class Command(BaseCommand):
    help = "Write screenshots of the back office to --out. The password is read from TIEOUT_SCREENSHOT_PASSWORD."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--out", type=Path, default=Path("docs/screenshots"))
        parser.add_argument("--base-url", default="http://127.0.0.1:8000")
        parser.add_argument("--username", default="admin")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            from playwright.sync_api import sync_playwright
        except ModuleNotFoundError:
            raise CommandError("playwright is missing: pip install -r requirements/browser.txt") from None
        password = os.environ.get("TIEOUT_SCREENSHOT_PASSWORD")
        if not password:
            raise CommandError("TIEOUT_SCREENSHOT_PASSWORD is not set")
        out: Path = options["out"]
        out.mkdir(parents=True, exist_ok=True)
        wanted = pages()
        with sync_playwright() as play:
            browser = play.chromium.launch(executable_path=chromium(), args=["--no-sandbox"])
            page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT}, locale="en-GB", timezone_id="UTC")
            problems: list[str] = []
            page.on("console", lambda said: problems.append(said.text) if said.type == "error" else None)
            self._log_in(page, options["base_url"], options["username"], password)
            for name, path in wanted.items():
                self._take(page, options["base_url"].rstrip("/") + path, out / f"{name}.png")
            browser.close()
        for problem in sorted(set(problems)):
            self.stderr.write(f"the browser said: {problem}")

    def _log_in(self, page: Any, base: str, username: str, password: str) -> None:
        page.goto(f"{base.rstrip('/')}/accounts/login/?next=/admin/")
        page.fill("input[name=login]", username)
        page.fill("input[name=password]", password)
        page.press("input[name=password]", "Enter")
        page.wait_for_load_state("networkidle")
        if "/login/" in page.url:
            raise CommandError(f"{username} could not log in at {base}")

    def _take(self, page: Any, address: str, file: Path) -> None:
        page.set_viewport_size({"width": WIDTH, "height": HEIGHT})
        page.goto(address)
        page.wait_for_load_state("networkidle")
        # Sticky bars of the theme repeat themselves in a full-page picture; a taller window has no such seams.
        height = page.evaluate("document.documentElement.scrollHeight")
        page.set_viewport_size({"width": WIDTH, "height": max(HEIGHT, min(height, TALLEST))})
        page.screenshot(path=str(file))
        self.stdout.write(str(file))
