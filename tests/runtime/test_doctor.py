"""The doctor answers every question, whatever else is broken, and says what mends it."""

from __future__ import annotations

import io
from datetime import timedelta

import pytest
from django.conf import LazySettings
from django.core.management import call_command
from django.utils import timezone
from django_celery_beat.models import PeriodicTask
from redis import Redis

from hub.runtime import doctor
from hub.runtime.doctor import Finding, examine


def level_of(name: str, findings: list[Finding]) -> str:
    return next(finding.level for finding in findings if finding.name == name)


@pytest.mark.django_db
def test_a_sound_installation_has_no_failure() -> None:
    out = io.StringIO()
    call_command("doctor", stdout=out)
    for name in ("configuration", "database", "clock", "migrations", "redis"):
        assert f"ok    {name}" in out.getvalue()


@pytest.mark.django_db
def test_a_dead_redis_is_one_failure_and_hides_nothing(settings: LazySettings) -> None:
    settings.REDIS_URL = "redis://:hunter2@127.0.0.1:1/0"
    findings = list(examine())
    assert level_of("redis server", findings) == "fail"
    assert level_of("database", findings) == "ok"
    assert "beat" in {finding.name for finding in findings}
    with pytest.raises(SystemExit) as caught:
        call_command("doctor", stdout=(out := io.StringIO()))
    assert caught.value.code == 1
    assert "hunter2" not in out.getvalue()


def test_an_evicting_redis_is_a_failure(redis: Redis) -> None:
    redis.config_set("maxmemory-policy", "allkeys-lru")
    try:
        finding = next(each for each in doctor.redis_server() if each.name == "redis policy")
    finally:
        redis.config_set("maxmemory-policy", "noeviction")
    assert finding.level == "fail"
    assert "noeviction" in finding.mend


@pytest.mark.django_db
def test_a_clock_apart_from_the_database_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    class Late(doctor.datetime):
        @classmethod
        def now(cls, tz: object = None) -> doctor.datetime:
            return timezone.now() - timedelta(seconds=5)

    monkeypatch.setattr(doctor, "datetime", Late)
    assert [finding.level for finding in doctor.clock()] == ["fail"]


@pytest.mark.django_db
def test_a_silent_beat_is_noticed() -> None:
    # Every migrated database has the pump's row by now; creating a second one is what was wrong here.
    task = PeriodicTask.objects.get(name="pump")
    assert [finding.level for finding in doctor.beat()] == ["warn"]
    for age, level in ((timedelta(seconds=40), "ok"), (timedelta(hours=1), "warn")):
        PeriodicTask.objects.filter(pk=task.pk).update(last_run_at=timezone.now() - age)
        assert [finding.level for finding in doctor.beat()] == [level]
