"""Rules to begin with: what may mend itself, and where rounding goes. Drafted by one person and approved by another, as all are."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date
from decimal import Decimal

from django.contrib.auth.models import User
from django.db import transaction

from canonical.models import LegalEntity
from hub import rulebook
from hub.models import AccountingRule
from reconciliation.mending.ledger import VARIANCE
from reconciliation.models import MendRule

LIMIT, PER_DAY = Decimal(1_000), Decimal(20_000)


def mend_rules(drafter: User, approver: User | None, currencies: Iterable[str], *, on: date) -> list[MendRule]:
    """Let missed documents up to 1,000 be worked again by themselves, up to 20,000 a day, in these currencies and all entities.

    A replay is what a sweep would do as well: it repeats nothing, and posts only what billing says by rules that were
    approved. Without an approver they stay drafts. Doing it again adds only what is missing. Raises rulebook.NotApproved when
    both are the same person.
    """
    made = []
    with transaction.atomic():
        for currency in currencies:
            scope = {"plan": "replay", "type": "missing_right", "legal_entity": None, "currency": currency}
            if MendRule.objects.filter(plan="replay", type="missing_right", legal_entity=None, currency=currency).exists():
                continue
            rule = MendRule.objects.create(**scope, limit=LIMIT, per_day=PER_DAY, valid_from=on, drafted_by=drafter)
            if approver is not None:
                rulebook.approve(rule, approver)
            made.append(rule)
    return made


def variance_rule(
    drafter: User, approver: User | None, entity: LegalEntity, account: str, *, on: date, journal: str = ""
) -> AccountingRule | None:
    """Name the account (a code of the ERP) that takes an entity's rounding; None when it has one. Raises rulebook.NotApproved."""
    if AccountingRule.objects.filter(legal_entity=entity, product_family=VARIANCE).exists():
        return None
    with transaction.atomic():
        rule = AccountingRule.objects.create(
            legal_entity=entity, product_family=VARIANCE, revenue_account=account, journal=journal, valid_from=on,
            drafted_by=drafter,
        )  # fmt: skip
        if approver is not None:
            rulebook.approve(rule, approver)
    return rule
