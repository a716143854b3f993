"""A scan reads everything once, proves it, survives its workers, and is kept whatever becomes of it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import timedelta
from io import StringIO
from unittest import mock

import pytest
from django.core.management import call_command
from django.db import OperationalError, connections, transaction
from django.db import connection as database
from django.utils import timezone
from django_fsm import TransitionNotAllowed

from canonical.models import LegalEntity, Transition
from hub import answers
from hub.audit.models import AuditEntry
from hub.engine import crash
from hub.models import ReviewItem, Run
from reconciliation import invariants, matching, scanning
from reconciliation.models import Certificate, Scan
from reconciliation.scanning import concluding, storing
from tests.reconciliation import vendor
from tests.reconciliation.world import billed, booked, connection, end, entity, fill, readings, scan
from tests.support.crashes import CRASHES
from tests.support.threads import at_once
from tests.support.time import work

Books = dict[str, vendor.Books]


def certificate(of: Scan, source: str, kind: str = "invoice") -> Certificate:
    return of.certificates.get(connection__slug=source, kind=kind)


def all_is_well() -> bool:
    return not [finding.named for finding in invariants.check() if finding.count]


def test_a_scan_reads_every_page_of_every_source_and_signs_for_it(books: Books) -> None:
    fill(10)
    done = scan()
    assert (done.state, done.failure, done.counts["red"]) == ("done", "", [])
    assert done.readings.count() == 22
    assert [cursor for kind, cursor in books["billing"].pages if kind == "invoice"] == [None, "in_002", "in_005", "in_008"]
    proof = certificate(done, "erp")
    assert proof.is_complete and proof.at_source == proof.as_read == {"EUR": {"count": 10, "amount": "1200"}}
    assert certificate(done, "support", "support_credit").as_read == {}
    assert AuditEntry.objects.filter(action="certificate.signed").count() == done.certificates.count() == 5
    assert list(Transition.objects.filter(object_kind="scan").values_list("target", flat=True)) == ["matching", "done"]
    assert done.progress["billing/invoice"] == {"read": 10, "pages": 4, "counted": 3, "done": True, "complete": True}
    assert all_is_well()


def test_what_a_scan_is_judged_by_is_kept_with_it(books: Books) -> None:
    fill(1)
    done = scan()
    assert done.parameters["closed_until"] == done.parameters["tolerances"]["closed_until"] == "2026-10-31"
    assert done.parameters["since"]["billing/invoice"] is None and done.parameters["tolerances"]["amount"] == {}


def test_sources_are_read_in_lanes_of_their_own(books: Books) -> None:
    fill(4)
    begun = scanning.begin(entity(), full=True, by="test")
    assert scanning.runs_of(begun).values("lane").distinct().count() == 5
    end(begun)
    assert scanning.runs_of(begun).count() == 5 + 2


@pytest.mark.parametrize("point", [point for point in CRASHES if point])
def test_a_worker_killed_at_any_time_changes_nothing_in_the_result(books: Books, point: str) -> None:
    fill(7)
    books["erp"].drop("invoice", "003")
    untroubled = scan()
    for passes in (1, 2, 3):
        died, left = [], iter(range(passes, 0, -1))

        def pass_point(name: str, died: list[str] = died, left: Iterator[int] = left) -> None:
            if name == point and next(left, 0) == 1:
                died.append(name)
                raise crash.SimulatedCrash(name)

        troubled = scanning.begin(entity(), full=True, by="test")
        with mock.patch.object(crash, "point", pass_point):
            end(troubled)
        assert died == [point]
        same_as(untroubled, troubled)


def same_as(untroubled: Scan, troubled: Scan) -> None:
    assert troubled.state == "done" and readings(troubled) == readings(untroubled)
    assert troubled.result_hash == untroubled.result_hash and troubled.counts["red"] == []


def test_two_at_once_are_refused_and_the_running_one_is_named(books: Books) -> None:
    fill(1)
    LegalEntity.objects.create(code="other", name="Other", currency="EUR")

    def begin(_: int) -> tuple[str, Scan]:
        try:
            return "begun", scanning.begin(entity(), full=True, by="test")
        except scanning.AlreadyRunning as error:
            return "refused", error.scan

    told = at_once(6, begin)
    assert sorted(what for what, _ in told) == ["begun", *["refused"] * 5] and len({scan.pk for _, scan in told}) == 1
    assert Scan.objects.count() == 1 and Run.objects.filter(flow="reconcile").count() == 5
    with pytest.raises(LookupError, match="other"):
        scanning.begin(LegalEntity.objects.get(code="other"), full=True, by="test")


def test_a_lost_page_makes_the_certificate_red_and_the_scan_says_so(books: Books) -> None:
    fill(9)
    books["billing"].lost = {"in_003", "in_004", "in_005"}
    done = scan()
    proof = certificate(done, "billing")
    assert done.state == "done" and done.counts["red"] == ["billing/invoice"]
    assert not proof.is_complete
    assert (proof.at_source["EUR"]["count"], proof.as_read["EUR"]["count"]) == (9, 6)
    assert done.progress["billing/invoice"]["reading"] == 2, "it was read once more before it was believed"
    assert all_is_well()


def test_a_source_that_cannot_count_proves_nothing(books: Books) -> None:
    fill(1)
    with mock.patch.dict(connection("erp").spec.totals, clear=True):  # type: ignore[call-overload]
        done = scan()
    assert done.counts["red"] == ["erp/invoice", "erp/party"]


def test_an_object_seen_twice_while_paging_is_kept_once_in_its_newest_version(books: Books) -> None:
    fill(8)
    books["billing"].twice = True
    newer = billed(2, "150.00", updated_at=timezone.now() - timedelta(days=1))
    books["billing"].between = [lambda: books["billing"].put(newer)]
    done = scan()
    assert done.readings.filter(connection__slug="billing", kind="invoice").count() == 8
    assert done.readings.get(external_id="in_002").total == 150
    assert certificate(done, "billing").is_complete


def test_the_older_version_never_replaces_the_newer_one(books: Books) -> None:
    fill(1)
    done = scan()
    now = timezone.now()
    with transaction.atomic():
        for at, total in ((now, "7.00"), (now - timedelta(days=9), "8.00")):
            storing.store(done.pk, connection("billing").pk, "invoice", [billed(0, total, updated_at=at)])
    assert done.readings.get(external_id="in_000").total == 7


def test_a_source_that_changes_while_it_is_paged_is_read_again(books: Books) -> None:
    fill(8)
    books["billing"].between = [lambda: books["billing"].put(billed(0, "99.00"))]
    done = scan()
    assert certificate(done, "billing").is_complete and done.counts["red"] == []
    assert done.readings.get(external_id="in_000").total == 99
    assert done.progress["billing/invoice"] == {
        "read": 8, "pages": 3, "counted": 2, "reading": 2, "done": True, "complete": True,
    }  # fmt: skip


def test_an_incremental_scan_comes_to_what_a_full_one_does(books: Books) -> None:
    fill(9)
    scan()
    just_now = timezone.now()
    books["billing"].put(billed(1, "130.00", updated_at=just_now))
    books["billing"].put(billed(20, updated_at=just_now))
    books["erp"].put(booked(2, "77.00", updated_at=just_now))
    changes = scan(full=False)
    whole = scan()
    assert changes.carried_from_id is not None and whole.carried_from_id is None
    assert certificate(changes, "billing").as_read["EUR"]["count"] == 2 and changes.counts["carried_forward"] == 16
    assert readings(changes) == readings(whole)
    assert changes.result_hash == whole.result_hash != ""


def test_what_was_not_proven_is_read_whole_the_next_time(books: Books) -> None:
    fill(5)
    books["billing"].lost = {"in_001"}
    red = scan()
    books["billing"].lost = set()
    healed = scan(full=False)
    assert red.counts["red"] and healed.counts["red"] == []
    assert certificate(healed, "billing").since is None and certificate(healed, "erp").since is not None
    assert readings(healed) == readings(scan())


def test_a_refusing_source_waits_for_a_person_who_can_let_it_go_on(books: Books) -> None:
    fill(4)
    books["billing"].faults = ["", "refuse"]
    begun = scanning.begin(entity(), full=True, by="test")
    work()
    begun.refresh_from_db()
    assert begun.state == "reading" and concluding.conclude_all() == [] and scanning.give_up_ended_sources() == []
    answers.answer(ReviewItem.objects.get(state="open"), "retry", by="otto")
    assert end(begun).state == "done" and begun.counts["red"] == []


def test_a_scan_ended_by_a_person_is_kept_and_the_next_one_may_begin(books: Books) -> None:
    fill(7)
    books["erp"].faults = ["", "refuse"]
    begun = scanning.begin(entity(), full=True, by="test")
    work()
    begun.refresh_from_db()
    scanning.fail(begun, by="otto", reason="the ERP is being moved")
    begun.refresh_from_db()
    assert (begun.state, begun.failure) == ("failed", "the ERP is being moved") and begun.readings.exists()
    assert not ReviewItem.objects.filter(state="open").exists() and not Run.objects.filter(state="parked").exists()
    with pytest.raises(TransitionNotAllowed):
        scanning.fail(begun, by="otto", reason="again")
    books["erp"].faults = []
    following = scan(full=False)
    assert following.state == "done" and following.carried_from_id is None, "a failed scan is no ground to build on"
    assert all_is_well()


def test_a_page_that_comes_after_the_end_is_not_kept(books: Books) -> None:
    fill(7)
    connection("billing")
    begun = scanning.begin(entity(), full=True, by="test")
    books["billing"].between = [lambda: _fail_elsewhere(begun)]
    work()
    begun.refresh_from_db()
    assert begun.state == "failed"
    assert not begun.readings.filter(connection__slug="billing", kind="invoice").exists()
    assert not scanning.runs_of(begun).exclude(state="done").exists()


def _fail_elsewhere(begun: Scan) -> None:
    try:
        scanning.fail(Scan.objects.get(pk=begun.pk), by="otto", reason="enough")
    finally:
        connections.close_all()


def test_a_source_whose_reading_a_person_ended_ends_the_scan(books: Books) -> None:
    fill(4)
    books["billing"].faults = ["", "refuse"]
    begun = scanning.begin(entity(), full=True, by="test")
    work()
    answers.answer(ReviewItem.objects.get(state="open"), "close", by="otto", reason="there is no such list")
    assert [ended.pk for ended in scanning.give_up_ended_sources()] == [begun.pk]
    begun.refresh_from_db()
    assert begun.state == "failed" and "ended by a person" in begun.failure


def test_a_paused_connection_holds_the_scan_until_it_goes_on(books: Books) -> None:
    fill(4)
    books["erp"].faults = ["credentials"]
    begun = scanning.begin(entity(), full=True, by="test")
    work()
    begun.refresh_from_db()
    assert begun.state == "reading" and connection("erp").state == "paused"
    answers.answer(ReviewItem.objects.get(cause="misconfigured", state="open"), "retry", by="ada")
    assert end(begun).state == "done"


def test_a_matching_killed_in_the_middle_is_done_again_from_the_start(books: Books) -> None:
    fill(5)
    books["erp"].drop("invoice", "003")
    untroubled = scan()
    troubled = scanning.begin(entity(), full=True, by="test")
    work()
    real = matching.match

    def killed(scan: Scan, tolerances: matching.Tolerances) -> None:
        real(scan, tolerances)
        raise crash.SimulatedCrash("in the middle")

    with mock.patch.object(matching, "match", killed), pytest.raises(crash.SimulatedCrash):
        concluding.conclude_all()
    troubled.refresh_from_db()
    assert troubled.state == "matching" and not troubled.fates.exists() and not troubled.key_matches.exists()
    end(troubled)
    assert troubled.state == "done" and troubled.result_hash == untroubled.result_hash
    assert troubled.progress["matching"]["tries"] == 2


def test_a_matching_is_tried_again_when_the_database_hangs_up_but_not_for_ever(books: Books) -> None:
    fill(1)
    begun = scanning.begin(entity(), full=True, by="test")
    work()
    with mock.patch.object(matching, "match", side_effect=OperationalError("the connection is lost")):
        for _ in range(concluding.MAX_TRIES):
            assert concluding.conclude_all() == []
        concluding.conclude_all()
    begun.refresh_from_db()
    assert begun.state == "failed" and "cut off" in begun.failure


def test_an_error_of_the_matching_fails_the_scan_with_its_words(books: Books) -> None:
    fill(1)
    begun = scanning.begin(entity(), full=True, by="test")
    work()
    with mock.patch.object(matching, "match", side_effect=ZeroDivisionError("a bug of ours")):
        concluding.conclude_all()
    begun.refresh_from_db()
    assert (begun.state, begun.failure) == ("failed", "ZeroDivisionError: a bug of ours")
    assert scan().state == "done"


def test_one_matching_at_a_time_and_a_person_can_cut_it_off(books: Books) -> None:
    fill(1)
    begun = scanning.begin(entity(), full=True, by="test")
    work()
    inside, ended = threading.Event(), []

    def forever(scan: Scan, tolerances: matching.Tolerances) -> None:
        inside.set()
        with database.cursor() as cursor:
            cursor.execute("SELECT pg_sleep(60)")

    def match() -> None:
        try:
            ended.extend(concluding.conclude_all())
        finally:
            connections.close_all()

    with mock.patch.object(matching, "match", forever):
        busy = threading.Thread(target=match)
        busy.start()
        assert inside.wait(20)
        assert concluding.conclude_all() == [], "somebody else is at it"
        scanning.fail(Scan.objects.get(pk=begun.pk), by="otto", reason="too slow")
        busy.join(20)
    begun.refresh_from_db()
    assert not busy.is_alive() and ended == [] and (begun.state, begun.failure) == ("failed", "too slow")


def test_the_shell_scans_waits_and_tells(books: Books) -> None:
    fill(5)
    books["erp"].drop("invoice", "003")
    out = StringIO()
    call_command("reconcile", entity="acme", full=True, wait=True, stdout=out)
    said = out.getvalue()
    assert "complete   billing/invoice: 5 of 600 EUR" in said and "complete   erp/invoice: 4 of 480 EUR" in said
    assert "not in the second system: 120" in said


def test_the_shell_says_which_person_it_waits_for(books: Books) -> None:
    fill(1)
    books["billing"].faults = ["refuse"]
    with pytest.raises(Exception, match=r"waits for a person: .*no such list"):
        call_command("reconcile", entity="acme", wait=True, stdout=StringIO())


def test_the_shell_exits_with_1_when_something_was_lost(books: Books) -> None:
    fill(4)
    books["billing"].lost = {"in_001"}
    with pytest.raises(SystemExit) as ended:
        call_command("reconcile", entity="acme", wait=True, stdout=(out := StringIO()))
    assert ended.value.code == 1 and "INCOMPLETE billing/invoice" in out.getvalue()
