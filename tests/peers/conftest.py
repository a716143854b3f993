"""The real peers, one of each per session, installed under `.local/` so that the next session starts in seconds."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from hub.demo.peers import PeerUnavailable
from hub.demo.peers.request_tracker import PACKAGES, RequestTrackerInfo, RequestTrackerPeer
from hub.demo.peers.roundup import RoundupPeer
from hub.demo.peers.tryton import TrytonInfo
from tests.connectors.sink import Sink
from tests.peers.erp import erp, twin  # noqa: F401
from tests.peers.tracker import desk  # noqa: F401
from tests.support import tryton
from tests.support.tryton import STATE


@pytest.fixture(scope="session")
def tryton_peer() -> Iterator[TrytonInfo]:
    """A real Tryton whose books the tests of a session share."""
    with tryton.running("test") as info:
        yield info


@pytest.fixture(scope="module")
def own_tryton() -> Iterator[TrytonInfo]:
    """A real Tryton with books of its own: what other tests have posted would be breaks."""
    with tryton.running("own") as info:
        yield info


@pytest.fixture(scope="session")
def rt_webhooks() -> Iterator[Sink]:
    """Takes the webhooks of `rt_peer`. To pass them on to a hub, send their body and headers as they came."""
    with Sink() as running:
        yield running


@pytest.fixture(scope="session")
def rt_peer(rt_webhooks: Sink) -> Iterator[RequestTrackerInfo]:
    """A real, empty Request Tracker whose webhooks go to `rt_webhooks`. Skips, saying why, where it is not installed."""
    peer = RequestTrackerPeer(STATE, webhook_url=rt_webhooks.url, webhook_secret="whsec_not_a_real_secret", log=print)
    if not peer.installable():
        pytest.skip(f"Request Tracker is not installed: {' '.join(PACKAGES)}")
    yield peer.start()
    peer.stop()


@pytest.fixture(scope="session")
def roundup_peer() -> Iterator[RoundupPeer]:
    """A real, empty Roundup that tells nobody anything until `deliver_to`. Skips, saying why, where it cannot be installed."""
    peer = RoundupPeer(STATE, log=print)
    try:
        peer.start()
    except PeerUnavailable as reason:
        pytest.skip(str(reason))
    yield peer
    peer.stop()


@pytest.fixture
def sink() -> Iterator[Sink]:
    with Sink() as running:
        yield running
