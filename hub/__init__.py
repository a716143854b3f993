"""The engine, the workflows and the doors.

The Celery app is imported here so that `shared_task` binds to it in every process, as Celery asks of a Django project.
"""

from hub.celery import app as celery_app

__all__ = ["celery_app"]
