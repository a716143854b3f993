"""The schedule a new hub begins with: rows of django-celery-beat, edited in the back office, never overwritten here."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from django.apps import AppConfig

from connectors.models import Connection

FREQUENT = ("events", "cases")
"""Streams that tell what changed: swept every five minutes. The others list everything there is, and run at night."""


def install(sender: AppConfig, using: str = "default", **_: Any) -> None:
    """A receiver of `post_migrate`: the pump, the hub's own jobs, and the sweeps of connections that exist."""
    if sender.label != "hub":
        return
    from django_celery_beat.models import CrontabSchedule, IntervalSchedule, PeriodicTask

    second, _created = IntervalSchedule.objects.using(using).get_or_create(every=1, period=IntervalSchedule.SECONDS)
    defaults = {"task": "tieout.pump", "interval": second, "expire_seconds": 5, "description": "Wakes the workers."}
    PeriodicTask.objects.using(using).get_or_create(name="pump", defaults=defaults)
    for name, (task, every, description) in OWN.items():
        interval, _created = IntervalSchedule.objects.using(using).get_or_create(every=every, period=IntervalSchedule.MINUTES)
        row = {"task": task, "interval": interval, "expire_seconds": 60 * every, "description": description}
        PeriodicTask.objects.using(using).get_or_create(name=name, defaults=row)
    morning, _created = CrontabSchedule.objects.using(using).get_or_create(minute="0", hour="6", timezone="UTC")
    row = {"task": "tieout.digest", "crontab": morning, "expire_seconds": 3600, "description": "Mails what waits for whom."}
    PeriodicTask.objects.using(using).get_or_create(name="digest", defaults=row)
    for connection in Connection.objects.using(using).filter(state="active"):
        _schedule_sweeps(connection, using)


OWN = {
    "credits": ("tieout.credits", 1, "Reminds, escalates and expires credits, and sends mails."),
    "audit anchor": ("tieout.anchor", 10, "Writes the head of the audit trail down outside the database."),
}
"""Name of the row → task, minutes, what it is for."""


def follow(sender: type[Connection], instance: Connection, using: str, raw: bool = False, **_: Any) -> None:
    """A receiver of `post_save`: a connection that becomes active is swept from then on."""
    if instance.state == "active" and not raw:
        _schedule_sweeps(instance, using)


def _schedule_sweeps(connection: Connection, using: str) -> None:
    from django_celery_beat.models import CrontabSchedule, PeriodicTask

    wanted = dict(_sweeps(connection))
    known = set(PeriodicTask.objects.using(using).filter(name__in=wanted).values_list("name", flat=True))
    for name, (stream, times) in wanted.items():
        if name in known:
            continue
        crontab, _created = CrontabSchedule.objects.using(using).get_or_create(**times)
        defaults = {
            "task": "tieout.sweep", "crontab": crontab, "expire_seconds": 240,
            "kwargs": json.dumps({"connection": connection.slug, "stream": stream}),
            "description": "Reads what changed, and finds what no webhook brought.",
        }  # fmt: skip
        PeriodicTask.objects.using(using).get_or_create(name=name, defaults=defaults)


def _sweeps(connection: Connection) -> Iterator[tuple[str, tuple[str, dict[str, str]]]]:
    """Name of the row → its stream and times. Nights are staggered by the stream's place, to spare the vendor.

    An ERP is not swept: it answers for what is in its books when it is asked, and no workflow listens to its changes.
    """
    if connection.role == "erp":
        return
    for place, stream in enumerate(sorted(connection.spec.pages)):
        often = stream in FREQUENT
        times = {"minute": "*/5", "hour": "*"} if often else {"minute": str(10 * place % 60), "hour": "2"}
        yield f"sweep {connection.slug} {stream}"[:200], (stream, {**times, "timezone": "UTC"})
