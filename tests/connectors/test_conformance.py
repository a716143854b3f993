"""Every connector of the registry keeps the promises of the contract; the checks are `connectors.sdk.checks`."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from connectors import registry
from connectors.sdk.conformance import CHECKS
from connectors.sdk.kit import Kit, Omitted, kit_of


@pytest.mark.parametrize("vendor", registry.VENDORS)
@pytest.mark.parametrize(("name", "check"), CHECKS.items(), ids=CHECKS)
def test_connector_keeps_its_promises(vendor: str, name: str, check: Callable[[Kit], None]) -> None:
    try:
        check(kit_of(vendor))
    except Omitted as reason:
        pytest.skip(f"{vendor} omits {name}: {reason}")
