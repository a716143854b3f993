"""The conformance kit: what every connector promises, checked the same way for all of them.

A vendor package has a module `conformance` with a `KIT`; there is no test file per vendor. The kit names

- `twin`, which makes a fresh twin (`connectors.sdk.twin.Twin`) that refuses wrong credentials, `settings` and
  `credentials` for it;
- `parse`, from a sample's bytes to canonical objects, and the samples: `samples/<name>.json` is what the vendor sends,
  `samples/<name>.expected.json` what we understand: `{"envelope": …, "objects": […] or "bad payload"}`;
- `unknown_event`, a delivery of a type the connector does not know, and `sign`, which gives a body its headers;
- for every command a `Probe`; for every stream of `pages` and kind of `extracts` a filler; for every kind of `fetch` an id
  that exists.

A capability that is left out fails its check unless `omissions` has a written reason under the check's name.
`python -m connectors.sdk.conformance <vendor>` runs the checks and `--write` renews the expected results, whose diff is
then to be read: they are the belief, not the output.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence

from connectors.sdk.checks import extracting, protocol, reading, shape, writing
from connectors.sdk.kit import Kit, NonConformance, Omitted, kit_of

CHECKS: Mapping[str, Callable[[Kit], None]] = {
    **shape.CHECKS, **protocol.CHECKS, **reading.CHECKS, **extracting.CHECKS, **writing.CHECKS,
}  # fmt: skip
"""Every check by its name."""


def main(arguments: Sequence[str]) -> int:
    """Run the checks of one vendor, or renew its expected results."""
    if not arguments or len(arguments) > 2 or (len(arguments) == 2 and arguments[1] != "--write"):
        print("usage: python -m connectors.sdk.conformance <vendor> [--write]")
        return 2
    kit = kit_of(arguments[0])
    if len(arguments) == 2:
        for path in shape.write_expected(kit):
            print(f"wrote {path.name}")
        return 0
    failed = 0
    for name, check in CHECKS.items():
        try:
            check(kit)
            print(f"ok       {name}")
        except Omitted as reason:
            print(f"omitted  {name}: {reason}")
        except NonConformance as broken:
            failed += 1
            print(f"FAILED   {name}: {broken}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
