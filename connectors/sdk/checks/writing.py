"""Writing once: twice by the same key, after a lost answer, and after one that never was."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from connectors.sdk.contract import Client, Command
from connectors.sdk.errors import Unknown
from connectors.sdk.kit import Kit, NonConformance, Probe, call, require


def once_by_key(kit: Kit) -> None:
    """Run twice, a command has had one effect, and says the same both times."""
    for command, probe, twin, client in _each(kit, "once_by_key"):
        request = probe.request(twin, f"once-{command.name}")
        first = command.run(client, request, call())
        again = command.run(client, request, call())
        require(probe.count(twin, request) == 1, f"{command.name} twice has {probe.count(twin, request)} effects")
        require(first.external_id == again.external_id, f"{command.name} twice names two objects")
        other = probe.request(twin, f"other-{command.name}")
        command.run(client, other, call())
        require(probe.count(twin, other) == 1, f"{command.name} with another key has no effect of its own")


def find_after_lost_reply(kit: Kit) -> None:
    """When the answer to the commit is lost, `find` finds what was done, and running again does nothing more."""
    for command, probe, twin, client in _each(kit, "find_after_lost_reply"):
        request = probe.request(twin, f"lost-{command.name}")
        twin.arm("drop_reply", match=probe.commit)
        try:
            command.run(client, request, call())
        except Unknown:
            found = _find(command, client, request)
            require(found is not None, f"{command.name}: the effect is there, and find does not see it")
        else:
            raise NonConformance(f"{command.name} does not notice that the answer to {probe.commit!r} is lost")
        require(probe.count(twin, request) == 1, f"{command.name}: KIT's `commit` is not the request that commits")
        again = command.run(client, request, call())
        require(again.external_id == found.external_id, f"{command.name}: run and find name two objects")
        require(probe.count(twin, request) == 1, f"{command.name} after a lost answer has two effects")


def find_before_run(kit: Kit) -> None:
    """Before anything happened `find` says None; after the run it says what the run said."""
    for command, probe, twin, client in _each(kit, "find_before_run"):
        request = probe.request(twin, f"absent-{command.name}")
        require(_find(command, client, request) is None, f"{command.name}: find sees what is not there")
        written = command.run(client, request, call())
        found = _find(command, client, request)
        require(found == written, f"{command.name}: run said {written}, find says {found}")
        require(written.external_id, f"{command.name} says no id")


def money_reads_back(kit: Kit) -> None:
    """A command that moves money says what the vendor now holds: at least the total and its currency."""
    for command, probe, twin, client in _each(kit, "money_reads_back", money=True):
        request: Any = probe.request(twin, f"facts-{command.name}")
        facts = command.run(client, request, call()).facts
        told = facts.total is not None and facts.currency == getattr(request, "currency", facts.currency)
        require(told, f"{command.name} does not read back total and currency")


def _each(kit: Kit, check: str, *, money: bool = False) -> Iterator[tuple[Command, Probe, Any, Client]]:
    """Every command with its probe, a fresh twin and a client."""
    commands = [command for command in kit.connector.commands.values() if command.money or not money]
    kit.offered(check, commands)
    for command in commands:
        probe = kit.probes.get(command.name)
        if probe is None:
            raise NonConformance(f"KIT.probes[{command.name!r}] is needed to check {check}")
        with kit.running() as (twin, client):
            yield command, probe, twin, client


def _find(command: Command, client: Client, request: Any) -> Any:
    if command.find is None:
        raise NonConformance(f"{command.name} has no find")
    return command.find(client, request, call())


CHECKS = {
    "once_by_key": once_by_key,
    "find_after_lost_reply": find_after_lost_reply,
    "find_before_run": find_before_run,
    "money_reads_back": money_reads_back,
}
