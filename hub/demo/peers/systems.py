"""Which billing server, ERP and support desk the demo uses: the real ones where they can be installed, else their twins."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import requests
from django.conf import settings

from hub.config import ROOT
from hub.demo.peers import PeerUnavailable
from hub.demo.peers.localstripe import API_KEY, LocalstripePeer
from hub.demo.peers.process import Guarded, free_port
from hub.demo.peers.roundup import RoundupPeer
from hub.demo.peers.tryton import TrytonPeer

Log = Callable[[str], None]
START_TIMEOUT = 30.0


@dataclass
class System:
    """A running peer and how the hub connects to it. `keep` holds what ends it."""

    slug: str
    title: str
    connector: str
    base_url: str
    settings: dict[str, Any]
    credentials: dict[str, Any]
    is_real: bool
    keep: Any = field(repr=False)
    passwords: dict[str, str] = field(default_factory=dict, repr=False)
    """Of the people of a support system."""


def start_billing(log: Log) -> System:
    """localstripe, else the Stripe twin."""
    try:
        peer = LocalstripePeer(settings.STATE_DIR, log=log)
        info = peer.start()
    except PeerUnavailable as reason:
        log(f"{reason}; using the Stripe twin instead")
        url, process = _twin("stripe", log)
        return System("stripe-twin", "the Stripe twin", "stripe", url, {"base_url": url}, {"api_key": API_KEY}, False, process)
    return System(
        "localstripe", "localstripe (real)", "stripe", info.base_url, {"base_url": info.base_url, "api_version": ""},
        {"api_key": info.api_key}, True, peer,
    )  # fmt: skip


def start_erp(log: Log) -> System:
    """Tryton 8.0 on the hub's own PostgreSQL server, else the Tryton twin."""
    try:
        peer = TrytonPeer(settings.STATE_DIR, settings.CONFIG.database_url.get_secret_value(), log=log)
        info = peer.start()
    except PeerUnavailable as reason:
        log(f"{reason}; using the Tryton twin instead")
        url, process = _twin("tryton", log)
        entry = requests.get(f"{url}/_twin/entry", timeout=5).json()
        return System(
            "tryton-twin", "the Tryton twin", "tryton", url,
            {"base_url": url, "database": entry["database"], "company": entry["company"]},
            {name: entry[name] for name in ("rest_key", "login", "password")}, False, process,
        )  # fmt: skip
    return System(
        "tryton", "Tryton 8.0 (real)", "tryton", info.base_url,
        {"base_url": info.base_url, "database": info.database, "company": info.company},
        {"rest_key": info.rest_key, "login": info.login, "password": info.password}, True, peer,
    )  # fmt: skip


def start_crediting(billing: System, log: Log) -> System:
    """The billing system whose customers get credits: the Stripe twin, because localstripe knows no credit notes."""
    if not billing.is_real:
        return billing
    url, process = _twin("stripe", log)
    return System("stripe-twin", "the Stripe twin", "stripe", url, {"base_url": url}, {"api_key": API_KEY}, False, process)


def start_support(log: Log) -> System:
    """Roundup 2.6, else the Roundup twin."""
    try:
        peer = RoundupPeer(settings.STATE_DIR, log=log)
        info = peer.start()
    except PeerUnavailable as reason:
        log(f"{reason}; using the Roundup twin instead")
        url, process = _twin("roundup", log)
        passwords = requests.get(f"{url}/_twin/entry", timeout=5).json()["passwords"]
        return System(
            "roundup-twin", "the Roundup twin", "roundup", f"{url}/", {"base_url": f"{url}/"},
            {"user": "hub", "password": passwords["hub"]}, False, process, passwords,
        )  # fmt: skip
    return System(
        "roundup", "Roundup 2.6 (real)", "roundup", info.base_url, {"base_url": info.base_url},
        {"user": info.user, "password": info.password}, True, peer, dict(info.passwords),
    )  # fmt: skip


def deliver_cases(system: System, url: str, secret: str) -> None:
    """Have the support system's webhooks sent there, signed."""
    if system.is_real:
        system.keep.deliver_to(url, secret)
    else:
        told = {"url": url, "secret": secret}
        requests.post(f"{system.base_url}_twin/webhook", json=told, timeout=10).raise_for_status()


def _twin(vendor: str, log: Log) -> tuple[str, Guarded]:
    port = free_port()
    place = settings.STATE_DIR / "peers"
    place.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", f"connectors.vendors.{vendor}.fake", "--port", str(port)]
    process = Guarded(command, log=place / f"{vendor}-twin.log", env={"PYTHONPATH": str(ROOT)})
    url, deadline = f"http://127.0.0.1:{port}", time.monotonic() + START_TIMEOUT
    while time.monotonic() < deadline and process.is_running:
        with suppress(requests.RequestException):
            requests.get(f"{url}/_twin/books", timeout=1)
            return url, process
        time.sleep(0.05)
    raise PeerUnavailable(f"the {vendor} twin did not start; see {process.log}")
