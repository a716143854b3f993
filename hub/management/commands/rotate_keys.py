"""`manage.py rotate_keys`: every stored secret under the newest of TIEOUT_DATA_KEYS, so that the older can be taken away."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import transaction

from connectors import secrets
from connectors.models import Connection

SEALED = ("sealed_credentials", "sealed_webhook_secrets")


class Command(BaseCommand):
    help = "Re-encrypt the secrets of all connections under the newest data key."

    def handle(self, **_: Any) -> None:
        with transaction.atomic():
            rows = list(Connection.objects.select_for_update().order_by("pk"))
            for row in rows:
                try:
                    fresh = {name: secrets.rotate(sealed) for name in SEALED if (sealed := getattr(row, name))}
                except secrets.Unreadable as error:
                    raise CommandError(f"{row.slug}: {error}; nothing was changed") from None
                # Not save(): nothing a person decided has changed, so the history has nothing to tell.
                Connection.objects.filter(pk=row.pk).update(**fresh)
        self.stdout.write(f"{len(rows)} connections are under the newest key; older ones may leave TIEOUT_DATA_KEYS")
