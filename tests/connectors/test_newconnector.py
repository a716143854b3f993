"""A new connector starts as a package that works, and whose conformance says what is left to do."""

from __future__ import annotations

import importlib
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from connectors import registry, vendors
from connectors.management.commands import newconnector
from connectors.sdk import skeleton
from connectors.sdk.conformance import CHECKS
from connectors.sdk.kit import NonConformance, kit_of

REGISTRY = Path(registry.__file__)
WORKING = {"declaration", "samples", "extra_fields", "malformed", "statuses", "transport", "credentials"}


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A `connectors` folder of its own, whose vendors can be imported beside the real ones."""
    (tmp_path / "vendors").mkdir()
    shutil.copy(REGISTRY, tmp_path / "registry.py")
    monkeypatch.setattr(newconnector, "HERE", tmp_path)
    monkeypatch.setattr(vendors, "__path__", [*vendors.__path__, str(tmp_path / "vendors")])
    importlib.invalidate_caches()
    yield tmp_path
    for name in [name for name in sys.modules if name.startswith("connectors.vendors.acme_desk")]:
        del sys.modules[name]


@pytest.mark.parametrize("role", skeleton.ROLES)
def test_a_new_connector_fails_only_where_it_says_what_to_fill_in(elsewhere: Path, role: str) -> None:
    call_command("newconnector", "acme_desk", role, verbosity=0)
    kit = kit_of("acme_desk")
    assert (kit.connector.slug, kit.connector.role, kit.connector.title) == ("acme_desk", role, "Acme Desk")
    for name, check in CHECKS.items():
        if name in WORKING:
            check(kit)
            continue
        with pytest.raises(NonConformance, match="fill it in, or say why not"):
            check(kit)


def test_the_registry_gets_one_line_in_order(elsewhere: Path) -> None:
    call_command("newconnector", "acme_desk", "support", verbosity=0)
    before, after = REGISTRY.read_text().splitlines(), (elsewhere / "registry.py").read_text().splitlines()
    assert [line for line in after if line not in before] == ['    "acme_desk",']
    assert after.index('    "acme_desk",') < after.index('    "stripe",')


@pytest.mark.parametrize(("slug", "role"), [("Acme", "support"), ("a-b", "erp"), ("class", "erp"), ("x", "erp")])
def test_a_name_that_cannot_be_a_package_is_refused(elsewhere: Path, slug: str, role: str) -> None:
    with pytest.raises(CommandError, match="Python name"):
        call_command("newconnector", slug, role)
    assert list((elsewhere / "vendors").iterdir()) == []


def test_a_package_that_is_there_is_not_overwritten(elsewhere: Path) -> None:
    call_command("newconnector", "acme_desk", "support", verbosity=0)
    client = elsewhere / "vendors" / "acme_desk" / "client.py"
    client.write_text("mine")
    with pytest.raises(CommandError, match="already"):
        call_command("newconnector", "acme_desk", "support")
    assert client.read_text() == "mine"
