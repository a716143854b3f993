"""`manage.py mend_rules --drafter NAME`: the rules to begin with, for what may mend itself and where rounding goes."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.contrib.auth.models import User
from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from canonical.models import LegalEntity
from hub import rulebook
from reconciliation.mending import starter


class Command(BaseCommand):
    help = (
        "Draft: missed documents up to 1,000 are worked again by themselves; rounding goes to an entity's account. Another person "
        "approves them in the back office."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--drafter", required=True, help="user name")
        parser.add_argument("--approver", default="", help="for trials: approve them at once, as this other person")
        parser.add_argument("--currency", action="append", default=[], help="may be repeated; EUR, GBP and USD when there is none")
        parser.add_argument("--variance", action="append", default=[], metavar="ENTITY=ACCOUNT", help="may be repeated")

    def handle(self, *args: Any, **options: Any) -> None:
        drafter, approver = (User.objects.filter(username=options[name]).first() for name in ("drafter", "approver"))
        if drafter is None or (approver is None and options["approver"]):
            raise CommandError("there is no such user")
        on = timezone.now().date()
        try:
            made = starter.mend_rules(drafter, approver, options["currency"] or ["EUR", "GBP", "USD"], on=on)
            for each in options["variance"]:
                code, _, account = each.partition("=")
                entity = LegalEntity.objects.filter(code=code).first()
                if entity is None or not account:
                    raise CommandError(f"{each}: there is no such entity, or no account")
                starter.variance_rule(drafter, approver, entity, account, on=on)
        except rulebook.NotApproved as problem:
            raise CommandError(str(problem)) from None
        self.stdout.write(f"{len(made)} rules are {'in force' if approver else 'drafts'}, from {on}")
