"""Is this installation fit to work, and if not, what mends it? One finding per question, in the order things build up.

A check that raises is a failed check, so none of them hides behind another.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

import redis
from django.conf import settings
from django.core import checks
from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from django.utils import timezone

from hub.celery import app

OLDEST_POSTGRES = 14
CLOCK_TOLERANCE = timedelta(seconds=2)
BEAT_SILENCE = timedelta(minutes=3)
"""The pump is sent every second and written down every half minute, so this much is silence."""

Level = Literal["ok", "warn", "fail"]


@dataclass(frozen=True)
class Finding:
    level: Level
    name: str
    said: str
    mend: str = ""

    def __str__(self) -> str:
        line = f"{self.level:<4}  {self.name:<14}  {self.said}"
        return f"{line}\n      {'':<14}  → {self.mend}" if self.mend else line


def configuration() -> Iterator[Finding]:
    config = settings.CONFIG
    problems = checks.run_checks(include_deployment_checks=config.production)
    for problem in problems:
        level: Level = "fail" if problem.level >= checks.ERROR else "warn"
        yield Finding(level, "configuration", f"{problem.id}: {problem.msg}", problem.hint or "")
    if not problems:
        yield Finding("ok", "configuration", f"{config.env}, {len(config.data_keys)} data key(s)")


def database() -> Iterator[Finding]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_setting('server_version'), rolsuper FROM pg_roles WHERE rolname = current_user")
        version, is_superuser = cursor.fetchone()
    if int(version.split(".")[0]) < OLDEST_POSTGRES:
        yield Finding("fail", "database", f"PostgreSQL {version}", f"use version {OLDEST_POSTGRES} or later")
    else:
        yield Finding("ok", "database", f"PostgreSQL {version}")
    if is_superuser:
        level: Level = "fail" if settings.CONFIG.production else "warn"
        mend = "connect as a role without SUPERUSER: a superuser may switch off the triggers that guard the facts"
        yield Finding(level, "database role", "is a superuser", mend)


def clock() -> Iterator[Finding]:
    before = datetime.now(UTC)
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        theirs = cursor.fetchone()[0]
    after = datetime.now(UTC)
    skew = max(before - theirs, theirs - after, timedelta())
    if skew > CLOCK_TOLERANCE:
        mend = "run NTP on both machines: leases and quiet periods are compared across them"
        yield Finding("fail", "clock", f"{skew.total_seconds():.1f} s away from PostgreSQL's", mend)
    else:
        yield Finding("ok", "clock", f"within {CLOCK_TOLERANCE.total_seconds():g} s of PostgreSQL's")


def migrations() -> Iterator[Finding]:
    executor = MigrationExecutor(connection)
    missing = executor.migration_plan(executor.loader.graph.leaf_nodes())
    if missing:
        names = ", ".join(f"{migration.app_label}.{migration.name}" for migration, _ in missing[:3])
        yield Finding("fail", "migrations", f"{len(missing)} not applied ({names}…)", "manage.py migrate")
    else:
        yield Finding("ok", "migrations", "all applied")


def redis_server() -> Iterator[Finding]:
    with redis.Redis.from_url(settings.REDIS_URL, socket_timeout=3, socket_connect_timeout=3) as client:
        client.ping()
        yield Finding("ok", "redis", f"version {client.info('server')['redis_version']}")
        try:
            policy = client.config_get("maxmemory-policy")["maxmemory-policy"]
            append_only = client.config_get("appendonly")["appendonly"] == "yes"
        except redis.ResponseError:
            mend = "see to it that maxmemory-policy is noeviction and appendonly is yes"
            yield Finding("warn", "redis policy", "this Redis does not tell its configuration", mend)
            return
    if policy != "noeviction":
        mend = "CONFIG SET maxmemory-policy noeviction: any other policy may throw away the whole queue at once"
        yield Finding("fail", "redis policy", f"maxmemory-policy is {policy}", mend)
    if not append_only and settings.CONFIG.production:
        mend = "CONFIG SET appendonly yes: without it a crash of Redis loses the queue until the pump fills it again"
        yield Finding("warn", "redis policy", "no append-only file", mend)


def broker() -> Iterator[Finding]:
    with app.connection_for_write() as link:
        link.ensure_connection(max_retries=1, timeout=3)
    workers = app.control.ping(timeout=1.0)
    if workers:
        yield Finding("ok", "workers", f"{len(workers)} answered")
    else:
        yield Finding("warn", "workers", "no Celery worker answered", "manage.py up, or start the worker service")


def beat() -> Iterator[Finding]:
    from django_celery_beat.models import PeriodicTask

    newest = PeriodicTask.objects.filter(enabled=True).order_by("-last_run_at").exclude(last_run_at=None).first()
    if newest is None:
        yield Finding("warn", "beat", "has not run anything yet", "manage.py up, or start exactly one beat service")
        return
    silence = timezone.now() - newest.last_run_at
    if silence > BEAT_SILENCE:
        mend = "start exactly one beat service (manage.py up runs one)"
        yield Finding("warn", "beat", f"last ran something {_minutes(silence)} ago ({newest.name})", mend)
    else:
        yield Finding("ok", "beat", f"ran {newest.name} {_minutes(silence)} ago")


def connections() -> Iterator[Finding]:
    """Every live connection proves its credentials with one read; a paused one is reported, not called."""
    from connectors.clients import client_for
    from connectors.models import Connection
    from connectors.sdk.errors import VendorError
    from connectors.sdk.http import Call

    for each in Connection.objects.exclude(state="revoked").order_by("slug"):
        if each.state != "active":
            reason = f"{each.state}: {each.pause_reason}" if each.pause_reason else each.state
            yield Finding("warn", each.slug, reason, "activate it in the back office when it is meant to work")
            continue
        try:
            health = each.spec.check(client_for(each), Call(timeout=10))
        except (VendorError, LookupError) as error:
            yield Finding("fail", each.slug, f"{type(error).__name__}: {error}", "see its page in the back office")
            continue
        yield Finding("ok", each.slug, f"{health.identity} {health.detail}".strip())
        if health.clock and abs(health.clock - timezone.now()) > timedelta(minutes=2):
            yield Finding("warn", each.slug, "its clock is minutes away from ours", "signatures may be refused as old")


CHECKS: tuple[Callable[[], Iterator[Finding]], ...] = (
    configuration, database, clock, migrations, redis_server, broker, beat, connections,
)  # fmt: skip


def examine() -> Iterator[Finding]:
    """Ask every question; a check that breaks is itself a finding."""
    for check in CHECKS:
        try:
            yield from check()
        except Exception as error:
            said = (str(error).strip().splitlines() or [""])[0]
            yield Finding("fail", check.__name__.replace("_", " "), f"{type(error).__name__}: {said}", MENDS.get(check, ""))


MENDS = {
    database: "check DATABASE_URL, and that PostgreSQL runs",
    migrations: "check DATABASE_URL, and that PostgreSQL runs",
    clock: "check DATABASE_URL, and that PostgreSQL runs",
    redis_server: "check REDIS_URL, and that Redis runs; work goes on meanwhile, at the pace of `manage.py work`",
    broker: "check REDIS_URL, and that Redis runs; work goes on meanwhile, at the pace of `manage.py work`",
    beat: "manage.py migrate",
    connections: "manage.py migrate",
}


def _minutes(span: timedelta) -> str:
    seconds = int(span.total_seconds())
    return f"{seconds} s" if seconds < 120 else f"{seconds // 60} min"
