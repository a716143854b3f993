"""Routes of the doors for machines."""

from django.urls import path

from hub.doors import health, ingest, metrics

urlpatterns = [
    path("ingest/<slug:slug>/", ingest.ingest, name="ingest"),
    path("healthz", health.healthz, name="healthz"),
    path("readyz", health.readyz, name="readyz"),
    path("metrics", metrics.metrics, name="metrics"),
]
