"""The register of connectors: the one line a new vendor adds. Nobody else imports `connectors.vendors`."""

from __future__ import annotations

from importlib import import_module

from connectors.sdk.contract import Connector, WriteSafety

VENDORS = (
    "request_tracker",
    "roundup",
    "stripe",
    "tryton",
    "zendesk",
)
"""One line a vendor: its package under connectors/vendors."""

CONNECTORS: dict[str, Connector] = {}


def register(connector: Connector) -> None:
    """Make a connector known (vendors at start-up, throw-away ones in tests).

    Raises ValueError when a command that moves money could not be repeated safely: the hub does not start with it.
    """
    for command in connector.commands.values():
        if command.money and command.safety is WriteSafety.NONE:
            raise ValueError(f"{connector.slug}: {command.name} moves money and cannot be repeated safely")
    CONNECTORS[connector.slug] = connector


def connector_for(slug: str) -> Connector:
    """The connector of that slug. Raises LookupError with the ones there are."""
    try:
        return CONNECTORS[slug]
    except KeyError:
        raise LookupError(f"no connector {slug!r}; there are {', '.join(sorted(CONNECTORS)) or 'none'}") from None


def load() -> None:
    """Import every vendor package and register its CONNECTOR."""
    for vendor in VENDORS:
        register(import_module(f"connectors.vendors.{vendor}").CONNECTOR)
