"""`python -m hub.chaos`: prepare a place of its own, and tell one story there. `manage.py chaos` starts it."""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import sys
import tempfile
from pathlib import Path
from types import FrameType

import django

from hub.chaos import QUIET_SECONDS
from hub.runtime import environment
from hub.runtime.embedded import ensure_services

LEASE_SECONDS = 10
WORKERS = 2
CONFIGURED = ("DATABASE_URL", "REDIS_URL")


def main() -> int:
    """Run; 0 when every promise was kept, else 1, and then the processes' logs are kept."""
    options = arguments().parse_args()
    seed = random.randrange(1_000_000) if options.seed is None else options.seed
    signal.signal(signal.SIGTERM, _interrupt)
    state = Path(tempfile.mkdtemp(prefix="tieout-chaos-"))
    state.chmod(0o711)
    for name in [name for name in os.environ if name in CONFIGURED or name.startswith("TIEOUT_")]:
        del os.environ[name]
    os.environ |= {
        "DJANGO_SETTINGS_MODULE": "hub.settings", "TIEOUT_STATE_DIR": str(state), "TIEOUT_LEASE_SECONDS": str(LEASE_SECONDS),
        "TIEOUT_WORKERS": str(WORKERS), "TIEOUT_LOG_LEVEL": "WARNING",
    }  # fmt: skip
    is_well = False
    try:
        with ensure_services(state) as services:
            environment.use(services)
            django.setup()
            from hub.chaos.story import Story

            is_well = Story(state, services, options.seconds, seed, LEASE_SECONDS + QUIET_SECONDS).tell(as_json=options.json)
    finally:
        if is_well:
            shutil.rmtree(state, ignore_errors=True)
        else:
            print(f"seed {seed}; logs: {state}/logs", file=sys.stderr)
    return 0 if is_well else 1


def arguments() -> argparse.ArgumentParser:
    """What may be asked for."""
    parser = argparse.ArgumentParser(prog="chaos", description="Break everything while money flows; then compare the books.")
    add_options(parser)
    return parser


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options, here and of the management command."""
    parser.add_argument("--seconds", type=int, default=90, help="how long things break (90); draining comes on top")
    parser.add_argument("--seed", type=int, default=None, help="which things break, and when (a random one)")
    parser.add_argument("--json", action="store_true", help="the report for machines")


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
