"""The faults of a twin are what they say, because every other test trusts them."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
import requests

from connectors.sdk.twin import Answer, Asked, Twin

get, post, delete = (partial(method, timeout=10) for method in (requests.get, requests.post, requests.delete))


class Counter(Twin):
    """A vendor that counts its writes."""

    def __init__(self) -> None:
        super().__init__()
        self.writes = 0

    def handle(self, asked: Asked) -> Answer:
        self.writes += asked.method == "POST"
        return Answer.json(200, {"writes": self.writes, "padding": "x" * 100})

    def books(self) -> Any:
        return {"writes": self.writes}

    def reset(self) -> None:
        self.writes = 0


@pytest.fixture
def twin() -> Iterator[Counter]:
    with Counter() as running:
        yield running


@pytest.mark.parametrize("seconds", [None, 30])
def test_a_late_commit_is_not_there_when_the_socket_closes(twin: Counter, seconds: float | None) -> None:
    twin.arm("late_commit", seconds=seconds)
    with pytest.raises(requests.ConnectionError):
        post(twin.url)
    assert twin.writes == 0
    if seconds is None:
        assert post(f"{twin.url}/_twin/land").json() == {"landed": 1}
        assert twin.writes == 1


def test_a_dropped_reply_has_committed(twin: Counter) -> None:
    twin.arm("drop_reply")
    with pytest.raises(requests.ConnectionError):
        post(twin.url)
    assert twin.writes == 1


@pytest.mark.parametrize(("after", "writes"), [(False, 0), (True, 1)])
def test_a_status_comes_before_or_after_the_commit(twin: Counter, after: bool, writes: int) -> None:
    twin.arm("status", status=503, retry_after="9", after=after)
    answer = post(twin.url)
    assert (answer.status_code, answer.headers["Retry-After"], twin.writes) == (503, "9", writes)


def test_a_cut_answer_is_no_json(twin: Counter) -> None:
    twin.arm("cut")
    with pytest.raises(requests.exceptions.JSONDecodeError):
        post(twin.url).json()
    assert twin.writes == 1


def test_a_fault_strikes_only_what_it_matches_and_only_so_often(twin: Counter) -> None:
    twin.arm("status", match="POST /a", times=2)
    statuses = [post(f"{twin.url}/{path}").status_code for path in ("b", "a", "a", "a")]
    assert statuses == [200, 500, 500, 200]


def test_a_probable_fault_is_the_same_chaos_for_the_same_seed(twin: Counter) -> None:
    def chaos(seed: int) -> list[int]:
        twin.disarm()
        twin.arm("status", probability=0.5, seed=seed)
        return [post(twin.url).status_code for _ in range(20)]

    assert chaos(1) == chaos(1)
    assert set(chaos(1)) == {200, 500}
    assert chaos(1) != chaos(2)


def test_faults_are_armed_and_disarmed_over_http(twin: Counter) -> None:
    faults = f"{twin.url}/_twin/faults"
    assert post(faults, json={"fault": "status", "times": 5}).ok
    assert get(faults).json()[0]["fault"] == "status"
    assert post(twin.url).status_code == 500
    assert delete(faults).ok
    assert post(twin.url).status_code == 200


@pytest.mark.parametrize("wrong", [{"fault": "flood"}, {"fault": "status", "color": "red"}, {}])
def test_a_misspelt_fault_is_refused(twin: Counter, wrong: dict[str, str]) -> None:
    assert post(f"{twin.url}/_twin/faults", json=wrong).status_code == 400


def test_reset_forgets_writes_faults_and_held_requests(twin: Counter) -> None:
    twin.arm("late_commit")
    with pytest.raises(requests.ConnectionError):
        post(twin.url)
    post(f"{twin.url}/_twin/reset")
    assert post(f"{twin.url}/_twin/land").json() == {"landed": 0}
    assert get(f"{twin.url}/_twin/books").json() == {"writes": 0}


def test_test_time_goes_only_forward(twin: Counter) -> None:
    before = twin.clock.now()
    after = post(f"{twin.url}/_twin/clock", json={"advance": 3600}).json()["now"]
    assert 3600 <= after - before < 3660
    assert post(f"{twin.url}/_twin/clock", json={"advance": -1}).status_code == 400


def test_who_asks_for_the_connection_to_be_closed_is_told_that_it_is(twin: Counter) -> None:
    assert requests.get(twin.url, headers={"Connection": "close"}, timeout=5).headers["Connection"] == "close"
    assert "Connection" not in requests.get(twin.url, timeout=5).headers
