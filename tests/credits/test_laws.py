"""Whatever people, time and crashes do in whatever order, money moves only as approved (hypothesis, on real PostgreSQL).

The laws, checked in SQL after every step:

1. Who is approved or later has, for its revision and digest, as many approvals as it needs, each by somebody else, none
   by a maker, each in a role of the ladder at least that of its stage; or its rule asked for nobody, and it was computed.
2. Nobody approved more than the limits of the role allow: neither of one credit, nor on one day, nor for one customer.
3. What was approved is what the payload said then, and it says so still.
4. Per currency: approved = pending release + posted + reversed, where approved counts credits whose approval was never
   undone or withdrawn; and the parts of what was split add up to the whole.
5. The audit trail has an entry for every decision.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from decimal import Decimal
from typing import Any, ClassVar
from unittest import mock

import pytest
from django.contrib.auth.models import Group, User
from django.db import connection, transaction
from django.db.models import Count
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from canonical.models import move
from hub.audit import chain
from hub.credits import deciding, delegating
from hub.credits.changing import NotAllowed
from hub.credits.models import Approval, Credit
from hub.people.conflicts import conflicts
from hub.roles import AGENT, CONTROLLER, FINANCE, LADDER, SENIOR
from tests.credits import factories as make

DEEP = os.environ.get("HYPOTHESIS_PROFILE") == "deep"
LIMITS = {FINANCE: ("500", "900", "1500"), SENIOR: ("3000", "5000", "6000"), CONTROLLER: (None, None, None)}
"""Of a credit, a day and a customer, in USD."""
WORTH = {"USD": Decimal(1), "EUR": Decimal("1.08"), "JPY": Decimal("0.0066")}
PEOPLE = {
    "ann": (AGENT,), "fay": (FINANCE,), "fred": (FINANCE,), "sue": (SENIOR,), "sid": (FINANCE, SENIOR), "carl": (CONTROLLER,),
    "root": (),
}  # fmt: skip
APPROVED = ("approved", "posting", "posted", "mirrored", "told", "closed", "reversed")

people = st.sampled_from([*sorted(PEOPLE), "carl", "sue"])
nets = st.sampled_from(["1", "24", "25", "400", "500", "501", "900", "999", "1000", "1600", "3100", "12000"])
picks = st.integers(0, 7)
crashing = st.sampled_from([False, False, False, True])
requests = st.tuples(people, nets, st.sampled_from(sorted(WORTH)), st.sampled_from("ab"), st.booleans())


class Crash(Exception):
    """The process ended before it could commit."""


class Desk(RuleBasedStateMachine):
    """Agents ask, reviewers decide, roles come and go, the flow posts, processes die before they commit."""

    done: ClassVar[Counter[str]] = Counter()

    def __init__(self) -> None:
        super().__init__()
        self.outer = transaction.atomic()
        self.outer.__enter__()
        make.rule(below="25")
        make.rule(FINANCE, at_least="25", below="1000")
        make.rule(FINANCE, SENIOR, at_least="1000", below="10000")
        make.rule(SENIOR, CONTROLLER, at_least="10000")
        for role, limits in LIMITS.items():
            make.limit(role, *limits)
        for currency, worth in WORTH.items():
            if currency != "USD":
                make.rate(currency, str(worth))
        self.people = {name: make.person(name, *roles, is_superuser=name == "root") for name, roles in PEOPLE.items()}
        self.seen: dict[int, tuple[str, int, str, int]] = {}
        self.sealed: dict[int, tuple[int, str]] = {}
        self.judged = 0

    def teardown(self) -> None:
        transaction.set_rollback(True)
        self.outer.__exit__(None, None, None)

    # what people do ----------------------------------------------------------------------------------------------

    @initialize(requests=st.lists(requests, min_size=3, max_size=6))
    def begin(self, requests: list[tuple[str, str, str, str, bool]]) -> None:
        for request in requests:
            self.ask_for(request)

    @rule(request=requests)
    def ask_for(self, request: tuple[str, str, str, str, bool]) -> None:
        by, net, currency, customer, is_computed = request
        told: dict[str, Any] = {"currency": currency, "party": make.party(customer)}
        if is_computed:
            deciding.admit(make.computed(net, **told))
        else:
            deciding.admit(make.credit(net, made_by=self.people[by], origin="reviewer", requested_by=by, **told))

    @rule(by=people, pick=picks, crashes=crashing)
    def approve(self, by: str, pick: int, crashes: bool) -> None:
        self.attempt("approve", pick, ("pending",), crashes, lambda credit: deciding.approve(
            credit, self.people[by], revision=credit.revision, confirmed_at=None))  # fmt: skip

    @rule(pick=picks)
    def approve_by_everybody(self, pick: int) -> None:
        for name in sorted(PEOPLE):
            self.approve(by=name, pick=pick, crashes=False)

    @rule(by=people, pick=picks)
    def approve_a_stale_page(self, by: str, pick: int) -> None:
        def stale(credit: Credit) -> None:
            with pytest.raises(NotAllowed):
                deciding.approve(credit, self.people[by], revision=credit.revision - 1, confirmed_at=None)
            with pytest.raises(NotAllowed):
                deciding.edit(credit, self.people[by], revision=credit.revision - 1, net=Decimal(1), reason_note="read long ago")

        self.attempt("stale", pick, ("pending",), False, stale)

    @rule(by=people, pick=picks, net=nets, crashes=crashing)
    def edit(self, by: str, pick: int, net: str, crashes: bool) -> None:
        self.attempt("edit", pick, ("pending", "needs_info", "returned", "approved", "posting"), crashes, lambda credit:
            deciding.edit(credit, self.people[by], revision=credit.revision, net=Decimal(net),
            reason_note="it was another amount"))  # fmt: skip

    @rule(by=people, pick=picks, crashes=crashing)
    def split(self, by: str, pick: int, crashes: bool) -> None:
        def halve(credit: Credit) -> None:
            half = (credit.net / 2).quantize(Decimal(1))
            parts = deciding.split(credit, self.people[by], parts=[half, credit.net - half], note="two contracts")
            assert sum(part.net for part in parts) == credit.net and len(parts) == 2

        self.attempt("split", pick, ("pending",), crashes, halve)

    @rule(by=people, pick=picks, what=st.sampled_from(["withdraw", "resubmit", "recuse"]), crashes=crashing)
    def other(self, by: str, pick: int, what: str, crashes: bool) -> None:
        self.attempt(what, pick, ("pending", "approved", "returned", "needs_info"), crashes,
                     lambda credit: getattr(deciding, what)(credit, self.people[by], note="a good reason"))  # fmt: skip

    @rule(pick=picks, crashes=crashing)
    def undo(self, pick: int, crashes: bool) -> None:
        def by_an_approver(credit: Credit) -> None:
            first = credit.approvals.filter(revision=credit.revision).first()
            deciding.undo(credit, first.by if first else self.people["carl"], note="a mistake")

        self.attempt("undo", pick, ("approved",), crashes, by_an_approver)

    @rule(by=people, pick=picks, what=st.sampled_from(["reject", "send_back"]))
    def refuse(self, by: str, pick: int, what: str) -> None:
        self.attempt(what, pick, ("pending", "needs_info"), False, lambda credit: getattr(deciding, what)(
            credit, self.people[by], revision=credit.revision, reason_code="not_due", note="the target was kept"))  # fmt: skip

    @rule(by=people, pick=picks)
    def question(self, by: str, pick: int) -> None:
        self.attempt("ask", pick, ("pending",), False, lambda credit: deciding.ask(credit, self.people[by], text="why?"))

    @rule(pick=picks)
    def answer(self, pick: int) -> None:
        self.attempt("answer", pick, ("needs_info",), False, lambda credit: deciding.answer(credit, by="agent", text="so"))

    @rule(grantor=people, delegate=people)
    def delegate(self, grantor: str, delegate: str) -> None:
        def grant() -> None:
            times = {"starts_at": make.ago(hours=1), "ends_at": make.ago(hours=-1)}
            giver = self.people[grantor]
            delegating.grant(giver, self.people[delegate], reason="holiday", by=giver, **times)  # type: ignore[arg-type]

        self.allowed("delegate", grant)

    # what happens around them ------------------------------------------------------------------------------------

    @rule(who=people, role=st.sampled_from(LADDER))
    def change_roles(self, who: str, role: str) -> None:
        group, groups = Group.objects.get(name=role), self.people[who].groups
        if groups.filter(pk=group.pk).exists():
            groups.remove(group)
        elif not conflicts({role, *groups.values_list("name", flat=True)}):
            groups.add(group)

    @rule(who=people)
    def deactivate_or_activate(self, who: str) -> None:
        user = User.objects.get(pk=self.people[who].pk)
        User.objects.filter(pk=user.pk).update(is_active=not user.is_active)

    @rule(pick=picks, crashes=crashing)
    def release_and_post(self, pick: int, crashes: bool) -> None:
        following = {"approved": "release", "posting": "post", "posted": "mirror", "mirrored": "tell", "told": "close"}

        def go_on(credit: Credit) -> None:
            with transaction.atomic():
                move(credit, following[credit.state], by="flow")
                chain.append("credit.moved", actor="flow", obj=credit)

        self.attempt("flow", pick, tuple(following), crashes, go_on)

    @rule(pick=picks)
    def reverse(self, pick: int) -> None:
        self.attempt("reverse", pick, ("posted", "mirrored", "told", "closed"), False,
                     lambda credit: move(credit, "reverse", by="flow"))  # fmt: skip

    def attempt(self, what: str, pick: int, states: tuple[str, ...], crashes: bool, do: Callable[[Credit], Any]) -> None:
        """Do it to one of the credits in these states, when there is one; being refused is fine."""
        found = Credit.objects.filter(state__in=states).order_by("-pk")[:8]
        if not found:
            return
        credit = Credit.objects.get(pk=found[pick % len(found)].pk)
        if not crashes:
            self.allowed(what, lambda: do(credit))
            return
        # The last statement before the commit never happens, so nothing has happened.
        with mock.patch.object(chain, "append", side_effect=Crash):
            try:
                with transaction.atomic():
                    do(credit)
            except Crash:
                self.done["crash"] += 1
            except NotAllowed:
                self.done["refused"] += 1
        assert self.seen == self.now()

    def allowed(self, what: str, do: Callable[[], Any]) -> None:
        """Do it; being refused is fine."""
        try:
            with transaction.atomic():
                do()
            self.done[what] += 1
        except NotAllowed:
            self.done["refused"] += 1

    # the laws ----------------------------------------------------------------------------------------------------

    def now(self) -> dict[int, tuple[str, int, str, int]]:
        """Every credit's state, revision, digest, and number of decisions."""
        rows = Credit.objects.annotate(decisions=Count("approvals")).values_list("pk", "state", "revision", "digest", "decisions")
        return {row[0]: row[1:] for row in rows}

    @invariant()
    def the_laws_hold(self) -> None:
        self.seen = self.now()
        assert sql(NOT_APPROVED) == []
        assert sql(AMOUNTS) == []
        assert sql(UNAUDITED) == []
        for pk, revision, text in Credit.objects.filter(state__in=APPROVED).values_list("pk", "revision", "payload"):
            assert self.sealed.setdefault(pk, (revision, text)) == (revision, text)
        for pk in set(self.sealed) - {pk for pk, seen in self.seen.items() if seen[0] in APPROVED}:
            del self.sealed[pk]  # undone, or withdrawn before anything was posted
        for approval in Approval.objects.filter(pk__gt=self.judged, decision="approve").select_related("credit").order_by("pk"):
            self.judged = approval.pk
            self.within_limits(approval)

    def within_limits(self, approval: Approval) -> None:
        """At the moment of its approval, counted without the code under test."""
        per_credit, per_day, per_customer = LIMITS[approval.role]
        whose = approval.on_behalf_of_id or approval.by_id
        day = """SELECT a.currency, sum(a.total) FROM credits_approval a JOIN credits_credit c ON c.id = a.credit_id
                 WHERE coalesce(a.on_behalf_of_id, a.by_id) = %s AND a.decision = 'approve' AND a.revision = c.revision
                   AND c.state NOT IN ('rejected', 'expired', 'withdrawn', 'split') GROUP BY 1"""
        customer = """SELECT currency, sum(total) FROM credits_credit WHERE party_id = %s AND reverses_id IS NULL AND state NOT IN
                      ('rejected', 'expired', 'withdrawn', 'reversed', 'split', 'stopped') GROUP BY 1"""
        for most, sums in (
            (per_credit, [(approval.currency, approval.total)]), (per_day, sql(day, whose)),
            (per_customer, sql(customer, approval.credit.party_id)),
        ):  # fmt: skip
            worth = sum((round(amount * WORTH[currency], 2) for currency, amount in sums), Decimal(0))
            assert most is None or worth <= Decimal(most), (approval.role, most, worth)


NOT_APPROVED = """
    SELECT c.id, c.state FROM credits_credit c JOIN credits_approvalrule r ON r.id = c.approval_rule_id
    CROSS JOIN LATERAL (SELECT coalesce(sum((s ->> 'count')::int), 0) AS needed FROM jsonb_array_elements(c.stages) s) n
    WHERE c.state IN ('approved', 'posting', 'posted', 'mirrored', 'told', 'closed', 'reversed') AND NOT (
        n.needed = 0 AND r.stages = '[]' AND c.origin = 'sla' AND c.computed = c.net AND c.edited_by_id IS NULL
        OR n.needed > 0 AND (r.stages = c.stages OR r.stages = '[]') AND n.needed = (
            SELECT count(DISTINCT coalesce(a.on_behalf_of_id, a.by_id)) FROM credits_approval a
            WHERE a.credit_id = c.id AND a.revision = c.revision AND a.decision = 'approve' AND a.total = c.total
              AND a.digest = encode(sha256(convert_to(c.payload, 'UTF8')), 'hex')
              AND a.by_id IS DISTINCT FROM c.made_by_id AND a.by_id IS DISTINCT FROM c.edited_by_id
              AND a.on_behalf_of_id IS DISTINCT FROM coalesce(c.made_by_id, -1)
              AND a.on_behalf_of_id IS DISTINCT FROM coalesce(c.edited_by_id, -1)
              AND array_position(ARRAY['finance reviewer', 'senior finance reviewer', 'controller'], a.role::text)
                  >= array_position(ARRAY['finance reviewer', 'senior finance reviewer', 'controller'],
                                    c.stages -> (a.stage - 1) ->> 'role')))
"""
"""Credits that moved on without what they needed. Empty: law 1."""

AMOUNTS = """
    SELECT currency, approved, pending, posted, reversed FROM (
        SELECT c.currency,
               coalesce(sum(c.total) FILTER (WHERE t.approvals = 1), 0) AS approved,
               coalesce(sum(c.total) FILTER (WHERE c.state IN ('approved', 'posting')), 0) AS pending,
               coalesce(sum(c.total) FILTER (WHERE c.state IN ('posted', 'mirrored', 'told', 'closed')), 0) AS posted,
               coalesce(sum(c.total) FILTER (WHERE c.state = 'reversed'), 0) AS reversed,
               bool_and(t.approvals IN (0, 1)) AS is_sound
        FROM credits_credit c CROSS JOIN LATERAL (
            SELECT count(*) FILTER (WHERE target = 'approved') - count(*) FILTER (WHERE source = 'approved' AND name <> 'release')
                   AS approvals
            FROM canonical_transition WHERE object_kind = 'credit' AND object_id = c.id) t
        GROUP BY 1) sums
    WHERE approved <> pending + posted + reversed OR NOT is_sound
"""
"""Currencies in which the money approved is not the money pending, posted and reversed. Empty: law 4."""

UNAUDITED = """
    SELECT coalesce(a.credit_id, e.object_id) FROM
        (SELECT credit_id, decision, count(*) AS times FROM credits_approval GROUP BY 1, 2) a
    FULL JOIN
        (SELECT object_id, CASE action WHEN 'credit.approved' THEN 'approve' WHEN 'credit.rejected' THEN 'reject'
                           ELSE 'send_back' END AS decision, count(*) AS times
         FROM audit_auditentry WHERE action IN ('credit.approved', 'credit.rejected', 'credit.returned') GROUP BY 1, 2) e
    ON e.object_id = a.credit_id AND e.decision = a.decision
    WHERE a.times IS DISTINCT FROM e.times
"""
"""Credits with more or fewer decisions than entries about them. Empty: law 5."""


def sql(text: str, *values: Any) -> list[Any]:
    """The rows of a question."""
    with connection.cursor() as cursor:
        cursor.execute(text, values)
        return cursor.fetchall()


@pytest.mark.django_db
def test_no_interleaving_moves_money_that_was_not_approved_as_it_is() -> None:
    Desk.done.clear()
    shallow = {"max_examples": 20, "stateful_step_count": 25, "derandomize": True, "phases": [Phase.generate]}
    bounds: dict[str, Any] = {"max_examples": 400, "stateful_step_count": 60} if DEEP else shallow
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        Desk, settings=settings(deadline=None, suppress_health_check=list(HealthCheck), **bounds)
    )  # fmt: skip
    unseen = {"approve", "edit", "split", "undo", "withdraw", "reject", "send_back", "flow", "crash", "refused"} - set(Desk.done)
    assert not unseen, f"never happened, so nothing was shown about it: {unseen}"
