"""What webhooks missed, sweeps find: everything, marked as such, and nothing twice."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest
from django.utils import timezone

from canonical.models import LegalEntity, move
from connectors import registry
from connectors.models import Connection, Cursor
from connectors.sdk.contract import Connector, Envelope, Health, Limits, Page, SourceEvent
from connectors.sdk.errors import Busy, Unknown
from connectors.vendors.stripe.fake import StripeTwin
from hub import inbox, tasks
from hub.engine import crash
from hub.flows import sweep
from hub.models import InboxEvent, ReviewItem, Run, Slot
from tests.engine.vendor import Nothing
from tests.support.threads import at_once
from tests.support.time import work
from tests.support.world import SECRET, World

NOW = timezone.now()


# with the twin: webhooks that never came ---------------------------------------------------------------------------


def test_every_lost_webhook_is_found_cancellations_and_voids_included(world: World) -> None:
    subscriptions = [world.subscribe(paid=n % 2 == 0) for n in range(4)]
    world.billing.ask("POST", f"invoices/{subscriptions[1]['latest_invoice']}/void")
    world.billing.ask("DELETE", f"subscriptions/{subscriptions[0]['id']}")
    events = world.new_events()
    lost = {e["id"] for n, e in enumerate(events) if n % 5 == 0 or e["type"] in ("invoice.voided", "customer.subscription.deleted")}
    world.deliver(*(event for event in events if event["id"] not in lost))
    assert len(lost) > 5

    run = sweep.begin(world.source, "events", by="test")
    work()
    run.refresh_from_db()
    assert InboxEvent.objects.filter(external_id__in=[e["id"] for e in events]).count() == len(events)
    assert set(InboxEvent.objects.filter(origin="sweep").values_list("external_id", flat=True)) >= lost
    assert set(run.context["missed"]) == lost and run.context["seen"] == len(events) and run.context["failed"] == []
    for event in InboxEvent.objects.filter(external_id__in=[e["id"] for e in events]):
        assert sweep.diagnosis(event) == ("missed" if event.external_id in lost else "fine")
    keys = sorted(d["key"] for d in world.documents())
    assert keys == sorted(f"stripe/{s['latest_invoice']}" for n, s in enumerate(subscriptions) if n != 1)
    assert len(world.payments()) == 2


def test_webhooks_that_the_twin_loses_repeats_and_reorders_end_complete_and_once(
    world: World, stripe_twin: StripeTwin, live_server: Any
) -> None:
    shares = {"drop": 0.4, "duplicate": 0.4, "reorder": 0.4, "seed": 7}
    stripe_twin.deliver_to(f"{live_server.url}/ingest/stripe/", SECRET, **shares)
    made = [world.subscribe(paid=n % 2 == 0) for n in range(4)]
    world.billing.ask("POST", f"invoices/{made[1]['latest_invoice']}/void")
    world.billing.ask("DELETE", f"subscriptions/{made[0]['id']}")
    stripe_twin.advance(30)
    assert stripe_twin.webhooks.wait_until_quiet()
    told, dropped = world.billing.events(), stripe_twin.webhooks.dropped
    assert 0 < dropped < len(told) and stripe_twin.webhooks.failed == 0
    came = InboxEvent.objects.filter(duplicate_of=None)
    assert InboxEvent.objects.filter(disposition="duplicate").exists()

    stripe_twin.webhooks.point_at(None)
    run = sweep.begin(world.source, "events", by="test")
    work()
    run.refresh_from_db()
    missing = {e["id"] for e in told} - set(came.values_list("external_id", flat=True))
    assert missing == set() and came.filter(origin="sweep", external_id__in=[e["id"] for e in told]).count() >= dropped
    owed = [f"stripe/{s['latest_invoice']}" for n, s in enumerate(made) if n != 1]
    assert sorted(d["key"] for d in world.documents()) == sorted(owed) and len(world.payments()) == 2


def test_the_next_sweep_overlaps_and_repeats_nothing(world: World) -> None:
    world.subscribe()
    first = sweep.begin(world.source, "events", by="test")
    work()
    sweep.begin(world.source, "events", by="test")
    work()
    kept, documents = InboxEvent.objects.count(), world.documents()
    again = sweep.begin(world.source, "events", by="test")
    work()
    for run in (first, again):
        run.refresh_from_db()
    since = datetime.fromisoformat(again.context["since"])
    assert since < datetime.fromisoformat(first.context["until"]), "the windows overlap"
    assert (again.context["missed"], again.context["seen"] > 0) == ([], True)
    assert InboxEvent.objects.count() == kept and world.documents() == documents


def test_a_webhook_that_comes_after_its_sweep_changes_nothing(world: World) -> None:
    world.subscribe()
    events = world.new_events()
    sweep.begin(world.source, "events", by="test")
    work()
    runs = Run.objects.count()
    assert set(world.deliver(*events)) == {200}
    assert Run.objects.count() == runs and not ReviewItem.objects.exists()


def test_what_came_and_failed_is_told_from_what_never_came(world: World, tryton_twin: Any) -> None:
    tryton_twin.arm("status", match="POST /twin/rest/model/account.invoice$", status=400)
    world.subscribe()
    events = world.new_events()
    (failing,) = [event for event in events if event["type"] == "invoice.finalized"]
    (missing,) = [event for event in events if event["type"] == "customer.subscription.created"]
    world.deliver(*(event for event in events if event is not missing))
    work()
    run = sweep.begin(world.source, "events", by="test")
    work()
    run.refresh_from_db()
    assert (run.context["missed"], run.context["failed"]) == ([missing["id"]], [failing["id"]])
    told = {e.external_id: sweep.diagnosis(e) for e in InboxEvent.objects.filter(external_id__in=[failing["id"], missing["id"]])}
    assert told == {failing["id"]: "failed", missing["id"]: "missed"}


def test_objects_can_be_swept_where_events_are_forgotten(world: World, stripe_twin: Any) -> None:
    subscription = world.subscribe(paid=True)
    stripe_twin.store.tables["events"].__init__()
    for stream in ("invoices", "subscriptions"):
        sweep.begin(world.source, stream, by="test")
    work()
    (document,) = world.documents()
    assert document["key"] == f"stripe/{subscription['latest_invoice']}" and len(world.payments()) == 1
    before = InboxEvent.objects.count()
    for stream in ("invoices", "subscriptions"):
        sweep.begin(world.source, stream, by="test")
    work()
    assert InboxEvent.objects.count() == before, "what we wrote there ourselves is no change"


# with a source in memory: pages, cursors, slots --------------------------------------------------------------------


class Source:
    """Pages of events; `faults` are raised one a call."""

    def __init__(self, pages: Sequence[Sequence[str]]) -> None:
        self.pages = pages
        self.faults: list[Exception | None] = []
        self.asked: list[tuple[datetime, str | None]] = []

    def page(self, client: Any, since: datetime, cursor: str | None, call: Any) -> Page:
        self.asked.append((since, cursor))
        fault = self.faults.pop(0) if self.faults else None
        if fault is not None:
            raise fault
        number = int(cursor or 0)
        items = [SourceEvent(Envelope(name, "thing.changed", "invoice", name), orjson.dumps(name)) for name in self.pages[number]]
        return Page(items, str(number + 1) if number + 1 < len(self.pages) else None)


@pytest.fixture
def source(transactional_db: None) -> Iterator[Source]:
    made = Source([["a", "b"], ["c", "d"], ["e"]])
    registry.register(
        Connector(
            slug="test-source",
            title="Source",
            role="support",
            settings=Nothing,
            credentials=Nothing,
            open=lambda s, c, h: None,
            check=lambda client, call: Health(identity="x"),
            pages={"things": made.page},
            events={"thing.changed": "test.thing.changed"},
            limits=Limits(max_in_flight=4),
        )  # fmt: skip
    )
    entity = LegalEntity.objects.create(code="main", name="Main", currency="EUR")
    Connection.objects.create(slug="source", connector="test-source", legal_entity=entity, state="active")
    yield made
    crash.disarm()
    registry.CONNECTORS.pop("test-source")


def connection() -> Connection:
    return Connection.objects.get(slug="source")


def came_in() -> list[str]:
    return sorted(InboxEvent.objects.filter(duplicate_of=None).values_list("external_id", flat=True))


def test_a_sweep_reads_every_page_and_then_moves_the_cursor(source: Source) -> None:
    run = sweep.begin(connection(), "things", by="test", since=NOW)
    work()
    assert came_in() == ["a", "b", "c", "d", "e"]
    assert [cursor for _, cursor in source.asked] == [None, "1", "2"]
    assert {since for since, _ in source.asked} == {NOW.astimezone(UTC)}
    assert Cursor.objects.get().swept_to == datetime.fromisoformat(run.context["until"])
    assert set(Run.objects.values_list("state", flat=True)) == {"done"}


@pytest.mark.parametrize(
    "fault", [Busy("later", code="http_503"), Unknown("no answer", code="no_answer"), Busy("slow down", retry_after=60)]
)
@pytest.mark.parametrize("page", [0, 1, 2])
def test_a_page_that_is_lost_is_read_again_and_nothing_before_it(source: Source, fault: Exception, page: int) -> None:
    source.faults = [*[None] * page, fault]
    sweep.begin(connection(), "things", by="test")
    work()
    expected = [None, "1", "2"]
    expected.insert(page, expected[page])
    assert [cursor for _, cursor in source.asked] == expected
    assert came_in() == ["a", "b", "c", "d", "e"]


@pytest.mark.parametrize("point", [point for point in crash.POINTS if not point.startswith("intake")])
@pytest.mark.parametrize("passes", [0, 1, 2])
def test_a_worker_that_dies_on_any_page_loses_and_repeats_nothing(
    source: Source, point: str, passes: int, monkeypatch: Any
) -> None:
    seen = iter(range(1000))

    def crash_once(name: str) -> None:
        if name == point and next(seen) == passes:
            raise crash.SimulatedCrash(name)

    monkeypatch.setattr(crash, "point", crash_once)
    sweep.begin(connection(), "things", by="test")
    work()
    assert next(seen) > passes, "it did crash"
    assert came_in() == ["a", "b", "c", "d", "e"]
    assert InboxEvent.objects.count() == 5
    assert Cursor.objects.get().swept_to is not None


def test_the_cursor_does_not_move_while_a_page_is_missing(source: Source) -> None:
    source.faults = [None, *[Busy("later", code="http_503")] * 12]
    sweep.begin(connection(), "things", by="test")
    work()
    assert came_in() == ["a", "b"] and not Cursor.objects.exists()
    assert ReviewItem.objects.get(state="open").cause == "quarantined"


def test_sweeps_of_one_stream_do_not_queue_up(source: Source) -> None:
    first = sweep.begin(connection(), "things", by="schedule")
    assert sweep.begin(connection(), "things", by="schedule") == first
    by_hand = sweep.begin(connection(), "things", by="ann", since=NOW)
    assert by_hand != first, "a person who asks for another window gets it"
    work()
    assert sweep.begin(connection(), "things", by="schedule") not in (first, by_hand)


def test_the_first_sweep_looks_back_and_the_next_begins_before_the_last_ended(source: Source) -> None:
    first = sweep.begin(connection(), "things", by="test")
    assert abs(datetime.fromisoformat(first.context["since"]) - (timezone.now() - sweep.FIRST_WINDOW)) < timedelta(minutes=1)
    work()
    following = sweep.begin(connection(), "things", by="test")
    assert datetime.fromisoformat(following.context["since"]) == datetime.fromisoformat(first.context["until"]) - sweep.OVERLAP


def test_an_unknown_stream_is_refused(source: Source) -> None:
    with pytest.raises(LookupError, match="things"):
        sweep.begin(connection(), "nothing", by="test")


def test_an_event_that_comes_by_webhook_during_its_sweep_starts_one_run(world: World) -> None:
    world.subscribe()
    events = world.new_events()
    bodies = [orjson.dumps(event) for event in events]
    source = world.source

    def either(n: int) -> None:
        if n == 0:
            sweep.begin(source, "events", by="test")
            work()
        else:
            for body in bodies:
                inbox.receive(source, body)

    at_once(2, either, threads=2)
    work()
    originals = InboxEvent.objects.filter(duplicate_of=None, external_id__in=[e["id"] for e in events])
    assert originals.count() == len(events)
    assert all(event.runs.count() <= 1 for event in originals)
    assert len(world.documents()) == 1 and not ReviewItem.objects.exists()


# slots -----------------------------------------------------------------------------------------------------------


def test_two_beats_start_one_sweep_per_slot(source: Source) -> None:
    day = 24 * 3600
    first, second = (tasks.sweep_stream("source", "things", day) for _ in range(2))
    assert (first is not None, second) == (True, None)
    assert Run.objects.filter(flow="sweep").count() == Slot.objects.count() == 1
    assert Slot.objects.get().run_id == first


def test_many_beats_at_the_same_moment_claim_a_slot_once(source: Source) -> None:
    started = at_once(16, lambda n: tasks.sweep_stream("source", "things", 24 * 3600), threads=8)
    assert len([run for run in started if run is not None]) == 1
    assert Run.objects.filter(flow="sweep").count() == Slot.objects.count() == 1


def test_each_stream_and_each_slot_has_its_own_claim(source: Source) -> None:
    jobs = [("one", 24 * 3600), ("two", 24 * 3600), ("one", 24 * 3600), ("one", 7 * 24 * 3600)]
    claimed = [tasks.claim_slot(job, every) for job, every in jobs]
    assert [slot is not None for slot in claimed][:3] == [True, True, False]


def test_a_connection_that_is_paused_is_not_swept(source: Source) -> None:
    move(connection(), "pause", by="ann", reason="maintenance")
    assert tasks.sweep_stream("source", "things", 60) is None
    assert tasks.sweep_stream("nobody", "things", 60) is None
    assert not Slot.objects.exists() and not source.asked


def test_the_origin_of_every_event_is_kept(source: Source) -> None:
    sweep.begin(connection(), "things", by="test")
    work()
    assert set(InboxEvent.objects.values_list("origin", flat=True)) == {"sweep"}
    assert set(InboxEvent.objects.values_list("name", flat=True)) == {"test.thing.changed"}
