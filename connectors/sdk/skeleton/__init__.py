"""Starts a new vendor package: a client, a mapping, a twin and a kit that work, and one line in the registry.

What the package does not offer yet fails its conformance check, which says what to fill in.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from keyword import iskeyword
from pathlib import Path
from string import Template
from typing import get_args

from connectors.sdk.contract import Role

ROLES: tuple[str, ...] = get_args(Role)
_PACKAGE = Path(__file__).parent / "package"
_SLUG = re.compile(r"[a-z][a-z0-9_]{1,39}")


def write(slug: str, role: str, vendors: Path, registry: Path) -> Iterator[Path]:
    """Write the package `vendors/<slug>` and the line in the `registry` module; yields every file written.

    Raises ValueError for a slug or a role that cannot be, and FileExistsError when the package is there already.
    """
    if not _SLUG.fullmatch(slug) or iskeyword(slug):
        raise ValueError(f"{slug!r} is not a lower-case Python name of 2 to 40 characters")
    if role not in ROLES:
        raise ValueError(f"{role!r} is not a role; there are {', '.join(ROLES)}")
    folder = vendors / slug
    if folder.exists():
        raise FileExistsError(f"{folder} is there already")
    registered = _with_line(registry.read_text(), slug)
    names = {"slug": slug, "role": role, "title": slug.replace("_", " ").title()}
    for source in sorted(path for path in _PACKAGE.rglob("*") if path.is_file()):
        target = folder / source.relative_to(_PACKAGE).with_suffix("")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(Template(source.read_text()).substitute(names))
        yield target
    registry.write_text(registered)
    yield registry


def _with_line(text: str, slug: str) -> str:
    """The registry's text with the slug in VENDORS, in alphabetical order."""
    found = re.search(r"^VENDORS = \(\n((?:    \"\w+\",\n)*)\)", text, re.MULTILINE)
    if found is None:
        raise ValueError("the registry has no VENDORS to add a line to")
    lines = sorted({*found[1].splitlines(keepends=True), f'    "{slug}",\n'})
    return text[: found.start(1)] + "".join(lines) + text[found.end(1) :]
