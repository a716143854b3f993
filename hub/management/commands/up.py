"""`manage.py up`: the whole hub on this machine, in one terminal."""

from __future__ import annotations

import importlib
import sys
import threading
import time
from argparse import ArgumentParser
from http.client import HTTPConnection, HTTPException
from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError
from django.db import connections

from hub.runtime import environment
from hub.runtime.fleet import Demo, Prepare, hub_processes
from hub.runtime.servers import HOST, is_free
from hub.runtime.supervisor import Supervisor


class Command(BaseCommand):
    help = "Run the hub: database and broker if none are given, migrations, web, workers and the clock."
    requires_system_checks = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--port", type=int, default=8000, help="of the web server on 127.0.0.1 (8000)")
        parser.add_argument("--demo", action="store_true", help="with sample peers, people and stories")
        parser.add_argument("--once", action="store_true", help="run the stories to their end, exit with 0 or 1")

    def handle(self, *, port: int, demo: bool, once: bool, **_: Any) -> None:
        if once and not demo:
            raise CommandError("--once runs the demo's stories; it needs --demo")
        if not is_free(port):
            raise CommandError(f"port {port} is in use; stop what listens there, or choose another one with --port")
        base_url = f"http://{HOST}:{port}"
        self._say("bringing the database up to date…")
        call_command("migrate", interactive=False, verbosity=0)
        if settings.STATIC_ROOT:
            self._say("collecting static files…")
            call_command("collectstatic", interactive=False, verbosity=0)
        stories = self._demo()(self._say, base_url=base_url) if demo else None
        connections.close_all()
        code = Run(port, base_url, stories, once).supervise()
        if code:
            sys.exit(code)

    def _demo(self) -> Prepare:
        self._say("preparing the demo…")
        try:
            prepare: Prepare = importlib.import_module("hub.demo").prepare
        except (ModuleNotFoundError, AttributeError) as error:
            raise CommandError(f"the demo is not part of this installation ({error})") from error
        return prepare

    def _say(self, text: str) -> None:
        self.stdout.write(f"tieout: {text}")
        self.stdout.flush()


class Run:
    """One supervised run: the banner when the web answers, the stories after it, the servers kept alive beside it."""

    def __init__(self, port: int, base_url: str, demo: Demo | None, once: bool) -> None:
        self.port, self.base_url, self.demo, self.once = port, base_url, demo, once
        self.started_at = time.monotonic()
        self.is_ready = False
        specs = hub_processes(port, settings.CONFIG.workers) + list(demo.children if demo else [])
        self.supervisor = Supervisor(specs, tick=self._tick)

    def supervise(self) -> int:
        return self.supervisor.run()

    def _tick(self) -> None:
        if environment.services and (mended := environment.services.mend()):
            self.supervisor.say(f"{' and '.join(mended)} had died and is running again")
        if not self.is_ready and self._answers():
            self.is_ready = True
            self._banner()
            if self.demo:
                threading.Thread(target=self._run_stories, args=(self.demo,), name="stories", daemon=True).start()

    def _answers(self) -> bool:
        """Whether the application has loaded; the port alone is open before that."""
        link = HTTPConnection(HOST, self.port, timeout=1)
        try:
            link.request("GET", "/healthz")
            return link.getresponse().status < 500
        except (OSError, HTTPException):
            return False
        finally:
            link.close()

    def _run_stories(self, demo: Demo) -> None:
        try:
            code = demo.run_once()
        except Exception as error:
            self.supervisor.say(f"the stories could not be run: {error!r}")
            code = 1
        finally:
            connections.close_all()
        if self.once:
            self.supervisor.finish(code)

    def _banner(self) -> None:
        seconds = time.monotonic() - self.started_at
        lines = ["", f"Tieout is up (after {seconds:.0f} s):  {self.base_url}/"]
        if self.demo:
            lines += [f"  {title}: {url}" for title, url in self.demo.urls.items()]
            lines += [f"  sign in as {user} / {password}  ({who})" for who, user, password in self.demo.logins]
        else:
            lines += ["  first time here? `.venv/bin/python manage.py createsuperuser` in another terminal"]
        lines += ["  `manage.py doctor` tells how it is; Ctrl-C stops everything", ""]
        self.supervisor.say("\n".join(lines))
