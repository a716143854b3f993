"""`manage.py replay_policy`: what a draft credit policy would have given over the last months, before anyone activates it."""

from __future__ import annotations

import json
from argparse import ArgumentParser

from django.core.management.base import BaseCommand, CommandError

from canonical.models import LegalEntity
from hub.credits.models import CreditPolicy
from hub.credits.replay import note, replay, table


class Command(BaseCommand):
    help = "Apply a credit policy to the recorded cases of the last months and compare. Changes nothing but the audit trail."

    def add_arguments(self, parser: ArgumentParser) -> None:
        which = parser.add_mutually_exclusive_group(required=True)
        which.add_argument("policy_id", nargs="?", type=int, help="id of the credit policy")
        which.add_argument("--latest-draft", action="store_true", help="the draft made last")
        parser.add_argument("--months", type=int, default=18, help="how far back (18)")
        parser.add_argument("--entity", metavar="CODE", help="only cases of this legal entity")
        parser.add_argument("--json", action="store_true", help="the comparison as JSON, amounts as text")

    def handle(self, *, policy_id: int | None, latest_draft: bool, months: int, entity: str | None, **options: object) -> None:
        rows = CreditPolicy.objects.filter(state="draft") if latest_draft else CreditPolicy.objects.filter(pk=policy_id or 0)
        draft = rows.order_by("-pk").first()
        if draft is None:
            raise CommandError(
                "There is no draft of a credit policy." if latest_draft else f"There is no credit policy {policy_id}."
            )
        if months < 1:
            raise CommandError("At least one month.")
        found = replay(draft, months=months, entity=_entity(entity))
        note(draft, found, actor="replay_policy", source="command")
        self.stdout.write(json.dumps(found.as_json(), indent=1) if options["json"] else table(found))


def _entity(code: str | None) -> LegalEntity | None:
    if code is None:
        return None
    try:
        return LegalEntity.objects.get(code=code)
    except LegalEntity.DoesNotExist:
        raise CommandError(f"There is no legal entity {code}.") from None
