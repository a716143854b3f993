"""The Celery app. Messages carry ids, never truth: what there is to do is in PostgreSQL."""

from __future__ import annotations

import os
from typing import Any

import structlog
from celery import Celery
from celery.signals import setup_logging, task_postrun, task_prerun

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "hub.settings")

app = Celery("tieout")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()


@setup_logging.connect
def keep_our_logging(**_: Any) -> None:
    """A receiver of this signal is what stops Celery from replacing the handlers Django has set up."""


@task_prerun.connect
def name_the_task(task_id: str, task: Any, **_: Any) -> None:
    structlog.contextvars.clear_contextvars()
    structlog.contextvars.bind_contextvars(correlation_id=task_id, task=task.name)


@task_postrun.connect
def forget_the_task(**_: Any) -> None:
    structlog.contextvars.clear_contextvars()
