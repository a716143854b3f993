"""What the database refuses, whoever writes: the service, a shell, or somebody with SQL (T23, T26, T31)."""

from __future__ import annotations

import itertools
from decimal import Decimal
from typing import Any
from unittest import mock

import pytest
from django.contrib.auth.models import User
from django.db import IntegrityError, connection, transaction
from django.utils import timezone

from hub.credits import deciding, matrix, payload
from hub.credits.models import Approval, Credit, Delegation
from hub.roles import CONTROLLER, FINANCE, SENIOR
from tests.credits import factories as make

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _ground(db: None) -> None:
    make.ground()


@pytest.fixture
def fiona(db: None) -> User:
    return make.person("fiona", FINANCE)


@pytest.fixture
def sam(db: None) -> User:
    return make.person("sam", SENIOR)


def refused(words: str, sql: str, *values: Any) -> None:
    """The statement is refused, for the reason that these words name."""
    with connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")  # what waits for the end of the test would keep it from TRUNCATE
        with pytest.raises(IntegrityError, match=words), transaction.atomic():
            cursor.execute(sql, values)


def update(credit: Credit, **told: Any) -> None:
    """What a shell or a script would do."""
    Credit.objects.filter(pk=credit.pk).update(**told)


def not_updated(words: str, credit: Credit, **told: Any) -> None:
    with pytest.raises(IntegrityError, match=words), transaction.atomic():
        update(credit, **told)


def approval(credit: Credit, by: User, role: str = FINANCE, **told: Any) -> Approval:
    """An approval as somebody would insert it who goes around the service."""
    fields = {
        "credit": credit, "revision": credit.revision, "digest": credit.digest, "stage": 1, "decision": "approve", "by": by,
        "role": role, "total": credit.total, "currency": credit.currency, "reporting_amount": credit.reporting_amount, **told,
    }  # fmt: skip
    return Approval.objects.create(**fields)


def not_approved(words: str, credit: Credit, by: User, role: str = FINANCE, **told: Any) -> None:
    with pytest.raises(IntegrityError, match=words), transaction.atomic():
        approval(credit, by, role, **told)


def approve(credit: Credit, user: User) -> Credit:
    return deciding.approve(credit, user, revision=credit.revision, confirmed_at=timezone.now())


# approvals -------------------------------------------------------------------------------------------------------


def test_makers_are_no_checkers_not_even_as_superusers(fiona: User) -> None:
    User.objects.filter(pk=fiona.pk).update(is_superuser=True)
    for told in ({"made_by": fiona}, {"edited_by": fiona}, {"requested_by": "Fiona"}, {"requested_by": "FIONA@example.com"}):
        not_approved("maker is not the checker", make.credit(**told), fiona)


def test_an_approval_is_of_somebody_active_in_one_of_their_roles_who_did_not_step_back(fiona: User, sam: User) -> None:
    credit, root = make.credit(), make.person("root", is_superuser=True)
    not_approved("not decided in a role", credit, root)
    not_approved("not decided in a role", credit, fiona, CONTROLLER)
    not_approved("not decided in a role", credit, make.person("paula", "policy admin"), "policy admin")
    deciding.recuse(credit, sam, note="a friend")
    not_approved("recused", credit, sam, SENIOR)
    User.objects.filter(pk=fiona.pk).update(is_active=False)
    not_approved("not active", credit, fiona)


def test_an_approval_is_of_what_the_credit_says_now(fiona: User, sam: User) -> None:
    old = make.credit()
    new = deciding.edit(old, sam, revision=old.revision, net=Decimal(900), reason_note="more than was told")
    for told in ({"revision": 1}, {"digest": old.digest}, {"total": old.total}, {"currency": "EUR"}):
        not_approved("has changed", new, fiona, **told)
    not_approved("has changed", old, fiona)


def test_stages_are_fulfilled_in_their_order_each_by_another_person(fiona: User, sam: User) -> None:
    credit = make.credit("5000")
    approval(credit, fiona)
    not_approved("waits for", credit, make.person("frank", FINANCE))
    not_approved("one decision per person", credit, fiona)
    told = approval(credit, sam, SENIOR, stage=7)
    assert Approval.objects.get(pk=told.pk).stage == 2
    not_approved("waits for nobody", credit, make.person("carla", CONTROLLER), CONTROLLER)


def test_standing_in_takes_a_delegation_in_force_from_that_person(fiona: User, sam: User) -> None:
    credit, carla = make.credit("5000"), make.person("carla", CONTROLLER)
    approval(credit, carla, CONTROLLER)
    not_approved("no such delegation", credit, fiona, SENIOR, on_behalf_of=sam)

    def grant(**told: Any) -> Delegation:
        fields = {"grantor": sam, "delegate": fiona, "starts_at": make.ago(hours=1), "ends_at": make.ago(hours=-1),
                  "made_by": sam, "reason": "holiday", **told}  # fmt: skip
        return Delegation.objects.create(**fields)

    wrong = [
        grant(ends_at=make.ago(minutes=1)), grant(starts_at=make.ago(minutes=-1)), grant(revoked_at=make.ago(minutes=1)),
        grant(legal_entity=make.entity("de")), grant(grantor=carla), grant(delegate=carla),
    ]  # fmt: skip
    for delegation in wrong:
        not_approved("no such delegation", credit, fiona, SENIOR, on_behalf_of=sam, delegation=delegation)
    fine = grant()
    not_approved("not decided in a role", credit, fiona, CONTROLLER, on_behalf_of=sam, delegation=fine)
    approval(credit, fiona, SENIOR, on_behalf_of=sam, delegation=fine)


def test_decisions_are_facts(fiona: User) -> None:
    credit = approve(make.credit(), fiona)
    for sql in (
        "UPDATE credits_approval SET by_id = by_id + 1", "DELETE FROM credits_approval",
        "TRUNCATE credits_approval CASCADE", "UPDATE credits_creditcomment SET what = 'comment'",
    ):  # fmt: skip
        if "comment" in sql:
            deciding.recuse(make.credit(), fiona, note="a friend")
        refused("insert-only", sql)
    refused("never deleted", "DELETE FROM credits_credit WHERE id = %s", credit.pk)
    refused("insert-only|never deleted", "TRUNCATE credits_credit CASCADE")


def test_delegations_are_only_ended(fiona: User, sam: User) -> None:
    told = {"starts_at": make.ago(hours=1), "ends_at": make.ago(hours=-1), "reason": "holiday"}
    with pytest.raises(IntegrityError, match="nobody delegates to themselves"), transaction.atomic():
        Delegation.objects.create(grantor=sam, delegate=fiona, made_by=fiona, **told)
    row = Delegation.objects.create(grantor=sam, delegate=fiona, made_by=sam, **told)
    refused("only ever ended", "UPDATE credits_delegation SET ends_at = ends_at + interval '1 year'")
    refused("only ever ended", "DELETE FROM credits_delegation")
    Delegation.objects.filter(pk=row.pk).update(revoked_at=timezone.now())
    refused("only ever ended", "UPDATE credits_delegation SET revoked_at = NULL")


# moving on -------------------------------------------------------------------------------------------------------


def test_nothing_moves_on_without_all_its_approvals(fiona: User) -> None:
    credit = make.credit("5000")
    not_updated("0 of 2", credit, state="approved", held_until=timezone.now())
    approval(credit, fiona)
    not_updated("1 of 2", credit, state="approved", held_until=timezone.now())
    for state in ("posting", "posted", "mirrored", "told", "closed", "reversed"):
        not_updated("cannot be", credit, state=state)


def test_what_is_needed_is_not_talked_down(fiona: User) -> None:
    """Fewer approvals, other stages or another rule are a new revision, and even then must be those of a rule."""
    nobody = make.rule(reason="uptime")
    credit = make.credit("5000")
    approval(credit, fiona)
    cheaper: list[dict[str, Any]] = [
        {"approvals_needed": 1}, {"approvals_needed": 0}, {"stages": []}, {"stages": credit.stages[:1]},
        {"approval_rule": nobody}, {"reporting_amount": 1}, {"computed": 1}, {"duplicate_allowed": "fiona: no"},
    ]  # fmt: skip
    for told in cheaper:
        not_updated("new revision", credit, **told)
    update(credit, revision=2, approvals_needed=1, stages=credit.stages[:1])
    credit.refresh_from_db()
    approval(credit, fiona)
    not_updated("not those of an approved rule", credit, state="approved", held_until=timezone.now())
    update(credit, revision=3, approvals_needed=0, stages=[], approval_rule=nobody)
    not_updated("0 of 0", credit, state="approved", held_until=timezone.now())


def test_only_a_first_whole_computed_credit_passes_without_a_person(sam: User) -> None:
    make.rule(below="25")
    fine = make.computed("10")
    assert fine.approvals_needed == 0
    update(fine, state="approved", held_until=timezone.now())
    with mock.patch.object(matrix, "needs_a_person", return_value=False):
        wrong = [
            make.computed("10", reverses=fine), make.computed("10", split_from=fine), make.computed("10", revision=2),
            make.credit("10", origin="sla"), make.credit("10", computed=Decimal(10)),
        ]  # fmt: skip
    for credit in wrong:
        assert credit.approvals_needed == 0
        not_updated("0 of 0", credit, state="approved", held_until=timezone.now())


def test_an_earlier_approval_never_counts_again(fiona: User, sam: User) -> None:
    undone = deciding.undo(approve(make.credit(), fiona), fiona, note="a mistake")
    not_updated("0 of 1", undone, state="approved", held_until=timezone.now())
    not_updated("revisions only rise", undone, revision=1)
    there = deciding.edit(undone, sam, revision=undone.revision, net=Decimal(99), reason_note="one less than told")
    back = deciding.edit(there, sam, revision=there.revision, net=Decimal(100), reason_note="as it was before")
    not_updated("0 of 1", back, state="approved", held_until=timezone.now())


def test_what_was_refused_is_not_approved_as_it_is(fiona: User, sam: User) -> None:
    credit = approve(make.credit("5000"), fiona)
    back = deciding.send_back(credit, sam, revision=1, reason_code="no_evidence", note="the log is missing")
    update(back, state="pending")
    not_approved("one decision per person", back, sam, SENIOR)
    approval(back, make.person("sue", SENIOR), SENIOR)
    not_updated("was refused", back, state="approved", held_until=timezone.now())


def test_an_undone_approval_is_a_new_revision_and_what_is_over_stays_over(fiona: User) -> None:
    credit = approve(make.credit(), fiona)
    not_updated("new revision", credit, state="pending")
    rejected = deciding.reject(make.credit(), fiona, revision=1, reason_code="other", note="never promised")
    for state in ("pending", "approved", "posting"):
        not_updated("only a reversal|cannot be", rejected, state=state, held_until=timezone.now())
    first = make.credit()
    stopped = make.credit(state="stopped", duplicate_of=first)
    not_updated("no duplicate", stopped, state="pending")


# who and what ----------------------------------------------------------------------------------------------------


def test_who_asked_for_it_and_who_changed_it_are_not_rewritten(fiona: User, sam: User) -> None:
    credit = deciding.edit(make.credit(made_by=fiona), sam, revision=1, net=Decimal(99), reason_note="one less than told")
    other = make.person("other")
    for told in ({"made_by": other}, {"made_by": None}, {"requested_by": "other"}, {"edited_by": None}, {"origin": "sla"}):
        not_updated("is not rewritten", credit, **told, revision=9)
    not_updated("new revision", credit, edited_by=other)
    with pytest.raises(IntegrityError, match="names who asked"), transaction.atomic():
        make.credit(origin="reviewer")


def test_every_column_money_depends_on_is_what_the_payload_says(fiona: User) -> None:
    """T26: the digest covers the columns, and the columns are what is posted."""
    other = make.entity("de", "EUR")
    credit = make.credit()
    wrong: list[dict[str, Any]] = [
        {"net": 99, "tax": 1}, {"total": 99, "net": 99}, {"currency": "EUR"}, {"party": make.party("other")},
        {"legal_entity": other}, {"billing": make.billing(other)}, {"settlement": "balance"}, {"reason": "uptime"},
        {"lines": []}, {"lines": [*credit.lines, *credit.lines]}, {"reverses": make.credit()}, {"split_from": make.credit()},
        {"period_start": "2026-01-01"}, {"payload": "{}", "digest": payload.digest("{}")}, {"payload": "null"},
        {"digest": "0" * 64}, {"payload": credit.payload + " "},
    ]  # fmt: skip
    for told, revision in itertools.product(wrong, (1, 2)):
        not_updated("payload says something else|duplicate key|invalid", credit, **told, revision=revision)
    done = approve(credit, fiona)
    bigger = Credit.objects.get(pk=credit.pk)
    bigger.net = bigger.total = Decimal(9000)
    payload.seal(bigger)
    told = {"net": 9000, "total": 9000, "payload": bigger.payload, "digest": bigger.digest, "revision": 2}
    not_updated("is final", done, **told)


def test_an_edit_without_a_new_revision_is_refused(fiona: User) -> None:
    credit = make.credit()
    credit.net = credit.total = Decimal(9000)
    payload.seal(credit)
    told = {"net": 9000, "total": 9000, "payload": credit.payload, "digest": credit.digest}
    not_updated("new revision", credit, **told)
    update(credit, revision=2, **told)
