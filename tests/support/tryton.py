"""A real Tryton for as long as a fixture needs it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from hub.demo.peers import PeerUnavailable
from hub.demo.peers.tryton import TrytonInfo, TrytonPeer

STATE = Path(__file__).resolve().parents[2] / ".local"
"""Where peers are installed, so that the next session starts in seconds."""


@contextmanager
def running(name: str) -> Iterator[TrytonInfo]:
    """One with fresh books in a database named after `name` and this process. Skips, saying why, where it cannot be installed."""
    database = f"tryton_{name}_{os.getpid()}"
    peer = TrytonPeer(STATE, os.environ["DATABASE_URL"], database=database, fresh=True, log=print)
    try:
        info = peer.start()
    except PeerUnavailable as reason:
        pytest.skip(str(reason))
    yield info
    peer.stop()
