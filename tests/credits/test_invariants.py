"""The invariants of credits and of their audit, broken by hand: exactly the broken one names it."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

import pytest
from django.utils import timezone

from hub.credits import deciding
from hub.credits.models import Credit
from hub.roles import FINANCE
from reconciliation.invariants import audit, check, money
from tests.credits import factories as make
from tests.verify.conftest import sql

ASKED = [*audit.INVARIANTS, *(one for one in money.INVARIANTS if one.name == "credits_are_conserved")]
Damage = Callable[[Credit], list[str]]
DAMAGES: dict[str, Damage] = {
    "credits_in_books_were_approved": lambda credit: ["DELETE FROM credits_approval"],
    "credits_without_people_are_allowed_by_rule": lambda credit: ["UPDATE credits_credit SET approvals_needed = 0"],
    "credits_say_what_was_hashed": lambda credit: [
        "UPDATE credits_credit SET payload = replace(payload, 'goodwill', 'uptime')",
    ],
    "credits_have_transitions": lambda credit: [
        f"""INSERT INTO canonical_transition (object_kind, object_id, name, source, target, by, note)
            VALUES ('credit', {credit.pk}, 'undo', 'approved', 'pending', 'eve', '')""",
    ],
    "decisions_are_audited": lambda credit: ["UPDATE audit_auditentry SET object_id = 0"],
    "reversals_take_back_all": lambda credit: [
        copied(credit, f"reverses_id = {credit.pk}, total = total + 1, net = net + 1, state = 'pending'"),
    ],
    "parts_add_up": lambda credit: [
        copied(credit, f"split_from_id = {credit.pk}, state = 'pending'"),
        f"UPDATE credits_credit SET state = 'split', net = net + 1, total = total + 1 WHERE id = {credit.pk}",
    ],
    "credits_are_conserved": lambda credit: ["UPDATE credits_credit SET state = 'mirrored'"],
    "audit_chain_is_unbroken": lambda credit: ["UPDATE audit_auditentry SET content = content || ' ' WHERE seq = 1"],
}
ALSO = {
    "decisions_are_audited": {"audit_chain_is_unbroken"},
    "credits_are_conserved": {"credits_have_transitions"},
    "parts_add_up": {"credits_say_what_was_hashed", "credits_have_transitions"},
    "reversals_take_back_all": {"credits_say_what_was_hashed"},
    "credits_without_people_are_allowed_by_rule": set[str](),
}
"""What the same damage breaks besides."""


def copied(credit: Credit, changes: str) -> str:
    """SQL that makes a second row like this one, with changes."""
    columns = [field.column for field in Credit._meta.concrete_fields if field.column not in ("id", "uid")]
    told = dict(change.split(" = ", 1) for change in changes.split(", "))
    values = [told.get(column, f'"{column}"') for column in columns]
    names = ", ".join(f'"{column}"' for column in columns)
    return (
        f"INSERT INTO credits_credit (uid, {names}) "
        f"SELECT gen_random_uuid(), {', '.join(values)} FROM credits_credit WHERE id = {credit.pk}"
    )


def broken() -> dict[str, str]:
    return {finding.invariant.name: finding.named[0] for finding in check(ASKED) if finding.count}


@pytest.fixture
def credit(transactional_db: None) -> Credit:
    make.ground()
    credit = make.credit("100")
    deciding.approve(credit, make.person("felix", FINANCE), revision=1, confirmed_at=timezone.now())
    return Credit.objects.get(pk=credit.pk)


def test_credits_in_good_order_break_nothing(credit: Credit) -> None:
    assert (credit.state, credit.total) == ("approved", Decimal(100))
    assert broken() == {}


@pytest.mark.parametrize("name", DAMAGES)
def test_what_was_done_by_hand_is_named(credit: Credit, name: str) -> None:
    sql(*DAMAGES[name](credit))
    found = broken()
    assert found.keys() == {name} | ALSO.get(name, set())
    subject = "entry 1" if name.startswith("audit") else str(credit.pk)
    assert subject in found[name] or "USD" in found[name]
