"""The connector kit: everything a vendor package builds on. Plain Python; no Django, Celery or DRF."""
