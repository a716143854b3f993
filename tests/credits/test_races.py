"""Two people at the same moment: exactly one decision each time (T27). `RACES=2000` runs them all."""

from __future__ import annotations

import os
import threading
from collections import Counter
from collections.abc import Callable, Sequence

import pytest
from django.contrib.auth.models import User

from canonical.models import Transition
from hub.credits import deciding
from hub.credits.deciding import NotAllowed
from hub.credits.models import Approval, Credit
from hub.roles import FINANCE, SENIOR
from tests.credits import factories as make
from tests.support.threads import at_once

RACES = int(os.environ.get("RACES", "300"))
KINDS = ("approve/approve", "approve/reject", "edit/approve", "edit/edit")

pytestmark = pytest.mark.django_db(transaction=True)

Act = Callable[[Credit], object]


def approve(user: User) -> Act:
    return lambda credit: deciding.approve(credit, user, revision=credit.revision, confirmed_at=None)


def reject(user: User) -> Act:
    return lambda credit: deciding.reject(
        credit, user, revision=credit.revision, reason_code="not_due", note="the target was kept"
    )  # fmt: skip


def edit(user: User) -> Act:
    return lambda credit: deciding.edit(
        credit, user, revision=credit.revision, net=credit.net - 1, reason_note="one less than told"
    )


def deactivate(user: User) -> Act:
    return lambda credit: User.objects.filter(pk=user.pk).update(is_active=False)


def demote(user: User) -> Act:
    return lambda credit: user.groups.clear()


def races(first: Sequence[tuple[Credit, Act]], second: Sequence[tuple[Credit, Act]]) -> list[list[str]]:
    """Two people with a connection each, who act at the same moments; '' for who got through, or why not."""
    both, start = (first, second), threading.Barrier(2)

    def person(side: int) -> list[str]:
        answers = []
        for credit, act in both[side]:
            start.wait(30)
            try:
                act(credit)
                answers.append("")
            except NotAllowed as problem:
                answers.append(str(problem))
        return answers

    return [list(pair) for pair in zip(*at_once(2, person), strict=True)]


@pytest.mark.parametrize("kind", KINDS)
def test_a_race_ends_with_exactly_one_decision(kind: str) -> None:
    make.ground()
    fiona, frank, carla = make.person("fiona", FINANCE), make.person("frank", FINANCE), make.person("carla", SENIOR)
    first, second = {
        "approve/approve": (approve(fiona), approve(frank)), "approve/reject": (approve(fiona), reject(frank)),
        "edit/approve": (edit(carla), approve(fiona)), "edit/edit": (edit(carla), edit(frank)),
    }[kind]  # fmt: skip
    credits = [make.credit(party=make.party(f"customer {n}")) for n in range(RACES // len(KINDS))]
    answers = races([(credit, first) for credit in credits], [(credit, second) for credit in credits])
    assert all(sorted(map(bool, pair)) == [False, True] for pair in answers), Counter(map(tuple, answers))
    winners = Counter(pair.index("") for pair in answers)
    assert len(winners) == 2, f"only one of the two ever won, so they never met: {winners}"
    for credit, pair in zip(credits, answers, strict=True):
        now = Credit.objects.get(pk=credit.pk)
        decisions = list(Approval.objects.filter(credit=credit).values_list("decision", flat=True))
        moves = list(Transition.objects.filter(object_kind="credit", object_id=credit.pk).values_list("name", flat=True))
        if kind == "edit/edit" or (kind == "edit/approve" and pair[0] == ""):
            assert (now.state, now.revision, now.net, decisions, moves) == ("pending", 2, credit.net - 1, [], [])
        else:
            decision = "reject" if kind == "approve/reject" and pair[1] == "" else "approve"
            assert (now.revision, decisions, moves) == (1, [decision], [decision])


def test_two_approvals_of_one_person_do_not_pass_the_limit_of_the_day_together() -> None:
    make.rule(FINANCE)
    make.limit(FINANCE, per_day="150")
    sides: tuple[list[tuple[Credit, Act]], ...] = ([], [])
    for n in range(RACES // 10):
        fiona = make.person(f"fiona{n}", FINANCE)
        for side, name in zip(sides, "ab", strict=True):
            side.append((make.credit("100", party=make.party(f"customer {n}{name}")), approve(fiona)))
    answers = races(*sides)
    assert all(sorted(map(bool, pair)) == [False, True] for pair in answers), Counter(map(tuple, answers))
    assert Credit.objects.filter(state="approved").count() == len(answers)


def test_who_is_deactivated_or_demoted_at_that_moment_decides_before_it_or_not_at_all() -> None:
    make.ground()
    leaving: list[tuple[Credit, Act]] = []
    judging: list[tuple[Credit, Act]] = []
    for n in range(RACES // 10):
        fiona, credit = make.person(f"fiona{n}", FINANCE), make.credit(party=make.party(f"customer {n}"))
        leaving.append((credit, demote(fiona) if n % 2 else deactivate(fiona)))
        judging.append((credit, approve(fiona)))
    for (credit, _), (_, answer) in zip(leaving, races(leaving, judging), strict=True):
        assert Credit.objects.get(pk=credit.pk).state == ("pending" if answer else "approved")
