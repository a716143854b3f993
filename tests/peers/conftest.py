"""The real peers, one of each per session, installed under `.local/` so that the next session starts in seconds."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from hub.demo.peers import PeerUnavailable
from hub.demo.peers.tryton import TrytonInfo, TrytonPeer

STATE = Path(__file__).resolve().parents[2] / ".local"


@pytest.fixture(scope="session")
def tryton_peer() -> Iterator[TrytonInfo]:
    """A real Tryton with fresh books. Skips, saying why, on a machine that cannot install it."""
    peer = TrytonPeer(STATE, os.environ["DATABASE_URL"], database=f"tryton_test_{os.getpid()}", fresh=True, log=print)
    try:
        info = peer.start()
    except PeerUnavailable as reason:
        pytest.skip(str(reason))
    yield info
    peer.stop()
