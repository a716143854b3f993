"""What the engine promises, each promise a test."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from typing import Any

import pytest
from django.db import IntegrityError, connection, transaction
from django.db.utils import InternalError

from connectors import registry
from connectors.models import Connection
from connectors.sdk.contract import WriteSafety
from hub import answers, flows, inbox, review
from hub.engine import crash, pump, store
from hub.engine.flow import Blocked, Effect, Flow, Keep, Local
from hub.engine.worker import Worker
from hub.models import Attempt, ReviewItem, Run, Step
from tests import facts
from tests.engine import vendor
from tests.engine.conftest import elapse, note, put, start, to, work

Make = Callable[..., Flow]
Books = dict[str, vendor.Books]

IN_PROCESS_POINTS = [
    "after_claim",
    "before_call",
    "after_call",
    "before_settle",
    "before_settle_commit",
    "after_settle",
]
FAULTS: list[tuple[str, ...]] = [
    (),
    ("busy",),
    ("lose",),
    ("lose_unsent",),
    ("lose", "busy"),
    ("busy", "lose"),
    ("throttle",),
]


def clear() -> None:
    facts.clear("hub_attempt", "hub_step", "hub_run", "hub_reviewitem", "hub_slot")
    with connection.cursor() as cursor:
        cursor.execute("UPDATE connectors_connection SET not_before = NULL, failures_in_row = 0")


def test_a_run_does_each_step_once_and_ends(story: Make, vendors: Books) -> None:
    run = start(story())
    work()
    run.refresh_from_db()
    assert run.state == "done" and run.ended_at is not None
    assert run.context == {"think": 1, "a": 1, "b": 1}
    assert vendors["a"].documents == ["s1/a"] and vendors["b"].documents == ["s1/b"]
    assert list(run.attempts.order_by("id").values_list("outcome", flat=True)) == ["done", "done", "done"]


@pytest.mark.parametrize("honours_keys", [False, True])
def test_every_crash_with_every_fault_ends_as_without_each_effect_exactly_once(
    story: Make, vendors: Books, honours_keys: bool
) -> None:
    flow, stories = story(), 0
    crashes = [(), *((point,) for point in IN_PROCESS_POINTS), *itertools.combinations(IN_PROCESS_POINTS, 2)]
    for faults, points in itertools.product(FAULTS, crashes):
        if len(points) == 2 and len(faults) == 2:
            continue
        clear()
        vendor.reset()
        vendor.BOOKS["a"].faults, vendor.BOOKS["a"].honours_keys = list(faults), honours_keys
        run = start(flow)
        for point in points:
            crash.arm(point)
        work()
        crash.disarm()
        run.refresh_from_db()
        told = (faults, points, list(run.attempts.values_list("outcome", "error")))
        assert run.state == "done", told
        assert run.context == {"think": 1, "a": 1, "b": 1}, told
        assert vendor.BOOKS["a"].documents == ["s1/a"] and vendor.BOOKS["b"].documents == ["s1/b"], told
        stories += 1
    assert stories > 100


@pytest.mark.parametrize("fault", ["lose", "busy", "lose_unsent", "throttle"])
@pytest.mark.parametrize("point", [None, *IN_PROCESS_POINTS])
def test_a_refusal_undoes_what_was_done_whatever_happens_on_the_way(
    story: Make, vendors: Books, fault: str, point: str | None
) -> None:
    run = start(story(on_refusal="undo"))
    vendors["a"].faults, vendors["b"].faults = ["", fault], ["refuse"]
    if point:
        crash.arm(point)
    work()
    run.refresh_from_db()
    assert run.state == "compensated"
    assert sorted(vendors["a"].documents) == ["s1/a", "s1/a/undo"] and vendors["b"].documents == []


def test_a_refusal_waits_for_a_person_who_can_retry_or_close(story: Make, vendors: Books) -> None:
    vendors["a"].faults = ["refuse"]
    run = start(story())
    work()
    run.refresh_from_db()
    item = ReviewItem.objects.get(state="open")
    assert (run.state, item.cause, item.detail["code"]) == ("parked", "refused", "period_closed")
    with pytest.raises(answers.NotAllowed):
        answers.answer(item, "close", by="ann")
    answers.answer(item, "retry", by="ann", reason="period reopened")
    work()
    run.refresh_from_db()
    item.refresh_from_db()
    assert (run.state, item.state, item.resolved_by) == ("done", "resolved", "ann")
    assert vendors["a"].documents == ["s1/a"]
    with pytest.raises(answers.NotAllowed):
        answers.answer(item, "retry", by="bob")


def test_a_person_may_end_a_run_or_have_it_undone(story: Make, vendors: Books) -> None:
    flow = story()
    vendors["b"].faults = ["refuse", "refuse"]
    closed, undone = start(flow, "s1"), start(flow, "s2")
    work()
    for run, choice in ((closed, "close"), (undone, "compensate")):
        item = ReviewItem.objects.get(state="open", blocks__run=run)
        answers.answer(item, choice, by="ann", reason="customer left")
    work()
    closed.refresh_from_db()
    undone.refresh_from_db()
    assert (closed.state, undone.state) == ("closed", "compensated")
    assert sorted(vendors["a"].documents) == ["s1/a", "s2/a", "s2/a/undo"]


def test_what_cannot_be_searched_is_decided_by_a_person(story: Make, vendors: Books) -> None:
    registry.register(vendor.connector("a", safety=WriteSafety.NONE, searchable=False))
    flow = story()
    vendors["a"].faults = ["lose", "lose_unsent"]
    landed, lost = start(flow, "s1"), start(flow, "s2")
    work()
    assert ReviewItem.objects.filter(state="open", cause="unknown_outcome").count() == 2
    with pytest.raises(answers.NotAllowed):
        answers.answer(ReviewItem.objects.get(blocks__run=landed), "found", by="ann")
    answers.answer(ReviewItem.objects.get(blocks__run=landed), "found", by="ann", external_id="doc-s1/a")
    answers.answer(ReviewItem.objects.get(blocks__run=lost), "absent", by="ann", reason="not in their list")
    work()
    assert sorted(vendors["a"].documents) == ["s1/a", "s2/a"]
    assert set(Run.objects.values_list("state", flat=True)) == {"done"}
    assert landed.attempts.filter(step__name="a").last().outcome == "found"


def test_a_lookup_before_the_quiet_period_is_over_is_not_made(story: Make, vendors: Books) -> None:
    vendors["a"].faults = ["lose_unsent"]
    run = start(story())
    with Worker("test") as worker:
        worker.drain()
    step = run.steps.get(name="a")
    assert step.state == "unknown"
    elapse(29)
    with Worker("test") as worker:
        assert worker.drain() == 0
    elapse(2)
    with Worker("test") as worker:
        worker.drain()
    run.refresh_from_db()
    assert run.state == "done" and vendors["a"].documents == ["s1/a"]


def test_searches_that_cannot_tell_end_with_a_person(story: Make, vendors: Books) -> None:
    vendors["a"].faults, vendors["a"].find_faults = ["", "lose"], []
    run = start(story())
    vendors["a"].faults, vendors["a"].find_faults = ["lose"], []
    with Worker("test") as worker:
        worker.drain()
    vendors["a"].find_faults = ["x"] * 50
    work()
    run.refresh_from_db()
    assert run.state == "parked"
    assert ReviewItem.objects.get(state="open").cause == "unknown_outcome"
    assert vendors["a"].documents == ["s1/a"]


def test_retry_after_binds_the_whole_connection_and_survives(story: Make, vendors: Books) -> None:
    flow = story()
    vendors["a"].faults = ["throttle"]
    start(flow, "s1")
    with Worker("one") as worker:
        worker.drain()
    start(flow, "s2")
    with Worker("another") as worker:
        worker.drain()
    assert vendors["a"].calls == ["s1/a"], "nobody calls inside the wait"
    elapse(61)
    with Worker("another") as worker:
        worker.drain()
    assert sorted(vendors["a"].documents) == ["s1/a", "s2/a"]


def test_bad_credentials_pause_the_connection_and_resuming_lets_everything_go_on(story: Make, vendors: Books) -> None:
    flow = story()
    vendors["a"].faults = ["credentials"]
    first, second = start(flow, "s1"), start(flow, "s2")
    work()
    assert Connection.objects.get(slug="a").state == "paused"
    item = ReviewItem.objects.get(state="open")
    assert item.cause == "misconfigured"
    answers.answer(item, "retry", by="ann", reason="new key")
    work()
    for run in (first, second):
        run.refresh_from_db()
        assert run.state == "done"


def test_a_failing_vendor_is_probed_one_call_at_a_time(story: Make, vendors: Books) -> None:
    flow = story()
    vendors["a"].faults = ["busy"] * 30
    for n in range(20):
        start(flow, f"s{n}")
    with Worker("test", threads=8) as worker:
        worker.drain()
    broken = Connection.objects.get(slug="a")
    assert broken.failures_in_row > 0 and broken.last_failure
    elapse(3600)
    calls = len(vendors["a"].calls)
    with Worker("test", threads=8) as worker:
        worker.drain()
    assert len(vendors["a"].calls) - calls == 1
    work()
    assert sorted(vendors["a"].documents) == sorted(f"s{n}/a" for n in range(20))
    assert Connection.objects.get(slug="a").failures_in_row == 0


def test_a_step_that_kills_its_worker_is_quarantined_and_only_its_lane_waits(story: Make, vendors: Books) -> None:
    flow = story()
    poison, behind, other = start(flow, "s1"), start(flow, "s1"), start(flow, "s2")
    Step.objects.filter(run=other).update(due_at="2100-01-01T00:00Z")
    for _ in range(3):
        with connection.cursor() as cursor:
            cursor.execute("UPDATE hub_step SET due_at = now() - interval '1 second' WHERE run_id = %s", [poison.pk])
        assert [c.step.run_id for c in store.claim(None, 10, "doomed")] == [poison.pk]
        elapse(600)
        pump.expire_leases()
    Step.objects.filter(run=other).update(due_at="2020-01-01T00:00Z")
    work()
    for run in (poison, behind, other):
        run.refresh_from_db()
    assert (poison.state, behind.state, other.state) == ("parked", "open", "done")
    item = ReviewItem.objects.get(state="open")
    assert item.cause == "quarantined"
    answers.answer(item, "retry", by="ann")
    work()
    behind.refresh_from_db()
    assert behind.state == "done"


def test_a_bug_is_retried_then_quarantined_with_one_item_for_all_it_hits(vendors: Books) -> None:
    def broken(run: Run) -> None:
        raise ZeroDivisionError("a bug of ours")

    flow = Flow("buggy", "buggy", steps=(Local("divide", broken),))
    flows.register(flow)
    runs = [start(flow, f"s{n}") for n in range(5)]
    work()
    item = ReviewItem.objects.get(state="open")
    assert item.cause == "quarantined" and review.blocked_runs(item).count() == len(runs)
    flows.forget(flow)


def test_a_block_waits_for_its_cause_and_healing_frees_exactly_those(vendors: Books) -> None:
    known: set[str] = set()

    def need(run: Run) -> None:
        if run.context["needs"] not in known:
            raise Blocked("missing_mapping", review.fingerprint(run.context["needs"]), f"no {run.context['needs']}")

    flow = Flow("mapped", "mapped", steps=(Local("map", need),))
    flows.register(flow)
    runs = [
        inbox.start(flow, subject_kind="thing", subject_id=f"s{n}", by="test", context={"needs": "salt" if n % 2 else "pepper"})
        for n in range(20)
    ]
    Run.objects.filter(pk__in=[r.pk for r in runs]).update(amount="10.50", currency="EUR")
    work()
    assert ReviewItem.objects.filter(state="open").count() == 2
    salt = ReviewItem.objects.get(title="no salt")
    assert review.blocked_runs(salt).count() == 10
    assert {k: str(v) for k, v in review.money_blocked(salt).items()} == {"EUR": "105.0000"}
    known.add("salt")
    assert answers.heal(salt, by="mapping") == 10
    work()
    assert Run.objects.filter(state="done").count() == 10 and Run.objects.filter(state="open").count() == 10
    flows.forget(flow)


def test_a_worker_that_wakes_after_its_lease_cannot_settle(story: Make, vendors: Books) -> None:
    from hub.engine.perform import Outcome
    from hub.engine.settle import settle

    run = start(story())
    (late,) = store.claim(None, 1, "zombie")
    elapse(600)
    pump.expire_leases()
    work()
    settle([(late, Outcome("done"))])
    run.refresh_from_db()
    assert run.context["think"] == 1 and run.attempts.filter(step=late.step).count() == 2


def test_lanes_are_serial_within_and_parallel_across(vendors: Books) -> None:
    order: list[tuple[str, int]] = []
    lock = threading.Lock()

    def say(run: Run) -> None:
        with lock:
            order.append((run.lane, run.context["n"]))

    flow = Flow("ordered", "ordered", lane=lambda run: run.subject_id, steps=(Local("one", lambda run: None), Local("two", say)))
    flows.register(flow)
    for n in range(60):
        inbox.start(flow, subject_kind="thing", subject_id=f"lane{n % 4}", by="test", context={"n": n})

    def drain() -> None:
        with Worker("thread", batch=3) as worker:
            for _ in range(40):
                worker.drain(budget=5)
        connection.close()

    threads = [threading.Thread(target=drain) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    work()
    assert Run.objects.filter(state="done").count() == 60
    for lane in range(4):
        assert [n for name, n in order if name == f"lane{lane}"] == list(range(lane, 60, 4))
    flows.forget(flow)


def test_a_connections_limit_holds_across_workers(vendors: Books) -> None:
    registry.register(vendor.connector("a", limit=1))
    flow = Flow("narrow", "narrow", steps=(Effect("a", "put", to("a"), put("a"), note("a"), Keep("test")),))
    flows.register(flow)
    for n in range(6):
        start(flow, f"s{n}")
    pool = Connection.objects.get(slug="a")
    assert len(store.claim(pool, 10, "one")) == 1
    assert store.claim(pool, 10, "two") == []
    flows.forget(flow)


def test_facts_refuse_update_delete_and_truncate(story: Make, vendors: Books) -> None:
    start(story())
    work()
    for change in ("UPDATE hub_attempt SET error = 'x'", "DELETE FROM hub_attempt", "TRUNCATE hub_attempt"):
        with pytest.raises((IntegrityError, InternalError)), transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(change)
    assert Attempt.objects.count() == 3


def test_the_database_refuses_two_running_steps_in_a_lane_and_two_open_steps_in_a_run(story: Make, vendors: Books) -> None:
    flow = story()
    one, two = start(flow, "s1"), start(flow, "s1")
    lease: dict[str, Any] = {"lease_token": "00000000-0000-0000-0000-000000000001"}
    Step.objects.filter(run=one).update(state="running", **lease)
    with pytest.raises(IntegrityError, match="one_running_step_per_lane"), transaction.atomic():
        Step.objects.filter(run=two).update(state="running", **lease)
    with pytest.raises(IntegrityError, match="one_open_step_per_run"), transaction.atomic():
        Step.objects.create(run=one, name="second", lane="s1")


def test_runs_end_on_the_version_they_began_with(vendors: Books) -> None:
    old = Flow("versioned", "v", steps=(Local("one", note("one")), Local("old", note("old"))))
    new = Flow("versioned", "v", version=2, steps=(Local("one", note("one")), Local("new", note("new"))))
    flows.register(old)
    first = start(flows.current("versioned"))
    flows.register(new)
    second = start(flows.current("versioned"), "s2")
    work()
    first.refresh_from_db()
    second.refresh_from_db()
    assert first.context == {"one": 1, "old": 1} and second.context == {"one": 1, "new": 1}
    flows.forget(old, new)


def test_a_document_posted_but_not_as_asked_waits_and_may_be_accepted_or_taken_back(vendors: Books) -> None:
    from hub.engine import perform
    from hub.engine.flow import Undo

    asked: list[str] = []

    def undo(run: Run) -> vendor.Put:
        asked.append(run.subject_id)
        return vendor.Put(key=f"{run.subject_id}/a/undo")

    flow = Flow(
        "wrong",
        "wrong",
        steps=(Effect("a", "put", to("a"), put("a"), note("a"), Undo("take_back", undo, lambda run, written: None)),),
    )
    flows.register(flow)
    honest = perform.differences
    perform.differences = lambda want, got: {"total": ["10.00", "1.00"]}  # type: ignore[assignment]
    try:
        accepted, taken_back = start(flow, "s1"), start(flow, "s2")
        work()
    finally:
        perform.differences = honest
    assert ReviewItem.objects.filter(state="open", cause="mismatch").count() == 2
    answers.answer(ReviewItem.objects.get(blocks__run=accepted), "accept", by="ann", reason="a cent of rounding")
    answers.answer(ReviewItem.objects.get(blocks__run=taken_back), "reverse", by="ann", reason="wrong amount")
    work()
    accepted.refresh_from_db()
    taken_back.refresh_from_db()
    assert (accepted.state, accepted.context) == ("done", {"a": 1})
    assert (taken_back.state, asked) == ("compensated", ["s2"])
    assert sorted(vendors["a"].documents) == ["s1/a", "s2/a", "s2/a/undo"]
    flows.forget(flow)


def test_a_run_of_a_flow_this_release_lacks_waits_for_a_person_and_holds_up_nobody(story: Make, vendors: Books) -> None:
    flow = story()
    gone, other = start(flow, "s1"), start(flow, "s2")
    Run.objects.filter(pk=gone.pk).update(version=99)
    work()
    gone.refresh_from_db()
    other.refresh_from_db()
    assert (gone.state, other.state) == ("parked", "done")
    assert "version 99" in ReviewItem.objects.get(state="open").title


def test_a_flow_that_could_not_be_undone_is_refused(vendors: Books) -> None:
    effect = Effect("a", "put", to("a"), put("a"), note("a"), Keep(""))
    with pytest.raises(ValueError, match="how it is undone"):
        flows.register(Flow("hopeless", "hopeless", steps=(effect,)))
    assert "hopeless" not in flows.names()


def test_a_connector_whose_money_could_be_moved_twice_is_refused() -> None:
    from dataclasses import replace

    safe = vendor.connector("a")
    unsafe = replace(safe.commands["put"], safety=WriteSafety.NONE)
    with pytest.raises(ValueError, match="repeated safely"):
        registry.register(replace(safe, commands={"put": unsafe}))


def test_a_quarantined_call_is_looked_for_before_it_is_made_again(story: Make, vendors: Books) -> None:
    registry.register(vendor.connector("a", safety=WriteSafety.KEY))  # whose key the vendor has forgotten by then
    run = start(story())
    for _ in range(3):
        crash.arm("after_call")
        with pytest.raises(crash.SimulatedCrash), Worker("doomed") as worker:
            worker.drain()
        elapse(600)
        pump.expire_leases()
        elapse(600)
    item = ReviewItem.objects.get(state="open")
    assert (item.cause, vendors["a"].documents) == ("quarantined", ["s1/a"])
    answers.answer(item, "retry", by="ann")
    work()
    run.refresh_from_db()
    assert (run.state, vendors["a"].documents) == ("done", ["s1/a"])
