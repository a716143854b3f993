"""Deciding: who may, in which role and order, what voids an approval, and what is written along."""

from __future__ import annotations

import json
from datetime import timedelta
from decimal import Decimal

import pytest
from django.contrib.auth.models import Group, User
from django.utils import timezone

from canonical.models import Transition
from hub.audit.models import AuditEntry
from hub.credits import deciding
from hub.credits.deciding import NotAllowed
from hub.credits.models import Approval, Credit, Notice
from hub.roles import ADMINISTRATOR, AGENT, CONTROLLER, FINANCE, SENIOR
from tests.credits import factories as make

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _ground(db: None) -> None:
    make.ground()


@pytest.fixture
def fiona() -> User:
    return make.person("fiona", FINANCE)


@pytest.fixture
def sam() -> User:
    return make.person("sam", SENIOR)


@pytest.fixture
def carla() -> User:
    return make.person("carla", CONTROLLER)


def approve(credit: Credit, user: User, **told: object) -> Credit:
    given = {"revision": Credit.objects.get(pk=credit.pk).revision, "confirmed_at": None, **told}
    return deciding.approve(credit, user, **given)  # type: ignore[arg-type]


def refused(credit: Credit, user: User, **told: object) -> str:
    with pytest.raises(NotAllowed) as problem:
        approve(credit, user, **told)
    assert Credit.objects.get(pk=credit.pk).state != "approved"
    return str(problem.value)


def last_entry() -> dict[str, object]:
    entry = AuditEntry.objects.order_by("seq").last()
    assert entry is not None
    said: dict[str, object] = json.loads(entry.content)
    return said


# approving -------------------------------------------------------------------------------------------------------


def test_an_approval_holds_the_credit_for_the_undo_window_and_is_written_everywhere(fiona: User) -> None:
    credit = approve(make.credit(), fiona, note="looks right")
    assert credit.state == "approved" and credit.waiting_role == "" and credit.due_at is None
    assert credit.held_until is not None and credit.decided_at is not None
    assert credit.held_until - credit.decided_at == timedelta(minutes=10)
    approval = Approval.objects.get()
    assert (approval.role, approval.stage, approval.digest, approval.revision) == (FINANCE, 1, credit.digest, 1)
    moved = Transition.objects.get(object_kind="credit", object_id=credit.pk)
    assert (moved.source, moved.target, moved.by) == ("pending", "approved", "fiona")
    entry = last_entry()
    assert (entry["action"], entry["role"], entry["note"]) == ("credit.approved", FINANCE, "looks right")
    assert entry["before"] == {"state": "pending", "waiting_role": FINANCE}
    assert credit.approval_rule is not None and entry["policy"] == credit.approval_rule.label


def test_two_stages_need_two_people_in_their_order(fiona: User, sam: User) -> None:
    credit = make.credit("5000")
    assert approve(credit, fiona).waiting_role == SENIOR
    assert "decided about it already" in refused(credit, fiona)
    other = make.person("frank", FINANCE)
    assert f"waits for a {SENIOR}" in refused(credit, other)
    assert approve(credit, sam).state == "approved"
    assert [(one.by.username, one.stage, one.role) for one in Approval.objects.order_by("pk")] == [
        ("fiona", 1, FINANCE), ("sam", 2, SENIOR),
    ]  # fmt: skip


def test_a_higher_role_stands_in_for_a_lower_stage_but_nobody_fulfils_two(sam: User, carla: User) -> None:
    credit = make.credit("5000")
    assert approve(credit, sam).state == "pending"
    assert "decided about it already" in refused(credit, sam)
    assert approve(credit, carla).state == "approved"
    assert [one.role for one in Approval.objects.order_by("pk")] == [SENIOR, CONTROLLER]


def test_somebody_with_several_roles_decides_in_the_lowest_that_suffices() -> None:
    both = make.person("both", FINANCE, CONTROLLER)
    approve(make.credit(), both)
    approve(make.credit("5000"), both)
    assert [one.role for one in Approval.objects.order_by("pk")] == [FINANCE, FINANCE]


@pytest.mark.parametrize("roles", [(), (AGENT,), (ADMINISTRATOR,)])
def test_only_roles_of_the_ladder_approve_and_being_a_superuser_gives_none(roles: tuple[str, ...]) -> None:
    root = make.person("root", *roles, is_superuser=True)
    assert "do not decide" in refused(make.credit(), root)


def test_makers_and_last_editors_never_approve(fiona: User, sam: User) -> None:
    for told in ({"made_by": fiona}, {"edited_by": fiona}, {"requested_by": "FIONA@example.com"}, {"requested_by": "fiona"}):
        assert "another person" in refused(make.credit(**told), fiona)
    credit = make.credit(made_by=fiona)
    edited = deciding.edit(credit, sam, revision=credit.revision, net=Decimal(90), reason_note="the month was shorter")
    assert "another person" in refused(edited, sam)
    assert "another person" in refused(edited, fiona)


def test_a_stale_page_is_refused(fiona: User, sam: User) -> None:
    shown = make.credit()
    deciding.edit(shown, sam, revision=shown.revision, net=Decimal(999), reason_note="a bigger outage than told")
    with pytest.raises(NotAllowed, match="has changed since you opened it"):
        deciding.approve(shown, fiona, revision=shown.revision, confirmed_at=None)
    with pytest.raises(NotAllowed, match="has changed since you opened it"):
        deciding.edit(shown, sam, revision=shown.revision, net=Decimal(90), reason_note="the month was shorter")
    assert Credit.objects.get(pk=shown.pk).net == 999


def test_somebody_deactivated_or_demoted_since_the_page_was_loaded_is_refused(fiona: User, sam: User) -> None:
    credit = make.credit()
    assert deciding.why_not(credit, fiona, at=timezone.now()) == ""
    assert fiona.has_perm("credits.decide_credit")  # what the page's user still remembers
    User.objects.filter(pk=fiona.pk).update(is_active=False)
    assert "not active" in refused(credit, fiona)
    sam.groups.remove(Group.objects.get(name=SENIOR))
    assert "do not decide" in refused(credit, sam)


def test_step_up_is_asked_for_where_the_rule_says_so(sam: User, carla: User) -> None:
    credit = make.credit("10000")
    now = timezone.now()
    assert deciding.why_not(credit, sam, at=now) == ""
    for confirmed_at in (None, now - timedelta(seconds=301), now + timedelta(minutes=5)):
        with pytest.raises(NotAllowed) as problem:
            approve(credit, sam, confirmed_at=confirmed_at)
        assert problem.value.needs_confirmation
    approve(credit, sam, confirmed_at=now - timedelta(seconds=290))
    assert "Confirm" in deciding.why_not(credit, carla, at=now, confirmed_at=now - timedelta(seconds=301))
    assert approve(credit, carla, confirmed_at=timezone.now()).state == "approved"


def test_a_second_click_of_the_same_person_is_refused(fiona: User) -> None:
    credit = approve(make.credit(), fiona)
    with pytest.raises(NotAllowed, match="approved by now"):
        approve(credit, fiona)
    assert Approval.objects.count() == 1


def test_those_whose_turn_it_is_are_told_and_makers_are_not(fiona: User, sam: User) -> None:
    other = make.person("sue", SENIOR)
    credit = make.credit("5000", made_by=other)
    approve(credit, fiona)
    notice = Notice.objects.get()
    assert (notice.to, notice.credit) == (sam, credit)
    assert f"/{credit.pk}/" in notice.body and "approve" not in notice.body.casefold()


# refusing --------------------------------------------------------------------------------------------------------


def test_refusing_needs_a_reason_and_a_note(fiona: User) -> None:
    credit = make.credit(made_by=make.person("maker", AGENT))
    for code, note in (("because", "long enough a note"), ("not_due", "short")):
        with pytest.raises(NotAllowed):
            deciding.reject(credit, fiona, revision=1, reason_code=code, note=note)
    done = deciding.reject(credit, fiona, revision=1, reason_code="not_due", note="the target was kept")
    assert done.state == "rejected" and done.waiting_role == ""
    assert Notice.objects.get().to.username == "maker"
    assert last_entry()["reason_code"] == "not_due"
    assert "rejected by now" in refused(credit, fiona)


def test_what_was_sent_back_comes_again_as_a_new_revision(fiona: User) -> None:
    maker = make.person("maker", AGENT)
    credit = make.credit(made_by=maker)
    back = deciding.send_back(credit, fiona, revision=1, reason_code="no_evidence", note="please attach the log")
    assert back.state == "returned"
    again = deciding.resubmit(back, maker, note="attached")
    assert (again.state, again.revision, again.waiting_role) == ("pending", 2, FINANCE)
    back = deciding.send_back(again, fiona, revision=2, reason_code="no_evidence", note="that is another log")
    again = deciding.resubmit(back, maker, note="attached the right one")
    assert approve(again, fiona).state == "approved"


def test_a_question_may_be_refused_while_it_waits(fiona: User) -> None:
    credit = deciding.ask(make.credit(), fiona, text="since when?")
    done = deciding.reject(credit, fiona, revision=1, reason_code="not_due", note="found it myself")
    assert done.state == "rejected"


def test_makers_do_not_refuse_either_they_withdraw(fiona: User) -> None:
    credit = make.credit(made_by=fiona)
    with pytest.raises(NotAllowed, match="another person"):
        deciding.reject(credit, fiona, revision=1, reason_code="other", note="changed my mind")
    assert deciding.withdraw(credit, fiona, note="changed my mind").state == "withdrawn"


# asking ----------------------------------------------------------------------------------------------------------


def test_a_question_stops_the_clock_and_its_answer_goes_on_with_the_time_left(fiona: User) -> None:
    credit = make.credit()
    asked = deciding.ask(credit, fiona, text="Which service was down?")
    question = deciding.asked(asked)
    assert asked.state == "needs_info" and question is not None and question.text == "Which service was down?"
    assert "needs info" in refused(asked, fiona)
    due = timezone.now() + timedelta(hours=1)
    Credit.objects.filter(pk=credit.pk).update(due_at=question.at + timedelta(minutes=30))
    answered = deciding.answer(asked, by="agent@support", text="The gateway", external_id="n1")
    assert answered.state == "pending" and answered.due_at is not None and deciding.asked(answered) is None
    assert timedelta(minutes=29) < answered.due_at - timezone.now() < timedelta(minutes=31) and answered.due_at < due
    deciding.answer(asked, by="agent@support", text="The gateway", external_id="n1")
    assert answered.comments.count() == 2
    assert approve(answered, fiona).state == "approved"


def test_approvals_of_the_same_revision_survive_a_question(fiona: User, sam: User) -> None:
    credit = make.credit("5000")
    approve(credit, fiona)
    deciding.ask(credit, sam, text="since when?")
    deciding.answer(credit, by="agent", text="Monday")
    assert approve(credit, sam).state == "approved"


def test_somebody_who_recused_themselves_decides_no_more(fiona: User) -> None:
    credit = deciding.recuse(make.credit(), fiona, note="my brother works there")
    assert "recused" in refused(credit, fiona)
    assert credit.waiting_role == CONTROLLER  # nobody else of the role is left
    with pytest.raises(NotAllowed, match="already"):
        deciding.recuse(credit, fiona, note="again")


def test_who_has_decided_cannot_recuse_themselves_any_more(fiona: User) -> None:
    credit = approve(make.credit("5000"), fiona)
    with pytest.raises(NotAllowed, match="decided"):
        deciding.recuse(credit, fiona, note="too late")


# editing ---------------------------------------------------------------------------------------------------------


def test_an_edit_voids_approvals_and_asks_the_matrix_anew(fiona: User, sam: User, carla: User) -> None:
    credit = make.credit("1500")
    approve(credit, fiona)
    edited = deciding.edit(credit, carla, revision=credit.revision, net=Decimal(500), reason_note="half of it was maintenance")
    assert (edited.revision, edited.state, edited.waiting_role, edited.total) == (2, "pending", FINANCE, Decimal(500))
    assert edited.approvals_needed == 1 and edited.edited_by == carla
    assert approve(edited, fiona).state == "approved"
    assert last_entry()["policy"] == edited.approval_rule.label if edited.approval_rule else ""


def test_what_is_decided_cannot_be_edited(fiona: User, sam: User) -> None:
    credit = approve(make.credit(), fiona)
    with pytest.raises(NotAllowed, match="approved by now"):
        deciding.edit(credit, sam, revision=credit.revision, net=Decimal(1), reason_note="not any more, really")


@pytest.mark.parametrize("net", ["0", "-1", "0.001"])
def test_impossible_amounts_are_refused(net: str, sam: User) -> None:
    credit = make.credit()
    with pytest.raises(NotAllowed):
        deciding.edit(credit, sam, revision=credit.revision, net=Decimal(net), reason_note="an impossible amount")


def test_agents_change_what_they_asked_for_themselves_only() -> None:
    agent, other = make.person("agent", AGENT), make.person("other", AGENT)
    credit = make.credit(made_by=agent)
    with pytest.raises(NotAllowed, match="roles"):
        deciding.edit(credit, other, revision=credit.revision, net=Decimal(1), reason_note="not mine to change")
    with pytest.raises(NotAllowed, match="roles"):
        deciding.withdraw(credit, other, note="not mine to withdraw")
    assert deciding.edit(credit, agent, revision=credit.revision, net=Decimal(1), reason_note="it was much less").total == 1


def test_parts_add_up_and_are_approved_by_the_rule_of_the_whole(fiona: User, sam: User, carla: User) -> None:
    credit = make.credit("5000")
    with pytest.raises(NotAllowed, match="add up"):
        deciding.split(credit, fiona, parts=[Decimal(1), Decimal(2)], note="two contracts, really")
    parts = deciding.split(credit, carla, parts=[Decimal(100), Decimal(4900)], note="two contracts, really")
    assert Credit.objects.get(pk=credit.pk).state == "split"
    assert [part.total for part in parts] == [100, 4900]
    for part in parts:
        assert [stage["role"] for stage in part.stages] == [FINANCE, SENIOR]
        assert part.split_from_id == credit.pk and part.state == "pending"
        assert approve(part, fiona).state == "pending"
        assert "another person" in refused(part, carla)
        assert approve(part, sam).state == "approved"


def test_a_reversal_is_not_edited_nor_split(sam: User) -> None:
    credit = make.credit(reverses=make.credit())
    for change in (
        lambda: deciding.edit(credit, sam, revision=credit.revision, net=Decimal(1), reason_note="only a part of it"),
        lambda: deciding.split(credit, sam, parts=[Decimal(50), Decimal(50)], note="only a part of it"),
    ):
        with pytest.raises(NotAllowed, match="exactly"):
            change()


def test_a_duplicate_waits_for_another_person_to_say_that_it_is_none(fiona: User, sam: User) -> None:
    first = make.credit()
    credit = make.credit(state="stopped", duplicate_of=first, duplicate_why="same amount", made_by=fiona)
    with pytest.raises(NotAllowed, match="Another person"):
        deciding.allow_duplicate(credit, fiona, note="it is another outage")
    freed = deciding.allow_duplicate(credit, sam, note="it is another outage")
    assert (freed.state, freed.waiting_role, freed.revision) == ("pending", FINANCE, 2)
    assert freed.duplicate_allowed == "sam: it is another outage"
    assert approve(freed, sam).state == "approved"


# undoing ---------------------------------------------------------------------------------------------------------


def test_an_approval_is_undone_by_an_approver_inside_the_window(fiona: User, sam: User) -> None:
    credit = approve(make.credit(), fiona)
    with pytest.raises(NotAllowed, match="Only somebody who approved"):
        deciding.undo(credit, sam, note="not mine")
    undone = deciding.undo(credit, fiona, note="wrong customer")
    assert (undone.state, undone.revision, undone.held_until, undone.waiting_role) == ("pending", 2, None, FINANCE)
    assert approve(undone, fiona).state == "approved"


def test_after_the_window_or_when_posting_began_nothing_is_undone(fiona: User) -> None:
    credit = make.lapse(approve(make.credit(), fiona))
    with pytest.raises(NotAllowed, match="over"):
        deciding.undo(credit, fiona, note="too late")
    make.released(credit)
    with pytest.raises(NotAllowed, match="posting by now"):
        deciding.undo(credit, fiona, note="too late")
    with pytest.raises(NotAllowed, match="posting by now"):
        deciding.withdraw(credit, fiona, note="too late")


def test_an_approved_credit_may_be_withdrawn_before_anything_is_posted(fiona: User, sam: User) -> None:
    credit = approve(make.credit(), fiona)
    assert deciding.withdraw(credit, sam, note="the customer left").state == "withdrawn"


# without a person ------------------------------------------------------------------------------------------------


def test_a_small_computed_credit_passes_when_its_rule_says_so(fiona: User) -> None:
    make.rule(below="25", reason="resolution")
    credit = deciding.admit(make.computed("10"))
    assert credit.state == "approved" and not Approval.objects.exists()
    assert last_entry()["action"] == "credit.passed"
    undone = deciding.undo(credit, fiona, note="let me look at it")
    assert (undone.state, undone.waiting_role, undone.approvals_needed) == ("pending", FINANCE, 1)


def test_nothing_else_passes_without_a_person(sam: User) -> None:
    make.rule(below="25")
    asked_for = make.credit("10")
    reversal = make.computed("10", reverses=make.credit())
    for credit in (asked_for, reversal, make.computed("26")):
        assert credit.approvals_needed == 1
        assert deciding.admit(credit).state == "pending"
    edited = deciding.edit(make.computed("30"), sam, revision=1, net=Decimal(10), reason_note="now it is small")
    assert edited.approvals_needed == 1 and deciding.admit(edited).state == "pending"


# several at once -------------------------------------------------------------------------------------------------


def test_many_are_decided_singly_and_the_list_says_what_became_of_each(fiona: User) -> None:
    fine, own, big, stale, gone = (
        make.credit(), make.credit(made_by=fiona), make.credit("5000"), make.credit(), make.credit(state="pending"),
    )  # fmt: skip
    deciding.edit(stale, make.person("sam", SENIOR), revision=stale.revision, net=Decimal(90), reason_note="a shorter month")
    deciding.withdraw(gone, make.person("sam", SENIOR), note="no more")
    results = deciding.approve_many([fine, own, big, stale, gone], fiona, confirmed_at=None)
    assert [(credit.state, bool(problem)) for credit, problem in results] == [
        ("approved", False), ("pending", True), ("pending", False), ("pending", True), ("pending", True),
    ]  # fmt: skip
    assert [problem for _, problem in results if problem][1:] == [
        "It has changed since you opened it: look at it again.", "It is withdrawn by now.",
    ]  # fmt: skip
    with pytest.raises(NotAllowed, match="50"):
        deciding.approve_many([fine] * 51, fiona, confirmed_at=None)


def test_limits_are_counted_within_one_bulk_approval() -> None:
    make.limit(FINANCE, per_day="250", version=2)
    lena = make.person("lena", FINANCE)
    credits = [make.credit("100", party=make.party(f"customer {n}")) for n in range(4)]
    results = deciding.approve_many(credits, lena, confirmed_at=None)
    assert [bool(problem) for _, problem in results] == [False, False, True, True]
