"""The default schedule: there after a migration, never in the way of what people have changed."""

from __future__ import annotations

import json

import pytest
from django.apps import apps
from django_celery_beat.models import CrontabSchedule, IntervalSchedule, PeriodicTask

from connectors.models import Connection
from hub import schedule, tasks
from hub.celery import app

pytestmark = pytest.mark.django_db


def install() -> None:
    schedule.install(apps.get_app_config("hub"))


def test_a_new_hub_is_pumped_every_second() -> None:
    PeriodicTask.objects.all().delete()
    install()
    pumped = PeriodicTask.objects.get(task="tieout.pump")
    assert pumped.enabled and pumped.schedule.run_every.total_seconds() == 1


def test_a_connection_is_swept_from_its_activation_on() -> None:
    connection = Connection.objects.create(slug="stripe", connector="stripe")
    assert not PeriodicTask.objects.filter(task="tieout.sweep").exists()
    connection.activate()
    connection.save()
    rows = {json.loads(row.kwargs)["stream"]: row for row in PeriodicTask.objects.filter(task="tieout.sweep")}
    assert set(rows) == set(connection.spec.pages)
    assert str(rows["events"].crontab.minute) == "*/5"
    assert all(row.crontab.hour == "2" for stream, row in rows.items() if stream != "events")
    app.loader.import_default_modules()
    assert rows["events"].task in app.tasks
    assert tasks.sweep_stream.name == rows["events"].task


def test_what_people_changed_or_switched_off_stays() -> None:
    Connection.objects.create(slug="stripe", connector="stripe", state="active")
    install()
    slow, _ = IntervalSchedule.objects.get_or_create(every=10, period=IntervalSchedule.SECONDS)
    weekly = CrontabSchedule.objects.create(minute="0", hour="0", day_of_week="1")
    PeriodicTask.objects.filter(name="pump").update(interval=slow)
    PeriodicTask.objects.filter(name="sweep stripe events").update(crontab=weekly, enabled=False)
    before = list(PeriodicTask.objects.order_by("id").values())
    install()
    Connection.objects.get().save()
    assert list(PeriodicTask.objects.order_by("id").values()) == before
