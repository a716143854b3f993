"""One chaos run: set the stage, let money flow while things break, let it drain, and compare the books."""

from __future__ import annotations

import itertools
import json
import random
import subprocess
import sys
import time
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

from django.core.management import call_command
from django.db import connections
from django.db.models import Count
from django.utils import timezone

from connectors.models import Connection
from hub.chaos import QUIET_SECONDS, helper, monkey, oracle
from hub.chaos.load import Load
from hub.chaos.stage import Crew, TwinProcess, wait_for_web
from hub.config import ROOT
from hub.demo.company import Company, found
from hub.demo.peers.systems import System
from hub.flows import sweep
from hub.models import Attempt, InboxEvent, ReviewItem
from hub.runtime.embedded import Services
from hub.runtime.fleet import hub_processes
from hub.runtime.servers import HOST, Postgres, Redis, free_port

RATE = 2.0
"""Sales a second; each is a dozen events."""
DRAIN_LIMIT = 300.0
RETRY_AFTER = 400
"""Seconds of the vendor's time after which it has tried a failed webhook again."""


class Story:
    """`longest_hold` is how long after a claim a lost call may still be taken over by another worker."""

    def __init__(self, state: Path, services: Services, seconds: float, seed: int, longest_hold: float) -> None:
        self.seconds, self.seed = seconds, seed
        self.logs = state / "logs"
        self.random = random.Random(seed)
        self.base_url = f"http://{HOST}:{free_port()}"
        self.twins = {vendor: TwinProcess(vendor, self.logs) for vendor in ("stripe", "tryton")}
        self.crew = Crew(self.logs)
        postgres, redis = cast(tuple[Postgres, Redis], services.servers)
        self.monkey = monkey.Monkey(self.crew, postgres, redis, self.random, longest_hold + 2)
        self.answered: Counter[str] = Counter()
        self.vendors: Counter[str] = Counter()
        """What the vendors did, once they have stopped doing it."""

    def tell(self, *, as_json: bool) -> bool:
        """Run and report; True when every promise was kept."""
        try:
            company = self._set_the_stage()
            load = Load(company.biller, company.catalog, RATE, self.seed)
            self._burn(load)
            before = self.twins["stripe"].steer("GET", "books")
            drained = self._drain(company)
            report = self._report(company, load, before, drained)
        finally:
            connections.close_all()
            self.crew.stop()
            for twin in self.twins.values():
                twin.stop()
        print(json.dumps(report, indent=1, default=str) if as_json else _as_text(report), flush=True)
        return bool(report["kept"])

    def _set_the_stage(self) -> Company:
        call_command("migrate", interactive=False, verbosity=0)
        stripe, tryton = self.twins["stripe"], self.twins["tryton"]
        entry = tryton.entry
        billing = System(
            "stripe", "Stripe twin", "stripe", stripe.url, {"base_url": stripe.url}, {"api_key": "sk_test_chaos"}, False, None
        )
        erp = System(
            "tryton", "Tryton twin", "tryton", tryton.url,
            {"base_url": tryton.url, "database": entry["database"], "company": entry["company"]},
            {name: entry[name] for name in ("rest_key", "login", "password")}, False, None,
        )  # fmt: skip
        company = found(billing, erp, self.base_url)
        Connection.objects.update(quiet_seconds=QUIET_SECONDS)
        secret = company.billing.live_webhook_secrets()[0]
        unreliable = {"drop": 0.02, "duplicate": 0.05, "reorder": 0.05, "seed": self.seed}
        stripe.steer("POST", "webhooks", url=f"{self.base_url}/ingest/{company.billing.slug}/", secret=secret, **unreliable)
        connections.close_all()
        for spec in hub_processes(int(self.base_url.rpartition(":")[2]), 2):
            self.crew.start(spec)
        wait_for_web(self.base_url)
        return company

    def _burn(self, load: Load) -> None:
        monkey.arm(self.twins, self.seed)
        load.start()
        _say(f"seed {self.seed}: {self.seconds} s of fire begin")
        end, tick = time.monotonic() + self.seconds, 0
        while time.monotonic() < end:
            self.monkey.step()
            self.crew.mend()
            time.sleep(0.05)
            tick += 1
            if tick % 160 == 0:
                self.twins["stripe"].steer("POST", "clock", advance=RETRY_AFTER)
        load.finish()
        self.monkey.calm()

    def _drain(self, company: Company) -> float | None:
        """Let everything end, missed events included; returns the seconds that took, None beyond the limit.

        The vendors go on misbehaving for a while: most of the backlog meets them only now.
        """
        began = time.monotonic()
        # With a start of its own: a scheduled sweep that is under way would be handed back, and ends before the last events.
        sweep.begin(company.billing, "events", by="chaos", since=timezone.now() - sweep.OVERLAP)
        ticks = itertools.count()
        while time.monotonic() - began < DRAIN_LIMIT:
            if not self.vendors and time.monotonic() - began > self.seconds / 3:
                self.vendors = monkey.disarm(self.twins)
            self.crew.mend()
            self.twins["stripe"].steer("POST", "clock", advance=RETRY_AFTER)
            time.sleep(1)
            self.answered += helper.answer_questions(self.twins["tryton"].steer("GET", "books"))
            if self.vendors and helper.is_idle():
                return time.monotonic() - began
            if next(ticks) % 10 == 9:
                _say(f"draining: {helper.what_is_left()}")
        return None

    def _report(self, company: Company, load: Load, before: dict[str, Any], drained: float | None) -> dict[str, Any]:
        books = self.twins["stripe"].steer("GET", "books"), self.twins["tryton"].steer("GET", "books")
        compared = oracle.compare(*books, company.billing.slug)
        known = set(InboxEvent.objects.filter(connection=company.billing).values_list("external_id", flat=True))
        events_lost = [event["id"] for event in before["events"] if event["id"] not in known]
        verified = subprocess.run(
            [sys.executable, "manage.py", "verify", "--json"], cwd=ROOT, capture_output=True, text=True, check=False
        )
        broken = [invariant for invariant in json.loads(verified.stdout)["invariants"] if invariant["violations"]]
        left = list(ReviewItem.objects.filter(state="open").values_list("cause", "title"))
        kept = compared.agrees and drained is not None and not (broken or events_lost or left or verified.returncode)
        return {
            "kept": kept, "seed": self.seed, "seconds": self.seconds,
            "faults": dict(self.monkey.struck), "vendor faults": dict(self.vendors),
            "restarts": {name: member.starts - 1 for name, member in self.crew.members.items()},
            "billing": dict(load.done), "events accepted": len(known), "events lost": events_lost,
            "found by the sweep": InboxEvent.objects.filter(origin="sweep").count(),
            "attempts": dict(Attempt.objects.values_list("outcome").annotate(Count("id")).order_by("outcome")),
            "books": asdict(compared) | {"difference": compared.difference},
            "drained in": drained, "answered by a person": dict(self.answered), "left for people": left, "broken": broken,
        }  # fmt: skip


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _as_text(report: dict[str, Any]) -> str:
    books = report["books"]
    faults = sum(report["faults"].values()) + sum(report["vendor faults"].values())
    lines = [f"seed {report['seed']}, {report['seconds']} s of fire, {faults} faults:"]
    struck = {**report["faults"], **report["vendor faults"]}
    lines += [f"  {times:5} × {name}" for name, times in sorted(struck.items()) if times]
    lines += [
        f"processes started again: {', '.join(f'{name} {times}' for name, times in report['restarts'].items())}",
        f"events accepted          {report['events accepted']}, of which {report['found by the sweep']} found by the sweep",
        f"invoices in billing      {books['invoices']} ({', '.join(f'{n} {what}' for what, n in report['billing'].items())})",
        f"documents in the ERP     {books['documents']}, payments {books['payments']}",
        f"attempts                 {', '.join(f'{n} {outcome}' for outcome, n in report['attempts'].items())}",
        f"events lost              {len(report['events lost'])}",
        f"documents lost           {len(books['lost'])}",
        f"documents duplicate      {len(books['duplicate'])}",
        f"documents wrong          {len(books['wrong'])}",
    ]
    for currency, amount in sorted(books["expected"].items()):
        held = books["held"].get(currency, 0)
        lines.append(f"money {currency}                {amount} billed, {held} in the ERP, difference {held - amount}")
    drained = report["drained in"]
    lines.append(f"time to drain            {'more than ' + str(DRAIN_LIMIT) if drained is None else f'{drained:.0f}'} s")
    lines.append(f"answered by a person     {report['answered by a person'] or 'nothing'}")
    lines += [f"left for people: {cause}: {title}" for cause, title in report["left for people"]]
    for name in ("lost", "duplicate", "wrong"):
        lines += [f"{name}: {what}" for what in books[name]]
    lines += [f"verify: {broken['name']}: {what}" for broken in report["broken"] for what in broken["first"]]
    lines.append("every promise was kept" if report["kept"] else "A PROMISE WAS BROKEN")
    return "\n".join(lines)
